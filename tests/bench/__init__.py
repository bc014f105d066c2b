"""`make bench`: the figures that the project is held to, measured on this machine and printed beside its peers'."""

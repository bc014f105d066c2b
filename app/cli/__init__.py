"""What the commands do. `app.__main__` parses; each module here does one command's work and prints its result."""

"""What deploys Tally. Python is here only where files are made by it."""

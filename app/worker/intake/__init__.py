"""The way in from topics in any dialect."""

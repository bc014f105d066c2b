"""What the commands do. `app.commands` parses; each module here does one command's work and prints its result."""

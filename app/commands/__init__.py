"""The command line: parses, and calls what `app.cli` and the other shells do."""

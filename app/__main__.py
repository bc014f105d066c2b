"""`python -m app` is the command `tally`."""

from app.commands.tally import main

if __name__ == "__main__":
    main(prog_name="tally")

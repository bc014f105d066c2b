"""The command line: parses and calls."""

import sys

import click


@click.group()
def main() -> None:
    """Tally tells whether your models are still right."""


@main.command()
@click.option("--log-level", default="INFO", help="DEBUG, INFO, WARNING or ERROR.")
def worker(log_level: str) -> None:
    """Run a worker (the same as `faust -A app.worker worker`)."""
    from app.worker.run import run_worker

    sys.exit(run_worker(log_level.upper()))


if __name__ == "__main__":
    main()

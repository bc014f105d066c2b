"""The command `tally`, with all of its commands."""

from typing import Any, NoReturn

import click

from app.commands import counts, events, letters, monitors, operating, references

_EPILOG = """\b
Exit codes:
  0  fine
  1  unexpected: a bug, or interrupted
  2  a setting, a topic, the broker or what was given is wrong; one sentence says what
  3  a worker failed: start it again, it goes on where it was

\b
Begin with:
  tally check                      is all as it must be?
  tally plan --events-per-second N how many workers, how much memory and disk
  tally topics --create            create the topics
  tally worker                     run; more workers share the partitions
  tally send events.jsonl          bring events
  tally feedback PUID --label 1    say what was right
  tally tail                       what arrives, and what is understood of it
  tally dead-letters list          what was refused, and why

Settings are environment variables TALLY_...; `tally check` shows them all.
"""


class Commands(click.Group):
    """Tells in one sentence what the user can do something about; only a bug shows a stack trace."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options that stand before the command."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            _refuse(error, ctx)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            _refuse(error, ctx)
        except Exception as error:
            from app.cli.ends import EXIT_WRONG, sentence_of

            sentences = sentence_of(error)
            if sentences is None:
                raise
            for sentence in sentences.splitlines():
                click.echo(f"tally: {sentence}", err=True)
            ctx.exit(EXIT_WRONG)


def _refuse(error: click.UsageError, ctx: click.Context) -> NoReturn:
    """Tell in one sentence what of the command line is wrong."""
    said = error.format_message()
    if said.startswith("Usage:"):  # no command was given: all of them are shown
        raise error
    click.echo(f"tally: {said.rstrip('.')}: see `{(error.ctx or ctx).command_path} --help`.", err=True)
    ctx.exit(error.exit_code)


def _say_version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        from app.settings import version

        click.echo(f"tally {version()}")
        ctx.exit()


@click.group(cls=Commands, epilog=_EPILOG)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_say_version,
    help="Show the version and exit.",
)
def main() -> None:
    """Tally tells whether your models are still right.

    It joins the requests, responses and feedback of your models, which come over Kafka, and counts who was right:
    as Prometheus series on the worker's /metrics, and as JSON under its /api.
    """


for command in (
    operating.worker,
    operating.topics,
    operating.plan,
    operating.check,
    operating.demo,
    events.send,
    events.feedback,
    events.import_,
    events.tail,
    letters.dead_letters,
    counts.replay,
    counts.verify,
    counts.compare,
    references.reference,
    monitors.monitor,
):
    main.add_command(command)

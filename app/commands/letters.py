"""Commands on what was refused."""

import click


@click.group(name="dead-letters", short_help="Show what was refused, send it back, or drop it.")
def dead_letters() -> None:
    """What was refused: the events on the topic of dead letters."""


@dead_letters.command(
    name="list",
    short_help="List the newest dead letters.",
    epilog="""\b
Examples:
  tally dead-letters list
  tally dead-letters list -n 100 --reason no-puid
""",
)
@click.option("-n", "count", type=click.IntRange(1, 100_000), default=20, show_default=True, help="At most so many.")
@click.option("--reason", metavar="R", help="Of this reason alone, a word like bad-json.")
@click.option("--done", is_flag=True, help="Those too that were sent back or dropped.")
def list_dead_letters(count: int, reason: str | None, done: bool) -> None:
    """List the newest dead letters first: when and why each was put aside, and where it came from."""
    from app.cli.letters.showing import list_letters as run

    run(count, reason, done=done)


@dead_letters.command(
    name="show",
    short_help="Show one whole.",
    epilog="""\b
Examples:
  tally dead-letters show 3-1042
  tally dead-letters show 3-1042 --raw > event.bin
""",
)
@click.argument("letter", metavar="ID")
@click.option("--raw", is_flag=True, help="Write the bytes of its value, and nothing else.")
def show_dead_letter(letter: str, raw: bool) -> None:
    """Show the dead letter ID, as `list` names it, with its headers and its value, and what was done with it."""
    from app.cli.letters.showing import show_letter as run

    run(letter, raw=raw)


@dead_letters.command(
    name="resend",
    short_help="Send them back to where they came from.",
    epilog="""\b
Examples:
  tally dead-letters resend --reason too-large
  tally dead-letters resend --since 2026-11-21T07:00:00Z --dry-run
  tally dead-letters resend 3-1042
""",
)
@click.argument("letters", nargs=-1, metavar="[ID]...")
@click.option("--reason", metavar="R", help="Of this reason alone, a word like too-large.")
@click.option("--since", metavar="TIME", help="Put aside from TIME on, like 2026-11-21T07:00:00Z.")
@click.option("--again", is_flag=True, help="Those too that were refused again after they had been sent back.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and send nothing.")
@click.option("--yes", is_flag=True, help="Do not ask. Without a terminal nothing is asked.")
def resend_dead_letters(
    letters: tuple[str, ...], reason: str | None, since: str | None, again: bool, dry_run: bool, yes: bool
) -> None:
    """Send dead letters back, once the cause is mended: those that are named, or all of a reason or a time, or all.

    Each is sent at most once, also if the command is killed and run again, or run twice at once. An event goes back to
    its canonical topic as it came; what the intake had refused is read anew, and its events go to the canonical topics.
    What is refused again becomes a new letter, which is sent only by its ID or with --again.
    """
    from app.cli.letters.resend import resend as run

    run(letters, reason, since, again=again, dry_run=dry_run, yes=yes)


@dead_letters.command(
    name="drop",
    short_help="Drop them.",
    epilog="""\b
Examples:
  tally dead-letters drop 3-1042 3-1043
  tally dead-letters drop --reason no-puid
  tally dead-letters drop --all --yes
""",
)
@click.argument("letters", nargs=-1, metavar="[ID]...")
@click.option("--reason", metavar="R", help="Of this reason alone, a word like no-puid.")
@click.option("--since", metavar="TIME", help="Put aside from TIME on, like 2026-11-21T07:00:00Z.")
@click.option("--all", "everything", is_flag=True, help="Delete all that there are, for good.")
@click.option("--yes", is_flag=True, help="Do not ask; needed without a terminal.")
def drop_dead_letters(
    letters: tuple[str, ...], reason: str | None, since: str | None, everything: bool, yes: bool
) -> None:
    """Drop dead letters: those that are named, or of a reason or a time, are not listed or sent back any more.

    Kafka cannot delete single records, so the brokers keep those until the topic's retention ends; with --all they
    delete what is there at once.
    """
    from app.cli.letters.drop import drop as run

    run(letters, reason, since, everything=everything, yes=yes)

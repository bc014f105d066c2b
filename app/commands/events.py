"""Commands that bring events, and show what arrives."""

from typing import Any

import click


@click.command(
    short_help="Send a file of events to Kafka.",
    epilog="""\b
Examples:
  kcat -b old:9092 -C -e -J -t inference-requests > events.jsonl
  tally send events.jsonl
  zcat *.gz | tally send --now -
""",
)
@click.argument("file")
@click.option("--topic", metavar="NAME", help='Where lines without "topic" go.')
@click.option("--now", "present", is_flag=True, help='Send with the present time instead of "ts".')
def send(file: str, topic: str | None, present: bool) -> None:
    """Send the events of FILE to Kafka, in its order.

    FILE holds JSON lines as `kcat -C -J` prints them: "topic", "key", "payload", "headers" ([name, value, ...]) and
    "ts" (milliseconds; the present where there is none). It may be compressed (.gz, .zst); - is standard input. The
    partition is the key's (murmur2); "partition" and "offset" are not looked at. A wrong line ends it: all lines
    before are sent, none after.

    An event that is older than half of what its topic keeps, or of TALLY_EXCHANGE_RETENTION, gets a younger record, so
    that the brokers do not delete it before it is read; the event's own time stays.
    """
    from app.cli.send import send as run

    run(file, topic=topic, present=present)


@click.command(
    short_help="Say what was right, for a prediction or for those of a file.",
    epilog="""\b
Examples:
  tally feedback 7b0e4c8a --label 1
  tally feedback 7b0e4c8a --label cat --label dog     a batch of two rows
  tally feedback 7b0e4c8a --row 1 --label dog         its second row alone
  tally feedback 7b0e4c8a --null-label                take the label back
  tally feedback --file labels.parquet --dry-run      what a file would say
  tally feedback --file churn.csv --puid-column id --label-column churned
""",
)
@click.argument("puid", required=False)
@click.option("--label", "labels", multiple=True, metavar="X", help="What was right; several are one a row.")
@click.option("--reward", metavar="R", help="How good the answer was, a number.")
@click.option("--row", type=click.IntRange(0, 9_999_999), metavar="N", help="The row that is meant, from 0.")
@click.option("--null-label", is_flag=True, help="Take the label back.")
@click.option("--null-reward", is_flag=True, help="Take the reward back.")
@click.option("--time", metavar="TIME", help="When it was known, like 2026-11-21T07:00:00Z; else now, or the file's.")
@click.option("--namespace", metavar="NAME", help="Namespace of the model that is meant.")
@click.option("--service", metavar="NAME", help="Its service; without one, every model that answered is judged.")
@click.option("--endpoint", metavar="NAME", help="Its endpoint (predictor).")
@click.option("--model", metavar="NAME", help="Its name.")
@click.option("--file", metavar="FILE", help="Labels by puid: CSV with a header, JSON lines or Parquet.")
@click.option("--format", "form", type=click.Choice(["csv", "jsonl", "parquet"]), help="Where its name does not say.")
@click.option("--delimiter", metavar="C", help="Between the fields of CSV; else the likeliest of , ; | and tab.")
@click.option("--puid-column", metavar="NAME", help="The column with the puid  [default: puid]")
@click.option("--label-column", metavar="NAME", help="With the label  [default: label, if there is one]")
@click.option("--reward-column", metavar="NAME", help="With the reward  [default: reward, if there is one]")
@click.option("--time-column", metavar="NAME", help="When it was known  [default: time, if there is one]")
@click.option("--row-column", metavar="NAME", help="The row that a line means, from 0  [default: row, if there is one]")
@click.option("--namespace-column", metavar="NAME", help="Namespace of the model that a line means.")
@click.option("--service-column", metavar="NAME", help="Its service.")
@click.option("--endpoint-column", metavar="NAME", help="Its endpoint.")
@click.option("--model-column", metavar="NAME", help="Its name.")
@click.option("--empty", multiple=True, metavar="TEXT", help="A cell that says nothing, as an empty one, like NULL.")
@click.option("--dry-run", is_flag=True, help="Read all of the file, say what would be sent, and send nothing.")
@click.option("--skip-bad", is_flag=True, help="Leave out lines that cannot be used, and write them to FILE.bad.jsonl.")
@click.option("--no-wait", is_flag=True, help="Do not ask the workers how many found no prediction.")
def feedback(
    puid: str | None,
    labels: tuple[str, ...],
    reward: str | None,
    row: int | None,
    null_label: bool,
    null_reward: bool,
    file: str | None,
    **others: Any,
) -> None:
    """Say what was right: send the feedback for PUID, the id that the prediction was returned with, or that of a file.

    A label that is a JSON number, true or false is that value; anything else is a text.

    With --file each line is a statement for its puid. The file is checked before anything is sent. A line without a
    label and a reward says nothing. Without a column of times the time is that of the file. So what is sent again, also
    after an interruption, counts once. Times are like 2026-11-21T07:00:00Z, or numbers of seconds or milliseconds since
    1970; those without a zone are in UTC.
    """
    from app.cli.feedback import dispatch as run

    run(
        puid,
        labels=labels,
        reward=reward,
        row=row,
        null_label=null_label,
        null_reward=null_reward,
        file=file,
        others=others,
    )


@click.command(
    name="import",
    short_help="Bring a history from Elasticsearch.",
    epilog="""\b
Examples:
  tally import --from-elasticsearch inference-log-seldon-default-iris-default
  tally import --from-elasticsearch "inference-log-*" --since 2026-11-01T00:00:00Z
""",
)
@click.option(
    "--from-elasticsearch",
    "first",
    multiple=True,
    required=True,
    metavar="INDEX...",
    help="The indices to read: names, aliases, patterns.",
)
@click.argument("others", nargs=-1, metavar="")
@click.option(
    "--since", metavar="TIME", help="Only documents with a @timestamp from TIME on, like 2026-11-21T07:00:00Z."
)
@click.option("--until", metavar="TIME", help="Only documents with a @timestamp before TIME.")
@click.option(
    "--state",
    default="tally-import.json",
    show_default=True,
    metavar="FILE",
    help="Where it is noted how far the import has come, until it is done.",
)
def import_(first: tuple[str, ...], others: tuple[str, ...], since: str | None, until: str | None, state: str) -> None:
    """Publish the documents of a request logger, Seldon's or Tally's, as the events that they were made of.

    The events have the times that they had, so they count where a direct run would have counted them, once however
    often they are imported. An import that is interrupted goes on where it was; one that begins again takes up what
    has come meanwhile. Elasticsearch is that of TALLY_ELASTICSEARCH_URL, where the rights read and view_index_metadata
    are enough.
    """
    from app.cli.import_ import import_documents as run

    run([*first, *others], since=since, until=until, state=state)


@click.command(
    short_help="Show what arrives, and what is understood of it.",
    epilog="""\b
Examples:
  tally tail                       the last events of all topics that Tally reads
  tally tail --topic seldon -n 3   of any topic, as if it were in TALLY_INTAKE_TOPICS
  tally tail --follow              and those that come, until Ctrl-C
""",
)
@click.option("--topic", "topics", multiple=True, metavar="NAME", help="This topic alone; may be given several times.")
@click.option(
    "-n", "count", type=click.IntRange(1, 100_000), default=10, show_default=True, help="So many of each topic."
)
@click.option("--follow", is_flag=True, help="Go on with those that come, until Ctrl-C.")
def tail(topics: tuple[str, ...], count: int, follow: bool) -> None:
    """Show the last events of each topic: dialect, kind, request id, time, who answered and what it says.

    Of an event that is refused it says why, so that one sees why something does not join. The events of the canonical
    topics are read as the join reads them, all others as the intake does. Nothing is changed by looking.
    """
    from app.cli.tail import tail as run

    run(topics, count, follow=follow)

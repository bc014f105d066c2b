"""The command line: parses and calls."""

import math
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

_EPILOG = """\b
Exit codes:
  0  fine
  1  unexpected: a bug, or interrupted
  2  a setting, a topic, the broker or what was given is wrong; one sentence says what
  3  a worker failed: start it again, it goes on where it was

\b
Begin with:
  tally check                      is all as it must be?
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


def _number(_ctx: click.Context, _: click.Parameter, value: float | None) -> float | None:
    if value is not None and math.isnan(value):
        raise click.BadParameter("nan is no number.")
    return value


_OF_SETTINGS = "TALLY_ELASTICSEARCH_URL"


def _nodes(_ctx: click.Context, _: click.Parameter, value: str | None) -> str | None:
    """The address behind --elasticsearch; empty where that of the settings is meant."""
    from app.setting_values import check_nodes

    if value is None:
        return None
    try:
        return "" if value == _OF_SETTINGS else check_nodes(value)
    except ValueError as error:
        shown = "" if "@" in value else f"{value!r} "  # which may hold a password
        reason = f"{shown}{error}; without an address write the option behind CURRENT and SHADOW."
        raise click.BadParameter(reason) from None


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


@main.command(
    short_help="Run a worker.",
    epilog="Example: TALLY_KAFKA_BOOTSTRAP_SERVERS=kafka:9092 tally worker --log-level warning",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    default="info",
    show_default=True,
    help="The least that is logged.",
)
def worker(log_level: str) -> None:
    """Run a worker (the same as `faust -A app.worker worker`)."""
    from app.worker.run import run_worker

    sys.exit(run_worker(log_level.upper()))


@main.command(
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


@main.command(
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


@main.command(
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


@main.group(name="dead-letters", short_help="Show what was refused, send it back, or drop it.")
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


@main.command(
    short_help="Say whether a shadow is better.",
    epilog="""\b
Examples:
  tally compare default shadow                                 by predictor, where one service has them
  tally compare "seldon/iris/default/*" "seldon/iris/shadow/*"
  tally compare default shadow && promote                      a pipeline goes on if the shadow is better
  tally compare default shadow --elasticsearch                 what the workers have written, without one at hand

\b
Exit codes: 0 the shadow is better; 1 no difference is shown, or it is worse; 2 an error; 3 not enough shared labels.
""",
)
@click.argument("current")
@click.argument("shadow")
@click.option("--window", default="total", show_default=True, metavar="W", help="The window whose verdict is returned.")
@click.option("--url", metavar="URL", help="A worker; else the one on this machine at TALLY_WEB_PORT.")
@click.option(
    "--elasticsearch",
    is_flag=False,
    flag_value=_OF_SETTINGS,
    metavar="[URL]",
    callback=_nodes,
    help="The documents that the workers have written, instead of a worker; without URL at TALLY_ELASTICSEARCH_URL.",
)
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def compare(current: str, shadow: str, window: str, url: str | None, elasticsearch: str | None, form: str) -> None:
    """Say whether SHADOW is better than CURRENT on the requests that both have answered, and whether one can trust it.

    Both are patterns for a predictor, or for namespace/service/predictor/model[@version]. The p-value may be looked at
    as often as one likes; "one look" is McNemar's (for measurements the paired t test's), which may not.
    """
    from app.cli.compare import compare as run

    sys.exit(run(current, shadow, window=window, url=url, elasticsearch=elasticsearch, as_json=form == "json"))


@main.command(
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


@main.command(
    short_help="Count a stretch of the topics anew.",
    epilog="""\b
Examples:
  tally replay                                      all that the topics hold
  tally replay --from 2h --model "bank/fraud/*"     the last two hours of a model
  tally replay --from 2026-11-21T07:00:00Z --to 2026-11-21T08:00:00Z --format json
  tally replay --from inference-requests:0:1200,inference-requests:1:900
  tally replay --topic seldon                       a source, in any dialect
  tally replay events.jsonl.gz                      a file; no Kafka is asked
  tally replay --config other.yaml                  what other rules would have said
  tally replay --sweep threshold=0.1:0.9:0.05 --cost "1,0=100;0,1=5"
""",
)
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("--topic", "topics", multiple=True, metavar="NAME", help="This source instead; may be given again.")
@click.option("--from", "begin", default="earliest", show_default=True, metavar="WHERE", help="Where it begins.")
@click.option("--to", "end", default="latest", show_default=True, metavar="WHERE", help="Before what it ends.")
@click.option("--model", metavar="PATTERN", help="Only models like namespace/service/predictor/model[@version].")
@click.option("--processes", type=click.IntRange(1, 1024), metavar="N", help="At once  [default: one a core]")
@click.option(
    "--format", "form", type=click.Choice(["text", "json", "prometheus", "html"]), default="text", show_default=True
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Beside the workers' rules those of this YAML file.",
)
@click.option("--sweep", metavar="SPAN", help="Scores by threshold, like threshold=0.1:0.9:0.05.")
@click.option("--cost", metavar="COSTS", help="Which threshold is best, by what rows cost: '1,0=100;0,1=5'.")
@click.option(
    "--to-elasticsearch", "prefix", metavar="PREFIX", help="Write the documents to indices that begin with PREFIX-."
)
@click.option("--repair", is_flag=True, help="Write the documents of the stretch that are missing in Elasticsearch.")
def replay(
    files: tuple[str, ...],
    topics: tuple[str, ...],
    begin: str,
    end: str,
    model: str | None,
    processes: int | None,
    form: str,
    config: Path | None,
    sweep: str | None,
    cost: str | None,
    prefix: str | None,
    repair: bool,
) -> None:
    """Count what the canonical topics hold between two places, as the workers would, and print it.

    With --topic, other topics in any dialect, as the intake would read them. With FILE, the events of files as `kcat -C
    -J` prints them, of any topics; they may be compressed (.gz, .zst); - is standard input.

    WHERE is earliest, latest, a time like 2026-11-21T07:00:00Z, a duration ago like 2h, or a comma list of
    topic:partition:offset. A time is that of a record. Partitions without an offset begin at their beginning and end at
    their end. Nothing is written: no group, no topic, no state.

    Windows end at TALLY_NOW where that is set, else at the end of the stretch.

    With --config it is counted twice, by TALLY_CONFIG and by FILE, and shown side by side. With --sweep, the scores of
    models that answer single scores; costs are by actual and predicted class.
    """
    from app.cli.replay import Asked
    from app.cli.replay import replay as run

    run(Asked(begin, end, topics, files, model, form, config, sweep, cost, prefix, repair, processes))


@main.command(
    short_help="Prove from the topics that the counts are right.",
    epilog="""\b
Examples:
  tally verify                     all that the topics hold, beside live workers
  tally verify --sample 1%         a hundredth of the request ids
  tally verify --url http://tally-0:6066
                                   and whether that worker answers what is counted

\b
Exit codes: 0 no difference; 1 a difference, or unexpected; 2 a setting, a topic or the broker is wrong.
""",
)
@click.option("--from", "begin", metavar="WHERE", help="Where the workers began  [default: as TALLY_START says]")
@click.option("--sample", default="100%", show_default=True, metavar="SHARE", help="Of the request ids.")
@click.option("--url", metavar="URL", help="Compare the answers of this worker with the counts, too.")
@click.option("--documents", is_flag=True, help="Compare the documents in Elasticsearch with the topics, too.")
@click.option("--processes", type=click.IntRange(1, 1024), metavar="N", help="At once  [default: one a core]")
def verify(begin: str | None, sample: str, url: str | None, documents: bool, processes: int | None) -> None:
    """Fold the canonical topics anew up to the marks of the workers, and compare with what their changelogs hold.

    Prints `difference 0`, or the request ids and counts that differ, with both sides. The marks are read first, then
    the topics up to them, so workers may go on meanwhile. Nothing is written.
    """
    from app.cli.verify import Asked
    from app.cli.verify import verify as run

    sys.exit(0 if run(Asked(begin, sample, url, documents, processes)) else 1)


@main.command(
    short_help="Show or create the topics, and list the rights needed.",
    epilog="""\b
Examples:
  tally topics                     what there must be, and what there is
  tally topics --create            as a user who may create topics
  tally topics --yaml              to feed a tool; no broker is asked
""",
)
@click.option("--create", "action", flag_value="create", help="Create what is missing and check the rest.")
@click.option("--yaml", "action", flag_value="yaml", help="Print all of it as YAML.")
def topics(action: str | None) -> None:
    """Show the topics, the group, the transactional ids and the ACLs that Tally needs.

    The sources of TALLY_INTAKE_TOPICS are read, and never created: they belong to whoever writes them.
    """
    from app.cli import topics as run

    {None: run.show, "create": run.create, "yaml": run.print_yaml}[action]()


@main.command(
    short_help="Show settings, brokers and topics, with a verdict.",
    epilog="""\b
Example:
  TALLY_CONFIG=models.yaml tally check && tally worker

\b
Exit codes:
  0  a worker can start and finds all that it needs; what is noted or has been refused is no fault
  2  something is not as it must be: a setting, a broker, a topic, a group that stands still, a worker, Elasticsearch
""",
)
def check() -> None:
    """Show on one screen whether all is as it must be, and what to start or to mend where it is not.

    Settings, rules, brokers and topics; what each group has yet to read; what was refused, by reason; sources that do
    not exist; the workers, and what they say is wrong; Elasticsearch, and requests that are older than its documents.
    Nothing is changed by looking.
    """
    from app.cli.check import check as run
    from app.cli.ends import EXIT_WRONG

    sys.exit(0 if run() else EXIT_WRONG)


@main.command(
    short_help="Watch Tally at work on sample traffic.",
    epilog="""\b
Examples:
  tally demo                       with a broker of its own, in memory
  TALLY_KAFKA_BOOTSTRAP_SERVERS=kafka:9092 tally demo
                                   with a real one, and two workers to kill
""",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.001, 1e9, clamp=False),
    metavar="N",
    callback=_number,
    help="End after N seconds of traffic.",
)
def demo(seconds: float | None) -> None:
    """Run broker, worker and sample traffic on this machine, and show the numbers until Ctrl-C.

    Nothing else is needed and nothing is left behind. Where TALLY_KAFKA_BOOTSTRAP_SERVERS names a broker, that one is
    used, with an application id and topics of the demo's own, which are deleted at the end.
    """
    from app.demo.run import run_demo

    sys.exit(run_demo(seconds))


if __name__ == "__main__":
    main(prog_name="tally")

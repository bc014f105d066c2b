"""Commands that count anew, prove and compare."""

import sys
from pathlib import Path

import click

from app.commands.options import OF_SETTINGS, nodes


@click.command(
    short_help="Count a stretch of the topics anew.",
    epilog="""\b
Examples:
  tally replay                                      all that the topics hold
  tally replay --from 2h --model "bank/fraud/*"     the last two hours of a model
  tally replay --from 2026-11-21T07:00:00Z --to 2026-11-21T08:00:00Z --format json
  tally replay --from inference-requests:0:1200,inference-requests:1:900
  tally replay --topic seldon                       a source, in any dialect
  tally replay events.jsonl.gz                      a file; no Kafka is asked
  tally replay --from-elasticsearch "inference-log-*"
                                                    what a request logger has written
  tally replay --config other.yaml                  what other rules would have said
  tally replay --sweep threshold=0.1:0.9:0.05 --cost "1,0=100;0,1=5"
""",
)
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("--topic", "topics", multiple=True, metavar="NAME", help="This source instead; may be given again.")
@click.option(
    "--from-elasticsearch", "indices", multiple=True, metavar="INDEX", help="These documents instead; may be repeated."
)
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
    indices: tuple[str, ...],
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
    -J` prints them, of any topics; they may be compressed (.gz, .zst); - is standard input. With --from-elasticsearch,
    the documents of a request logger, Seldon's or Tally's; a time is their @timestamp then.

    WHERE is earliest, latest, a time like 2026-11-21T07:00:00Z, a duration ago like 2h, or a comma list of
    topic:partition:offset. A time is that of a record. Partitions without an offset begin at their beginning and end at
    their end. Nothing is written: no group, no topic, no state.

    Windows end at TALLY_NOW where that is set, else at the end of the stretch.

    With --config it is counted twice, by TALLY_CONFIG and by FILE, and shown side by side. With --sweep, the scores of
    models that answer single scores; costs are by actual and predicted class.
    """
    from app.cli.replay import Asked
    from app.cli.replay import replay as run

    run(Asked(begin, end, topics, files, indices, model, form, config, sweep, cost, prefix, repair, processes))


@click.command(
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


@click.command(
    short_help="Say whether a shadow is better.",
    epilog="""\b
Examples:
  tally compare default shadow                                 by predictor, where one service has them
  tally compare "seldon/iris/default/*" "seldon/iris/shadow/*"
  tally compare default shadow && promote                      a pipeline goes on if the shadow is better
  tally compare default shadow --elasticsearch                 what the workers have written, without one at hand
  tally compare "seldon/iris/default/m@1" "seldon/iris/default/m@2"
                                                               two versions, which answered different requests

\b
Exit codes: 0 the shadow is better; 1 no difference is shown, or it is worse; 2 an error; 3 not enough shared labels.
Of two versions: 0 nothing has drifted in the window; 1 something has; 2 an error; 3 not enough rows of either.
""",
)
@click.argument("current")
@click.argument("shadow")
@click.option("--window", default="total", show_default=True, metavar="W", help="The window whose verdict is returned.")
@click.option("--url", metavar="URL", help="A worker; else the one on this machine at TALLY_WEB_PORT.")
@click.option(
    "--elasticsearch",
    is_flag=False,
    flag_value=OF_SETTINGS,
    metavar="[URL]",
    callback=nodes,
    help="The documents that the workers have written, instead of a worker; without URL at TALLY_ELASTICSEARCH_URL.",
)
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def compare(current: str, shadow: str, window: str, url: str | None, elasticsearch: str | None, form: str) -> None:
    """Say whether SHADOW is better than CURRENT on the requests that both have answered, and whether one can trust it.

    Both are patterns for a predictor, or for namespace/service/predictor/model[@version]. The p-value may be looked at
    as often as one likes; "one look" is McNemar's (for measurements the paired t test's), which may not.

    Two versions of one model, the older one first, have no request in common: what the second answers and is asked, in
    the window, is held against all that the first has counted, by the measures of drift, and their scores stand side by
    side. That needs a worker.
    """
    from app.cli.compare import compare as run

    sys.exit(run(current, shadow, window=window, url=url, elasticsearch=elasticsearch, as_json=form == "json"))

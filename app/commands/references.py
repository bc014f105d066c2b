"""Commands on what live values are compared with."""

from typing import Any

import click

_OPTIONS = {"model": "--model", "begin": "--from", "end": "--to", "sample": "--sample"}


@click.group(short_help="Make a reference of training data, or draw one.")
def reference() -> None:
    """What live features, predictions and labels are compared with: boxkite's histogram.prom, or one made here."""


@reference.command(
    name="build",
    short_help="Make one of training data, or of what was asked in the past.",
    epilog="""\b
Examples:
  tally reference build training.parquet --output histogram.prom --label churned
  tally reference build training.csv --output histogram.prom --prediction predicted --score probability --exclude id
  tally reference build --from-topics --model bank/churn/default/clf --from 30d --to 1d --output last-month.prom
  tally reference build --from-elasticsearch "inference-log-*" --model bank/churn/default/clf --from 30d --output o.prom
""",
)
@click.argument("training", required=False)
@click.option("--output", required=True, metavar="FILE", help="Where to write it; in a folder as histogram.prom.")
@click.option("--prediction", metavar="COLUMN", help="What the model predicted: a class, or a number.")
@click.option("--score", metavar="COLUMN", help="The probability of the positive class.")
@click.option("--label", metavar="COLUMN", help="What was right.")
@click.option("--feature", "features", multiple=True, metavar="COLUMN", help="A feature; else all other columns are.")
@click.option("--exclude", multiple=True, metavar="COLUMN", help="A column that is no feature, like an id.")
@click.option("--categorical", multiple=True, metavar="COLUMN", help="Take it as categories, whatever it looks like.")
@click.option("--continuous", multiple=True, metavar="COLUMN", help="Take it as numbers.")
@click.option(
    "--bins", type=click.IntRange(2, 100), default=10, show_default=True, help="Bins of numbers, of about as many rows."
)
@click.option(
    "--categories", type=click.IntRange(2, 500), default=50, show_default=True, help="Most categories; others are one."
)
@click.option("--format", "form", type=click.Choice(["csv", "jsonl", "parquet"]), help="Where its name does not say.")
@click.option("--delimiter", metavar="C", help="Between the fields of CSV; else the likeliest of , ; | and tab.")
@click.option("--from-topics", is_flag=True, help="Of what the canonical topics hold, in the place of TRAINING.")
@click.option(
    "--from-elasticsearch",
    "indices",
    multiple=True,
    metavar="INDEX",
    help="Of a request logger's documents at TALLY_ELASTICSEARCH_URL; may be repeated.",
)
@click.option("--model", metavar="NAME", help="Of the past: namespace/service/predictor/model, also with @VERSION.")
@click.option(
    "--from", "begin", metavar="WHEN", help="Of the past: from when; a time, a duration ago like 30d, or offsets."
)
@click.option("--to", "end", metavar="WHEN", help="Of the past: until when.")
@click.option("--sample", metavar="SHARE", help="Of the past: a share of the request ids alone, like 10%.")
def build_reference(
    training: str | None,
    output: str,
    from_topics: bool,
    indices: tuple[str, ...],
    form: str | None,
    delimiter: str | None,
    **options: Any,
) -> None:
    """Make a reference of TRAINING: CSV with a header, JSON lines or Parquet; or of a stretch of the past: of the
    topics, or of the documents of a request logger (Tally's too), whose @timestamp --from and --to bound. What was
    corrected counts as it was last.

    Features stand in the order of the columns, or of --feature; it must be that of the model's requests where these do
    not name them. Numbers get quantiles as bins. A column is of categories where it has texts, or few whole codes.
    boxkite can read the file too.
    """
    from app.cli.reference import Choice
    from app.cli.reference import build as run

    given = {"--format": form, "--delimiter": delimiter}
    own = {name: options.pop(name) for name in ("prediction", "score", "label")}
    stretch = {name: value for name in ("model", "begin", "end", "sample") if (value := options.pop(name)) is not None}
    choice = Choice(**options)
    past = "--from-elasticsearch" if indices else "--from-topics"
    if not from_topics and not indices:
        if training is None:
            raise click.UsageError("Name TRAINING, --from-topics or --from-elasticsearch")
        if stretch:
            option = _OPTIONS[next(iter(stretch))]
            raise click.UsageError(f"{option} is for --from-topics and --from-elasticsearch: leave it out")
        run(training, output, choice, own=own, form=form, delimiter=delimiter)
        return
    given |= {f"--{name}": value for name, value in own.items()}
    if from_topics and indices:
        given["--from-topics"] = ""
    wrong = next((option for option, value in given.items() if value is not None), None)
    if training is not None or wrong is not None:
        raise click.UsageError(f"{wrong or 'TRAINING'} and {past} exclude each other: leave one out")
    if "model" not in stretch:
        raise click.UsageError(f"{past} needs --model: whose requests and answers?")
    from app.cli.reference_of_past import Stretched, build_of_past

    build_of_past(Stretched(**stretch, indices=indices), output, choice)


@reference.command(
    name="show",
    short_help="Draw one.",
    epilog="""\b
Examples:
  tally reference show histogram.prom
  tally reference show models/churn/3 --feature age
""",
)
@click.argument("file")
@click.option("--feature", "names", multiple=True, metavar="NAME", help="Draw this one alone; several may be given.")
def show_reference(file: str, names: tuple[str, ...]) -> None:
    """Draw FILE, or the histogram.prom of a folder: bins, rows and shares of each feature."""
    from app.cli.reference import show as run

    run(file, names)

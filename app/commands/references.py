"""Commands on what live values are compared with."""

from typing import Any

import click

_OPTIONS = {"model": "--model", "begin": "--from", "end": "--to", "sample": "--sample"}


@click.group(short_help="Make a reference of training data, or draw one.")
def reference() -> None:
    """What live features, predictions and labels are compared with: boxkite's histogram.prom, or one made here."""


@reference.command(
    name="build",
    short_help="Make one of training data, or of what the topics hold.",
    epilog="""\b
Examples:
  tally reference build training.parquet --output histogram.prom --label churned
  tally reference build training.csv --output histogram.prom --prediction predicted --score probability --exclude id
  tally reference build --from-topics --model bank/churn/default/clf --from 30d --to 1d --output last-month.prom
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
@click.option("--model", metavar="NAME", help="With it: namespace/service/predictor/model, with @VERSION or without.")
@click.option(
    "--from", "begin", metavar="WHEN", help="With it: from when; a time, a duration ago like 30d, or offsets."
)
@click.option("--to", "end", metavar="WHEN", help="With it: until when.")
@click.option("--sample", metavar="SHARE", help="With it: of a share of the request ids alone, like 10%.")
def build_reference(
    training: str | None,
    output: str,
    from_topics: bool,
    form: str | None,
    delimiter: str | None,
    **options: Any,
) -> None:
    """Make a reference of TRAINING: CSV with a header, JSON lines or Parquet; or of a stretch of the topics.

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
    if not from_topics:
        if training is None:
            raise click.UsageError("Name TRAINING, or --from-topics")
        if stretch:
            raise click.UsageError(f"{_OPTIONS[next(iter(stretch))]} is for --from-topics: leave it out")
        run(training, output, choice, own=own, form=form, delimiter=delimiter)
        return
    given |= {f"--{name}": value for name, value in own.items()}
    wrong = next((option for option, value in given.items() if value is not None), None)
    if training is not None or wrong is not None:
        raise click.UsageError(f"{wrong or 'TRAINING'} and --from-topics exclude each other: leave one out")
    if "model" not in stretch:
        raise click.UsageError("--from-topics needs --model: whose requests and answers?")
    from app.cli.reference_of_topics import Stretched, build_of_topics

    build_of_topics(Stretched(**stretch), output, choice)


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

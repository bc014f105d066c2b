"""Commands on what live values are compared with."""

from typing import Any

import click


@click.group(short_help="Make a reference of training data, or draw one.")
def reference() -> None:
    """What live features, predictions and labels are compared with: boxkite's histogram.prom, or one made here."""


@reference.command(
    name="build",
    short_help="Make one of training data.",
    epilog="""\b
Examples:
  tally reference build training.parquet --output histogram.prom --label churned
  tally reference build training.csv --output histogram.prom --prediction predicted --score probability --exclude id
""",
)
@click.argument("training")
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
def build_reference(
    training: str, output: str, prediction: str | None, score: str | None, label: str | None, **others: Any
) -> None:
    """Make a reference of TRAINING: CSV with a header, JSON lines or Parquet.

    Features stand in the order of the columns, or of --feature; it must be that of the model's requests where these do
    not name them. Numbers get quantiles as bins. A column is of categories where it has texts, or few whole codes.
    boxkite can read the file too.
    """
    from app.cli.reference import build as run

    run(training, output, own={"prediction": prediction, "score": score, "label": label}, **others)


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

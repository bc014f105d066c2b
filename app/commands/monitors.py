"""Commands on monitors of the user's own."""

import click

from app.commands.options import required_number


@click.group(short_help="Try a monitor of your own on a file, fit or import one.")
def monitor() -> None:
    """Functions of your own that give each answered row a number, and models that do."""


@monitor.command(
    name="test",
    short_help="Run one over a file, and draw its values.",
    epilog="""\b
Examples:
  tally monitor test history.parquet --name outliers     as TALLY_CONFIG has it
  tally monitor test history.csv --file outliers.py --answer prediction --alert-when "> 0.97"
  tally monitor test history.csv --model outliers.joblib --digest 9f2c... --alert-when "< 0" --format json
""",
)
@click.argument("file", metavar="FILE")
@click.option("--name", metavar="NAME", help="The monitor of this name in the YAML file of TALLY_CONFIG.")
@click.option("--match", metavar="PATTERN", help="With --name: that of the entry with this `match`.")
@click.option("--file", "code", metavar="F.py", help="A Python file with predict or score.")
@click.option("--call", type=click.Choice(["predict", "score"]), help="With --file: which of both is called.")
@click.option("--model", metavar="FILE", help="A model: .skops, .onnx, or what joblib wrote.")
@click.option(
    "--digest", metavar="SHA256", help="With --model: its SHA-256. To load what joblib wrote runs code: trust it first."
)
@click.option("--trusted", multiple=True, metavar="TYPE", help="With --model FILE.skops: a type in it that you trust.")
@click.option("--model-output", metavar="NAME", help="With --model FILE.onnx: which of its outputs is the value.")
@click.option(
    "--alert-when", metavar="CONDITION", help="When a value is an alert, like '> 0.97'; else as the YAML says."
)
@click.option("--feature", "features", multiple=True, metavar="COLUMN", help="An input; else all other columns are.")
@click.option("--exclude", multiple=True, metavar="COLUMN", help="A column that is no input, like an id.")
@click.option("--answer", "answers", multiple=True, metavar="COLUMN", help="What the model answered: an output.")
@click.option("--data-format", type=click.Choice(["csv", "jsonl", "parquet"]), help="Where its name does not say.")
@click.option("--delimiter", metavar="C", help="Between the fields of CSV; else the likeliest of , ; | and tab.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def test_monitor(
    file: str,
    name: str | None,
    match: str | None,
    code: str | None,
    call: str | None,
    model: str | None,
    digest: str | None,
    trusted: tuple[str, ...],
    model_output: str | None,
    alert_when: str | None,
    features: tuple[str, ...],
    exclude: tuple[str, ...],
    answers: tuple[str, ...],
    data_format: str | None,
    delimiter: str | None,
    form: str,
) -> None:
    """Run a monitor over the rows of FILE (CSV with a header, JSON lines, Parquet), and draw how its values are spread.

    It runs as beside a worker: in a process of its own, with its time-out and its memory. Where the YAML file has a
    prediction_schema, that says which columns are inputs and outputs, and in which order.
    """
    from app.cli.monitors.trying import Choice, Wanted, try_on

    wanted = Wanted(name, match, code, call, model, digest, alert_when, trusted, model_output)
    choice = Choice(features, exclude, answers)
    try_on(file, wanted, choice, form=data_format, delimiter=delimiter, as_json=form == "json")


@monitor.command(
    name="fit",
    short_help="Fit a detector of outliers to training data.",
    epilog="""\b
Examples:
  tally monitor fit training.parquet --kind isolation-forest --exclude id --output outliers.joblib
  tally monitor fit training.csv --kind isolation-forest --feature age --feature amount --contamination 0.01
                                 --output outliers.joblib > outliers.yaml
""",
)
@click.argument("training")
@click.option(
    "--kind",
    type=click.Choice(["isolation-forest", "ecod"]),
    required=True,
    help="isolation-forest is scikit-learn's, ecod that of pyod.",
)
@click.option("--output", required=True, metavar="FILE", help="Where to write the model.")
@click.option(
    "--contamination",
    type=click.FloatRange(0, 0.5, min_open=True),
    default=0.03,
    show_default=True,
    callback=required_number,
    help="The share of the training rows that are outliers: so many alert.",
)
@click.option("--feature", "features", multiple=True, metavar="COLUMN", help="A feature; else all other columns are.")
@click.option("--exclude", multiple=True, metavar="COLUMN", help="A column that is no feature, like an id.")
@click.option("--name", default="outliers", show_default=True, metavar="NAME", help="Of the monitor.")
@click.option("--format", "form", type=click.Choice(["csv", "jsonl", "parquet"]), help="Where its name does not say.")
@click.option("--delimiter", metavar="C", help="Between the fields of CSV; else the likeliest of , ; | and tab.")
def fit_monitor(
    training: str,
    kind: str,
    output: str,
    contamination: float,
    features: tuple[str, ...],
    exclude: tuple[str, ...],
    name: str,
    form: str | None,
    delimiter: str | None,
) -> None:
    """Fit a detector of outliers to TRAINING (CSV with a header, JSON lines, Parquet), and print its lines of the YAML
    file: the model, the digest by which it is trusted, and when it alerts.

    Columns must be numbers. They stand in the order of the file, or of --feature: it must be that of the model's
    requests, and of its answers behind them where these are features too. Rows that lack a value are left out.
    """
    from app.cli.monitors.fitting import Fitting
    from app.cli.monitors.fitting import fit as run

    run(training, output, Fitting(kind, features, exclude, contamination), name, form=form, delimiter=delimiter)


@monitor.command(
    name="import",
    short_help="Take over Hydrosphere's definitions.",
    epilog="""\b
Examples:
  tally monitor import serving.yaml
  curl https://hydrosphere/api/v2/monitoring/metricspec/modelversion/7 > specs.json
  tally monitor import serving.yaml specs.json > tally.yaml
""",
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def import_monitor(files: tuple[str, ...]) -> None:
    """Print what Hydrosphere's FILEs mean as lines of the YAML file: of a serving.yaml inputs and outputs as
    prediction_schema and its metrics as monitors, of MetricSpecs (.json) the monitors.

    A metric's threshold and comparison say when it is healthy there; alert_when has the opposite.
    """
    from app.cli.monitors.hydrosphere import take_over

    take_over(files)

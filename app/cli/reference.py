"""`tally reference`: make a reference of training data, and draw one."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich.text import Text

from app.cli.columns import Data, chosen_columns, demand, refuse_doubles, values_of
from app.cli.ends import InputError
from app.cli.labels.tables import open_table
from app.cli.screen import counted, screen, table
from app.core.drift.building import distribution_of
from app.core.drift.distribution import Distribution, Kind
from app.core.drift.reference import LABEL, MOST_FEATURES, PREDICTION, SCORE, Reference
from app.reference_file import ReferenceFileError, place_of, read_reference, write_reference

_WIDTH_OF_A_BAR: Final = 40


class Choice(NamedTuple):
    """What is to be made of columns: which are features, of which kinds, and in how many bins."""

    features: Sequence[str]
    exclude: Sequence[str]
    categorical: Sequence[str]
    continuous: Sequence[str]
    bins: int
    categories: int


def build(
    training: str,
    output: str,
    choice: Choice,
    *,
    own: dict[str, str | None],
    form: str | None,
    delimiter: str | None,
) -> None:
    """Write the reference of a file of training data. `own` are the columns of prediction, score and label."""
    if training == "-":
        raise InputError("TRAINING must name a file: standard input does not say what it is.")
    rows = open_table(training, form, delimiter)
    data = Data(str(rows.path), rows.columns)
    for option, name in own.items():
        demand(data, f"--{option}", [name] if name is not None else [])
    columns = {name for name in own.values() if name is not None}
    chosen = chosen_features(data, choice, columns)
    if not chosen and not columns:
        raise InputError(f"{rows.path} has no column left that could be a feature.")
    wanted = list(dict.fromkeys([*chosen, *columns]))
    kinds = kinds_of(data, choice, wanted)
    values = values_of(rows, wanted)
    if not any(values.values()):
        raise InputError(f"{training} has no rows: a reference is made of at least one.")

    def made(column: str | None, name: str) -> Distribution | None:
        return None if column is None else distribution(name, values[column], kinds.get(column), choice)

    features = [distribution(name.strip(), values[name], kinds.get(name), choice) for name in chosen]
    prediction, score, label = own["prediction"], own["score"], own["label"]
    reference = Reference(tuple(features), made(prediction, PREDICTION), made(score, SCORE), made(label, LABEL))
    write(Path(output), reference)


def distribution(name: str, values: Sequence[Any], kind: Kind | None, choice: Choice) -> Distribution:
    """The distribution of a column."""
    return distribution_of(name, values, kind, bins=choice.bins, categories=choice.categories)


def write(output: Path, reference: Reference) -> None:
    """Write a reference, read it as a worker will, and say what it is. Raises InputError."""
    path = place_of(output)
    try:
        write_reference(path, reference)
        reference = read_reference(path)
    except OSError as error:
        raise InputError(f"--output {path} cannot be written ({error.strerror or error}).") from None
    except ReferenceFileError as error:
        raise InputError(f"{path}{error}.") from None
    _print_summary(path, reference)
    screen().print(f"Written to {path}: name it as `reference:` of the model in the YAML file, beside a worker.")


def chosen_features(data: Data, choice: Choice, own: Collection[str] = ()) -> list[str]:
    """The columns of features, in their order; `own` are taken for something else. Raises InputError."""
    chosen = chosen_columns(data, choice.features, choice.exclude, own)
    if len(chosen) > MOST_FEATURES:
        raise InputError(
            f"{data.where} has {len(chosen):,} columns, and at most {MOST_FEATURES:,} are watched: name those that "
            "matter most with --feature."
        )
    refuse_doubles(data, chosen)
    return chosen


def kinds_of(data: Data, choice: Choice, wanted: Sequence[str]) -> dict[str, Kind]:
    """The kinds that are asked for, by column. Raises InputError."""
    kinds: dict[str, Kind] = dict.fromkeys(choice.categorical, "categorical")
    for name in choice.continuous:
        if name in kinds:
            raise InputError(f"--continuous {name}: it is --categorical too; it can be one of both.")
        kinds[name] = "continuous"
    for option, names in (("--categorical", choice.categorical), ("--continuous", choice.continuous)):
        demand(data, option, names)
        for name in names:
            if name not in wanted:
                raise InputError(f"{option} {name}: this column is left out, so it has no kind.")
    return kinds


# -- showing ----------------------------------------------------------------------------------------------------------


def show(file: str, names: Sequence[str]) -> None:
    """Draw a reference: of each distribution its bins and their rows, as bars."""
    path = place_of(Path(file))
    try:
        reference = read_reference(path)
    except ReferenceFileError as error:
        raise InputError(f"{path}{error}.") from None
    distributions = [*reference.distributions()]
    known = [one.name for one in distributions]
    for name in names:
        if name not in known:
            raise InputError(f"--feature {name}: {path} has no such feature; it has {', '.join(known[:10])}.")
    console = screen()
    for one in distributions:
        if not names or one.name in names:
            console.print(_bars(one))
    if not names:
        _print_summary(path, reference)


def _bars(one: Distribution) -> Any:
    drawn = table(f"{one.name}  ({one.kind}, {counted(one.rows, 'row')})", "bin", "rows", "share", "")
    counts = one.by_bin()
    most = max(counts) or 1
    of_reference = {0, *range(2, 2 + len(one.counts))} if one.missing else range(2, 2 + len(one.counts))
    labels = one.names_of_bins()
    for at, count in enumerate(counts):
        if at in of_reference:
            share = f"{count / one.rows:.1%}" if one.rows else "-"
            bar = Text("█" * round(_WIDTH_OF_A_BAR * count / most), style="cyan")
            drawn.add_row(labels[at], f"{count:,}", share, bar)
    return drawn


def _print_summary(path: Path, reference: Reference) -> None:
    distributions = [*reference.distributions()]
    summary = table(str(path), "place", "name", "kind", "rows", "missing", "bins")
    for place, one in enumerate(distributions):
        at = str(place) if place < len(reference.features) else ""
        summary.add_row(at, one.name, one.kind, f"{one.rows:,}", f"{one.missing:,}", str(len(one.counts)))
    screen().print(summary)
    screen().print(f"Digest {reference.digest}")

"""`tally reference`: make a reference of training data, and draw one."""

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from rich.text import Text

from app.cli.ends import InputError
from app.cli.labels.tables import LabelTable, open_table, shown_columns
from app.cli.screen import counted, screen, table
from app.core.drift.building import distribution_of
from app.core.drift.distribution import Distribution, Kind
from app.core.drift.reference import LABEL, MOST_FEATURES, PREDICTION, SCORE, Reference
from app.reference_file import ReferenceFileError, place_of, read_reference, write_reference

_WIDTH_OF_A_BAR: Final = 40
_PLAIN: Final = (str, bool, int, float, type(None), list, dict)


def build(
    training: str,
    output: str,
    *,
    own: dict[str, str | None],
    features: Sequence[str],
    exclude: Sequence[str],
    categorical: Sequence[str],
    continuous: Sequence[str],
    bins: int,
    categories: int,
    form: str | None,
    delimiter: str | None,
) -> None:
    """Write the reference of a file of training data. `own` are the columns of prediction, score and label."""
    if training == "-":
        raise InputError("TRAINING must name a file: standard input does not say what it is.")
    rows = open_table(training, form, delimiter)
    chosen = _chosen(rows, own, features, exclude)
    named = {"--categorical": categorical, "--continuous": continuous}
    kinds: dict[str, Kind] = dict.fromkeys(categorical, "categorical")
    for name in continuous:
        if name in kinds:
            raise InputError(f"--continuous {name}: it is --categorical too; it can be one of both.")
        kinds[name] = "continuous"
    wanted = [*chosen, *(name for name in own.values() if name is not None)]
    for option, names in named.items():
        _demand(rows, option, names)
        for name in names:
            if name not in wanted:
                raise InputError(f"{option} {name}: this column is left out, so it has no kind.")
    values = _values(rows, list(dict.fromkeys(wanted)))
    if not any(values.values()):
        raise InputError(f"{training} has no rows: a reference is made of at least one.")

    def made(column: str, name: str) -> Distribution:
        return distribution_of(name, values[column], kinds.get(column), bins=bins, categories=categories)

    others = {
        what: None if column is None else made(column, name)
        for what, column, name in (
            ("prediction", own["prediction"], PREDICTION),
            ("score", own["score"], SCORE),
            ("label", own["label"], LABEL),
        )
    }
    reference = Reference(tuple(made(name, name.strip()) for name in chosen), **others)
    path = place_of(Path(output))
    try:
        write_reference(path, reference)
        reference = read_reference(path)  # as a worker will
    except OSError as error:
        raise InputError(f"--output {path} cannot be written ({error.strerror or error}).") from None
    except ReferenceFileError as error:
        raise InputError(f"{path}{error}.") from None
    _print_summary(path, reference)
    screen().print(f"Written to {path}: name it as `reference:` of the model in the YAML file, beside a worker.")


def _chosen(rows: LabelTable, own: dict[str, str | None], features: Sequence[str], exclude: Sequence[str]) -> list[str]:
    """The columns of features, in their order."""
    for option, name in own.items():
        _demand(rows, f"--{option}", [name] if name is not None else [])
    _demand(rows, "--feature", features)
    _demand(rows, "--exclude", exclude)
    for name in features:
        if name in exclude:
            raise InputError(f"--exclude {name}: it is a --feature too; it can be one of both.")
    left_out = {*exclude, *own.values()}
    chosen = [*dict.fromkeys(features)] or [name for name in rows.columns if name not in left_out]
    if not chosen and not any(own.values()):
        raise InputError(f"{rows.path} has no column left that could be a feature.")
    if len(chosen) > MOST_FEATURES:
        raise InputError(
            f"{rows.path} has {len(chosen):,} columns, and at most {MOST_FEATURES:,} are watched: name those that "
            "matter most with --feature."
        )
    double = next((name for name, times in Counter(map(str.strip, chosen)).items() if times > 1), None)
    if double is not None:
        raise InputError(f"{rows.path} has two columns named {double!r}: give each its own name.")
    return chosen


def _demand(rows: LabelTable, option: str, names: Sequence[str]) -> None:
    for name in names:
        if name not in rows.columns:
            raise InputError(f"{option} {name}: {rows.path} has no such column; it has {shown_columns(rows)}.")


def _values(rows: LabelTable, wanted: Sequence[str]) -> dict[str, list[Any]]:
    values: dict[str, list[Any]] = {name: [] for name in wanted}
    for piece in rows.pieces(wanted):
        for number, why in piece.bad:
            raise InputError(f"{rows.path}, line {number} {why}: mend it, or take it out.")
        for name in wanted:
            values[name] += map(_plain, piece.columns[name])
    return values


def _plain(value: Any) -> Any:
    """A value as JSON would have it: Parquet has others."""
    if isinstance(value, _PLAIN):
        return value
    return float(value) if isinstance(value, Decimal) else str(value)


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

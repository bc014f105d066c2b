"""`tally monitor fit`: a detector of outliers, fitted to training data, as a model file that a monitor runs."""

import hashlib
import io
import math
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from app.cli.columns import Data, chosen_columns, plain, refuse_doubles, whole_pieces
from app.cli.ends import InputError
from app.cli.feedback import read_value
from app.cli.labels.tables import LabelTable, open_table
from app.cli.monitors.entries import entry, print_entry
from app.cli.screen import counted, printable
from app.core.monitors import NAME, AlertWhen, Code, model_form
from app.monitors_file import MonitorFileError, version_of

#: So that the same rows give the same file, and with it the same digest.
_SEED: Final = 0


class Fitting(NamedTuple):
    """What is to be fitted, to which columns; `contamination` is the share of training rows that are outliers."""

    kind: str
    features: Sequence[str]
    exclude: Sequence[str]
    contamination: float


class _Fitted(NamedTuple):
    model: Any
    values: Any  # of the training rows
    when: AlertWhen
    library: str


def fit(training: str, output: str, wanted: Fitting, name: str, *, form: str | None, delimiter: str | None) -> None:
    """Fit a detector to a file, write it, and print the lines of the YAML file. Raises InputError."""
    if training == "-":
        raise InputError("TRAINING must name a file: standard input does not say what it is.")
    if not NAME.fullmatch(name):
        raise InputError(f"--name {name}: up to 64 letters, digits, _ and - that begin with a letter, no other.")
    if model_form(output) != "joblib":
        raise InputError(f"--output {output}: a detector is written by joblib: give it another ending, like .joblib.")
    fitter = _FITTERS[wanted.kind]()
    table = open_table(training, form, delimiter)
    data = Data(str(table.path), table.columns)
    columns = chosen_columns(data, wanted.features, wanted.exclude)
    if not columns:
        raise InputError(f"{table.path} has no column left that a detector could be fitted to.")
    refuse_doubles(data, columns)
    rows, lacking = _rows(table, columns)
    if len(rows) * wanted.contamination < 1:
        raise InputError(
            f"{table.path} has {counted(len(rows), 'row')} with all values, and of these not one is an outlier by "
            f"--contamination {wanted.contamination:g}: bring more, or raise it."
        )
    fitted = fitter(rows, wanted.contamination)
    digest = _write(Path(output), fitted.model)
    alerts = sum(fitted.when(value) for value in fitted.values.tolist())
    comments = [
        f"{wanted.kind} of {fitted.library} {version(fitted.library)}, which a worker must have too, "
        f"fitted to {counted(len(rows), 'row')}" + (f"; {lacking:,} more lack a value" if lacking else ""),
        f"{alerts:,} of these alert ({alerts / len(rows):.2%}). Its columns, in the order that requests must have,",
        f"those of answers last: {printable(', '.join(columns))}",
        "match: says which models it watches; files are found from the folder of the YAML file on.",
    ]
    own = {"model": output, "digest": digest, "alert_when": str(fitted.when)}
    print_entry(comments, entry({name: own}))


def _rows(table: LabelTable, columns: Sequence[str]) -> tuple[Any, int]:
    """The rows that have all values, as an array, and how many have not. Raises InputError."""
    found: list[list[float]] = []
    lacking = 0
    for piece in whole_pieces(table, columns):
        for place, number in enumerate(piece.numbers):
            row = [_number(table, piece.columns[name][place], name, number) for name in columns]
            if all(map(math.isfinite, row)):
                found.append(row)
            else:
                lacking += 1
    return np.array(found, dtype=np.float64).reshape(len(found), len(columns)), lacking


def _number(table: LabelTable, cell: Any, name: str, line: int) -> float:
    """A cell as a number, NaN where there is none. Raises InputError for a text."""
    value = read_value(cell) if table.of_texts else plain(cell)
    if value is None or value == "":
        return math.nan
    if isinstance(value, str) and table.of_texts and value.lower() in ("nan", "inf", "-inf"):
        return math.nan
    if not isinstance(value, int | float):
        raise InputError(
            f"{table.path}, line {line} has {printable(str(value))[:40]!r} as {printable(name)}, and a detector takes "
            f"numbers: leave the column out with --exclude {printable(name)}, or bring it as codes."
        )
    try:
        return float(value)
    except OverflowError:
        return math.nan


def _write(path: Path, model: Any) -> str:
    """Write a model, find it as a worker will, and give its digest. Raises InputError."""
    import joblib

    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    try:
        path.write_bytes(content)
    except OSError as error:
        raise InputError(f"--output {path} cannot be written ({error.strerror or error}).") from None
    try:
        version_of(Code("model", str(path), digest=digest))
    except MonitorFileError as error:
        raise InputError(f"--output: {error}.") from None
    return digest


# -- the detectors ----------------------------------------------------------------------------------------------------


def _isolation_forest() -> Callable[[Any, float], _Fitted]:
    try:
        import joblib  # noqa: F401 - what it is written with
        from sklearn.ensemble import IsolationForest
    except ImportError:
        raise InputError("--kind isolation-forest needs scikit-learn: `pip install 'tally[monitors]'`.") from None

    def fitted(rows: Any, contamination: float) -> _Fitted:
        model = IsolationForest(contamination=contamination, random_state=_SEED).fit(rows)
        # Its decision is the score less that quantile of the training rows: 0 is the threshold by its own definition.
        return _Fitted(model, model.decision_function(rows), AlertWhen("<", 0.0), "scikit-learn")

    return fitted


def _ecod() -> Callable[[Any, float], _Fitted]:
    try:
        import joblib  # noqa: F401 - what it is written with
        from pyod.models.ecod import ECOD
    except ImportError:
        raise InputError("--kind ecod needs pyod: `pip install 'tally[pyod]'`.") from None

    def fitted(rows: Any, contamination: float) -> _Fitted:
        model = ECOD(contamination=contamination).fit(rows)
        model.n_features_in_ = rows.shape[1]  # by which a worker knows what it scores; ECOD does not say it
        when = AlertWhen(">", float(model.threshold_))
        return _Fitted(model, model.decision_scores_, when, "pyod")

    return fitted


_FITTERS: Final = {"isolation-forest": _isolation_forest, "ecod": _ecod}

"""`tally monitor test`: a monitor run over the rows of a file, by the process that a worker runs it in."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from app.cli.columns import Data, chosen_columns, demand, plain, refuse_doubles, whole_pieces
from app.cli.ends import InputError
from app.cli.feedback import read_value
from app.cli.labels.tables import LabelTable, open_table, shown_columns
from app.cli.monitors.drawing import Tried, draw, json_of
from app.cli.screen import printable
from app.core.monitors import AlertWhen, Code, Columns, alert_when, model_form
from app.core.rules import Column, Rules, Schema
from app.models_file import load_rulebook
from app.monitors_file import MonitorFileError, version_of
from app.settings import load_settings
from app.worker.monitors.process import LoadingError, MonitorProcess, ProcessError
from app.worker.monitors.scorer import Asked, Value

#: Rows that are scored at once, as a worker does.
_ROWS: Final = 1000
#: After so many failures of its process one after the other a monitor is not asked any more: each may take long.
_MOST_FAILURES: Final = 3


class Wanted(NamedTuple):
    """Which monitor is to be tried: one of the YAML file by its name, or a Python file, or a model file."""

    name: str | None = None
    match: str | None = None
    file: str | None = None
    call: str | None = None
    model: str | None = None
    digest: str | None = None
    condition: str | None = None  # in the place of that of the YAML file
    trusted: tuple[str, ...] = ()
    output: str | None = None


class Choice(NamedTuple):
    """Which columns of the file are what: what the model is asked, and what it answers."""

    features: Sequence[str] = ()
    exclude: Sequence[str] = ()
    answers: Sequence[str] = ()


class _Found(NamedTuple):
    name: str
    code: Code
    when: AlertWhen | None
    schema: Schema
    match: str = ""


def try_on(
    file: str, wanted: Wanted, choice: Choice, *, form: str | None, delimiter: str | None, as_json: bool
) -> None:
    """Run a monitor over a file and print what its values are. Raises InputError."""
    if file == "-":
        raise InputError("FILE must name a file: standard input does not say what it is.")
    monitor = _found(wanted)
    rows = open_table(file, form, delimiter, option="--data-format")
    inputs, outputs = _columns(rows, choice, monitor)
    tried = _tried(rows, monitor, inputs, outputs)
    print(json_of(tried)) if as_json else draw(tried)


# -- which monitor ----------------------------------------------------------------------------------------------------


def _found(wanted: Wanted) -> _Found:
    if [wanted.name, wanted.file, wanted.model].count(None) != 2:
        raise InputError("Say which monitor: --name NAME of the YAML file, or --file F.py, or --model FILE.")
    for option, given, of, beside in (
        ("--match", wanted.match, wanted.name, "--name"),
        ("--call", wanted.call, wanted.file, "--file"),
        ("--digest", wanted.digest, wanted.model, "--model"),
    ):
        if given is not None and of is None:
            raise InputError(f"{option} goes with {beside} alone: leave it out.")
    _demand_form(wanted)
    if wanted.name is not None:
        found = _of_yaml(wanted.name, wanted.match)
    else:
        kind, place = ("file", wanted.file) if wanted.file is not None else ("model", wanted.model)
        assert place is not None
        path = Path(place).absolute()
        code = Code(
            kind, str(path), str(path.parent), wanted.call or "", _digest(wanted, path),
            trusted=wanted.trusted, output=wanted.output or "",
        )  # fmt: skip
        found = _Found(place, code, None, Schema())
        try:
            version_of(code)
        except MonitorFileError as error:
            raise InputError(f"--{kind}: {error}.") from None
    if wanted.condition is None:
        return found
    try:
        return found._replace(when=alert_when(wanted.condition))
    except ValueError as error:
        raise InputError(f"--alert-when {error}.") from None


def _demand_form(wanted: Wanted) -> None:
    """Raise InputError where an option goes with another form of model."""
    form = "" if wanted.model is None else model_form(wanted.model)
    for option, given, of in (("--trusted", wanted.trusted, "skops"), ("--model-output", wanted.output, "onnx")):
        if given and form != of:
            raise InputError(f"{option} goes with --model FILE.{of} alone: leave it out.")


def _digest(wanted: Wanted, path: Path) -> str:
    """The digest that is trusted, empty where none is needed. Raises InputError where one lacks."""
    if wanted.model is None:
        return ""
    if wanted.digest is not None:
        return wanted.digest.removeprefix("sha256:").lower()
    if model_form(wanted.model) != "joblib":
        return ""
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"--model {wanted.model} cannot be read ({error.strerror}).") from None
    raise InputError(f"--model needs --digest: to load one runs code; if you trust this file, give --digest {found}.")


def _of_yaml(name: str, match: str | None) -> _Found:
    settings = load_settings()
    if settings.config is None:
        raise InputError(f"--name {name}: TALLY_CONFIG names no YAML file: set it, or give --file or --model.")
    entries = [entry for entry in load_rulebook(settings.config).entries if match in (None, entry.match)]
    if match is not None and not entries:
        raise InputError(f"--match {match}: {settings.config} has no such entry.")
    has = [(entry, monitor) for entry in entries for monitor in entry.monitors if monitor.spec.name == name]
    if not has:
        known = sorted({monitor.spec.name for entry in entries for monitor in entry.monitors})
        there = f"it has {', '.join(known)}" if known else "it has none at all"
        raise InputError(f"--name {name}: {settings.config} has no such monitor; {there}.")
    if len(has) > 1:
        of = " and ".join(entry.match for entry, _ in has)
        raise InputError(f"--name {name}: {of} have one each: say which with --match.")
    entry: Rules = has[0][0]
    monitor = has[0][1]
    return _Found(name, monitor.code, monitor.spec.when, entry.prediction_schema, entry.match)


# -- which columns ----------------------------------------------------------------------------------------------------


def _columns(rows: LabelTable, choice: Choice, monitor: _Found) -> tuple[list[str], list[str]]:
    """The columns of inputs and of outputs, each in its order. Raises InputError."""
    data = Data(str(rows.path), rows.columns)
    demand(data, "--answer", choice.answers)
    outputs = [*dict.fromkeys(choice.answers)]
    declared = _names(monitor.schema.responses)
    if not outputs and any(name in data.columns for name in declared):
        outputs = _demand_schema(data, monitor, declared, "--answer")
    inputs = chosen_columns(data, choice.features, choice.exclude, outputs)
    for name in outputs:
        if name in choice.features:
            raise InputError(f"--answer {name}: it is a --feature too; it can be one of both.")
    declared = [name for name in _names(monitor.schema.requests) if name not in choice.exclude]
    if declared and not choice.features:
        inputs = _demand_schema(data, monitor, declared, "--feature")
    if not inputs and not outputs:
        raise InputError(f"{rows.path} has no column left that a monitor could be given.")
    refuse_doubles(data, [*inputs, *outputs])
    return inputs, outputs


def _names(columns: Iterable[Column]) -> list[str]:
    return [name for column in columns for name in column.names]


def _demand_schema(data: Data, monitor: _Found, names: list[str], option: str) -> list[str]:
    missing = next((name for name in names if name not in data.columns), None)
    if missing is not None:
        raise InputError(
            f"{data.where} has no column {missing}, which prediction_schema of {monitor.match} names; it has "
            f"{shown_columns(data.columns)}: name those that are meant with {option}."
        )
    return names


# -- running ----------------------------------------------------------------------------------------------------------


def _tried(rows: LabelTable, monitor: _Found, inputs: list[str], outputs: list[str]) -> Tried:
    """What the monitor says of all rows. Raises InputError where it cannot be loaded, or there are none."""
    values: list[float] = []
    failed: Counter[str] = Counter()
    first: dict[str, int] = {}
    for numbers, said in _scored(monitor, _batches(rows, inputs, outputs)):
        for number, one in zip(numbers, said, strict=True):
            if isinstance(one, str):
                why = printable(one)
                failed[why] += 1
                first.setdefault(why, number)
            else:
                values.append(one)
    if not values and not failed:
        raise InputError(f"{rows.path} has no rows: a monitor is tried on at least one.")
    reasons = [(why, count, first[why]) for why, count in failed.most_common()]
    named, others = ([*map(printable, names)] for names in (inputs, outputs))
    return Tried(printable(monitor.name), monitor.when, printable(str(rows.path)), named, others, values, reasons)


def _scored(
    monitor: _Found, batches: Iterable[tuple[Sequence[int], list[Asked]]]
) -> Iterator[tuple[Sequence[int], list[Value]]]:
    process = MonitorProcess(monitor.name, monitor.code)
    failures = 0
    try:
        for numbers, asked in batches:
            if failures == _MOST_FAILURES:
                yield numbers, [f"it was not asked: its process had failed {failures} times in a row"] * len(asked)
                continue
            try:
                said = [value for values in process.ask(asked) for value in values]
                failures = 0
            except LoadingError as error:
                raise InputError(f"{monitor.name}: {error}.") from None
            except ProcessError as error:
                process.close()
                failures += 1
                said = [str(error)] * len(asked)
            yield numbers, said
    finally:
        process.close()


def _batches(
    rows: LabelTable, inputs: Sequence[str], outputs: Sequence[str]
) -> Iterator[tuple[Sequence[int], list[Asked]]]:
    """The rows with the numbers of their lines. Each is an answer of its own, so that a wrong one fails alone."""
    cell = _of_text if rows.of_texts else plain
    names, others = tuple(inputs), tuple(outputs)
    for piece in whole_pieces(rows, [*inputs, *outputs]):
        size = len(piece.numbers)
        columns = {name: [*map(cell, piece.columns[name])] for name in (*inputs, *outputs)}
        asked: list[Asked] = [
            (
                Columns(names, [[columns[name][at] for name in names]]),
                Columns(others, [[columns[name][at] for name in others]]),
            )
            for at in range(size)
        ]
        for begin in range(0, size, _ROWS):
            yield piece.numbers[begin : begin + _ROWS], asked[begin : begin + _ROWS]


def _of_text(text: str) -> Any:
    """The cell of a CSV file as JSON would have it; an empty one says nothing."""
    return read_value(text) if text else None

"""`tally monitor import`: Hydrosphere's definitions, as the lines of the YAML file that mean the same.

A model's `serving.yaml` is as its documentation has it ("How to write definitions"): `contract` with `inputs` and
`outputs`, each field with `shape`, `type` and `profile`; its command line also reads `monitoring`, a list of metrics.
Its SDK calls the same `signature`, and has the list below `monitoring.metrics`. A MetricSpec is the JSON that its
manager gives (`/api/v2/monitoring/metricspec`, `hydrosdk/monitoring.py`), one or a list.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from app.cli.ends import InputError
from app.cli.monitors.entries import entry, print_entry
from app.cli.screen import printable
from app.core.monitors import NAME, alert_unless_healthy
from app.monitors_file import MOST_MONITORS
from app.yaml_file import YamlError, read_yaml

_TYPES: Final = {
    **dict.fromkeys(("half", "float16", "float32", "double", "float64"), "FLOAT"),
    **dict.fromkeys((f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)), "INT"),
    **dict.fromkeys(("qint8", "quint8", "qint16", "quint16", "bool"), "INT"),
    **dict.fromkeys(("string", "complex64", "complex128"), ""),
}
#: Profiles that make a column something else than a number.
_PROFILES: Final = {"categorical": "CATEGORICAL", "nominal": "CATEGORICAL", "ordinal": "CATEGORICAL", "text": "TEXT"}
_NO_NAME: Final = re.compile(r"[^A-Za-z0-9_-]+")
_LARGEST_BYTES: Final = 16 << 20


class _WrongError(Exception):
    """What is wrong with a file; the message goes on from its name."""


def take_over(files: Sequence[str]) -> None:
    """Print the entry that one serving.yaml, MetricSpecs, or both mean. Raises InputError."""
    schema: dict[str, Any] = {}
    monitors: dict[str, Any] = {}
    comments: list[str] = []
    versions: set[str] = set()
    for file in files:
        try:
            for found in _definitions(_content(Path(file))):
                if "config" in found:
                    versions.add(printable(str(found.get("modelVersionId"))))
                    if len(versions) > 1:
                        raise _WrongError(
                            f" has metrics of several model versions ({', '.join(sorted(versions))})"
                            ": import those of one"
                        )
                    _add(monitors, comments, *_metric(found, "thresholdCmpOperator"))
                    continue
                if schema:
                    raise _WrongError(" is a second model: import each by itself")
                schema = _schema(found)
                comments.append(f"Columns are those of the model {printable(str(found['name']))}.")
                for metric in _metrics_of(found):
                    _add(monitors, comments, *_metric(metric, "operator"))
        except _WrongError as error:
            raise InputError(f"{file}{error}.") from None
    if monitors:
        comments.append("file: must name the Python file with the predict of that metric.")
    comments.append("match: says which models it is of; write theirs.")
    print_entry(comments, entry(monitors, schema))


def _content(path: Path) -> Any:
    """The data of a file, JSON by its name, else YAML."""
    if path.suffix.lower() != ".json":
        try:
            return read_yaml(path)
        except YamlError as error:
            raise _WrongError(str(error)) from None
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise _WrongError(f" cannot be read ({error.strerror})") from None
    if len(raw) > _LARGEST_BYTES:
        raise _WrongError(f" is larger than {_LARGEST_BYTES >> 20} MiB")
    try:
        return orjson.loads(raw.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise _WrongError(f" is no JSON ({error.msg}, line {error.lineno})") from None


def _definitions(content: Any) -> Iterator[Mapping[str, Any]]:
    """The model, or the MetricSpecs, of a file."""
    if content == []:
        raise _WrongError(" is an empty list: nothing is in it")
    for one in content if isinstance(content, list) else [content]:
        if not isinstance(one, dict) or not ("config" in one or "kind" in one):
            raise _WrongError(" is neither a serving.yaml (kind: Model) nor a MetricSpec (with name and config)")
        if "config" not in one and one["kind"] != "Model":
            raise _WrongError(f" has kind {one['kind']!r}: only that of kind Model has inputs and outputs")
        yield one


# -- inputs and outputs -----------------------------------------------------------------------------------------------


def _schema(model: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(model.get("name"), str):
        raise _WrongError(" has no name of the model: give it one")
    place = "contract" if "contract" in model else "signature"
    contract = model.get(place)
    if isinstance(contract, str):
        raise _WrongError(f" has its contract in {contract}: write its inputs and outputs here")
    if not isinstance(contract, dict):
        raise _WrongError(" has no contract: it must hold inputs and outputs")
    return {
        side: [_column(name, field, f"{place}.{part}.{name}") for name, field in _fields(contract, place, part)]
        for side, part in (("requests", "inputs"), ("responses", "outputs"))
    }


def _fields(contract: Mapping[str, Any], place: str, part: str) -> list[tuple[str, Any]]:
    fields = contract.get(part)
    if not isinstance(fields, dict) or not fields:
        raise _WrongError(f": {place}.{part} must hold fields, each with shape and type")
    for name in fields:
        if not isinstance(name, str) or not name:
            raise _WrongError(f": {place}.{part}: the field {name!r} must be a text: put it in quotes")
    return [*fields.items()]


def _column(name: str, field: Any, place: str) -> dict[str, Any]:
    """A field as a column of prediction_schema."""
    if not isinstance(field, dict):
        raise _WrongError(f": {place} must hold shape and type")
    kind, profile = field.get("type"), field.get("profile")
    if not isinstance(kind, str) or kind not in _TYPES:
        raise _WrongError(f": {place}.type is {kind!r}, and must be one of {', '.join(_TYPES)}")
    if profile is not None and not isinstance(profile, str):
        raise _WrongError(f": {place}.profile is {profile!r}, and must be a text, like numerical")
    shape = _shape(field.get("shape"), place)
    of_text = "TEXT" if kind == "string" else "REAL"
    column: dict[str, Any] = {"name": name, "type": _PROFILES.get((profile or "").lower(), of_text)}
    if _TYPES[kind]:
        column["data_type"] = _TYPES[kind]
    return column | ({"type": "TENSOR", "shape": shape} if shape else {})


def _shape(given: Any, place: str) -> list[int]:
    """The shape of one row: empty where it is a single value. A -1 before it stands for the rows of a batch."""
    if given == "scalar":
        return []
    if not isinstance(given, list) or not all(type(size) is int for size in given):
        raise _WrongError(f": {place}.shape is {given!r}, and must be scalar, or a list of sizes like [-1, 3]")
    sizes = given[1:] if given[:1] == [-1] else given
    if not all(size > 0 for size in sizes):
        raise _WrongError(f": {place}.shape is {given!r}: sizes are 1 or more, and a -1 stands at its beginning alone")
    return [] if all(size == 1 for size in sizes) else sizes


# -- metrics ----------------------------------------------------------------------------------------------------------


def _metrics_of(model: Mapping[str, Any]) -> list[Any]:
    """The metrics that a serving.yaml has of itself."""
    monitoring = model.get("monitoring")
    metrics = monitoring.get("metrics", []) if isinstance(monitoring, dict) else monitoring
    if metrics is None:
        return []
    if not isinstance(metrics, list) or not all(isinstance(one, dict) for one in metrics):
        raise _WrongError(": monitoring must be a list of metrics, each with name and config")
    return metrics


def _metric(spec: Mapping[str, Any], comparison: str) -> tuple[str, str, str, str]:
    """What a metric is called here and there, when it alerts, and where it is said when it is healthy."""
    name, config = spec.get("name"), spec.get("config")
    if not isinstance(name, str) or not name:
        raise _WrongError(f" has a metric whose name is {name!r}: give it one")
    shown = printable(name)
    own = _NO_NAME.sub("_", name).strip("_")[:64]
    if not NAME.fullmatch(own):
        raise _WrongError(f": the metric {shown} needs another name: letters, digits, _ and - that begin with a letter")
    if not isinstance(config, dict):
        raise _WrongError(f": the metric {shown} has no config with threshold and {comparison}")
    try:
        when = alert_unless_healthy(config.get(comparison), config.get("threshold"))
    except ValueError as error:
        reason = str(error).replace("thresholdCmpOperator", comparison)
        raise _WrongError(f": the metric {shown}: {reason}") from None
    word = config[comparison]
    sign = word.get("kind") if isinstance(word, dict) else word
    model = config.get("monitoring-model", config.get("modelVersionId"))
    of = "" if model is None else f", the model {'' if isinstance(model, str) else 'version '}{printable(str(model))}"
    return own, shown, str(when), f"{sign} {config['threshold']}{of}"


def _add(monitors: dict[str, Any], comments: list[str], own: str, name: str, when: str, healthy: str) -> None:
    if own in monitors:
        raise _WrongError(f" has a second metric that would be called {own}: give one another name")
    if len(monitors) == MOST_MONITORS:
        raise _WrongError(f" brings more than {MOST_MONITORS} metrics, which is the most of one model")
    monitors[own] = {"file": f"{own}.py", "alert_when": when}
    comments.append(f"{own}: in Hydrosphere {name} is healthy at {healthy}.")

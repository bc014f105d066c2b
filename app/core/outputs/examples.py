"""Rows that show something of a model: those of a cell of its confusion, or that one of two legs alone has right.

They are found in what is known of exchanges, or in documents in Elasticsearch.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from app.core.counts.accounts import Pair
from app.core.events import Identity, identity_fields
from app.core.outputs.shapes import Example, PairExample

#: What the index of documents is called, of all predictors.
INDEX: Final = "inference-log-*"
_ROW: Final = re.compile(r".*-item-(\d{1,9})", re.DOTALL)


class Wanted(NamedTuple):
    """Which rows are looked for: with this label, and this prediction; with neither, those that are not right."""

    actual: str | None = None
    predicted: str | None = None

    def takes(self, row: Mapping[str, Any]) -> bool:
        """Whether a row is one of them; `row` is one of `/api/exchanges`, or a verdict in a document."""
        if "label" not in row:
            return False
        if self.actual is None and self.predicted is None:
            return row.get("correct") is False or bool(row.get("error"))
        return _is(self.actual, row["label"]) and _is(self.predicted, row.get("predicted"))


def _is(wanted: str | None, found: Any) -> bool:
    return wanted is None or wanted == str(found)


def examples_in(known: Mapping[str, Any], identity: Identity, wanted: Wanted) -> Iterator[Example]:
    """The wanted rows of what is known of a puid."""
    leg = _leg_of(known, identity)
    for number, row in enumerate(leg["rows"] if leg is not None else ()):
        if wanted.takes(row):
            yield {
                "puid": known["puid"],
                "row": number,
                "actual": row["label"],
                "predicted": row["predicted"],
                "time_at": _seconds(leg["response_time"]) if leg is not None else None,
            }


def pair_examples_in(known: Mapping[str, Any], pair: Pair, right: str | None) -> Iterator[PairExample]:
    """The rows of which only one leg was right: `current`, `shadow`, or either."""
    legs = [_leg_of(known, leg) for leg in pair]
    current, shadow = legs
    if current is None or shadow is None:
        return
    for number, (one, other) in enumerate(zip(current["rows"], shadow["rows"], strict=False)):
        found = _right_alone(one.get("correct"), other.get("correct"))
        if found is not None and right in (None, found):
            yield {
                "puid": known["puid"],
                "row": number,
                "actual": one["label"],
                "current": one["predicted"],
                "shadow": other["predicted"],
                "right": found,
                "time_at": _seconds(current["response_time"]),
            }


def _right_alone(current: bool | None, shadow: bool | None) -> str | None:
    if current is None or shadow is None or current == shadow:
        return None
    return "current" if current else "shadow"


def _leg_of(known: Mapping[str, Any], identity: Identity) -> Mapping[str, Any] | None:
    names = identity_fields(identity).items()
    return next((leg for leg in known["legs"] if all(leg[name] == word for name, word in names)), None)


def _seconds(time: str | None) -> float | None:
    return None if time is None else datetime.fromisoformat(time).timestamp()


# -- documents --------------------------------------------------------------------------------------------------------


def filters_of(identity: Identity) -> list[dict[str, Any]]:
    """What Elasticsearch is asked for to find the documents of a model; what is not named has no field."""
    names = {
        "Ce-Namespace": identity.namespace,
        "Ce-Inferenceservicename": identity.service or identity.model,
        "Ce-Endpoint": identity.predictor,
        "Ce-Modelid": identity.model,
        "Ce-Modelversion": identity.version,
    }
    found: list[dict[str, Any]] = [{"term": {field: word}} for field, word in names.items() if word]
    lacking = [{"exists": {"field": field}} for field, word in names.items() if not word]
    return [*found, {"bool": {"must_not": lacking}}] if lacking else found


def wanted_filters(wanted: Wanted) -> list[dict[str, Any]]:
    """The same of the wanted rows."""
    if wanted.actual is None and wanted.predicted is None:
        wrong = [{"term": {"verdict.correct": False}}, {"exists": {"field": "verdict.error"}}]
        return [{"bool": {"should": wrong, "minimum_should_match": 1}}]
    named = {"verdict.label": wanted.actual, "verdict.predicted": wanted.predicted}
    found: list[dict[str, Any]] = [{"exists": {"field": "verdict.label"}}]
    return [*found, *({"term": {field: word}} for field, word in named.items() if word is not None)]


def example_of(id_: str, body: Mapping[str, Any]) -> Example:
    """The row that a document is about. Raises LookupError, TypeError or ValueError where it is about none."""
    verdict = body["verdict"]
    return {
        "puid": body["RequestId"],
        "row": row_of(id_, body["RequestId"]),
        "actual": verdict["label"],
        "predicted": verdict["predicted"],
        "time_at": _seconds(body.get("@timestamp")),
    }


def row_of(id_: str, puid: str) -> int:
    """The row that a document with this id is about."""
    found = None if id_ == puid else _ROW.fullmatch(id_)
    return 0 if found is None else int(found[1])


def pair_examples_of(
    right: str, wrong: Iterable[tuple[str, Mapping[str, Any]]], rights: Iterable[tuple[str, Mapping[str, Any]]]
) -> Iterator[PairExample]:
    """The rows of documents of two legs, of one that was wrong and of one that was right, in the order of the first."""
    by_row = dict(rights)
    for id_, body in wrong:
        other = by_row.get(id_)
        if other is not None:
            one, two = other["verdict"]["predicted"], body["verdict"]["predicted"]
            current, shadow = (one, two) if right == "current" else (two, one)
            yield {
                "puid": body["RequestId"],
                "row": row_of(id_, body["RequestId"]),
                "actual": body["verdict"]["label"],
                "current": current,
                "shadow": shadow,
                "right": right,
                "time_at": _seconds(body.get("@timestamp")),
            }

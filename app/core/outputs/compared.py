"""Documents of comparisons: of each two legs that are compared, by windows and in all.

In windows that are aligned to the epoch, restated while labels come like those of models:

    _id  <current's identity>/<shadow's identity>/<segment>/<window>/<start>
    {"current": {"identity", "model_namespace", "model_service", "predictor", "model", "model_version"},
     "shadow": {the same}, "segment": "", "window": "5m", "clock": "predictions", "start", "end", "least_count",
     "measures", "samples", "agreement", "only_current_right", "only_shadow_right", "verdict", "sentence",
     "accuracy_difference", "…_low", "…_high", "…_low_always", "…_high_always", "p_value", "p_value_always",
     "detectable", "prediction_rows", "prediction_psi", "prediction_js", "prediction_chi2_p",
     "score_rows", "score_ks", "score_ks_p",
     "classes": [{"class", and the same numbers}, …]}

Names and numbers are those of `/api/comparisons`: where the legs measure, the difference is that of their errors.

What is known of a pair by now is one document more, of the window "total", without a start:

    _id  <current's identity>/<shadow's identity>/<segment>/total
    {…, "window": "total", "end": when it was written, "report": what `/api/comparisons` says of the pair then}

It is written anew when what it says changes: also because a window of the report, which ends now, moves on.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from app.core.counts.accounts import Pair, Subject
from app.core.counts.panes import TOTAL
from app.core.drift.drift import Drift
from app.core.events import Identity, identity_fields
from app.core.measures.paired import PairedReading
from app.core.measures.readings import Readings
from app.core.outputs.comparisons import comparison_report, name_of_second, numbers, quantities
from app.core.outputs.slots import PREDICTIONS, Slot, moment, subject_id
from app.core.rules import Rulebook
from app.core.scores.comparison import Comparison, Distance, by_class, compare, sentence

INDEX: Final = "tally-comparisons"

_KEYWORD: Final = {"type": "keyword"}
_LEG: Final = {
    "properties": {
        "identity": _KEYWORD,
        **dict.fromkeys(identity_fields(Identity("", "", "", "", "")), _KEYWORD),
    }
}


def _of_numbers() -> dict[str, Any]:
    """The mapping of a comparison's numbers: what nothing has been compared for is a number too."""
    found: dict[str, Any] = {"measures": {"type": "boolean"}}
    of_errors = Comparison(measures=True, samples=0)
    for one in (
        of_errors,
        Comparison(measures=False, samples=0, brier=of_errors, predictions=Drift(0), scores=Distance(0)),
    ):
        for name, value in quantities(one).items():
            found[name] = {"type": "long" if type(value) is int else "double"}
    return found | {"verdict": _KEYWORD}


MAPPINGS: Final[dict[str, Any]] = {
    "dynamic": False,
    "properties": {
        "current": _LEG,
        "shadow": _LEG,
        **dict.fromkeys(("segment", "window", "clock"), _KEYWORD),
        "start": {"type": "date"},
        "end": {"type": "date"},
        "least_count": {"type": "long"},
        **_of_numbers(),
        "sentence": {"type": "keyword", "ignore_above": 8000},
        "classes": {"type": "nested", "dynamic": False, "properties": {"class": _KEYWORD, **_of_numbers()}},
        "report": {"type": "object", "enabled": False},
    },
}


def window_body(slot: Slot, pair: Pair, shared: PairedReading, rulebook: Rulebook) -> dict[str, Any]:
    """The document of a pair in one window."""
    return _legs(pair) | slot.fields() | _comparison(pair, shared, rulebook)


def _total_body(
    pair: Pair, readings: Mapping[str, PairedReading], first_seen: int, now: float, rulebook: Rulebook
) -> dict[str, Any]:
    return {
        **_legs(pair),
        "segment": "",
        "window": TOTAL,
        "clock": PREDICTIONS,
        **({"start": moment(first_seen)} if first_seen else {}),
        "end": moment(now),
        **_comparison(pair, readings[TOTAL], rulebook),
        "report": comparison_report(pair, readings, rulebook),
    }


def _legs(pair: Pair) -> dict[str, Any]:
    return {
        name: {"identity": str(leg), **identity_fields(leg)}
        for name, leg in zip(("current", "shadow"), pair, strict=True)
    }


def _comparison(pair: Pair, shared: PairedReading, rulebook: Rulebook) -> dict[str, Any]:
    least_count = rulebook.of(pair.second.leg).least_count
    whole = compare(shared, least_count)
    return {
        "least_count": least_count,
        **numbers(whole),
        "sentence": sentence(whole, name_of_second(pair), least_count),
        "classes": [{"class": name, **numbers(one)} for name, one in by_class(shared, least_count).items()],
    }


class TotalDocument(NamedTuple):
    """What is known of a pair by now, and its place: index and id. The body is None where nothing is counted of it any
    more.
    """

    pair: Pair
    place: tuple[str, str]
    body: dict[str, Any] | None


class TotalDocuments:
    """The documents of what is known of pairs by now: which of them have to be written, and what they say."""

    def __init__(self, readings: Readings) -> None:
        self._readings = readings
        self._due: dict[Pair, None] = {}
        #: Of each pair that has a document what the view has said when that was made; None where it is to be made.
        self._versions: dict[Pair, tuple[Any, ...] | None] = {}

    def note(self, touched: Iterable[Subject], now: float) -> None:
        """Find out of which pairs anything has changed; `touched` is of what the view says so.

        To be called every few seconds, on every worker: the pairs that are gone must be known to whichever writes next.
        """
        pairs = set(self._readings.view.pairs())
        for pair in pairs:
            if self._versions.setdefault(pair, None) != self._version(pair, now):
                self._due[pair] = None
        known = {subject for subject in touched if isinstance(subject, Pair)} | self._versions.keys()
        for pair in known - pairs:
            self._versions.pop(pair, None)
            self._due[pair] = None

    def take(self, now: float, most: int) -> list[TotalDocument]:
        """Some of the documents that have changed. They count as written: whoever cannot write them puts them back."""
        some = [pair for pair, _ in zip(self._due, range(most), strict=False)]
        for pair in some:
            del self._due[pair]
        return [self._document(pair, now) for pair in some]

    def put_back(self, documents: Iterable[TotalDocument]) -> None:
        """Say that documents were not written. They come again, as they are then."""
        for document in documents:
            self._due[document.pair] = None

    def _document(self, pair: Pair, now: float) -> TotalDocument:
        readings, view = self._readings.of_pair(pair, now), self._readings.view
        body = None
        if readings is not None:
            body = _total_body(pair, readings, view.first_seen(pair), now, self._readings.rulebook)
        if pair in self._versions:
            self._versions[pair] = self._version(pair, now)
        return TotalDocument(pair, (INDEX, subject_id(pair, f"/{TOTAL}")), body)

    def _version(self, pair: Pair, now: float) -> tuple[Any, ...]:
        """Something that changes with what is said of a pair."""
        view = self._readings.view
        return tuple(view.version(account, now) for account in self._readings.accounts_of_pair(pair))

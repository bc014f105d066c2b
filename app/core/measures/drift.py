"""Drift: what is asked, answered and right, by the bins of the model's reference.

drift=<digest>     {"<place>:<bin>": rows}

Places are those of the reference's distributions: features from 0, then "p" (predictions), "s" (scores) and "l"
(labels). The digest is that of the reference, so that a new one counts anew and no bin changes its meaning.
Features are counted where the request is known, the others where the answer is; labels once for each row. After the
features of the reference come the places of declared features, then that of the rows as a whole; their bins are 0
missing, 1 invalid, 2 valid (`app.core.drift.live`).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from struct import unpack_from
from typing import Any, Final, NamedTuple

from app.core.counts.atoms import Atom
from app.core.drift.declared import ROW
from app.core.drift.drift import KINDS, MEASURES, Drift, share_drifted, with_validity
from app.core.drift.kept import digest_of, places_and_bins
from app.core.drift.live import Live
from app.core.measures.errors import number_of
from app.core.measures.measure import DOCUMENT, WINDOW, Cells, Evidence, Field, Measure
from app.core.measures.probabilities import vector
from app.core.measures.reading import Nature
from app.core.measures.verdict import is_score, label_text, poles, predicted_text
from app.core.payloads.marks import Mark, class_text

_ROW: Final = "drift="
_PREDICTION, _SCORE, _LABEL = "p", "s", "l"
#: That a model has a reference: it keeps this measure among those that are asked for every answer.
_WATCHED: Final = Atom("drift", "")

_DOUBLE: Final = {"type": "double"}
_MAPPING: Final = {
    "type": "nested",
    "dynamic": False,
    "properties": {
        "feature": {"type": "keyword"},
        "rows": {"type": "long"},
        "drifted": {"type": "boolean"},
        "invalid_rows": {"type": "long"},
        **dict.fromkeys((*MEASURES, *KINDS), _DOUBLE),
        "bins": {"type": "object", "enabled": False},
    },
}


class DriftReading(NamedTuple):
    """What is read of a model that has a reference or declared features: of each by its name, distributions first."""

    drifts: dict[str, Drift]
    share: float | None  # of the features that have drifted
    counts: dict[str, list[int]]  # by name: live rows by bin
    live: Live | None  # the reference

    def bins(self, name: str) -> list[tuple[str, int, int]]:
        """Of each bin of a distribution what it is called, the rows of the reference, and those that came. What is
        declared alone has none.
        """
        assert self.live is not None
        if name not in self.counts:
            return []
        place = [one.name for one in self.live.distributions].index(name)
        names = self.live.distributions[place].names_of_bins()
        return [*zip(names, self.live.by_bin[place], self.counts[name], strict=True)]


def _documents(reading: DriftReading) -> list[dict[str, Any]] | None:
    """As JSON, a distribution or declared feature each; None where there is none."""
    if not reading.drifts:
        return None
    return [
        {
            "feature": name,
            **{field: value for field, value in drift._asdict().items() if value is not None},
            "bins": [
                {"bin": bin_, "reference": reference, "rows": rows} for bin_, reference, rows in reading.bins(name)
            ],
        }
        for name, drift in reading.drifts.items()
    ]


@lru_cache(maxsize=65_536)
def atom_of(digest: str, place: int | str, number: int) -> Atom:
    """That of a bin of a distribution, by the digest of its reference."""
    return Atom(_ROW + digest, f"{place}:{number}")


def digest_in(row: str) -> str:
    """The digest of the reference by which a row is counted; empty where it is none of this measure."""
    return row.removeprefix(_ROW) if row.startswith(_ROW) else ""


def words_of_bin(live: Live, column: str) -> str:
    """What a column of counts by a reference is called: the distribution, or the declared feature, and its bin."""
    place, _, number = column.partition(":")
    others = zip((_PREDICTION, _SCORE, _LABEL), (live.prediction, live.score, live.label), strict=True)
    features = len(live.reference.features)
    try:
        if place.isdigit() and int(place) >= features:
            name = [*(one.name for one in live.declared), ROW][int(place) - features]
            return f"{name}, {('missing', 'invalid', 'valid')[int(number)]}"
        places = [*map(str, range(features)), *(own for own, one in others if one is not None)]
        distribution = live.distributions[places.index(place)]
        return f"{distribution.name}, {distribution.names_of_bins()[int(number)]}"
    except (ValueError, IndexError):
        return column


class DriftMeasure(Measure[DriftReading]):
    """Rows by bin, against the reference."""

    name = "drift"
    letter = b"f"
    fields = (
        Field("drift", _documents, (DOCUMENT, WINDOW), _MAPPING, optional=True),
        Field("drifted_share", lambda it: it.share, (DOCUMENT, WINDOW), _DOUBLE, optional=True),
    )

    def values(self, evidence: Evidence) -> bytes:
        """The bins of the request's features, as they are kept."""
        return evidence.features or b""

    def amounts_of(self, values: bytes) -> Iterable[tuple[Atom, int]]:
        """One for each row and feature."""
        if values:
            digest = digest_of(values)
            for place, number in places_and_bins(values):
                yield atom_of(digest, place, number), 1

    def amounts(self, evidence: Evidence) -> Iterable[tuple[Atom, int]]:
        """The bins of predictions, scores and labels."""
        watched = evidence.rules.reference
        if watched is None:
            return ()
        live = evidence.live if watched.first else watched.live
        found: Counter[Atom] = Counter({_WATCHED: 0})
        if evidence.response and live is not None:
            for place, number in _of_rows(live, evidence):
                found[atom_of(live.digest, place, number)] += 1
        return found.items()

    def read(self, cells: Cells, nature: Nature) -> DriftReading:
        """What the counts by the reference of now say."""
        live = nature.reference
        if live is None:
            return DriftReading({}, None, {}, None)
        counts = _by_place(cells, live)
        rows_of = _rows_of(counts, live)
        names = [distribution.name for distribution in live.distributions]
        found = live.yardstick.drifts([rows_of[name] for name in names], live.least_count)
        drifts = dict(zip(names, found, strict=True))
        share = share_drifted(drifts[name] for name in live.names)
        by_place = {int(place): rows for place, rows in counts.items() if place.isdigit()}
        for name, of in live.validities(by_place).items():
            drifts[name] = with_validity(drifts.get(name), of)
        return DriftReading(drifts, share, rows_of, live)


def rows_by_bin(cells: Cells, live: Live) -> dict[str, list[int]]:
    """How many rows each bin of a reference has counted, by the name of the distribution."""
    return _rows_of(_by_place(cells, live), live)


def _by_place(cells: Cells, live: Live) -> dict[str, dict[int, int]]:
    own = _ROW + live.digest
    counts: dict[str, dict[int, int]] = {}
    for (row, column), rows in cells.items():
        if row == own:
            place, _, number = column.partition(":")
            if number:
                counts.setdefault(place, {})[int(number)] = rows
    return counts


def _rows_of(counts: Mapping[str, Mapping[int, int]], live: Live) -> dict[str, list[int]]:
    reference = live.reference
    places: list[Any] = [*range(len(reference.features))]
    others = zip((_PREDICTION, _SCORE, _LABEL), (reference.prediction, reference.score, reference.label), strict=True)
    places += [place for place, one in others if one is not None]
    found = {}
    for place, distribution, by_bin in zip(places, live.distributions, live.by_bin, strict=True):
        rows = found[distribution.name] = [0] * len(by_bin)
        for bin_, amount in counts.get(str(place), {}).items():
            rows[bin_] = amount
    return found


def _of_rows(live: Live, evidence: Evidence) -> Iterator[tuple[str, int]]:
    """The places and bins of the rows of an answer. One that has failed has none."""
    rules, classes = evidence.rules, evidence.classes
    predicts_numbers, labels_numbers = (
        one is not None and one.kind == "continuous" for one in (live.reference.prediction, live.reference.label)
    )
    for row, mark in enumerate(evidence.marks):
        if mark is None:
            continue
        score = score_of(evidence, row) if live.score is not None or predicts_numbers else None
        if live.prediction is not None:
            predicted = _number(mark, classes, score) if predicts_numbers else predicted_text(mark, classes, rules)
            yield _PREDICTION, live.prediction(predicted)
        if live.score is not None:
            yield _SCORE, live.score(score)
        label = evidence.labels[row] if evidence.labels is not None else None
        if live.label is not None and label is not None:
            yield _LABEL, live.label(number_of(label) if labels_numbers else label_text(label, classes, rules))


class Answered(NamedTuple):
    """One row of an answer: the class and the number that it may be, the probability, and what was right."""

    predicted: str | None
    number: float | None
    score: float | None
    label: str | None
    label_number: float | None
    has_label: bool
    measures: bool  # it is a measurement


def answered(evidence: Evidence) -> Iterator[Answered]:
    """What the rows of an answer say, as distributions of predictions, scores and labels have it."""
    rules, classes = evidence.rules, evidence.classes
    for row, mark in enumerate(evidence.marks):
        if mark is None:
            continue
        score = score_of(evidence, row)
        predicted = predicted_text(mark, classes, rules)
        label = evidence.labels[row] if evidence.labels is not None else None
        yield Answered(
            predicted,
            _number(mark, classes, score),
            score,
            None if label is None else label_text(label, classes, rules),
            None if label is None else number_of(label),
            label is not None,
            rules.task == "regression" or predicted is None,
        )


def score_of(evidence: Evidence, row: int) -> float | None:
    """The probability of the positive class, of more than two classes that of the one predicted; None without any."""
    mark = evidence.marks[row]
    if type(mark) is float:
        return mark if is_score(mark, evidence.classes, evidence.rules) else None
    if type(mark) is not int or mark >= 0:
        return None
    found = vector(evidence, row)
    if found is None:
        return None
    own = evidence.classes
    first_is_positive = len(own) == 2 and poles(own, evidence.rules)[1] == own[0]
    place = (0 if first_is_positive else 1) if len(found) == 16 else -mark - 1
    score: float = unpack_from("<d", found, 8 * place)[0]
    return score


def _number(mark: Mark, classes: tuple[str, ...], score: float | None) -> float | None:
    """The number that a prediction is: itself, that which its class is called, or its probability."""
    if isinstance(mark, float):
        return mark
    if score is not None and len(classes) == 2:
        return score
    return None if mark is None else number_of(class_text(mark, classes))


DRIFT: Final = DriftMeasure()

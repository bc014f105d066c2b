"""Read-outs of one exchange for people: the answer of `/api/exchanges/{puid}`."""

from array import array
from collections.abc import Sequence
from math import isnan
from struct import unpack_from
from typing import Any, Final

from app.core.clock import format_time
from app.core.counts.numbers import Numbers
from app.core.events import Identity, Kind, identity_fields
from app.core.join.exchange import Exchange, LegState, Monitored, row_labels
from app.core.join.judging import Judging
from app.core.join.segmenting import Segmenting
from app.core.join.statements import LABELS, REWARD, held
from app.core.measures.errors import number_of
from app.core.measures.monitors import OUTCOMES, unpacked
from app.core.measures.verdict import is_score
from app.core.monitors import words_of
from app.core.payloads.marks import Mark

#: What is said of a feedback without a prediction, which becomes an orphan unless that still comes.
ORPHAN: Final = (
    "No prediction with this puid is known: send feedback with the Seldon-Puid header that the prediction returned."
)
#: The same of labels that do not fit what has answered.
MISMATCH: Final = (
    "The labels do not match the rows of the answer: send one label a row, or label single rows as <puid>-item-<row>."
)
ELSEWHERE: Final = (
    "The labels are for a service, predictor or model that has not answered: send them with the names of one that has, "
    "or with none."
)


def rows(state: LegState, exchange: Exchange, judging: Judging, segmenting: Segmenting) -> list[dict[str, Any]]:
    """The rows of one leg: predicted, and where they are known score, label and how right it is; and its values in the
    segments of the model.
    """
    segments = segmenting.values(state) if segmenting.has_segments(state.leg) else None
    labels = judging.labels(state, judging.statements(state, exchange)).marks
    scores = array("f", state.scores) if state.scores else None
    result = []
    for index, mark in enumerate(state.marks):
        label = labels[index] if labels is not None else None
        predicted, actual, correct = judging.words(state, mark, label)
        row: dict[str, Any] = {"predicted": predicted}
        best = best_probability(state, index)
        if best is not None:
            row["score"] = best
        elif scores is not None:
            row["score"] = float(f"{scores[index]:.7g}")  # it is kept in 32 bits: no more digits mean anything
        elif type(mark) is float:
            row["score"] = mark
        if label is not None:
            row |= labelled(mark, label, actual, correct)
        if segments is not None:
            row["segments"] = segments[index]
        result.append(row)
    return result


def best_probability(state: LegState, row: int) -> float | None:
    """The highest of a row's probabilities, which is that of its class; None where it has none."""
    mark = state.marks[row]
    if state.probabilities is None or type(mark) is not int:
        return None
    size = len(state.probabilities) // len(state.marks)
    found: float = unpack_from("<d", state.probabilities, row * size + 8 * (-mark - 1))[0]
    return None if isnan(found) else found


def probability(state: LegState, row: int, numbers: Numbers, judging: Judging) -> float | None:
    """The probability of the class that a row names, from a vector or a single score; None where there is none."""
    mark = state.marks[row]
    if type(mark) is not float:
        return best_probability(state, row)
    rules = judging.rules(state.leg)
    if rules.probabilities is False or not is_score(mark, numbers.classes[state.classes], rules):
        return None
    positive = min(max(mark, 0.0), 1.0)
    return positive if mark >= rules.threshold else 1 - positive


def labelled(mark: Mark, label: Mark, actual: Any, correct: bool | None) -> dict[str, Any]:
    """What a row says of its label: whether it is correct, or by how much a measurement is off (prediction less label).

    `actual` and `correct` are as `Judging.words` has them.
    """
    if correct is not None:
        return {"label": actual, "correct": correct}
    prediction, right = number_of(mark), number_of(label)
    if prediction is None or right is None:
        return {"label": actual}
    return {"label": actual, "error": prediction - right}


def describe(
    puid: str, exchange: Exchange, numbers: Numbers, judging: Judging, segmenting: Segmenting
) -> dict[str, Any]:
    """All that is known of a puid, for people: the same for any order in which its events came."""
    legs = []
    for state in exchange.legs:
        identity = numbers.identities[state.identity] if state.time else Identity(*numbers.legs[state.leg], "")
        legs.append(
            {
                **identity_fields(identity),
                "request_time": format_time(state.request_time) if state.request_time else None,
                "response_time": format_time(state.time) if state.time else None,
                "rows": rows(state, exchange, judging, segmenting),
            }
        )
    newest = newest_feedback(exchange)
    reward = next((feedback.reward for feedback in exchange.feedbacks if feedback.flags & REWARD), None)
    return {
        "puid": puid,
        "legs": sorted(
            legs,
            key=lambda leg: tuple(
                str(leg[field]) for field in ("model_namespace", "model_service", "predictor", "model")
            ),
        ),
        "label": _labels(exchange, numbers),
        "reward": None if reward is None else reward / 1e9,
        "feedback_time": format_time(newest) if newest else None,
        "detections": [
            {"kind": tuple(Kind)[found.kind], "leg": str(numbers.legs[found.leg]), "time": format_time(found.time)}
            for found in sorted(exchange.detections, key=lambda found: (found.kind, numbers.legs[found.leg]))
            if tuple(Kind)[found.kind] is not Kind.FEEDBACK
        ],
        **({"monitors": _results(exchange.monitors, numbers)} if exchange.monitors else {}),
        "note": _note(exchange, judging),
    }


def _results(results: Sequence[Monitored], numbers: Numbers) -> list[dict[str, Any]]:
    """What monitors said, in the order of legs and monitors."""
    return [_result(one, numbers) for one in sorted(results, key=lambda one: (numbers.legs[one.leg], one.key))]


def _result(one: Monitored, numbers: Numbers) -> dict[str, Any]:
    """What a monitor said of the rows of a leg."""
    key, rows = unpacked(one.result)
    name, version = words_of(key)
    scored = [{"outcome": OUTCOMES[outcome], "value": value} for outcome, value in rows]
    return {"monitor": name, "version": version, "leg": str(numbers.legs[one.leg]), "rows": scored}


def _note(exchange: Exchange, judging: Judging) -> str | None:
    """What keeps the feedback of an exchange from counting."""
    told = bool(exchange.feedbacks or exchange.rows)
    answered = [state for state in exchange.legs if state.time]
    if not told or not answered:
        return ORPHAN if told else None
    stated = [(state, judging.statements(state, exchange)) for state in answered]
    if any(judging.labels(state, statements).mismatched for state, statements in stated):
        return MISMATCH
    labelled = bool(exchange.rows) or any(feedback.flags & LABELS for feedback in exchange.feedbacks)
    return ELSEWHERE if labelled and not any(statements for _, statements in stated) else None


def newest_feedback(exchange: Exchange) -> int:
    """The event time of the newest feedback that still says anything, 0 where there is none."""
    newest = max((feedback.time for feedback in exchange.feedbacks), default=0)
    return max([newest, *(block.time for block in row_labels(exchange))]) if exchange.rows else newest


def _labels(exchange: Exchange, numbers: Numbers) -> Any:
    """A label as one would say it: the class of a single row, else a list, or an object by row."""
    batches = [feedback for feedback in exchange.feedbacks if feedback.flags & LABELS]
    found = held(batches, row_labels(exchange), numbers.legs)
    if found.length is not None:
        marks = [_plain(found.marks.get(row)) for row in range(found.length)]
        return marks[0] if len(marks) == 1 else marks
    return {str(row): _plain(mark) for row, mark in sorted(found.marks.items())} or None


def _plain(mark: Mark) -> str | float | None:
    if mark is None or type(mark) is float:
        return mark
    return str(mark if type(mark) is str or mark >= 0 else -mark - 1)  # type: ignore[operator]

"""Read-outs of one exchange for people: the answer of `/api/exchanges/{puid}`."""

from array import array
from typing import Any, Final

from app.core.clock import format_time
from app.core.counts.numbers import Numbers
from app.core.events import Identity, Kind, identity_fields
from app.core.join.exchange import LABELS, REWARD, ROW_LABELS, Exchange, LegState
from app.core.join.judging import Judging

#: What is said of a feedback without a prediction, which becomes an orphan unless that still comes.
ORPHAN: Final = (
    "No prediction with this puid is known: send feedback with the Seldon-Puid header that the prediction returned."
)


def rows(state: LegState, exchange: Exchange, judging: Judging) -> list[dict[str, Any]]:
    """The rows of one leg: predicted, and where they are known score, label and whether it is correct."""
    labels = judging.labels(state, judging.feedbacks(state, exchange)).marks
    scores = array("f", state.scores) if state.scores else None
    result = []
    for index, mark in enumerate(state.marks):
        label = labels[index] if labels is not None else None
        predicted, actual, correct = judging.words(state, mark, label)
        row: dict[str, Any] = {"predicted": predicted}
        if scores is not None:
            row["score"] = float(f"{scores[index]:.7g}")  # it is kept in 32 bits: no more digits mean anything
        elif type(mark) is float:
            row["score"] = mark
        if label is not None:
            row["label"] = actual
            if correct is not None:
                row["correct"] = correct
        result.append(row)
    return result


def describe(puid: str, exchange: Exchange, numbers: Numbers, judging: Judging) -> dict[str, Any]:
    """All that is known of a puid, for people: the same for any order in which its events came."""
    legs = []
    for state in exchange.legs:
        identity = numbers.identities[state.identity] if state.time else Identity(*numbers.legs[state.leg], "")
        legs.append(
            {
                **identity_fields(identity),
                "request_time": format_time(state.request_time) if state.request_time else None,
                "response_time": format_time(state.time) if state.time else None,
                "rows": rows(state, exchange, judging),
            }
        )
    orphan = bool(exchange.feedbacks) and not any(state.time for state in exchange.legs)
    newest = max((feedback.time for feedback in exchange.feedbacks), default=0)
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
        ],
        "note": ORPHAN if orphan else None,
    }


def _labels(exchange: Exchange, numbers: Numbers) -> Any:
    """A label as one would say it: the class of a single row, else a list, or an object by row."""

    def plain(mark: Any) -> Any:
        return (
            mark if mark is None or type(mark) is float else str(mark if type(mark) is str or mark >= 0 else -mark - 1)
        )

    stated = sorted(
        (feedback for feedback in exchange.feedbacks if feedback.flags & (LABELS | ROW_LABELS)),
        key=lambda feedback: (
            feedback.time,
            feedback.digest,
            feedback.flags & ROW_LABELS,
            numbers.legs[feedback.named],
        ),
    )
    labels: Any = None
    for feedback in stated:
        if isinstance(feedback.labels, dict) and isinstance(labels, dict):
            labels = labels | feedback.labels
        elif isinstance(feedback.labels, dict) and isinstance(labels, list):
            labels = [feedback.labels.get(row, mark) for row, mark in enumerate(labels)]
        else:
            labels = feedback.labels
    if isinstance(labels, dict):
        return {str(row): plain(mark) for row, mark in sorted(labels.items())}
    if labels is None:
        return None
    marks = [plain(mark) for mark in labels]
    return marks[0] if len(marks) == 1 else marks

"""A label that was wrong after all: what one feedback changes, in the exchange and in the counts."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from app.demo.traffic import Mistake
from app.demo.workers import WorkerProcess

_SECONDS: Final = 10.0
_TICK_SECONDS: Final = 0.05

Report = Mapping[str, Any]  # an answer of `/api/models`


class State(NamedTuple):
    """What is known of a mistake: its label, and the rows of its model that are right and wrong."""

    label: str
    right: int
    wrong: int


class Correction(NamedTuple):
    """Before and after."""

    mistake: Mistake
    before: State
    after: State


def correct(worker: WorkerProcess, mistake: Mistake, report: Callable[[], Report]) -> Correction | None:
    """Send that what the model said was right, and wait until that is counted; None where it is not in time."""
    before = _state(worker, mistake, report())
    if before is None or not worker.give_feedback(body_of(mistake)):
        return None
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        after = _state(worker, mistake, report())
        if after is not None and after.label != before.label and after.wrong != before.wrong:
            return Correction(mistake, before, after)
        time.sleep(_TICK_SECONDS)
    return None


def body_of(mistake: Mistake) -> dict[str, Any]:
    """The feedback that corrects a mistake."""
    return {"puid": mistake.puid, "label": mistake.predicted}


def sentences_about(correction: Correction, url: str) -> str:
    """What was sent, and what that changed."""
    mistake, before, after = correction
    leg = mistake.leg
    body = f'{{"puid": "{mistake.puid}", "label": {mistake.predicted}}}'
    return (
        "A label was wrong after all. It has been corrected by\n"
        f"  curl {url}/feedback -H 'content-type: application/json' -d '{body}'\n"
        f"  puid {mistake.puid}: label {before.label} before, {after.label} now\n"
        f"  {leg.service}/{leg.predictor}/{leg.model}: {before.right} rows right and {before.wrong} wrong before, "
        f"{after.right} and {after.wrong} now (the traffic was paused)"
    )


def _state(worker: WorkerProcess, mistake: Mistake, report: Report) -> State | None:
    exchange = worker.ask(f"/api/exchanges/{mistake.puid}")
    leg = mistake.leg
    try:
        (row,) = (each["rows"][0] for each in exchange["legs"] if _is_of(each, leg))
        label = row["label"]
    except (TypeError, LookupError, ValueError):  # not known, not answered or not labelled yet
        return None
    rows = [model["rows"] for model in report["models"] if _is_of(model, leg)]
    return State(label, sum(each["correct"] for each in rows), sum(each["incorrect"] for each in rows))


def _is_of(described: Mapping[str, Any], leg: Any) -> bool:
    names = ("model_namespace", "model_service", "predictor", "model")
    return tuple(described[name] for name in names) == tuple(leg)

"""An hour of the demo's models for the page: recorded answers as canonical events that lie in the past, and the rules.

After three quarters of it the breast cancer model gets worse, as in the demo. It has a limit, segments, fairness and a
reference of its first phase; nobody has labelled the model `hello` of a third service yet, and one event is refused.
"""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from app.demo.recordings import Recording, load_recordings
from app.demo.traffic import Traffic
from tests.cli.test_cli import tally
from tests.live.story import Event, an_event
from tests.live.workers import Worker

HOUR: Final = 3600.0
#: Of the hour the last minutes are left alone: labels come up to 40 s later.
_SECONDS: Final = HOUR - 300.0
_STEP: Final = 1.0

RULES: Final = """
models:
  - match: "demo/breast-cancer/*"
    limits: {accuracy: 0.9}
    reference: histogram.prom
    segments: {radius: {field: features.mean radius, bins: [12, 15]}}
    fairness: {attribute: radius, privileged: ">=15", positive: "1"}
  - match: "*"
"""


def rules(folder: Path) -> Path:
    """The YAML file with what it names beside it."""
    recording = next(one for one in load_recordings() if one["service"] == "breast-cancer")
    _training(recording, folder / "training.csv")
    done = tally("reference", "build", folder / "training.csv", "--output", folder / "histogram.prom")
    assert done.exit_code == 0, done.output
    file = folder / "tally.yaml"
    file.write_text(RULES)
    return file


def _training(recording: Recording, file: Path) -> None:
    with file.open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(recording["feature_names"])
        writer.writerows(row["features"] for row in recording["phases"][0]["rows"])


def events(now: float, *, per_second: float = 1.0, seed: int = 11) -> Iterator[Event]:
    """What the hour before `now` has brought, in the order of time."""
    begin = now - HOUR
    traffic = Traffic(load_recordings(), begin, seed=seed, per_second=per_second, drift_after=HOUR * 0.75)
    for step in range(int(_SECONDS / _STEP)):
        for sent in traffic.until(begin + step * _STEP):
            headers = [*sent.event.headers]
            yield Event(sent.kind.name.lower(), sent.event.key, sent.event.value, headers, int(sent.at * 1000))
    hello = ("demo", "hello", "default", "m")
    micros = int((now - 60) * 1e6)
    for number in range(12):
        puid = f"hello-{number}"
        yield an_event("request", puid, hello, micros, {"data": {"ndarray": [[1.5]]}})
        yield an_event("response", puid, hello, micros + 10, {"data": {"ndarray": [number % 2]}})
    yield an_event("feedback", "hello-0", hello, micros + 20, {"truth": {"data": {"ndarray": [1]}}})
    yield an_event("response", "broken", hello, micros, {"data": {"ndarray": [float("nan")]}})


def is_counted(worker: Worker, events: Iterable[Event]) -> bool:
    """Whether a worker has counted the feedback among these events."""
    feedbacks = sum(event.kind == "feedback" for event in events)
    counted = (
        value
        for (name, labels), value in worker.series().items()
        if name == "tally_events_total" and ("kind", "feedback") in labels
    )
    return sum(counted) >= feedbacks

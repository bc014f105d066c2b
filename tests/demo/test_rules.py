"""What moves in the demo's inputs is seen before the labels of it come."""

from itertools import groupby
from pathlib import Path
from typing import Final

from app.core.counts.panes import PaneClock, Window
from app.core.events import Identity
from app.core.ledger import Ledger
from app.core.outputs.overview import Choice, gather, line_of, usual_window
from app.core.wire.records import Record, pack_headers
from app.demo.recordings import load_recordings
from app.demo.rules import write_rules
from app.demo.traffic import Traffic
from app.models_file import load_rulebook
from tests.core.outputs.test_overview import finished

BEGIN: Final = 1_795_000_000.0
DRIFT_AFTER: Final = 45
WINDOWS: Final = (Window("1m", 60), Window("5m", 300))
MODEL: Final = Identity("demo", "breast-cancer", "default", "current", "1.4")


def test_the_worsening_model_shows_its_input_before_its_labels(tmp_path: Path) -> None:
    recordings = load_recordings()
    ledger = Ledger(load_rulebook(write_rules(tmp_path, recordings)), clock=PaneClock(pane_seconds=5), windows=WINDOWS)
    traffic = Traffic(recordings, BEGIN, seed=9, drift_after=DRIFT_AFTER)
    said: dict[int, str] = {}
    for second in range(1, 100):
        now = BEGIN + second
        for kind, events in groupby(traffic.until(now), key=lambda sent: sent.kind):
            records = [
                Record(0, int(sent.at * 1000), sent.event.key, sent.event.value, pack_headers([*sent.event.headers]))
                for sent in events
            ]
            ledger.take(kind.name.lower(), records)
        ledger.write(now)
        if second > DRIFT_AFTER - 5 and second % 3 == 0:
            said[second] = attention(ledger, now)
    drifted = [second for second, why in said.items() if "mean radius has drifted" in why]
    fell = [second for second, why in said.items() if "accuracy is lower since" in why]
    assert DRIFT_AFTER < drifted[0] < fell[0] - 3, (drifted[0], fell[0])
    assert drifted == [second for second in said if second >= drifted[0]]
    others = [why for why in said.values() if "drifted" in why and "mean radius has drifted" not in why]
    assert not others


def attention(ledger: Ledger, now: float) -> str:
    readings = ledger.readings()
    choice = Choice(usual_window(readings))
    steps = gather(readings, PaneClock(pane_seconds=5), MODEL, readings.view.identities(), choice, now)
    return line_of(finished(steps), choice.window)["attention"]["why"]

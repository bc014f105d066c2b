"""Monitors of a real data set beside real workers: one that finds outliers, and those that fail."""

import hashlib
import json
import time
import uuid
from pathlib import Path
from typing import Any, Final

import joblib
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import IsolationForest

from tests.cli.test_cli import tally
from tests.live.servers import Kafka
from tests.live.story import Event, an_event
from tests.live.workers import Fleet, produce, said_in_total, topic_settings, wait_for

LEG: Final = ("clinic", "tumour", "default", "forest")
#: How each of these fails. Other ways, and what is said of rows: tests/worker/monitors.
FAILING: Final = {
    "raises": "def score(inputs, outputs):\n    raise RuntimeError('no')\n",
    "hangs": "import time\ndef score(inputs, outputs):\n    time.sleep(600)\n",
    "dies": "import os\ndef score(inputs, outputs):\n    os.kill(os.getpid(), 9)\n",
}


def events(rows: Any, predicted: Any, start: int, beginning: int) -> list[Event]:
    found = []
    for number, (row, answer) in enumerate(zip(rows, predicted, strict=True), beginning):
        puid, micros = f"p{number}", start + number * 1000
        asked = {"data": {"ndarray": [row.tolist()]}}
        found.append(an_event("request", puid, LEG, micros, asked))
        found.append(an_event("response", puid, LEG, micros + 10, {"data": {"ndarray": [float(answer)]}}))
    return found


def monitors(fleet: Fleet) -> dict[str, dict[str, Any]]:
    return said_in_total(fleet, "monitors", "monitor")


def test_each_row_is_scored_once_and_a_monitor_that_fails_is_counted_as_that(kafka: Kafka, tmp_path: Path) -> None:
    data = load_breast_cancer().data
    order = np.random.default_rng(5).permutation(len(data))
    trained, asked = data[order[:300]], data[order[300:]]
    answers = (asked[:, 0] > 15).astype(float)
    fitted = np.hstack([trained, (trained[:, [0]] > 15).astype(float)])
    forest = IsolationForest(contamination=0.04, random_state=1, n_estimators=50).fit(fitted)
    joblib.dump(forest, tmp_path / "forest.joblib")
    digest = hashlib.sha256((tmp_path / "forest.joblib").read_bytes()).hexdigest()
    entries = [f"forest: {{model: forest.joblib, digest: '{digest}', alert_when: '< 0'}}"]
    for name, code in FAILING.items():
        (tmp_path / f"{name}.py").write_text(code)
        entries.append(f"{name}: {{file: {name}.py, alert_when: '> 0', timeout: 1s, memory: 256MiB}}")
    config = tmp_path / "tally.yaml"
    lines = "".join(f"\n      {entry}" for entry in entries)
    config.write_text(f"models:\n  - match: 'clinic/*'\n    monitors:{lines}\n")
    settings = topic_settings(kafka.bootstrap, f"monitors-{uuid.uuid4().hex[:8]}")
    settings |= {
        "PARTITIONS": "2",
        "CONFIG": str(config),
        "SESSION_TIMEOUT": "6s",
        "SCRAPE_INTERVAL": "1s",
        "LOG_TOPIC": f"log-{uuid.uuid4().hex[:8]}",
    }
    half = len(asked) // 2
    start = int((time.time() - 60) * 1_000_000)
    with Fleet(tmp_path, settings) as fleet:
        first = fleet.start()
        wait_for("it is ready", first.ready)
        produce(settings, events(asked[:half], answers[:half], start, 0))
        wait_for("some is scored", lambda: "forest" in monitors(fleet))
        first.kill()  # and with it the runner, and all processes of monitors
        second = fleet.start()
        wait_for("the other one is ready", second.ready)
        produce(settings, events(asked[half:], answers[half:], start, half))

        def scored() -> bool:
            found = monitors(fleet)
            return all(
                name in found and sum(found[name][outcome] for outcome in ("ok", "alert", "failed")) == len(asked)
                for name in ("forest", *FAILING)
            )

        wait_for("all is scored", scored)
        found = monitors(fleet)
        values = forest.decision_function(np.hstack([asked, answers[:, None]]))
        assert (found["forest"]["alert"], found["forest"]["failed"]) == (int((values < 0).sum()), 0)
        assert abs(found["forest"]["mean"] - values.mean()) < 1e-12
        for name in FAILING:
            assert found[name]["failed"] == len(asked), name
            assert found[name]["mean"] is None
            results = json.loads(second.get("/api/exchanges/p0"))["monitors"]
            assert [row["outcome"] for one in results if one["monitor"] == name for row in one["rows"]] == ["failed"]
        none = {("tally_monitor_lag_records", (("monitor", name),)): 0 for name in ("forest", *FAILING)}
        wait_for("no record waits for any", lambda: none.items() <= second.series().items())
        environment = {f"TALLY_{name}": value for name, value in settings.items()}

        def all_committed() -> bool:  # which a group does once a second
            checked = tally("check", **environment)
            groups = [f"{settings['APP_ID']}-monitors-{name}" for name in ("forest", *FAILING)]
            return checked.exit_code == 0 and all(
                f"{group}, Stable, 1 member; 0 events behind" in checked.output for group in groups
            )

        wait_for("`tally check` says that no group is behind", all_committed)
        config.write_text(config.read_text().replace("alert_when: '< 0'", "alert_when: '< -9'"))
        name = "tally_monitor_threshold"
        wait_for(
            "the threshold is another",
            lambda: any(of == name and value == -9 for (of, _), value in second.series().items()),
        )

"""Inputs that move alert before any label comes: a feature of a real data set is shifted at half time.

Scikit-learn's diabetes data, a model of it with a reference, and as in Hydrosphere's tutorial an isolation forest over
inputs and outputs (contamination 0.04) as its monitor. The rules are those that are shipped, with seconds in the place
of minutes.
"""

import hashlib
import json
import re
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import Ridge

from app.core.drift.building import distribution_of
from app.core.drift.reference import Reference
from app.reference_file import write_reference
from tests.deploy.promtool import ALERTS
from tests.live.servers import Elasticsearch, Kafka, alertmanager, prometheus, query
from tests.live.story import Event, an_event
from tests.live.test_alerting import PROMETHEUS, pager, quick, routes
from tests.live.workers import Fleet, produce, topic_settings, wait_for
from tests.patience import PATIENCE

LEG: Final = ("clinic", "diabetes", "default", "ridge")
SHIFTED: Final = "bmi"
#: Rows at once, about twice a second.
ROWS: Final = 20
RULES: Final = """
models:
  - match: "clinic/*"
    task: regression
    reference: histogram.prom
    monitors:
      outliers: {{model: forest.joblib, digest: "{digest}", alert_when: "< 0", hold: 30, clear: 15}}
"""


class Clinic(threading.Thread):
    """Rows of the data set in an order of chance, with what the model answers; once `shifted`, by one column."""

    def __init__(self, settings: Mapping[str, Any], rows: Any, column: int, model: Ridge) -> None:
        super().__init__()
        self.shifted = False
        self.asked: dict[str, Any] = {}
        self._settings, self._rows, self._column, self._model = dict(settings), rows, column, model
        self._chance = np.random.default_rng(7)
        self._over = threading.Event()

    def run(self) -> None:
        begun, sent = time.monotonic(), 0
        while not self._over.wait(0.5):
            due = int((time.monotonic() - begun) / 0.5)  # on a busy machine too: of fewer rows chance makes more
            produce(self._settings, [event for _ in range(due - sent) for event in self._events()])
            sent = due

    def _events(self) -> Iterator[Event]:
        now = time.time_ns() // 1000
        rows = self._rows[self._chance.permutation(len(self._rows))[:ROWS]].copy()
        if self.shifted:
            rows[:, self._column] += 4 * self._rows[:, self._column].std()
        for row, answer in zip(rows, self._model.predict(rows), strict=True):
            puid = uuid.uuid4().hex
            self.asked[puid] = [*row, answer]
            yield an_event("request", puid, LEG, now, {"data": {"ndarray": [row.tolist()]}})
            yield an_event("response", puid, LEG, now, {"data": {"ndarray": [float(answer)]}})

    def end(self) -> None:
        self._over.set()
        self.join()


def prepare(folder: Path) -> tuple[Any, int, Ridge, IsolationForest]:
    """Write the reference, the monitor and the YAML file; the rows, the column to shift, and the models."""
    data = load_diabetes(scaled=False)
    names, rows = list(data.feature_names), data.data
    model = Ridge().fit(rows, data.target)
    together = np.column_stack([rows, model.predict(rows)])
    forest = IsolationForest(contamination=0.04, random_state=1, n_estimators=50).fit(together)
    joblib.dump(forest, folder / "forest.joblib")
    digest = hashlib.sha256((folder / "forest.joblib").read_bytes()).hexdigest()
    features = [distribution_of(name, rows[:, place].tolist()) for place, name in enumerate(names)]
    write_reference(folder / "histogram.prom", Reference(tuple(features)))
    (folder / "tally.yaml").write_text(RULES.format(digest=digest))
    (folder / "alerts.yaml").write_text(re.sub(r"\bfor: \d+m", "for: 2s", quick(ALERTS)))
    return rows, names.index(SHIFTED), model, forest


def fired(told: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Each alert that fired, as often as it began: what it is, and of what."""
    begun = {
        (one["labels"]["alertname"], one["labels"].get("feature") or one["labels"].get("monitor", ""), one["startsAt"])
        for message in told
        for one in message["alerts"]
        if one["status"] == "firing" and one["labels"].get("about") == "model"
    }
    return sorted((name, of) for name, of, _ in begun)


def document(server: Elasticsearch, index: str, puid: str) -> dict[str, Any]:
    request = urllib.request.Request(f"{server.url}/{index}/_doc/{puid}")  # noqa: S310 - as made above
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as reply:  # noqa: S310 - the same
            return dict(json.load(reply)["_source"])
    except urllib.error.HTTPError:
        return {}


@pytest.mark.usefixtures("prometheus_binary")
def test_a_shifted_feature_alerts_once_and_so_does_the_detector_of_outliers(
    kafka: Kafka, elasticsearch: Elasticsearch, tmp_path: Path
) -> None:
    rows, column, model, forest = prepare(tmp_path)
    name = f"inputs-{uuid.uuid4().hex[:8]}"
    settings = topic_settings(kafka.bootstrap, name) | {
        "PARTITIONS": "2", "SCRAPE_INTERVAL": "1s", "PANE_SECONDS": "1", "WINDOWS": "10s,30s",
        "LOG_TOPIC": f"{name}-log", "CONFIG": str(tmp_path / "tally.yaml"), "ELASTICSEARCH_URL": elasticsearch.url,
    }  # fmt: skip
    clinic = Clinic(settings, rows, column, model)
    with (
        Fleet(tmp_path, settings) as fleet,
        pager() as (page, told),
        alertmanager(tmp_path, routes(page, "team")) as alerts,
    ):
        worker = fleet.start()
        wait_for("the worker is ready", worker.ready)
        config = PROMETHEUS.format(
            rules=tmp_path / "alerts.yaml",
            alertmanager=alerts.url.removeprefix("http://"),
            targets=[f"127.0.0.1:{worker.port}"],
        )
        with prometheus(tmp_path, config) as server:

            def ask(expression: str) -> float:
                return max((value for _, value in query(server.url, expression)), default=0)

            clinic.start()
            try:
                wait_for("a window is full of rows", lambda: ask('tally_feature_rows{window="10s"}') > 150)
                scored = 'sum(tally_window_monitor_rows{window="10s",outcome=~"ok|alert"})'
                wait_for("so it is of values", lambda: ask(scored) > 150)
                time.sleep(4)  # longer than what an alert waits for
                assert fired(told) == []
                clinic.shifted = True
                wait_for("both alert", lambda: len(fired(told)) >= 2)
                time.sleep(5)
            finally:
                clinic.end()
        assert fired(told) == [("TallyFeatureDrifted", SHIFTED), ("TallyMonitorAlerts", "outliers")]
        puid = next(reversed(clinic.asked))
        index = "inference-log-seldon-clinic-diabetes-default"

        def result() -> dict[str, Any]:
            return dict(document(elasticsearch, index, puid).get("monitors", {}).get("outliers", {}))

        wait_for("its value is in the document", lambda: bool(result()))
        assert result()["value"] == pytest.approx(forest.decision_function([clinic.asked[puid]])[0])

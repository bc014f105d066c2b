"""A model that gets worse pages once, with its name and number, through the death of the worker that exports it.

The rules and the routes are those that are shipped, with seconds in the place of minutes and hours.
"""

import json
import re
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.deploy.promtool import ALERTS, ROOT
from tests.live.servers import Alertmanager, Kafka, alertmanager, binary, prometheus, query
from tests.live.story import Event, an_event
from tests.live.workers import Fleet, Worker, produce, topic_settings, wait_for
from tests.patience import PATIENCE

LEG: Final = ("bank", "fraud", "default", "clf")
RULES: Final = "models: [{match: 'bank/fraud/*', task: binary, positive: '1', limits: {accuracy: 0.9}}]"
UNDER: Final = "TallyScoreUnderLimit"
#: In place of the times of the shipped files. The rules remember more than a takeover takes here, as those do, however
#: busy the machine is.
QUICK: Final = {
    "1h": "10s", "24h": "30s", "[2m]": "[90s]", "for: 5m": "for: 2s", "keep_firing_for: 5m": "keep_firing_for: 2s",
    "group_wait: 30s": "group_wait: 1s", "group_interval: 5m": "group_interval: 1s",
}  # fmt: skip
PROMETHEUS: Final = """
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{alertmanager}']}}]}}]}}
scrape_configs:
  - job_name: tally
    static_configs: [{{targets: {targets}}}]
"""


def quick(file: Path) -> str:
    text = file.read_text()
    for slow, fast in QUICK.items():
        text = re.sub(rf"(?<![\w.]){re.escape(slow)}", fast, text)
    return text


class Bank(threading.Thread):
    """Thirty predictions a second of one model, with their labels, of which so many in ten are right."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.right = 10
        self._made = 0
        self._settings = dict(settings)
        self._over = threading.Event()

    def run(self) -> None:
        begun = time.monotonic()
        while not self._over.wait(0.5):
            produce(self._settings, self._events(int(30 * (time.monotonic() - begun))))

    def _events(self, until: int) -> Iterator[Event]:
        """Those up to a number: as many a second on a machine that is slow."""
        now = time.time_ns() // 1000
        for number in range(self._made, until):
            puid, label = uuid.uuid4().hex, number % 2
            answer = label if number % 10 < self.right else 1 - label
            yield an_event("request", puid, LEG, now, {"data": {"ndarray": [[1.0]]}})
            yield an_event("response", puid, LEG, now, {"data": {"ndarray": [answer]}})
            yield an_event("feedback", puid, LEG, now, {"truth": {"data": {"ndarray": [label]}}})
        self._made = until

    def end(self) -> None:
        self._over.set()
        self.join()


@contextmanager
def pager() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """What Alertmanager calls, and all that it has been told."""
    told: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", told
        finally:
            server.shutdown()
            thread.join()


def routes(page: str, receiver: str = "page") -> str:
    """The shipped configuration, with the pager in a place that waits for one."""
    config = yaml.safe_load(quick(ROOT / "k8s/alertmanager.yml"))
    receivers = {receiver["name"]: receiver for receiver in config["receivers"]}
    receivers[receiver]["webhook_configs"] = [{"url": page, "send_resolved": True}]
    return yaml.safe_dump(config)


def active(server: Alertmanager) -> list[str]:
    """The alerts of the model as amtool shows them."""
    command = [binary("amtool", package="prometheus-alertmanager"), f"--alertmanager.url={server.url}"]
    shown = subprocess.run(
        [*command, "alert", "query", "about=model", "severity=critical"], capture_output=True, text=True, check=True
    )
    return shown.stdout.splitlines()[1:]


def exporters(fleet: Fleet) -> list[Worker]:
    return [worker for worker in fleet.running() if worker.series("tally_score")]


@pytest.mark.usefixtures("prometheus_binary")
def test_a_model_that_gets_worse_pages_once(kafka: Kafka, tmp_path: Path) -> None:
    settings = topic_settings(kafka.bootstrap, f"alerts-{uuid.uuid4().hex[:8]}") | {
        "PARTITIONS": "4", "SESSION_TIMEOUT": "3s", "SCRAPE_INTERVAL": "1s", "PANE_SECONDS": "1", "WINDOWS": "10s,30s",
        "CONFIG": str(tmp_path / "tally.yaml"),
    }  # fmt: skip
    (tmp_path / "tally.yaml").write_text(RULES)
    (tmp_path / "alerts.yaml").write_text(quick(ALERTS))
    with Fleet(tmp_path, settings) as fleet, pager() as (page, told), alertmanager(tmp_path, routes(page)) as alerts:
        workers = [fleet.start(), fleet.start()]
        wait_for("both are ready", lambda: all(worker.ready() for worker in workers))
        config = PROMETHEUS.format(
            rules=tmp_path / "alerts.yaml",
            alertmanager=alerts.url.removeprefix("http://"),
            targets=[f"127.0.0.1:{worker.port}" for worker in workers],
        )
        bank = Bank(settings)
        with prometheus(tmp_path, config) as server:
            bank.start()
            try:
                wait_for("a hundred rows are watched", lambda: is_watched(server.url))
                assert active(alerts) == []
                bank.right = 6
                wait_for("somebody is paged", lambda: bool(told))
                (alert,) = told[0]["alerts"]
                assert alert["labels"]["alertname"] == UNDER
                assert re.fullmatch(
                    r"fraud/default/clf: accuracy is 0\.\d+, under its limit", alert["annotations"]["summary"]
                )
                (line,) = active(alerts)
                assert line.startswith(UNDER)
                assert "active" in line
                assert "fraud/default/clf" in line

                wait_for("one of them exports", lambda: len(exporters(fleet)) == 1)
                (exporter,) = exporters(fleet)
                exporter.kill()
                killed = time.monotonic()
                while not exporters(fleet) or time.monotonic() < killed + 10:
                    assert time.monotonic() < killed + PATIENCE, fleet.logs()
                    assert len(active(alerts)) == 1
                    time.sleep(0.2)
                assert len(told) == 1, told

                bank.right = 10
                wait_for("its end is told", lambda: len(told) > 1)
                assert active(alerts) == []
                time.sleep(3)
            finally:
                bank.end()
        assert [(one["status"], one["groupLabels"]["model_service"]) for one in told] == [
            ("firing", "fraud"),
            ("resolved", "fraud"),
        ]


def is_watched(url: str) -> bool:
    return any(value >= 100 for _, value in query(url, 'tally:watched_samples{score="accuracy"}'))

"""Every expression of every dashboard, in every value of its variables, on a Prometheus that has scraped the demo."""

import math
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from app.core.drift.distribution import Distribution
from app.core.drift.reference import LABEL, PREDICTION, Reference
from app.demo.recordings import load_recordings
from app.demo.traffic import Traffic
from app.reference_file import write_reference
from k8s.dashboards.words import SELECTED
from tests.deploy.boards import Asked, asked, boards, filled_in, variables
from tests.deploy.promtool import ALERTS
from tests.live.servers import Kafka, prometheus, query
from tests.live.story import Event, an_event
from tests.live.workers import Fleet, produce, topic_settings, wait_for

PROMETHEUS: Final = """
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: tally
    static_configs: [{{targets: {targets}}}]
"""
RULES: Final = """
models:
  - match: demo/breast-cancer/*
    segments: {size: {field: features.mean radius, bins: [14]}}
    fairness: {attribute: size, privileged: ">=14", positive: "1"}
    intervals: true
    limits: &limits {accuracy: 1.0, precision: 1.0, recall: 1.0, recall/1: 1.0, precision/1: 1.0, f1/1: 1.0,
      specificity: 1.0, specificity/1: 1.0, reward_mean: 1.0, coverage: 1.0}
  - {match: demo/iris/*, intervals: true, limits: *limits}
  - match: bank/price/*
    limits: {coverage: 1.0, mae: 0.1, rmse: 0.1, bias: 0.1, r2: 1.0}
    reference: histogram.prom
    features: {size: {max: 30}}
    monitors: {price: {file: price.py, alert_when: "> 30"}}
"""
REFERENCE: Final = Reference(
    (
        Distribution("size", "continuous", (5.0, 10.0, 20.0), (), (1, 50, 49)),
        Distribution("land", "categorical", (), ("DE", "FR"), (50, 50)),
    ),
    Distribution(PREDICTION, "continuous", (5.0, 20.0), (), (1, 99)),
    None,
    Distribution(LABEL, "continuous", (5.0, 20.0), (), (1, 99)),
)
#: All models, where a dashboard lets none be chosen.
MODELS: Final = dict.fromkeys(("namespace", "service", "predictor", "model", "version"), ".*")
#: What has no data while all is well, or where nothing was set: each is empty rightly here, in some value at least.
MAY_BE_EMPTY: Final = {
    ("overview", "Alerts that fire"),
    ("overview", "Scores that miss their limits"),
    ("worker", "Refused"),
    ("worker", "HTTP, 99 % within"),
}
#: What only a version has that came after another one: each has data of all versions together.
OF_VERSIONS: Final = {
    ("drift", title)
    for title in (
        "PSI of answers, against the version before", "PSI of features, against the version before", "Versions"
    )
}  # fmt: skip


def demo() -> Iterator[Event]:
    """A minute of the demo's traffic, that ends now; a model that predicts numbers, in two versions; and something
    that is refused.
    """
    begin = time.time() - 60
    traffic = Traffic(load_recordings(), begin, seed=1)
    for second in range(80):
        for sent in traffic.until(begin + second):
            stamp = min(int(sent.at * 1000), int(time.time() * 1000))
            yield Event(sent.kind.value, sent.event.key, sent.event.value, list(sent.event.headers), stamp)
    leg = ("bank", "price", "default", "forest")
    for number in range(40):
        puid, asked_at = uuid.uuid4().hex, int((begin + number) * 1_000_000)
        yield an_event("request", puid, leg, asked_at, {"data": {"ndarray": [[number, "DE"]]}})
        answer = {"data": {"ndarray": [number + 0.5]}, "model_version": str(1 + number % 2)}
        yield an_event("response", puid, leg, asked_at, answer)
        yield an_event("feedback", puid, leg, asked_at, {"truth": {"data": {"ndarray": [number + 0.25]}}})
    yield an_event("request", "x", leg, int(begin * 1_000_000), {})._replace(value=b"no JSON")


def faults(one: Asked, found: list[tuple[dict[str, str], float]], tasks: set[str]) -> Iterator[str]:
    """What is wrong with an answer about models of these tasks."""
    if not found:
        of_others = "mae" in one.expression and "regression" not in tasks
        of_others |= 'score="accuracy"' in one.expression and tasks == {"regression"}
        if (one.board, one.panel) not in MAY_BE_EMPTY | OF_VERSIONS and not of_others:
            yield "has no data"
        return
    shown = [filled_legend(one.legend, labels) if one.legend else tuple(sorted(labels.items())) for labels, _ in found]
    if one.legend and not one.is_table and len(set(shown)) < len(shown):
        yield f"shows two series as one: {sorted(map(str, shown))}"
    missing = [line for line in shown if isinstance(line, str) and "{{" in line]
    if missing:
        yield f"has no label for {missing[0]}"
    if not one.legend and not one.is_table and len(found) != 1:
        yield f"is one number of {len(found)}"
    beyond = [value for _, value in found if not (-1e-9 <= value <= 1 + 1e-9 or math.isnan(value))]
    if one.unit == "percentunit" and beyond and not one.is_table and "cpu" not in one.expression:
        yield f"is no share: {beyond}"


def filled_legend(legend: str, labels: dict[str, str]) -> str:
    optional = {"model_version", "class", "value"}
    for name in {*labels, *optional}:
        legend = legend.replace(f"{{{{{name}}}}}", labels.get(name, ""))
    return legend


def choices(url: str, board: dict[str, Any], at: float) -> list[dict[str, str]]:
    """Each value of each variable at a time, with the others as they are at first."""
    first = {"window": "1h"}
    asked_for = variables(board)
    everything = {name: first.get(name, ".*") for name in asked_for}
    found = [everything]
    for name, (selector, label) in asked_for.items():
        values = query(url, f"group by ({label}) ({filled_in(selector, everything)})", at)
        assert values, f"the variable {name} has no value: {selector}"
        own = {labels.get(label, "") for labels, _ in values}
        assert name not in first or first[name] in own, (name, own)
        found += [everything | {name: value} for value in sorted(own)]
    return found


@pytest.mark.usefixtures("prometheus_binary")
def test_every_panel_shows_what_it_should(kafka: Kafka, tmp_path: Path) -> None:
    name = f"boards-{uuid.uuid4().hex[:8]}"
    (tmp_path / "tally.yaml").write_text(RULES)
    (tmp_path / "price.py").write_text("def predict(output, **inputs):\n    return output\n")
    write_reference(tmp_path / "histogram.prom", REFERENCE)
    settings = topic_settings(kafka.bootstrap, name) | {
        "PARTITIONS": "4", "SESSION_TIMEOUT": "3s", "SCRAPE_INTERVAL": "1s", "CONFIG": str(tmp_path / "tally.yaml"),
        # Canonical events are read from a topic of any name; where documents would go nobody answers.
        "INTAKE_TOPICS": f"{name}-source", "ELASTICSEARCH_URL": "http://127.0.0.1:9", "LOG_TOPIC": f"{name}-log",
    }  # fmt: skip
    source = settings | {f"{kind}_TOPIC": f"{name}-source" for kind in ("REQUEST", "RESPONSE", "FEEDBACK")}
    create(kafka, f"{name}-source")
    with Fleet(tmp_path, settings) as fleet:
        workers = [fleet.start(), fleet.start()]
        wait_for("both are ready", lambda: all(worker.ready() for worker in workers))
        targets = [f"127.0.0.1:{worker.port}" for worker in workers]
        with prometheus(tmp_path, PROMETHEUS.format(rules=ALERTS, targets=targets)) as server:
            wait_for("both are scraped", lambda: len(query(server.url, "up == 1")) == 2)
            produce(source, demo())
            wait_for("all is counted", lambda: caught_up(fleet))
            wait_for("models are scraped", lambda: len(query(server.url, "tally_model_info")) == 6)
            wait_for("rows are scored", lambda: len(query(server.url, "tally_monitor_rows > 0")) == 4)
            time.sleep(3)
            at = time_of_all(server.url)  # of one moment, since a worker that is busy may be missed by the next scrape
            wrong, tried, with_data = [], 0, set()
            for board, content in boards().items():
                for values in choices(server.url, content, at):
                    selected = filled_in(f"tally_model_info{{{SELECTED}}}", MODELS | values)
                    tasks = {labels["task"] for labels, _ in query(server.url, selected, at)}
                    for one in asked():
                        if one.board != board:
                            continue
                        found = query(server.url, filled_in(one.expression, values), at)
                        tried += 1
                        if found:
                            with_data.add((board, one.panel))
                        wrong += [
                            f"{board}: {one.panel} {said}; {values}; {one.expression}"
                            for said in faults(one, found, tasks)
                        ]
    assert not wrong, "\n".join(wrong)
    assert with_data >= OF_VERSIONS
    assert tried > 1000


def time_of_all(url: str) -> float:
    """A time at which all was there, and had been for some seconds."""
    times: list[float] = []

    def is_one() -> bool:
        times.append(time.time() - 2)  # what was scraped until then is stored by now
        up = query(url, "min_over_time(up[5s]) == 1", times[-1])
        models = query(url, "count_over_time(tally_model_info[5s]) >= 4", times[-1])
        rows = query(url, "tally_monitor_rows > 0", times[-1])
        return (len(up), len(models), len(rows)) == (2, 6, 4)

    wait_for("all has been scraped for some seconds", is_one)
    return times[-1]


def caught_up(fleet: Fleet) -> bool:
    return fleet.total("tally_lag_events") + fleet.total("tally_intake_lag_events") == 0


def create(kafka: Kafka, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.create_topics([NewTopic(topic, 2, 1)])[topic].result(30)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([], "has no data"),
        ([({"class": "a", "service": "s"}, 1.0), ({"class": "a", "service": "t"}, 0.5)], "shows two series as one"),
        ([({"service": "s"}, 1.5)], "is no share"),
        ([({"service": "s"}, 0.5)], ""),
        ([({"service": "s"}, math.nan)], ""),
    ],
)
def test_a_mistake_in_a_panel_is_found(found: list[tuple[dict[str, str], float]], said: str) -> None:
    one = Asked("binary", "Accuracy", "tally_score", "{{class}}", "percentunit", is_table=False)
    assert "".join(faults(one, found, {"binary"})).startswith(said)
    assert said or not list(faults(one, found, {"binary"}))


def test_a_label_that_a_legend_names_is_missed() -> None:
    one = Asked("binary", "Accuracy", "tally_score", "{{shadow}}", "percentunit", is_table=False)
    assert list(faults(one, [({"service": "s"}, 1.0)], {"binary"})) == ["has no label for {{shadow}}"]

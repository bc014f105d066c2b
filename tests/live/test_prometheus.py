"""A real Prometheus scrapes two workers: the seed's expressions, unchanged, give their arithmetic over right counts."""

import math
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import pytest

from app.core.drift.distribution import Distribution
from app.core.drift.reference import PREDICTION, Reference
from app.core.events import Reason
from app.reference_file import write_reference
from tests.live.servers import Kafka, prometheus, query
from tests.live.story import Event, an_event, expected, traffic
from tests.live.test_bad_input import BAD
from tests.live.test_exactness import COMMON
from tests.live.workers import Fleet, Series, assert_counts, produce, topic_settings, wait_for

CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: tally
    static_configs: [{{targets: [{targets}]}}]
"""

VERSION = "1.0"


#: What boxkite's dashboard asks of a class, and of a number: examples/grafana-prometheus/metrics/dashboards/model.json
DIVERGENCE = """sum(
(sum(F_baseline_total) by (bin) + 1) / ignoring (bin) group_left() (sum(F_baseline_total) + count(sum(F_baseline_total) by (bin))) * ln(
((sum(F_baseline_total) by (bin) + 1) / ignoring (bin) group_left() (sum(F_baseline_total) + count(sum(F_baseline_total) by (bin)))) /
((sum(increase(F_total[1m])) by (bin) + 1) / ignoring (bin) group_left() (sum(increase(F_total[1m])) + count(sum(F_total) by (bin))))
)) + sum(
(sum(increase(F_total[1m])) by (bin) + 1) / ignoring (bin) group_left() (sum(increase(F_total[1m])) + count(sum(F_total) by (bin))) * ln(
((sum(increase(F_total[1m])) by (bin) + 1) / ignoring (bin) group_left() (sum(increase(F_total[1m])) + count(sum(F_total) by (bin)))) /
((sum(F_baseline_total) by (bin) + 1) / ignoring (bin) group_left() (sum(F_baseline_total) + count(sum(F_baseline_total) by (bin))))
))""".replace("F", "inference_value")  # noqa: E501
DISTANCE = """topk(1, abs(
sum(F_baseline_bucket) by (le) / ignoring(le) group_left max(sum(F_baseline_bucket) by (le)) -
sum(increase(F_bucket[1m])) by (le) / ignoring(le) group_left max(sum(increase(F_bucket[1m])) by (le))
))""".replace("F", "feature_0_value")
BOXKITE: Final = ("boxkite", "ages", "default", "clf")
AGES = Distribution("age", "continuous", (18.0, 30.0, 65.0), (), (10, 50, 40))
ANSWERS = Distribution(PREDICTION, "categorical", (), ("0", "1"), (70, 30))


def _asked(begin: int, ages: Iterable[int], answer: int) -> Iterator[Event]:
    now = time.time_ns() // 1000
    for number, age in enumerate(ages, begin):
        yield an_event("request", f"age-{number}", BOXKITE, now, {"data": {"ndarray": [[age]]}})
        yield an_event("response", f"age-{number}", BOXKITE, now, {"data": {"ndarray": [answer]}})


def _plain(events: Iterable[Event]) -> list[Event]:
    """The traffic with one version a model, as the seed's dashboards expect: they sum over no versions."""
    return [event._replace(value=event.value.replace(b":1.1", b":1.0")) for event in events]


def _outcomes(wanted: Series, service: str, of_class: str, outcome: str) -> float:
    labels = {
        "model_namespace": "demo",
        "model_service": service,
        "predictor": "default",
        "model": "forest" if service == "iris" else "logistic",
        "model_version": VERSION,
        "class": of_class,
        "outcome": outcome,
    }
    return wanted["tally_class", tuple(sorted(labels.items()))]


@pytest.mark.usefixtures("prometheus_binary")
def test_seed_expressions(kafka: Kafka, tmp_path: Path) -> None:
    events = _plain(traffic(3_000, seed=15))
    wanted = expected(events)
    write_reference(tmp_path / "histogram.prom", Reference((AGES,), ANSWERS))
    (tmp_path / "tally.yaml").write_text("models: [{match: 'boxkite/*', reference: histogram.prom}, {match: '*'}]")
    settings = topic_settings(kafka.bootstrap, f"prometheus-{uuid.uuid4().hex[:8]}") | COMMON | {"PARTITIONS": "4"}
    settings |= {"CONFIG": str(tmp_path / "tally.yaml"), "BOXKITE_SERIES": "true"}
    with Fleet(tmp_path, settings) as fleet:
        workers = [fleet.start(), fleet.start()]
        wait_for("both are ready", lambda: all(worker.ready() for worker in workers))
        produce(settings, events)
        assert_counts(fleet, wanted)
        targets = ", ".join(f"'127.0.0.1:{worker.port}'" for worker in workers)
        (tmp_path / "prometheus").mkdir()
        with prometheus(tmp_path / "prometheus", CONFIG.format(targets=targets)) as server:

            def ask(expression: str) -> dict[str, float]:
                """Values by the labels that tell them apart."""
                return {
                    labels.get("class", "") + labels.get("seldon_app", ""): value
                    for labels, value in query(server.url, expression)
                    if "shadow" not in labels.get("seldon_app", "")
                }

            def comes_to(expression: str, wanted: dict[str, float], within: float | None = None) -> None:
                """After a scrape that took too long nothing is known until the next one."""
                wait_for(f"{expression} = {wanted}", lambda: ask(expression) == pytest.approx(wanted, abs=within))

            wait_for("both are scraped", lambda: sum(value for _, value in query(server.url, "up")) == 2)
            wait_for("model series arrive", lambda: bool(query(server.url, "true_pos")))

            points = sum(value for (name, _), value in wanted.items() if name == "tally_reward_points")
            rewards = sum(value for (name, _), value in wanted.items() if name == "tally_rewards")
            comes_to("sum(correct_total) / sum(total_total)", {"": points / rewards})

            tp, fp, fn, tn = (_outcomes(wanted, "cancer", "", one) for one in ("tp", "fp", "fn", "tn"))
            binary = {
                "(true_pos+true_neg)/(true_pos + true_neg + false_neg + false_pos)": (tp + tn) / (tp + tn + fn + fp),
                "true_pos/(true_pos + false_pos)": tp / (tp + fp),
                "true_pos/(true_pos + false_neg)": tp / (tp + fn),
                "true_neg/(true_neg + false_pos)": tn / (tn + fp),
            }
            for expression, value in binary.items():
                comes_to(expression, {"": value})

            classes = {
                one: [_outcomes(wanted, "iris", one, outcome) for outcome in ("tp", "fp", "fn")] for one in "012"
            }
            right, false_positives, false_negatives = (sum(column) for column in zip(*classes.values(), strict=True))
            whole = {
                "score_TP + score_FN + score_FP": right / (right + false_negatives + false_positives),
                "score_TP + score_FN": right / (right + false_negatives),
                "score_TP + score_FP": right / (right + false_positives),
            }
            for denominator, value in whole.items():
                expression = f"(sum(score_TP) by (seldon_app)) / (sum({denominator}) by (seldon_app))"
                comes_to(expression, {"iris-default": value})
            accuracy = right / (right + false_negatives)
            assert whole["score_TP + score_FN + score_FP"] == pytest.approx(accuracy / (2 - accuracy))
            own = 'tally_score{score="accuracy",window="total",model_service="iris",predictor="default"}'
            wait_for(own, lambda: [value for _, value in query(server.url, own)] == [pytest.approx(accuracy)])

            by_class: dict[str, Callable[..., float]] = {
                "score_TP + score_FN + score_FP": lambda tp, fp, fn: tp / (tp + fn + fp),
                "score_TP + score_FN": lambda tp, _, fn: tp / (tp + fn),
                "score_TP + score_FP": lambda tp, fp, _: tp / (tp + fp),
            }
            for denominator, formula in by_class.items():
                expression = f"sum(score_TP / ({denominator})) by (class, seldon_app)"
                values = {f"class_{one}iris-default": formula(*counts) for one, counts in classes.items()}
                comes_to(expression, values)
            assert not any(math.isnan(value) for _, value in query(server.url, "score_TP"))

            # boxkite's: what came before the first scrape has no increase.
            produce(settings, _asked(0, [20], 0))
            wait_for("boxkite's series arrive", lambda: bool(query(server.url, "feature_0_value_count offset 5s")))
            produce(settings, [*_asked(1, [20] * 20 + [40] * 60 + [70] * 20, 1)])
            wait_for("all are scraped more than once", lambda: ask("feature_0_value_count offset 3s") == {"": 101})
            # Up to 30 there are 60 % of the reference and 20 % of what came, but for what `increase` reckons besides.
            comes_to(DISTANCE, {"": 0.4}, within=0.02)
            found: list[list[tuple[dict[str, str], float]]] = []

            def both() -> bool:
                at = time.time() - 2  # no scrape of then is still on its way, which only the second would know
                asked = ("increase(inference_value_total[1m])", DIVERGENCE)
                found[:] = (query(server.url, expression, at) for expression in asked)
                return all(found)

            wait_for("both are known of one moment", both)
            increased, divergence = found
            came = {labels["bin"]: value for labels, value in increased}
            assert came["0.0"] == 0
            assert 99 < came["1.0"] < 130  # it reckons what came in the whole of the minute
            p, q = (71 / 102, 31 / 102), (1 / (came["1.0"] + 2), (came["1.0"] + 1) / (came["1.0"] + 2))
            psi = sum((one - other) * math.log(one / other) for one, other in zip(p, q, strict=True))
            assert [value for _, value in divergence] == [pytest.approx(psi, rel=1e-9)]


@pytest.mark.usefixtures("prometheus_binary")
def test_the_first_refusal_of_each_reason_is_an_increase(kafka: Kafka, tmp_path: Path) -> None:
    """A counter that appears with its first refusal would have no increase: it begins at 0 for every reason."""
    settings = topic_settings(kafka.bootstrap, f"refusals-{uuid.uuid4().hex[:8]}") | COMMON | {"PARTITIONS": "1"}
    with Fleet(tmp_path, settings) as fleet:
        worker = fleet.start()
        wait_for("the worker is ready", worker.ready)
        (tmp_path / "prometheus").mkdir()
        targets = f"'127.0.0.1:{worker.port}'"
        with prometheus(tmp_path / "prometheus", CONFIG.format(targets=targets)) as server:
            wait_for("it has been scraped before", lambda: bool(query(server.url, "tally_rejected_total offset 3s")))

            def rejected() -> list[tuple[str, float]]:
                return [(labels["reason"], value) for labels, value in query(server.url, "tally_rejected_total")]

            wait_for("all begin at 0", lambda: sorted(rejected()) == sorted((reason, 0) for reason in Reason))
            refused = {reason: events[0] for reason, events in BAD.items() if reason != "too-large"}
            produce(settings, refused.values())

            def increased() -> dict[str, float]:
                found = query(server.url, "increase(tally_rejected_total[2m])")
                return {labels["reason"]: value for labels, value in found if value}

            wait_for("each is an increase", lambda: increased().keys() == refused.keys())
            assert all(0.9 < value < 2 for value in increased().values())
            topics = {settings[f"{kind}_TOPIC"] for kind in ("REQUEST", "RESPONSE", "FEEDBACK")}
            lost = "tally_lost_events_total"
            wait_for(lost, lambda: {labels["topic"] for labels, _ in query(server.url, lost)} == topics)

"""Traffic that is a fault in itself: poison alone, one request id with very much, very many classes, an idle topic."""

import json
import random
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.live.changelogs import read_topic
from tests.live.faults.ledger import Entry
from tests.live.faults.proof import differences, wanted_of
from tests.live.faults.trial import Record, Trial, trial
from tests.live.servers import Kafka
from tests.live.standing import only_of
from tests.live.story import NOW, Event, an_event, traffic
from tests.live.workers import produce
from tests.patience import PATIENCE
from tests.soak import SOAK

LEG = ("demo", "iris", "default", "forest")
END = int(NOW.timestamp() * 1_000_000)


def assert_verified(it: Trial, record: Record, events: int, times: int) -> None:
    """That `tally verify` finds the same, where the brute-force count knows no such traffic."""
    wrong = differences(it.fleet, it.events, PATIENCE)
    record("fault", list(Entry(it.fault, events, times, len(wrong))))
    assert not wrong, wrong[:12]


def test_a_partition_with_nothing_but_poison(kafka: Kafka, tmp_path: Path, record_property: Record) -> None:
    with trial("a partition with only poison", kafka.bootstrap, tmp_path, seconds=2, lasts=False) as it:
        sound = traffic(600, seed=62, broken=0)
        bad = only_of(sound, 0, it.fleet.settings)
        others = [event for event in sound if event not in bad]
        poison = [event._replace(value=event.value[:-3]) for event in bad]
        it.events = others
        it.start()
        produce(it.fleet.settings, poison + others)
        it.fleet.wait_for("all are refused", lambda: it.fleet.total("tally_rejected_total") >= len(poison))
        assert_verified(it, record_property, len(poison) + len(others), len(poison))
        letters = read_topic(kafka.bootstrap, f"{it.fleet.settings['APP_ID']}-dead-letters")
        keys = {event.key for event in poison}
        assert sum(letter.key() in keys for some in letters.values() for letter in some) >= len(poison)
        it.fleet.wait_for("the worker is ready", it.fleet.running()[0].ready)


def test_one_request_id_with_very_many_events(kafka: Kafka, tmp_path: Path, record_property: Record) -> None:
    """Corrections of one label, in any order: the last of them holds, and the others do not wait for it."""
    count = 1_000_000 if SOAK else 20_000
    with trial("one puid with very many events", kafka.bootstrap, tmp_path, seconds=1, lasts=False) as it:
        asked = it.events
        rows = {"names": ["age", "b", "c", "d"], "ndarray": [[10.0, 20.0, 30.0, 40.0]]}
        meta = {"requestPath": {"forest": "registry/forest:1.0"}, "tags": {"country": "DE"}}
        one = [
            an_event("request", "one-puid", LEG, END - 9_000_000, {"data": rows}),
            an_event(
                "response", "one-puid", LEG, END - 8_000_000, {"data": {"ndarray": [[0.1, 0.8, 0.1]]}, "meta": meta}
            ),
        ]

        def label(number: int) -> Event:
            truth = [[int(number % 3 == one) for one in range(3)]]
            body = {"reward": number % 2, "truth": {"data": {"ndarray": truth}}}
            return an_event("feedback", "one-puid", LEG, END - 7_000_000 + number, body)

        order = random.Random(3).sample(range(count), count)
        it.events = asked + one + [label(count - 1)]  # of the others nothing holds
        it.start()
        produce(it.fleet.settings, (label(number) for number in order[: count // 2]))
        produce(it.fleet.settings, asked + one)
        produce(it.fleet.settings, (label(number) for number in order[count // 2 :]))
        assert_verified(it, record_property, count + len(asked) + len(one), count)


def test_very_many_classes(kafka: Kafka, tmp_path: Path, record_property: Record) -> None:
    """Every row is counted; of the classes as many have a name as is allowed, and the rest are one."""
    count = 100_000 if SOAK else 3_000
    with trial("very many classes", kafka.bootstrap, tmp_path, seconds=1, lasts=False) as it:
        leg = ("demo", "many", "default", "words")
        events: list[Event] = []
        for number in range(count):
            at, puid = END - 600_000_000 + number, f"class-{number}"
            answer = {"data": {"ndarray": [f"word {number}"]}}
            truth = {"truth": {"data": {"ndarray": [f"word {number - number % 2}"]}}}
            events += [an_event("response", puid, leg, at, answer), an_event("feedback", puid, leg, at + 1, truth)]
        it.start()
        produce(it.fleet.settings, it.events + events)
        words: dict[str, Any] = {"model_service": "many"}
        right, wrong = -(-count // 2), count // 2
        it.fleet.wait_for(
            "every row is judged",
            lambda: (
                it.fleet.total("tally_rows", verdict="correct", **words) == right
                and it.fleet.total("tally_rows", verdict="incorrect", **words) == wrong
            ),
        )

        def of_classes() -> int:
            return sum(at[0] == "tally_class" and ("model_service", "many") in at[1] for at in it.fleet.counts())

        it.fleet.wait_for("classes have names", lambda: of_classes() > 200)
        assert of_classes() <= 200 * 4
        it.fleet.wait_for("others have none", lambda: it.fleet.total("tally_dropped_total", what="classes") > 0)
        (worker,) = it.fleet.running()
        known = {at for at in wanted_of(it.events) if at[0] == "series"}

        def wrong_series() -> set[object]:
            return known ^ {("series", *at) for at in it.fleet.counts() if ("model_service", "many") not in at[1]}

        try:
            it.fleet.wait_for("all others are counted, too", lambda: not wrong_series())
        finally:
            record_property("fault", list(Entry(it.fault, len(events) + len(it.events), count, len(wrong_series()))))
        assert len(json.loads(worker.get("/api/models"))["models"]) > 0


def test_an_idle_topic_holds_up_nothing(kafka: Kafka, tmp_path: Path, record_property: Record) -> None:
    """No feedback comes at all: what is older than the retention expires, and what was counted stays."""
    later = (NOW + timedelta(days=8)).strftime("%Y-%m-%dT%H:%M:%SZ")
    with trial("an idle topic", kafka.bootstrap, tmp_path, seconds=1, lasts=False) as it:
        it.events = [event for event in traffic(400, seed=61) if event.kind != "feedback"]
        it.start()
        produce(it.fleet.settings, it.events)
        assert_verified(it, record_property, len(it.events), 1)
        it.fleet.wait_for("exchanges are open", lambda: it.fleet.total("tally_open_exchanges") > 300)
        it.fleet.stop()
        it.start(NOW=later)
        it.fleet.wait_for(
            "what was counted is there", lambda: it.fleet.total("tally_rows", verdict="unlabelled") >= 400
        )
        it.fleet.wait_for("all have expired", lambda: it.fleet.total("tally_open_exchanges") == 0)
        it.fleet.wait_for("what was counted stays", lambda: it.fleet.total("tally_rows", verdict="unlabelled") >= 400)
        it.fleet.wait_for("nothing waits", lambda: it.fleet.total("tally_lag_events") == 0)

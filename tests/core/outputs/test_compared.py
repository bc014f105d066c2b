"""Documents of comparisons: what they say in windows and in all, when they come again, and that they come as `/api`
says it."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.core.counts.accounts import BY_LABELS, Pair
from app.core.counts.panes import PaneClock, Window
from app.core.counts.rows import row_key, row_value
from app.core.counts.view import View
from app.core.measures.readings import Readings
from app.core.outputs.compared import INDEX, MAPPINGS
from app.core.outputs.comparisons import comparisons_report
from app.core.outputs.history import Document, History
from app.core.rules import Rulebook, Rules
from tests.builders import START, WINDOWS, Ledger, Record, a_feedback, a_response

HOUR = 3600
PAIR = "ns/svc/default/m/ns/svc/shadow/m"
TOTAL = f"{PAIR}//total"


class Worker:
    """One that reads what a ledger has written; times are seconds after `START`, 07:00."""

    def __init__(self, ledger: Ledger, *rules: Rules) -> None:
        self.ledger = ledger
        self.view = View(PaneClock(), WINDOWS)
        self.readings = Readings(self.view, Rulebook(rules), 200)
        self.history = History(self.readings, PaneClock(), START)
        self._seen: dict[bytes, bytes] = {}

    def note(self, now: float = 0, *, writing: bool = True) -> None:
        after = dict(self.ledger.panes[0])
        for key in [*self._seen.keys() - after.keys(), *after]:
            if self._seen.get(key) != after.get(key):
                self.view.take(0, key, after.get(key))
        self._seen = after
        self.history.note(START + now, writing=writing)

    def written(self, now: float = 0) -> dict[str, Any]:
        """What has to be written of comparisons, by id."""
        self.note(now)
        return bodies(self.history.take(START + now, 10_000))

    def report(self, now: float = 0) -> dict[str, Any]:
        """What `/api/comparisons` says of the only pair."""
        (one,) = comparisons_report(self.readings.of_pairs(START + now), self.readings.rulebook)["comparisons"]
        return dict(one)


def bodies(documents: list[Document]) -> dict[str, Any]:
    return {document.place[1]: document.body for document in documents if document.place[0] == INDEX}


def shared(puid: str, current: Any, shadow: Any, label: Any = None, at: float = 0) -> list[Record]:
    """What both legs have answered, and the label."""
    told = [] if label is None else [a_feedback(label, puid=puid, at=at + 1)]
    return [a_response(current, puid=puid, at=at), a_response(shadow, puid=puid, at=at, predictor="shadow"), *told]


def a_story(*rules: Rules) -> Worker:
    """Four shared rows within five minutes, of which the current model has two right and the shadow three."""
    ledger = Ledger(*rules)
    for number, (current, shadow, label) in enumerate(
        [("a", "a", "a"), ("a", "b", "b"), ("b", "b", "b"), ("a", "a", "b")]
    ):
        ledger.absorb(*shared(f"p{number}", current, shadow, label, at=number))
    ledger.cut()
    return Worker(ledger, *rules)


def test_a_window_says_what_the_comparison_of_its_rows_says() -> None:
    worker = a_story(Rules(least_count=4))
    written = worker.written(100)
    assert sorted(written) == [
        f"{PAIR}//1h/2026-11-21T07:00:00Z",
        f"{PAIR}//24h/2026-11-21T00:00:00Z",
        f"{PAIR}//5m/2026-11-21T07:00:00Z",
        TOTAL,
    ]
    body = written[f"{PAIR}//5m/2026-11-21T07:00:00Z"]
    report = worker.report(100)
    assert body.pop("current") == {"identity": "ns/svc/default/m"} | report["current"]
    assert body.pop("shadow") == {"identity": "ns/svc/shadow/m"} | report["shadow"]
    assert body.pop("classes") == [{"class": name, **of_class} for name, of_class in report["classes"].items()]
    assert body == report["windows"]["5m"] | {
        "segment": "",
        "window": "5m",
        "clock": "predictions",
        "start": "2026-11-21T07:00:00Z",
        "end": "2026-11-21T07:05:00Z",
        "least_count": 4,
        "verdict": "no difference",
        "sentence": report["sentence"],
    }
    assert (body["samples"], body["only_current_right"], body["only_shadow_right"]) == (4, 0, 1)
    assert (body["agreement"], body["accuracy_difference"]) == (0.75, 0.25)


def test_the_total_holds_what_the_worker_answers() -> None:
    worker = a_story()
    total = worker.written(100)[TOTAL]
    assert total["report"] == worker.report(100)
    assert (total["window"], total["start"], total["end"]) == ("total", "2026-11-21T07:00:00Z", "2026-11-21T07:01:40Z")
    numbers = total["report"]["windows"]["total"]
    assert {name: total[name] for name in numbers} == numbers
    assert total["sentence"] == "not enough shared labels (4, need 100)"


def test_models_that_measure_are_compared_by_their_errors() -> None:
    rules = Rules(least_count=1)
    ledger = Ledger(rules).absorb(*shared("a", 1.5, 2.5, 2.25), *shared("b", 1.5, 2.5, 2.75)).cut()
    written = Worker(ledger, rules).written()
    for body in written.values():
        assert body["measures"] is True
        assert (body["samples"], body["error_difference"]) == (2, -0.75)
        assert "accuracy_difference" not in body


def test_a_late_label_restates_the_windows_of_its_prediction_and_the_total() -> None:
    ledger = Ledger().absorb(*shared("a", 1, 0), *shared("b", 1, 0, 1, at=HOUR)).cut()
    worker = Worker(ledger)
    worker.written(HOUR)
    ledger.absorb(a_feedback(0, puid="a", at=HOUR + 5)).cut()
    again = worker.written(HOUR + 5)
    assert sorted(again) == [
        f"{PAIR}//1h/2026-11-21T07:00:00Z",
        f"{PAIR}//24h/2026-11-21T00:00:00Z",
        f"{PAIR}//5m/2026-11-21T07:00:00Z",
        TOTAL,
    ]
    assert again[f"{PAIR}//5m/2026-11-21T07:00:00Z"]["only_shadow_right"] == 1
    assert again[TOTAL]["samples"] == 2


def test_the_total_comes_again_when_a_window_that_ends_now_has_moved_on() -> None:
    """And only then: nobody writes what says the same."""
    worker = a_story()
    worker.written(100)
    for later in (100, 105, 160, 299):
        assert worker.written(later) == {}
    moved = worker.written(HOUR)
    assert list(moved) == [TOTAL]
    assert moved[TOTAL]["report"] == worker.report(HOUR)
    assert moved[TOTAL]["report"]["windows"]["5m"]["samples"] == 0
    assert worker.written(HOUR + 5) == {}


def test_asking_the_worker_in_between_hides_no_change() -> None:
    worker = a_story()
    worker.written(100)
    worker.report(HOUR)
    assert list(worker.written(HOUR)) == [TOTAL]


def test_what_was_not_written_comes_again_as_it_is_then() -> None:
    worker = a_story()
    worker.note()
    worker.history.put_back(worker.history.take(START, 10_000), START)
    worker.ledger.absorb(a_feedback("b", puid="p0", at=9)).cut()
    again = worker.written(10)
    assert len(again) == 4
    assert {body["only_shadow_right"] for body in again.values()} == {1}
    assert {body["classes"][0]["class"] for body in again.values()} == {"b"}
    assert worker.written(10) == {}


def test_documents_come_in_portions() -> None:
    worker = a_story()
    worker.note()
    portions = [worker.history.take(START, 2) for _ in range(6)]
    assert [len(portion) for portion in portions] == [2, 2, 2, 2, 2, 0]  # six are of the two models
    assert sum(len(bodies(portion)) for portion in portions) == 4


def test_who_takes_over_writes_all_that_is_kept() -> None:
    worker = a_story()
    written = worker.written(100)
    heir = Worker(worker.ledger)
    heir.note(50, writing=False)
    assert heir.written(100) == written


def test_a_pair_of_which_nothing_is_counted_any_more_has_no_document() -> None:
    """A newer answer has other rows than the shadow's. Whoever writes next knows it, too."""
    ledger = Ledger().absorb(*shared("a", 1, 0)).cut()
    worker, heir = Worker(ledger), Worker(ledger)
    worker.written()
    heir.note(writing=False)
    ledger.absorb(a_response(1, 1, puid="a", at=5)).cut()
    heir.note(5, writing=False)
    for one in (worker, heir):
        gone = one.written(6)
        assert set(gone.values()) == {None}
        assert TOTAL in gone


def test_the_mappings_know_every_field() -> None:
    of_classes = a_story().written()
    of_errors = Worker(Ledger().absorb(*shared("a", 1.5, 2.5, 2.25)).cut()).written()
    of_chances = Worker(Ledger().absorb(*shared("a", [0.25, 0.75], [0.5, 0.5], 1)).cut()).written()
    properties = MAPPINGS["properties"]
    known: set[str] = set()
    for body in (*of_classes.values(), *of_errors.values(), *of_chances.values()):
        known |= body.keys()
        for leg in ("current", "shadow"):
            assert body[leg].keys() == properties[leg]["properties"].keys()
        for one in body["classes"]:
            assert one.keys() <= properties["classes"]["properties"].keys()
    assert known == properties.keys()


@given(
    st.lists(
        st.lists(
            st.builds(
                shared, st.sampled_from("abc"), *[st.integers(0, 1)] * 2, st.integers(0, 1), st.integers(0, HOUR)
            ),
            max_size=3,
        ),
        max_size=4,
    )
)
def test_what_was_written_last_is_what_the_panes_say(batches: list[list[list[Record]]]) -> None:
    ledger = Ledger()
    worker = Worker(ledger)
    index: dict[str, Any] = {}
    for number, batch in enumerate(batches):
        ledger.absorb(*(record for records in batch for record in records)).cut()
        for place, body in worker.written(HOUR + number).items():
            index[place] = body
            if body is None:
                del index[place]
    later = Worker(ledger).written(HOUR + len(batches))
    assert {place: without_end(body) for place, body in later.items()} == {
        place: without_end(body) for place, body in index.items()
    }


def without_end(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "end"}


def test_windows_of_other_lengths_are_documents_too() -> None:
    worker = a_story()
    worker.view = View(PaneClock(), (Window("10m", 600),))
    worker.readings = Readings(worker.view, Rulebook(), 200)
    worker.history = History(worker.readings, PaneClock(), START)
    assert sorted(worker.written()) == [f"{PAIR}//10m/2026-11-21T07:00:00Z", TOTAL]


def test_a_pair_that_is_counted_by_the_time_of_labels_has_documents_of_that_clock() -> None:
    worker = a_story()
    worker.view = View(PaneClock(by_labels=True), WINDOWS)
    worker.readings = Readings(worker.view, Rulebook(), 200)
    worker.history = History(worker.readings, PaneClock(), START)
    for key, row in worker.ledger.rows().items():
        for segment in ("", BY_LABELS) if isinstance(key.subject, Pair) else ():
            worker.view.apply(0, row_key(key._replace(segment=segment)), row_value(row))
    worker.history.note(START, writing=True)
    written = bodies(worker.history.take(START, 10_000))
    of_labels = {place for place, body in written.items() if body["clock"] == "labels"}
    assert of_labels == {
        f"{PAIR}//labels_1h/2026-11-21T07:00:00Z",
        f"{PAIR}//labels_24h/2026-11-21T00:00:00Z",
        f"{PAIR}//labels_5m/2026-11-21T07:00:00Z",
    }
    assert len(written) == 7

"""Documents of windows that are aligned to the epoch: what they say, when they come again, and when no more."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.counts import accounts
from app.core.counts.accounts import Account
from app.core.counts.panes import PaneClock, Window
from app.core.counts.rows import RowKey
from app.core.counts.view import View
from app.core.drift.distribution import Distribution
from app.core.drift.live import Live, Watched
from app.core.drift.reference import Reference
from app.core.events import Identity
from app.core.measures.readings import Readings
from app.core.outputs.slots import Slot, document_id
from app.core.outputs.windows import MAPPINGS, WindowDocument, WindowDocuments
from app.core.rules import Rulebook, Rules
from tests.builders import START, WINDOWS, Ledger, Record, a_feedback, a_request, a_response, a_result

HOUR = 3600
DAY = 24 * HOUR
BY_LABELS = PaneClock(by_labels=True)


class History:
    """A ledger, and the documents of what it has written; times are seconds after `START`, 07:00."""

    def __init__(
        self, *rules: Rules, windows: tuple[Window, ...] = WINDOWS, partitions: int = 1, clock: PaneClock | None = None,
        most_values: int = 50,
    ) -> None:  # fmt: skip
        self.ledger = Ledger(*rules, windows=windows, partitions=partitions, clock=clock)
        clock = clock or PaneClock()
        self.view = View(clock, windows)
        self.documents = WindowDocuments(Readings(self.view, Rulebook(rules), 200, most_values), clock)
        self.view.take_touched()
        self._seen: list[dict[bytes, bytes]] = [{} for _ in range(partitions)]

    def tell(self, *records: Record, now: float = 0, most: int = 10_000) -> list[WindowDocument]:
        """Count records, and take the documents that have to be written."""
        self.ledger.absorb(*records).cut(now)
        self.read()
        return self.take(now, most)

    def read(self) -> None:
        """Bring the view up to what was written."""
        for number, (before, after) in enumerate(zip(self._seen, self.ledger.panes, strict=True)):
            for key in [*before.keys() - after.keys(), *after]:  # the end of the epoch stands last
                if before.get(key) != after.get(key):
                    self.view.take(number, key, after.get(key))
        self._seen = [dict(changelog) for changelog in self.ledger.panes]

    def take(self, now: float = 0, most: int = 10_000, *, writing: bool = True) -> list[WindowDocument]:
        self.note(now, writing=writing)
        return self.documents.take(START + now, most)

    def note(self, now: float, *, writing: bool) -> None:
        self.documents.note(self.view.take_touched(), START + now, writing=writing)


def bodies(documents: Sequence[WindowDocument]) -> dict[str, Any]:
    """By window and time of day, for documents of one model."""
    assert len({document.slot.account.subject for document in documents}) < 2
    return {document.place[1].partition("//")[2].replace("2026-11-21T", ""): document.body for document in documents}


def test_a_document_says_what_its_window_holds() -> None:
    written = History().tell(
        a_request(puid="a"),
        a_response(1, puid="a", at=1),
        a_feedback(1, reward=0.5, puid="a", at=2),
        a_response(1, puid="b", at=299),
        a_feedback(0, puid="b", at=400),
        a_response(0, puid="c", at=299.9),
        now=500,
    )
    (document,) = [document for document in written if document.slot.window.name == "5m"]
    assert document.place[1] == "ns/svc/default/m//5m/2026-11-21T07:00:00Z"
    assert document.body == {
        "identity": "ns/svc/default/m",
        "model_namespace": "ns",
        "model_service": "svc",
        "predictor": "default",
        "model": "m",
        "model_version": "",
        "segment": "",
        "window": "5m",
        "clock": "predictions",
        "start": "2026-11-21T07:00:00Z",
        "end": "2026-11-21T07:05:00Z",
        "task": "binary",
        "exchanges": {"request": 1, "response": 3, "feedback": 2},
        "mismatched": 0,
        "rows": {"correct": 1, "incorrect": 1, "measured": 0, "unlabelled": 1, "failed": 0},
        "samples": 2,
        "scores": {
            "accuracy": 0.5,
            "coverage": 2 / 3,
            "f1": 2 / 3,
            "precision": 0.5,
            "recall": 1.0,
            "reward_mean": 0.5,
            "specificity": 0.0,
            "npv": None,
            "balanced_accuracy": 0.5,
            "mcc": None,
        },
        "score_samples": {
            "accuracy": 2,
            "coverage": 3,
            "f1": 2,
            "precision": 2,
            "recall": 1,
            "reward_mean": 1,
            "specificity": 1,
            "npv": 0,
            "balanced_accuracy": 2,
            "mcc": 2,
        },
        "classes": [{"class": "", "tp": 1, "fp": 1, "fn": 0, "tn": 0}],
        "confusion": [
            {"actual": "0", "predicted": "1", "rows": 1},
            {"actual": "1", "predicted": "1", "rows": 1},
        ],
        "rewards": 1,
        "reward_points": 0.5,
    }


def test_labels_and_rewards_have_documents_of_the_time_at_which_they_came() -> None:
    """With the counts, scores and classes that are a matter of them, under an id and names of their own."""
    history = History(windows=(Window("5m", 300),), clock=BY_LABELS)
    written = bodies(
        history.tell(
            a_request(puid="a"),
            a_response(1, puid="a", at=1),
            a_response(0, puid="b", at=2),
            a_feedback(1, reward=0.5, puid="a", at=HOUR),
            a_feedback(1, puid="b", at=HOUR + 1),
            now=HOUR + 2,
        )
    )
    assert sorted(written) == ["5m/07:00:00Z", "labels_5m/08:00:00Z"]
    predicted, told = written["5m/07:00:00Z"], written["labels_5m/08:00:00Z"]
    assert (predicted["clock"], told["clock"]) == ("predictions", "labels")
    assert (told["window"], told["start"], told["end"]) == ("labels_5m", "2026-11-21T08:00:00Z", "2026-11-21T08:05:00Z")
    assert predicted.keys() - told.keys() == {"exchanges", "mismatched"}
    for field in ("task", "samples", "classes", "confusion", "rewards", "reward_points"):
        assert told[field] == predicted[field]
    assert predicted["scores"] == told["scores"] | {"coverage": 1.0}
    assert told["scores"]["accuracy"] == 0.5


def test_who_has_switched_windows_by_labels_off_writes_none_of_those_that_were_counted_before() -> None:
    history, heir = History(clock=BY_LABELS), History()
    story = (a_response(1), a_feedback(1, at=1))
    assert len(history.tell(*story)) == 6
    heir.ledger = history.ledger
    assert len(heir.tell()) == 3


def test_a_corrected_label_moves_to_the_window_in_which_the_one_that_holds_came() -> None:
    history = History(windows=(Window("5m", 300),), clock=BY_LABELS)
    history.tell(a_response(1), a_feedback(0, at=301), now=301)
    moved = bodies(history.tell(a_feedback(1, at=601), now=601))
    assert moved["labels_5m/07:05:00Z"] is None
    assert moved["labels_5m/07:10:00Z"]["scores"]["accuracy"] == 1.0
    assert moved["5m/07:00:00Z"]["scores"]["accuracy"] == 1.0


def test_limits_and_intervals_are_beside_the_scores_where_they_are_asked_for() -> None:
    limits = (("accuracy", "", 0.9), ("recall", "cat", 0.8), ("mae", "", 1.0))
    history = History(Rules(task="multiclass", limits=limits, intervals=True))
    body = bodies(history.tell(a_response("cat"), a_feedback("cat")))["5m/07:00:00Z"]
    assert body["score_limits"] == {"accuracy": 0.9}
    assert body["score_low"].keys() == body["score_high"].keys() == {"accuracy", "coverage"}
    assert 0.2 < body["score_low"]["accuracy"] < body["score_high"]["accuracy"] == 1.0
    (cat,) = body["classes"]
    assert cat["score_limits"] == {"recall": 0.8}
    assert cat["score_low"]["recall"] == body["score_low"]["accuracy"]
    assert cat["score_low"]["specificity"] is None  # which is undefined


def test_a_regression_has_its_errors_by_either_clock() -> None:
    history = History(windows=(Window("5m", 300),), clock=BY_LABELS)
    written = bodies(history.tell(a_response(2.5), a_feedback(1.25, at=301), now=301))
    for body in written.values():
        assert (body["task"], body["scores"]["mae"], body["score_samples"]["mae"]) == ("regression", 1.25, 1)
        assert {"rmse", "bias", "r2", "error_p90", "max_error"} < body["scores"].keys()


def test_windows_begin_at_multiples_of_their_length() -> None:
    history = History(windows=(*WINDOWS, Window("10m", 600), Window("3h", 3 * HOUR)))
    assert sorted(bodies(history.tell(a_response(1, at=HOUR - 1), now=HOUR))) == [
        "10m/07:50:00Z",
        "1h/07:00:00Z",
        "24h/00:00:00Z",
        "3h/06:00:00Z",
        "5m/07:55:00Z",
    ]


def test_each_model_and_version_has_documents_of_its_own() -> None:
    written = History().tell(
        a_response(1, puid="a"), a_response(1, version="2", puid="b"), a_response(1, puid="c", predictor="shadow")
    )
    assert {document.place[1] for document in written if document.slot.window.name == "1h"} == {
        "ns/svc/default/m//1h/2026-11-21T07:00:00Z",
        "ns/svc/default/m@2//1h/2026-11-21T07:00:00Z",
        "ns/svc/shadow/m//1h/2026-11-21T07:00:00Z",
    }


def test_partitions_are_summed() -> None:
    written = History(partitions=4).tell(*(a_response(1, puid=puid) for puid in "abcd"))
    assert bodies(written)["1h/07:00:00Z"]["rows"]["unlabelled"] == 4


def test_each_class_that_occurs_has_its_outcomes_and_scores() -> None:
    history = History(Rules(task="multiclass", classes=("never",)))
    written = history.tell(
        a_response("cat", puid="a"),
        a_feedback("cat", puid="a"),
        a_response("cat", puid="b"),
        a_feedback("dog", puid="b"),
    )
    body = bodies(written)["5m/07:00:00Z"]
    assert body["classes"] == [
        {
            "class": "cat", "tp": 1, "fp": 1, "fn": 0, "tn": 0,
            "scores": {"precision": 0.5, "recall": 1.0, "specificity": 0.0, "f1": 2 / 3, "npv": None},
            "score_samples": {"precision": 2, "recall": 1, "specificity": 1, "f1": 2, "npv": 0},
        },
        {
            "class": "dog", "tp": 0, "fp": 0, "fn": 1, "tn": 1,
            "scores": {"precision": None, "recall": 0.0, "specificity": 1.0, "f1": 0.0, "npv": 0.5},
            "score_samples": {"precision": 0, "recall": 1, "specificity": 1, "f1": 2, "npv": 2},
        },
    ]  # fmt: skip
    assert body["scores"]["precision_macro"] == 0.5


def test_an_undefined_score_is_null() -> None:
    scores = bodies(History().tell(a_response(1)))["5m/07:00:00Z"]["scores"]
    assert scores["coverage"] == 0.0
    assert {name for name, value in scores.items() if value is None} == scores.keys() - {"coverage"}


def test_a_binary_window_without_the_positive_class_has_its_true_negatives() -> None:
    body = bodies(History().tell(a_response(0), a_feedback(0)))["5m/07:00:00Z"]
    assert body["classes"] == [{"class": "", "tp": 0, "fp": 0, "fn": 0, "tn": 1}]


def test_only_what_changed_comes_again() -> None:
    history = History()
    first = history.tell(a_response(1, puid="a"), a_response(1, puid="b", at=301), now=301)
    assert sorted(bodies(first)) == ["1h/07:00:00Z", "24h/00:00:00Z", "5m/07:00:00Z", "5m/07:05:00Z"]
    assert history.take(310) == []
    again = bodies(history.tell(a_feedback(1, puid="a", at=HOUR), now=HOUR))
    assert sorted(again) == ["1h/07:00:00Z", "24h/00:00:00Z", "5m/07:00:00Z"]
    assert again["5m/07:00:00Z"]["scores"]["accuracy"] == 1.0


def test_what_was_not_written_comes_again_as_it_is_then() -> None:
    history = History()
    history.documents.put_back(history.tell(a_response(1, puid="a")), START)
    history.ledger.absorb(a_response(1, puid="b"))
    assert {body["exchanges"]["response"] for body in bodies(history.tell()).values()} == {2}
    assert history.take() == []


def test_documents_come_in_portions() -> None:
    history = History()
    history.ledger.absorb(*(a_response(1, puid=str(n), model=f"m{n}") for n in range(3)))
    portions = [history.tell(most=4), history.take(most=4), history.take(most=4), history.take(most=4)]
    assert [len(portion) for portion in portions] == [4, 4, 1, 0]
    assert len({document.place[1] for portion in portions for document in portion}) == 9


def test_a_window_in_which_nothing_counts_any_more_has_no_document() -> None:
    """A request moves to the pane of its response."""
    history = History()
    history.tell(a_request(at=299), now=299)
    moved = bodies(history.tell(a_response(1, at=300), now=300))
    assert moved["5m/07:00:00Z"] is None
    assert moved["5m/07:05:00Z"]["exchanges"] == {"request": 1, "response": 1, "feedback": 0}


def test_a_new_class_restates_all_windows_that_are_kept() -> None:
    history = History()
    history.tell(a_response(1, puid="a"), a_feedback(1, puid="a"))
    later = bodies(history.tell(a_response(2, puid="b", at=HOUR), now=HOUR))
    assert later["5m/07:00:00Z"]["task"] == "multiclass"
    assert sorted(later) == ["1h/07:00:00Z", "1h/08:00:00Z", "24h/00:00:00Z", "5m/07:00:00Z", "5m/08:00:00Z"]


@pytest.mark.parametrize(
    ("label", "restated"),
    [
        (2 * HOUR + 44, ["1h/07:00:00Z", "24h/00:00:00Z", "5m/07:00:00Z"]),
        (2 * HOUR + 45, ["1h/07:00:00Z", "24h/00:00:00Z"]),
        (3 * HOUR, ["1h/07:00:00Z", "24h/00:00:00Z"]),
        (18 * HOUR + 449, ["1h/07:00:00Z", "24h/00:00:00Z"]),
        (18 * HOUR + 450, ["1h/07:00:00Z"]),
        (25 * HOUR + 449, ["1h/07:00:00Z"]),
        (25 * HOUR + 450, []),
        (26 * HOUR, []),
    ],
)
def test_late_labels_restate_windows_of_which_all_panes_are_kept(label: float, restated: list[str]) -> None:
    """Fine panes for two hours, coarse ones for 25, less a quarter of one: what begins at 07:00, and at midnight.

    An hour is six coarse panes.
    """
    history = History()
    history.tell(a_response(1, puid="a"), a_response(1, puid="b", at=1000))
    assert sorted(bodies(history.tell(a_feedback(1, puid="a", at=label), now=label))) == restated


DAYS = ["24h/00:00:00Z", "7d/2026-11-19T00:00:00Z", "30d/2026-11-03T00:00:00Z"]


@pytest.mark.parametrize(
    ("label", "restated"),
    [
        (25 * HOUR + 449, [*DAYS, "1h/07:00:00Z"]),
        (25 * HOUR + 450, DAYS),
        (13 * DAY + 11 * HOUR - 1, DAYS),
        (13 * DAY + 11 * HOUR, DAYS[:2]),
        (29 * DAY + 11 * HOUR - 1, DAYS[:2]),
        (29 * DAY + 11 * HOUR, DAYS[:1]),
        (31 * DAY + 11 * HOUR - 1, DAYS[:1]),
        (31 * DAY + 11 * HOUR, []),
    ],
)
def test_windows_of_whole_days_are_restated_for_as_long_as_these_are_kept(label: float, restated: list[str]) -> None:
    """31 days after their first day, less a quarter of one. An hour is still made of coarse panes."""
    windows = (*WINDOWS, Window("7d", 7 * DAY), Window("30d", 30 * DAY))
    clock = PaneClock.for_windows(windows, 60, 31 * DAY, by_labels=False)
    history = History(windows=windows, clock=clock)
    history.ledger._limits = history.ledger._limits.__class__(retention_seconds=60 * DAY)
    history.ledger.recover(history.ledger.rulebook)
    history.tell(a_response(1, puid="a"))
    assert sorted(bodies(history.tell(a_feedback(1, puid="a", at=label), now=label))) == sorted(restated)


@pytest.mark.parametrize("by_labels", [False, True])
def test_a_model_that_is_read_as_something_else_has_all_its_windows_restated(by_labels: bool) -> None:
    """Also where one account of it, of several, has changed first."""
    for number in range(8):  # accounts stand in a set, by their hashes
        history = History(windows=(Window("5m", 300),), clock=PaneClock(by_labels=by_labels))
        name = f"m{number}"
        history.tell(
            a_response(1, puid="a", at=1, model=name), a_feedback(1, puid="a", at=2, model=name),
            a_response(2.5, puid="b", at=301, model=name), a_response(3.5, puid="c", at=601, model=name),
        )  # fmt: skip
        written = bodies(
            history.tell(
                a_feedback(1.5, puid="b", at=610, model=name), a_feedback(2.5, puid="c", at=611, model=name), now=620
            )
        )
        assert {body["task"] for body in written.values()} == {"regression"}
        wanted = ["5m/07:00:00Z", "5m/07:05:00Z", "5m/07:10:00Z"]
        wanted += ["labels_5m/07:00:00Z", "labels_5m/07:10:00Z"] if by_labels else []
        assert sorted(written) == wanted


def test_a_window_that_has_lost_panes_is_not_restated() -> None:
    """07:00 has gone and 07:13 is kept: its label counts in the hour, and in no document of the 15 minutes."""
    history = History(windows=(*WINDOWS, Window("15m", 900)))
    history.tell(a_response(1, puid="a"), a_response(1, puid="b", at=780))
    late = 2 * HOUR + 600
    assert sorted(bodies(history.tell(a_feedback(1, puid="b", at=late), now=late))) == [
        "1h/07:00:00Z", "24h/00:00:00Z", "5m/07:10:00Z",
    ]  # fmt: skip
    assert bodies(history.tell(now=5 * HOUR)) == {}


def test_who_reads_all_again_states_what_was_stated() -> None:
    """A worker that takes over has read what is kept of the panes: windows that have lost some are left as they are."""
    history = History()
    stated = bodies(history.tell(*(a_response(1, puid=str(n), at=n * 200) for n in range(60)), now=12_000))
    heir = History()
    heir.ledger = history.ledger
    inherited = bodies(heir.tell(now=12_000))
    assert inherited == {place: stated[place] for place in inherited}
    assert [place for place in sorted(inherited) if place[:2] != "5m"] == [
        "1h/07:00:00Z", "1h/08:00:00Z", "1h/09:00:00Z", "1h/10:00:00Z", "24h/00:00:00Z",
    ]  # fmt: skip
    assert min(place for place in inherited if place[:2] == "5m") == "5m/08:20:00Z"


LATE = 2 * HOUR + 30  # from when on the five minutes that begin at 07:00 are stated for the last time


def test_what_could_not_be_written_in_time_comes_as_it_was_at_last() -> None:
    """Elasticsearch is away while the panes go."""
    history = History()
    history.documents.put_back(history.tell(a_response(1), now=LATE - 60), START + LATE - 60)
    history.ledger.absorb(a_feedback(1, at=LATE - 20)).cut(LATE - 20)
    history.read()
    history.note(LATE, writing=True)
    again = history.tell(now=3 * HOUR)
    assert bodies(again)["5m/07:00:00Z"]["rows"]["correct"] == 1
    history.documents.put_back(again, START + 4 * HOUR)
    assert bodies(history.take(4 * HOUR))["5m/07:00:00Z"]["rows"]["correct"] == 1
    assert history.take(4 * HOUR) == []


def test_who_was_away_when_a_window_was_last_stated_leaves_it() -> None:
    """Panes may have gone: by a stall of the process, or before it began."""
    history = History()
    history.documents.put_back(history.tell(a_response(1), now=LATE - 60), START + LATE - 60)
    assert sorted(bodies(history.tell(now=LATE + 15))) == ["1h/07:00:00Z", "24h/00:00:00Z"]


def test_who_takes_over_while_a_window_is_last_stated_states_it() -> None:
    history = History()
    history.ledger.absorb(a_response(1)).cut()
    history.read()
    history.note(LATE, writing=False)
    assert sorted(bodies(history.take(LATE + 14))) == ["1h/07:00:00Z", "24h/00:00:00Z", "5m/07:00:00Z"]


def test_who_does_not_write_keeps_nothing() -> None:
    history = History()
    history.documents.put_back(history.tell(a_response(1), now=LATE - 60), START + LATE - 60)
    history.note(LATE, writing=True)
    history.note(LATE + 1, writing=False)
    assert sorted(bodies(history.take(LATE + 2))) == ["1h/07:00:00Z", "24h/00:00:00Z"]


@st.composite
def stories(draw: st.DrawFn) -> list[list[Record]]:
    """Batches of events of a few puids within three hours, in any order."""
    puids = st.sampled_from("abcde")
    times = st.integers(0, 3 * HOUR)
    classes = st.integers(0, 2)
    event = st.one_of(
        st.builds(lambda puid, at: a_request(puid=puid, at=at), puids, times),
        st.builds(lambda puid, at, one: a_response(one, puid=puid, at=at), puids, times, classes),
        st.builds(lambda puid, at, one: a_feedback(one, reward=one, puid=puid, at=at), puids, times, classes),
    )
    return draw(st.lists(st.lists(event, max_size=4), max_size=6))


@given(stories(), st.booleans())
def test_what_was_written_last_is_what_the_panes_say(batches: list[list[Record]], by_labels: bool) -> None:
    history = History(partitions=2, clock=PaneClock(by_labels=by_labels))
    index: dict[str, Any] = {}
    now = 4 * HOUR
    for batch in batches:
        for document in history.tell(*batch, now=now):
            if document.body is None:
                index.pop(document.place[1], None)
            else:
                index[document.place[1]] = document.body
    wanted: dict[str, tuple[int, int]] = {}
    for key, row in history.ledger.rows().items():
        for slot in aligned(key):
            if slot.start > START + now - (2 * HOUR + 45 if slot.window.seconds < HOUR else 25 * HOUR + 450):
                responses, rewards = wanted.get(document_id(slot), (0, 0))
                wanted[document_id(slot)] = responses + row.get("response", 0), rewards + row.get("count", 0)
    found = {at: (body.get("exchanges", {}).get("response", 0), body["rewards"]) for at, body in index.items()}
    assert found == wanted
    heir = History(partitions=2, clock=PaneClock(by_labels=by_labels))
    heir.ledger = history.ledger
    assert {document.place[1]: document.body for document in heir.tell(now=now)} == index


def aligned(key: RowKey) -> list[Slot]:
    """The windows that a row of counts belongs to."""
    if key.level == "total" or not isinstance(key.subject, Identity):
        return []
    length, names = (60, ("5m",)) if key.level == "fine" else (600, ("1h", "24h"))
    return [
        Slot(key.account, window, key.pane * length // window.seconds) for window in WINDOWS if window.name in names
    ]


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (("ns", "svc", "default", "m", ""), "ns/svc/default/m//5m/1970-01-01T00:05:00Z"),
        (("ns", "svc", "", "", "1.0"), "ns/svc//@1.0//5m/1970-01-01T00:05:00Z"),
        (("a/b", "c@d", "%2F", "é", ""), "a%2Fb/c%40d/%252F/é//5m/1970-01-01T00:05:00Z"),
    ],
)
def test_the_id_names_the_window(names: tuple[str, str, str, str, str], wanted: str) -> None:
    window, identity = Window("5m", 300), Identity(*names)
    assert document_id(Slot(Account(identity), window, 1)) == wanted
    by_labels = document_id(Slot(Account(identity, accounts.BY_LABELS), window, 1))
    assert by_labels == wanted.replace("//5m/", "//labels_5m/")


def test_no_id_is_longer_than_elasticsearch_takes() -> None:
    ids = {
        document_id(Slot(Account(Identity("é" * 250, "s" * 250, "p", model, "")), Window("24h", DAY), 20_000))
        for model in ("m", "n")
    }
    assert len(ids) == 2
    assert all(len(one.encode()) < 100 and one.endswith("//24h/2024-10-04T00:00:00Z") for one in ids)


def test_the_mappings_know_every_field() -> None:
    reference = Watched("here", Live(Reference((Distribution("a", "continuous", (1.0,), (), (1,)),)), 1))
    rules = Rules(limits=(("accuracy", "", 0.9),), intervals=True, reference=reference)
    records = [a_request({"data": {"ndarray": [[1]]}}), a_response(1), a_result(0.25), a_feedback(1)]
    body = bodies(History(rules).tell(*records))["5m/07:00:00Z"]
    properties = MAPPINGS["properties"]
    assert body.keys() | {"value", "fairness", "estimate"} == properties.keys()  # which others have besides
    for name in ("rows", "exchanges"):
        assert body[name].keys() == properties[name]["properties"].keys()

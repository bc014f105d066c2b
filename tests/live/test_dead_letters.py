"""Dead letters on a real broker: each goes back once, whatever happens to who sends it, and then it counts."""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from app.core.events import Reason
from app.core.letters import RESENT, DeadLetter, letter_record
from app.core.wire.records import Record, pack_headers
from tests.live import servers
from tests.live.changelogs import ends as ends_of
from tests.live.story import TYPES, Event
from tests.live.test_cli import Tally
from tests.live.test_documents import Node, an_event, started, wait_until_written, workers
from tests.live.test_tail import Sent, create, headed, listed, send
from tests.live.workers import Fleet, produce, wait_for
from tests.patience import PATIENCE

LEG = [("ce_namespace", b"n"), ("ce_inferenceservicename", b"s"), ("ce_endpoint", b"p"), ("ce_modelid", b"m")]
#: What is refused with TALLY_MAX_BODY=1000, and counts without.
ROOM = "x" * 1000


class Letters(Tally):
    """A command line whose topics exist, and what is among its dead letters."""

    def __init__(self, bootstrap: str) -> None:
        super().__init__(bootstrap)
        self.settings["SESSION_TIMEOUT"] = "20s"  # a transaction of many letters must not take longer
        self.topic = f"{self.id}-dead-letters"
        self.says("topics", "--create")

    def put(self, *letters: DeadLetter) -> None:
        sent: list[Sent] = [(self.topic, *headed(letter_record(letter))) for letter in letters]
        asyncio.run(send(self.bootstrap, sent))

    def ids(self, *options: str) -> list[str]:
        """The ids of the letters that are listed, the oldest first."""
        return [row[0] for row in listed(self.says("dead-letters", "list", "-n", "20000", *options))][::-1]


@pytest.fixture
def letters(kafka: servers.Kafka) -> Letters:
    return Letters(kafka.bootstrap)


def feedback(number: int, topic: str, value: bytes = b'{"reward": 1}') -> DeadLetter:
    """The letter of an event that counts once it is taken."""
    headers = [("ce_type", TYPES["feedback"].encode()), *LEG, ("ce_requestid", b"p%d" % number)]
    timestamp = int(time.time() * 1000) - 60_000
    record = Record(100 + number, timestamp, b"p%d" % number, value, pack_headers(headers))
    return DeadLetter(topic, 0, record, Reason.TOO_MANY_MODELS, f"detail {number}")


def test_what_was_refused_by_a_setting_counts_once_when_it_is_mended(letters: Letters, tmp_path: Path) -> None:
    """Killed in the midst of it and run again, run twice at once, and run once more at the end."""
    count = 12_000
    events = [
        Event(
            kind,
            b"p%d" % number,
            json.dumps(body).encode(),
            [("ce_type", TYPES[kind].encode()), *LEG, ("ce_time", b"2026-11-20T07:00:00.%06dZ" % number)],
            int(time.time() * 1000),
        )
        for number in range(count)
        for kind, body in (
            ("response", {"data": {"ndarray": [number % 2]}}),
            (
                "feedback",
                {"reward": 1, "truth": {"data": {"ndarray": [number % 3 % 2]}, "meta": {"tags": {"x": ROOM}}}},
            ),
        )
    ]
    with Fleet(tmp_path, letters.settings) as fleet:
        narrow = fleet.start(MAX_BODY="1000")
        wait_for("the worker is ready", narrow.ready)
        produce(letters.settings, events)
        wait_for("all are refused", lambda: fleet.total("tally_rejected_total", reason="too-large") == count)
        assert narrow.stop() == 0
        worker = fleet.start()
        wait_for("the worker is ready", worker.ready)
        assert fleet.total("tally_rewards") == 0
        command = [sys.executable, "-m", "app", "dead-letters", "resend", "--reason", "too-large"]
        before = ends_of(letters.bootstrap, letters.feedback)
        killed = subprocess.Popen(command, env=letters.environment(), stdout=subprocess.DEVNULL)
        wait_for("some of them are sent", lambda: ends_of(letters.bootstrap, letters.feedback) != before)
        killed.kill()
        assert killed.wait() == -9  # it was in the midst of it
        two = [subprocess.Popen(command, env=letters.environment(), stderr=subprocess.PIPE) for _ in range(2)]
        ends = [(process.communicate(timeout=PATIENCE)[1].decode(), process.returncode) for process in two]
        assert 0 in [code for _, code in ends], ends
        assert all(code == 0 or (code == 2 and "Another `tally dead-letters`" in said) for said, code in ends), ends
        said = letters.says("dead-letters", "resend")
        assert said == f"0 letters were sent back\nnot sent: {count} letters were sent back before\n"
        wait_for("all of them count", lambda: fleet.total("tally_rewards") == count)
        assert worker.total("tally_confusion") == count
        assert worker.total("tally_duplicates_total") == 0
        assert letters.ids() == []
        assert len(letters.ids("--done")) == count


def test_what_is_refused_again_is_left_alone_until_it_is_asked_for(letters: Letters, tmp_path: Path) -> None:
    letters.put(feedback(1, letters.feedback, b'{"reward": 1, "x": "%s"}' % ROOM.encode()))
    first = letters.ids()
    with Fleet(tmp_path, letters.settings) as fleet:
        narrow = fleet.start(MAX_BODY="1000")
        wait_for("the worker is ready", narrow.ready)
        assert letters.says("dead-letters", "resend", "--yes") == "1 letter was sent back\n"
        wait_for("it is refused again", lambda: letters.ids() not in ([], first))
        (again,) = letters.ids()
        assert f"sent back from letter {first[0]}, and refused again" in letters.says("dead-letters", "show", again)
        assert letters.says("dead-letters", "resend") == (
            "0 letters were sent back\nnot sent: 1 letter was sent back before\n"
            "not sent: 1 letter was refused again after it had been sent back: name it, or give --again\n"
        )
        assert narrow.stop() == 0
        worker = fleet.start()
        wait_for("the worker is ready", worker.ready)
        assert letters.says("dead-letters", "resend", again) == "1 letter was sent back\n"
        wait_for("it counts", lambda: fleet.total("tally_rewards") == 1)
        assert letters.ids() == []


def test_what_a_letter_has_only_the_beginning_of_is_taken_from_its_topic(letters: Letters, tmp_path: Path) -> None:
    headers = [("ce_type", TYPES["feedback"].encode()), *LEG]
    now = int(time.time() * 1000)
    events = [
        Event("feedback", b"p%d" % number, b'{"reward": %d, "x": "%s"}' % (number, b"x" * 950_000), headers, now)
        for number in range(1, 6)
    ]
    with Fleet(tmp_path, letters.settings) as fleet:
        narrow = fleet.start(MAX_BODY="900000")
        wait_for("the worker is ready", narrow.ready)
        produce(letters.settings, events)
        wait_for("all are refused", lambda: fleet.total("tally_rejected_total", reason="too-large") == len(events))
        wait_for("all are letters", lambda: len(letters.ids()) == len(events))
        assert "the letter is cut short" in letters.says("dead-letters", "show", letters.ids()[0])
        assert narrow.stop() == 0
        worker = fleet.start()
        wait_for("the worker is ready", worker.ready)
        assert letters.says("dead-letters", "resend") == "5 letters were sent back\n"
        wait_for("all count", lambda: fleet.total("tally_rewards") == len(events))
        assert worker.total("tally_reward_points") == 15


def test_letters_of_a_source_are_read_anew_and_nothing_is_written_to_it(letters: Letters, tmp_path: Path) -> None:
    source = f"{letters.id}-any"
    asyncio.run(create(letters.bootstrap, source))
    value = json.dumps({"puid": "q", "features": [1, 2], "output": "cat", "label": "cat", "service": "pets"})
    record = Record(5, 1_795_244_400_000, None, value.encode())
    letters.put(DeadLetter(source, 0, record, Reason.TOO_LARGE, "the topic took less then"))
    assert letters.says("dead-letters", "resend", "--dry-run") == "1 letter would be sent back\n"
    (letter,) = letters.ids()
    assert letters.says("dead-letters", "resend") == "1 letter was sent back\n"
    assert letters.partition(source, 0) == []
    for topic in (letters.requests, letters.responses, letters.feedback):
        ((_, key, _, headers),) = letters.records(topic)
        assert (key, dict(headers)[RESENT]) == (b"q", letter.encode())
        assert dict(headers)["ce_time"] == b"2026-11-21T07:00:00.000000Z"
    with Fleet(tmp_path, letters.settings) as fleet:
        worker = fleet.start()
        wait_for("the worker is ready", worker.ready)
        wait_for("it counts", lambda: worker.total("tally_confusion") == 1)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {"value": b'{"reward": "%s"}' % (b"x" * 950_000)},
            "cut short, and the whole is not in the topic any more from which it came",
        ),
        ({"value": b"{"}, "of no use to this version, whatever the settings (bad-json)"),
        ({"key": None}, "of no use to this version, whatever the settings (no-key)"),
        ({"topic": "of-yore", "value": b"{"}, "of no use to this version, whatever the settings (bad-json)"),
        ({"topic": ""}, "do not say where they come from: Tally has not written them"),
        ({"topic": "inference-log", "reason": Reason.DOCUMENT_REFUSED},
         "documents, and none are written: TALLY_LOG_TOPIC is not set"),
    ],
)  # fmt: skip
def test_of_what_cannot_be_sent_back_it_is_said_why(letters: Letters, changes: dict[str, Any], why: str) -> None:
    letter = feedback(1, letters.feedback)
    record = letter.record
    record.key, record.value = changes.pop("key", record.key), changes.pop("value", record.value)
    letters.put(letter._replace(**changes))
    (one,) = letters.ids()
    sentence = f"not sent: 1 letter {why}; `tally dead-letters show {one}` shows one"
    assert letters.says("dead-letters", "resend") == f"0 letters were sent back\n{sentence}\n"
    assert letters.ids() == [one]


def test_one_is_shown_whole(letters: Letters) -> None:
    letters.put(feedback(1, letters.feedback, b'{"reward": 1, "x": [2]}'))
    (one,) = letters.ids()
    text = letters.says("dead-letters", "show", one)
    assert text.splitlines()[0] == f"letter       {one}"
    for line in (
        "reason       too-many-models: a partition already knows `TALLY_MAX_MODELS` models",
        "detail       detail 1",
        "key          p1",
        "headers      ce_type: io.seldon.serving.feedback",
        "             ce_namespace: n",
        "done         nothing yet",
        "value        23 bytes",
        '  "reward": 1,',
    ):
        assert line in text.splitlines()
    assert letters.run("dead-letters", "show", one, "--raw").stdout == b'{"reward": 1, "x": [2]}'
    letters.says("dead-letters", "resend", one)
    wait_for("it is done", lambda: "done         sent back at 20" in letters.says("dead-letters", "show", one))


def test_letters_that_are_dropped_are_not_listed_nor_sent(letters: Letters) -> None:
    letters.put(*(feedback(number, letters.feedback) for number in range(4)))
    first, *others = letters.ids()
    assert letters.refuses("dead-letters", "drop", first) == "Without a terminal to ask at, --yes is needed."
    said = letters.says("dead-letters", "drop", first, "--yes")
    assert said.startswith("dropped 1 letter\nthe brokers delete them when ")
    assert "168 h (its retention.ms)" in said
    # A broker says that a transaction has committed a moment before all of it can be read.
    wait_for("it is not listed", lambda: letters.ids() == others)
    assert "done         dropped at 20" in letters.says("dead-letters", "show", first)
    assert letters.says("dead-letters", "resend", first) == (
        "0 letters were sent back\nnot sent: 1 letter was dropped before\n"
    )
    assert letters.says("dead-letters", "drop", "--reason", "too-many-models", "--yes").startswith(
        "dropped 3 letters\n"
    )
    wait_for("none is listed", lambda: letters.ids() == [])
    assert letters.says("dead-letters", "drop", "--all", "--yes") == "deleted 4 letters\n"
    assert letters.ids("--done") == []
    assert letters.refuses("dead-letters", "show", first) == (
        f"Letter {first} is gone: {letters.topic} keeps letters for 168 h (its retention.ms), "
        "or `tally dead-letters drop --all` has deleted it."
    )


@pytest.mark.parametrize("command", ["show", "resend", "drop"])
def test_a_letter_that_is_none_is_named(letters: Letters, command: str) -> None:
    letters.put(feedback(1, letters.feedback))
    yes = ["--yes"] if command == "drop" else []
    for name, sentence in (
        ("9-0", f"There is no letter 9-0: {letters.topic} has 8 partitions, from 0."),
        ("0-999", "There is no letter 0-999: `tally dead-letters list` shows those that there are."),
    ):
        assert letters.refuses("dead-letters", command, name, *yes) == sentence


def test_a_letter_of_another_reason_is_not_sent(letters: Letters) -> None:
    letters.put(feedback(1, letters.feedback))
    (one,) = letters.ids()
    assert f"There is no such letter {one}" in letters.refuses("dead-letters", "resend", one, "--reason", "ragged")
    assert letters.says("dead-letters", "resend", "--since", "2999-01-01") == "0 letters were sent back\n"


def test_documents_that_were_refused_are_written_anew_with_what_came_since(
    kafka: servers.Kafka, elasticsearch: servers.Elasticsearch, tmp_path: Path
) -> None:
    """The label came after the refused prediction: that alone, written again, would take it from the document."""
    node = Node(elasticsearch)
    with workers(tmp_path, kafka.bootstrap, node) as (fleet, name):
        tally = Tally(kafka.bootstrap)
        tally.settings = fleet.settings
        named = {"namespace": name, "service": "bad", "endpoint": "default"}
        index = f"inference-log-seldon-{name}-bad-default"
        body: Any = {"data": {"ndarray": [[1]]}}
        wrong = {"properties": {"request": {"properties": {"dataType": {"type": "long"}}}}}
        puids = [f"p{number}" for number in range(20)]
        try:
            node.ask("PUT", f"/{index}", {"mappings": wrong})
            worker = started(fleet)
            produce(fleet.settings, [an_event(k, puid, body, named) for puid in puids for k in ("request", "response")])
            wait_for("all are refused", lambda: worker.total("tally_documents_total", result="refused") >= len(puids))
            truth = {"reward": 1, "truth": {"data": {"ndarray": [1]}}}
            produce(fleet.settings, [an_event("feedback", puid, truth, named) for puid in puids])
            wait_until_written(fleet, worker, 3 * len(puids))
            node.ask("DELETE", f"/{index}")  # so that it is made anew, with the mapping of the templates
            said = tally.says("dead-letters", "resend", "--reason", "document-refused")
            sent = int(said.split()[0])
            assert (said, sent >= len(puids)) == (f"{sent} letters were sent back\n", True)
            wait_for("all are written", lambda: len(node.documents(index)) == len(puids))
            wait_until_written(fleet, worker, 3 * len(puids))
            for document in node.documents(index).values():
                assert {"request", "response", "feedback"} <= document.keys()
                assert (document["verdict"]["correct"], document["feedback"]["reward"]) == (True, 1)
            assert tally.says("dead-letters", "list") == "No dead letters.\n"
            assert tally.says("dead-letters", "resend") == (
                f"0 letters were sent back\nnot sent: {sent} letters were sent back before\n"
            )
        finally:
            node.remove(f"inference-log-seldon-{name}-*")

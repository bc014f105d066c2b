"""A replay says what the live worker says, byte for byte, and of any stretch what the brute-force count says."""

import json
import re
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from prometheus_client.parser import text_string_to_metric_families

from tests.live.changelogs import ends, read_topic
from tests.live.forked import run_text
from tests.live.seeds import seed
from tests.live.servers import Kafka
from tests.live.story import Event, expected, traffic
from tests.live.test_exactness import COMMON
from tests.live.workers import COUNT_SERIES, Fleet, Series, assert_counts, produce, topic_settings, wait_for
from tests.soak import SOAK

PUIDS = 180_000 if SOAK else 7_000
#: Where the model series of a worker begin and end.
MODELS = re.compile(r"# HELP tally_exchanges .*?(?=# HELP process_)", re.DOTALL)


class Told(NamedTuple):
    """What a worker has counted, and what the topics hold."""

    settings: dict[str, str]
    events: list[Event]
    models: str  # the worker's own series of the models


def tally(settings: dict[str, str], *words: str, **changes: str) -> "subprocess.CompletedProcess[str]":
    return run_text(settings | changes, *words, seconds=600)


def stored(settings: dict[str, str]) -> Iterator[tuple[str, Any]]:
    """All records of the canonical topics, with their kinds."""
    for kind in ("request", "response", "feedback"):
        for records in read_topic(settings["KAFKA_BOOTSTRAP_SERVERS"], settings[f"{kind.upper()}_TOPIC"]).values():
            yield from ((kind, record) for record in records)


def an_event(kind: str, record: Any) -> Event:
    return Event(kind, record.key(), record.value(), record.headers() or [], record.timestamp()[1])


def counts(text: str) -> Series:
    """The counts of answered models in a text; all answers of the story name a version."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name in COUNT_SERIES and sample.value and sample.labels["model_version"]
    }


def differing(found: Series, wanted: Series) -> Sequence[str]:
    return [
        f"{name}{dict(labels)}: {found.get((name, labels), 0)} instead of {wanted.get((name, labels), 0)}"
        for name, labels in sorted(found.keys() | wanted.keys())
        if found.get((name, labels)) != wanted.get((name, labels))
    ]


@pytest.fixture(scope="module")
def told(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """A worker has counted the story, and has ended."""
    settings = topic_settings(kafka.bootstrap, f"replay-{uuid.uuid4().hex[:8]}") | COMMON | {"PARTITIONS": "4"}
    events = traffic(PUIDS, seed(18))
    with Fleet(tmp_path_factory.mktemp("told"), settings) as fleet:
        worker = fleet.start()
        wait_for("the worker is ready", worker.ready)
        produce(settings, events)
        assert_counts(fleet, expected(events))
        texts: list[tuple[float, str]] = []

        def stands() -> bool:
            """Whether it is as it was long before: what has changed while it was made is in the next text."""
            models = MODELS.search(worker.get("/metrics"))
            assert models is not None
            if not texts or texts[0][1] != models[0]:
                texts[:] = [(time.monotonic(), models[0])]
            return time.monotonic() - texts[0][0] > 3

        wait_for("the series stand still", stands)
        fleet.stop()
    return Told(settings, events, texts[0][1])


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_replay_of_all_says_what_the_worker_says_byte_for_byte(told: Told, processes: str) -> None:
    before = ends(told.settings["KAFKA_BOOTSTRAP_SERVERS"], f"{told.settings['APP_ID']}-panes")
    done = tally(told.settings, "replay", "--format", "prometheus", "--processes", processes)
    assert done.stdout == told.models, done.stderr
    assert counts(done.stdout) == expected(told.events)
    assert ends(told.settings["KAFKA_BOOTSTRAP_SERVERS"], f"{told.settings['APP_ID']}-panes") == before


def test_the_middle_third_by_time_says_what_the_brute_force_count_says(told: Told) -> None:
    times = sorted(event.timestamp for event in told.events)
    begin, end = times[len(times) // 3], times[2 * len(times) // 3]
    wanted = expected(an_event(*one) for one in stored(told.settings) if begin <= one[1].timestamp()[1] < end)
    stretch = ("--from", moment(begin), "--to", moment(end))
    done = tally(told.settings, "replay", *stretch, "--format", "prometheus")
    assert not differing(counts(done.stdout), wanted), done.stderr


def moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")


def test_the_middle_third_by_offsets_says_what_the_brute_force_count_says(told: Told) -> None:
    bounds: dict[str, list[str]] = {"--from": [], "--to": []}
    chosen: list[Event] = []
    for kind in ("request", "response", "feedback"):
        topic = told.settings[f"{kind.upper()}_TOPIC"]
        for number, records in read_topic(told.settings["KAFKA_BOOTSTRAP_SERVERS"], topic).items():
            third = len(records) // 3
            for option, place in (("--from", third), ("--to", 2 * third)):
                bounds[option].append(f"{topic}:{number}:{records[place].offset()}")
            chosen += [an_event(kind, record) for record in records[third : 2 * third]]
    stretch = [word for option, places in bounds.items() for word in (option, ",".join(places))]
    done = tally(told.settings, "replay", *stretch, "--format", "prometheus")
    assert not differing(counts(done.stdout), expected(chosen)), done.stderr


@pytest.mark.parametrize("processes", ["1", "2"])
def test_topics_read_as_any_source_say_the_same(told: Told, processes: str) -> None:
    """With the canonical topics under other names, each event is understood and brought to its key on the way."""
    names = [told.settings[f"{kind}_TOPIC"] for kind in ("REQUEST", "RESPONSE", "FEEDBACK")]
    others = {"REQUEST_TOPIC": "other-a", "RESPONSE_TOPIC": "other-b", "FEEDBACK_TOPIC": "other-c"}
    words = [word for name in names for word in ("--topic", name)]
    done = tally(told.settings, "replay", *words, "--format", "prometheus", "--processes", processes, **others)
    assert not differing(counts(done.stdout), expected(told.events)), done.stderr


def test_a_file_of_the_topics_says_the_same(told: Told, tmp_path: Path) -> None:
    """As `kcat -C -J` prints them, a topic after the other; by one process and by two byte for byte."""
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"".join(as_kcat(record) for _, record in stored(told.settings)))
    one, two = (
        tally(told.settings, "replay", str(file), "--format", "prometheus", "--processes", processes)
        for processes in ("1", "2")
    )
    assert one.stdout == two.stdout, one.stderr + two.stderr
    assert not differing(counts(one.stdout), expected(told.events)), one.stderr


def as_kcat(record: Any) -> bytes:
    """A line with the bytes of key, payload and headers as they are, UTF-8 or not."""
    headers = [part for name, value in record.headers() or [] for part in (name, text_of(value))]
    fields = {"key": text_of(record.key()), "payload": text_of(record.value()), "headers": headers}
    line = {"topic": record.topic(), "ts": record.timestamp()[1], **fields}
    return json.dumps(line, ensure_ascii=False).encode(errors="surrogateescape") + b"\n"


def text_of(raw: bytes | None) -> str | None:
    return None if raw is None else raw.decode(errors="surrogateescape")


@pytest.mark.parametrize(
    ("words", "changes", "sentence"),
    [
        (("--from", "{request}:0:99999999"), {}, r"--from .*: partition 0 of .* has the offsets 0 to \d+\."),
        (("--from", "{request}:4:0"), {}, r"--from .*: .* has the partitions 0 to 3\."),
        (("--from", "elsewhere:0:0"), {}, r"--from elsewhere:0:0: elsewhere is not replayed; .* are\."),
        (("--from", "2026-01-02", "--to", "2026-01-01"), {}, r"--to 2026-01-01 is not after --from 2026-01-02: .*"),
        (("--to", "2020-01-01"), {}, r".* hold no events from earliest to 2020-01-01\."),
        (("--topic", "gone"), {}, r"Topic gone does not exist\."),
        ((), {"FEEDBACK_TOPIC": "gone"}, r"Topic gone does not exist: is it the right broker, .*"),
        ((), {"FEEDBACK_TOPIC": "{app}-exchanges-of-1"}, r"The canonical topics must have one partition count, and .*"),
        (("--model", "no/such"), {}, r"--model no/such fits none of the models: demo/.*"),
        ((), {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, r"No Kafka broker answers at 127\.0\.0\.1:1: .*"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(
    told: Told, words: tuple[str, ...], changes: dict[str, str], sentence: str
) -> None:
    names = {"request": told.settings["REQUEST_TOPIC"], "app": told.settings["APP_ID"]}
    if "{app}" in str(changes):
        admin = AdminClient({"bootstrap.servers": told.settings["KAFKA_BOOTSTRAP_SERVERS"]})
        admin.create_topics([NewTopic(f"{names['app']}-exchanges-of-1", 1)])[f"{names['app']}-exchanges-of-1"].result()
    given = {name: text.format(**names) for name, text in changes.items()}
    done = tally(told.settings, "replay", *(word.format(**names) for word in words), **given)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert re.fullmatch(f"tally: {sentence}\n", done.stderr), done.stderr


def test_a_state_with_more_partitions_is_built_beside_the_first(told: Told, tmp_path: Path) -> None:
    """As the README says: another app id, canonical topics of its own, and the intake fills these from the first."""
    name = f"grown-{uuid.uuid4().hex[:8]}"
    kinds = ("REQUEST", "RESPONSE", "FEEDBACK")
    settings = topic_settings(told.settings["KAFKA_BOOTSTRAP_SERVERS"], name) | COMMON | {"PARTITIONS": "7"}
    settings["INTAKE_TOPICS"] = ",".join(told.settings[f"{kind}_TOPIC"] for kind in kinds)
    with Fleet(tmp_path, settings) as fleet:
        worker = fleet.start()
        wait_for("the worker is ready", worker.ready)
        assert_counts(fleet, expected(told.events))
        fleet.stop()
    for state in (settings, told.settings):
        done = tally(state, "verify")
        assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "difference 0"), done.stdout + done.stderr
        assert done.stdout.startswith(f"{state['PARTITIONS']} partitions: "), done.stdout

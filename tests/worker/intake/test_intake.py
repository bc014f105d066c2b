"""What the intake hands to the brokers and when it commits, without brokers; tests/live/test_intake.py has some."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from struct import unpack_from
from types import SimpleNamespace
from typing import Any, Final

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError, MessageSizeTooLargeError, OutOfOrderSequenceNumber
from aiokafka.producer.message_accumulator import BatchBuilder

from app.core.dialects.keeping import SegmentHeaders
from app.core.dialects.plain import Event
from app.core.dialects.rekeying import Rekeyed, Rekeying
from app.core.events import Kind, Reason
from app.core.letters import DeadLetter
from app.core.rules import Rulebook, Rules
from app.core.segments import HEADERS, Segment
from app.core.stats import Stats
from app.core.wire.partitioning import partition_of
from app.core.wire.records import Record, pack_headers, read_records
from app.settings import load_settings
from app.worker.intake.intake import Intake
from app.worker.intake.outlet import Outlet
from app.worker.kafka.metadata import LARGEST_BATCH, TopicFacts
from app.worker.kafka.producer import BATCH_BYTES
from app.worker.kafka.sizes import Sizes
from app.worker.kafka.topics import acls_of, sources_among
from tests.patience import PATIENCE
from tests.worker.kafka import scripted
from tests.worker.kafka.scripted import in_no_time, until

PARTITIONS: Final = 4
SOURCE: Final = TopicPartition("source", 1)
TIME: Final = int(time.time() * 1000)
SETTINGS: Final = load_settings(app_id="shop", intake_topics=("source",))
HEADER_BYTES: Final = 61


class Brokers:
    """A producer and what is committed: what they are given, and acknowledgements that a test gives by hand."""

    def __init__(self) -> None:
        self.written: dict[tuple[str, int], list[Record]] = {}
        self.sizes: list[tuple[str, int]] = []  # of batches, by topic
        self.waiting: list[asyncio.Future[None]] = []
        self.committed: list[dict[TopicPartition, int]] = []
        self.events: Counter[str] = Counter()  # that are counted as theirs
        self.rejected: Counter[str] = Counter()

    def create_batch(self, most_bytes: int) -> BatchBuilder:
        return BatchBuilder(most_bytes, 0)

    async def send_batch(self, batch: BatchBuilder, topic: str, *, partition: int) -> asyncio.Future[None]:
        data = bytes(batch._build())
        self.sizes.append((topic, len(data)))
        (count,) = unpack_from(">i", data, HEADER_BYTES - 4)
        (base_time,) = unpack_from(">q", data, 27)
        records = read_records(data, HEADER_BYTES, len(data), count, 0, base_time, None)
        self.written.setdefault((topic, partition), []).extend(records)
        self.waiting.append(asyncio.get_running_loop().create_future())
        return self.waiting[-1]

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.committed.append(dict(offsets))

    async def acknowledge(self, error: Exception | None = None) -> None:
        """Let the outlet do what it can, then answer all that waits."""
        await turns()
        for future in self.waiting:
            future.set_result(None) if error is None else future.set_exception(error)
        self.waiting.clear()
        await turns()


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def run(
    test: Callable[[Outlet, Brokers], Awaitable[None]],
    sizes: Sizes | None = None,
    now: Callable[[], float] = time.time,
) -> Brokers:
    """Run a test with an outlet of its own."""
    brokers = Brokers()

    async def wrapped() -> None:
        producer: Any = brokers
        counted = brokers.events, brokers.rejected
        outlet = Outlet(SETTINGS, PARTITIONS, producer, brokers.commit, sizes or Sizes(), *counted, now=now)
        await test(outlet, brokers)
        await outlet.close()

    in_no_time(wrapped())  # no time passes by which more would be committed
    return brokers


def an_event(kind: Kind, key: str, value: bytes = b"{}", timestamp: int = TIME) -> tuple[Kind, Event, int]:
    return kind, Event(key.encode(), value, (("ce_type", kind.encode()), ("ce_requestid", key.encode()))), timestamp


def test_events_go_to_the_topic_of_their_kind_and_the_partition_of_their_key_as_they_are_and_in_order() -> None:
    kinds = list(Kind) * 40
    events = [an_event(kind, f"puid-{n % 23}", b"value %d" % n, TIME + 7 * n % 50) for n, kind in enumerate(kinds)]

    async def test(outlet: Outlet, brokers: Brokers) -> None:
        for begin in range(0, len(events), 30):
            assert outlet.put(events[begin : begin + 30]) == []
        outlet.note(SOURCE, 200, len(events))
        outlet.send()
        await brokers.acknowledge()

    found = run(test).written
    topics = {Kind.REQUEST: "inference-requests", Kind.FEEDBACK: "inference-feedback"}
    wanted: dict[tuple[str, int], list[Any]] = {}
    for kind, event, timestamp in events:
        place = topics.get(kind, "inference-responses"), partition_of(event.key, PARTITIONS)
        wanted.setdefault(place, []).append((event.key, event.value, list(event.headers), timestamp))
    assert len(wanted) == 3 * PARTITIONS
    assert {
        place: [(record.key, record.value, record.headers, record.timestamp) for record in records]
        for place, records in found.items()
    } == wanted


def test_more_than_a_batch_holds_goes_in_several_in_order() -> None:
    values = [b"%06d" % number + b"v" * 100_000 for number in range(40)]

    async def test(outlet: Outlet, brokers: Brokers) -> None:
        outlet.put([an_event(Kind.REQUEST, "one", value) for value in values])
        outlet.note(SOURCE, 40, 40)
        outlet.send()
        for _ in range(6):
            await brokers.acknowledge()

    (records,) = run(test).written.values()
    assert [record.value for record in records] == values


def test_an_event_that_no_batch_takes_is_given_back_and_stops_no_other() -> None:
    sizes = [10, BATCH_BYTES, 10, BATCH_BYTES - 1000, BATCH_BYTES + 5, 10]
    events = [an_event(Kind.REQUEST, "one", b"v" * size) for size in sizes]

    async def test(outlet: Outlet, brokers: Brokers) -> None:
        topic = SETTINGS.request_topic
        assert outlet.put(events[1:2]) == [(topic, events[1][1])]
        assert outlet.put(events) == [(topic, events[1][1]), (topic, events[4][1])]
        outlet.note(SOURCE, 40, 40)
        outlet.send()
        for _ in range(6):
            await brokers.acknowledge()

    (records,) = run(test).written.values()
    assert [len(record.value or b"") for record in records] == [10, 10, BATCH_BYTES - 1000, 10]


def taking(**most: int) -> Sizes:
    """What topics take: the requests', the dead letters'."""
    topics = {"requests": SETTINGS.request_topic, "responses": SETTINGS.response_topic, "dead": "shop-dead-letters"}
    return Sizes({topics[name]: TopicFacts(1, "", {LARGEST_BATCH: str(limit)}) for name, limit in most.items()})


def test_each_topic_has_batches_that_it_takes() -> None:
    sizes = {SETTINGS.request_topic: 20_000, SETTINGS.response_topic: 900_000, "shop-dead-letters": 30_000}

    async def test(outlet: Outlet, brokers: Brokers) -> None:
        for kind in (Kind.REQUEST, Kind.RESPONSE):
            assert outlet.put([an_event(kind, "one", b"v" * 1000) for _ in range(100)]) == []
        record = Record(5, TIME, None, b"v" * 50_000)
        outlet.put_letter(DeadLetter("source", 0, record, Reason.BAD_JSON, "it is broken"))
        outlet.note(SOURCE, 1, 200)
        outlet.send()
        for _ in range(4):
            await brokers.acknowledge()

    brokers = run(test, taking(requests=20_000, dead=30_000))
    found = {topic: [size for at, size in brokers.sizes if at == topic] for topic in sizes}
    assert {topic: len(some) for topic, some in found.items()} == dict(zip(sizes, (6, 1, 1), strict=True))
    assert all(max(some) <= sizes[topic] for topic, some in found.items())
    assert sum(map(len, brokers.written.values())) == 201


def test_an_event_of_more_than_a_batch_of_several_has_is_written_alone_where_its_topic_takes_it() -> None:
    async def test(outlet: Outlet, brokers: Brokers) -> None:
        events = [an_event(Kind.REQUEST, "one", b"v" * size) for size in (10, 3_000_000, 10)]
        assert outlet.put(events) == []
        outlet.note(SOURCE, 3, 3)
        outlet.send()
        await brokers.acknowledge()

    assert [size > 3_000_000 for _, size in run(test, taking(requests=4_000_000)).sizes] == [False, True, False]


def test_what_is_refused_for_its_size_is_learnt_for_the_next_session() -> None:
    sizes = taking(requests=100_000)

    async def test(outlet: Outlet, brokers: Brokers) -> None:
        outlet.put([an_event(Kind.REQUEST, "one", b"v" * 30_000), an_event(Kind.REQUEST, "one", b"v" * 30_000)])
        outlet.note(SOURCE, 2, 2, 2)
        outlet.send()
        await brokers.acknowledge(MessageSizeTooLargeError())
        with pytest.raises(KafkaError):
            outlet.raise_failure()

    assert not run(test, sizes).events
    assert 30_000 < sizes.of(SETTINGS.request_topic) < 31_000
    assert sizes.largest(SETTINGS.request_topic) == 100_000


def test_a_time_that_brokers_refuse_or_take_for_outdated_is_brought_near() -> None:
    """By the worker's clock, which is the brokers' where that of its machine is wrong."""
    now = int(time.time() * 1000) - 30 * 86_400_000
    week, day = 7 * 86_400_000, 86_400_000
    times = [now + 3_600_000, now + 3_000_000, now, now - 3 * day, now - week, 0]

    async def test(outlet: Outlet, brokers: Brokers) -> None:
        outlet.put([an_event(Kind.REQUEST, "one", timestamp=timestamp) for timestamp in times])
        outlet.note(SOURCE, 6, 6)
        outlet.send()
        await brokers.acknowledge()

    (records,) = run(test, now=lambda: now / 1000).written.values()
    first, *others, old, oldest = (record.timestamp for record in records)
    assert now + 3_000_000 < first < now + 3_600_000
    assert others == times[1:4]
    assert old == oldest
    assert 3 * day < now - old < 4 * day


def test_an_offset_is_committed_once_all_before_it_is_acknowledged() -> None:
    async def test(outlet: Outlet, brokers: Brokers) -> None:
        outlet.put([an_event(Kind.REQUEST, "one")])
        outlet.note(SOURCE, 7, 1)
        flushed = asyncio.ensure_future(outlet.flush())
        await turns()
        outlet.put([an_event(Kind.REQUEST, "one")])
        outlet.note(SOURCE, 8, 1)
        await turns()
        assert brokers.committed == []
        await brokers.acknowledge()
        assert brokers.committed == [{SOURCE: 7}]
        assert not flushed.done()
        await brokers.acknowledge()
        assert brokers.committed == [{SOURCE: 7}, {SOURCE: 8}]
        assert flushed.done()

    run(test)


def test_what_the_brokers_refuse_is_not_committed_and_is_told() -> None:
    async def test(outlet: Outlet, brokers: Brokers) -> None:
        outlet.put([an_event(Kind.REQUEST, "one"), an_event(Kind.RESPONSE, "one")])
        outlet.note(SOURCE, 7, 2)
        flushed = asyncio.ensure_future(outlet.flush())
        await brokers.acknowledge(MessageSizeTooLargeError())
        with pytest.raises(KafkaError, match=r"inference-requests.*MessageSizeTooLargeError"):
            await flushed
        with pytest.raises(KafkaError):
            outlet.raise_failure()
        assert brokers.committed == []

    run(test)


def test_what_is_written_and_not_committed_yet_does_not_count_since_it_is_written_again() -> None:
    async def test(outlet: Outlet, brokers: Brokers) -> None:
        for offset in 7, 8:  # only the first is committed at once
            outlet.put([an_event(Kind.REQUEST, "one")])
            outlet.note(SOURCE, offset, 1, 1)
            outlet.send()
            await brokers.acknowledge()
        assert brokers.committed == [{SOURCE: 7}]
        assert brokers.events == {"source": 1}
        outlet.put([an_event(Kind.REQUEST, "one")])
        outlet.note(SOURCE, 9, 1, 1)
        outlet.send()
        await brokers.acknowledge(MessageSizeTooLargeError())
        with pytest.raises(KafkaError):
            outlet.raise_failure()

    brokers = run(test)
    assert brokers.committed == [{SOURCE: 7}]
    assert brokers.events == {"source": 1}


def test_no_more_is_read_while_much_waits() -> None:
    async def test(outlet: Outlet, brokers: Brokers) -> None:
        outlet.put([an_event(Kind.REQUEST, "one")])
        outlet.note(SOURCE, 10_000, 10_000)
        await turns()
        await asyncio.wait_for(outlet.wait_for_room(), PATIENCE)
        outlet.put([an_event(Kind.REQUEST, "one")])
        outlet.note(SOURCE, 30_000, 20_000)
        waits = asyncio.ensure_future(outlet.wait_for_room())
        await turns()
        assert not waits.done()
        await brokers.acknowledge()
        assert waits.done()

    run(test)


def test_large_events_wait_for_room_sooner_and_go_in_requests_that_brokers_take() -> None:
    value = b"v" * 800_000

    async def test(outlet: Outlet, brokers: Brokers) -> None:
        for number in range(60):
            outlet.put([an_event(Kind.REQUEST, f"puid-{number}", value)])
            assert outlet.full == (number >= 20)
        outlet.note(SOURCE, 60, 60)
        requests = []
        for _ in range(4):
            await turns()
            requests.append(len(brokers.waiting))
            await brokers.acknowledge()
        assert requests == [21, 21, 18, 0]
        assert not outlet.full

    assert sum(len(records) for records in run(test).written.values()) == 60


def test_a_dead_letter_is_the_record_with_its_origin() -> None:
    record = Record(5, TIME, None, b"broken", b"\x02\x08type\x02x")

    async def test(outlet: Outlet, brokers: Brokers) -> None:
        outlet.put_letter(DeadLetter("source", 6, record, Reason.BAD_JSON, "it is broken"))
        outlet.note(SOURCE, 7, 1)
        outlet.send()
        await brokers.acknowledge()

    ((place, (letter,)),) = run(test).written.items()
    assert place == ("shop-dead-letters", 6 % PARTITIONS)
    assert (letter.key, letter.value) == (None, b"broken")
    assert dict(letter.headers) == {
        "type": b"x",
        "reason": b"bad-json",
        "detail": b"it is broken",
        "origin-topic": b"source",
        "origin-partition": b"6",
        "origin-offset": b"5",
        "origin-timestamp": str(TIME).encode(),
    }


def test_a_record_at_which_rekeying_breaks_is_refused_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def rekey(self: Rekeying, topic: str, records: Sequence[Record]) -> Rekeyed:
        events = [(Kind.REQUEST, Event(b"one", record.value or b"", ()), TIME) for record in records]
        if any(record.value == b"3" for record in records):
            raise ZeroDivisionError
        return Rekeyed(events, [])

    monkeypatch.setattr(Rekeying, "rekey", rekey)
    records = [Record(number, TIME, None, b"%d" % number) for number in range(6)]

    async def test(outlet: Outlet, brokers: Brokers) -> None:
        intake = Intake(SETTINGS, PARTITIONS, Stats())
        outlet.note(SOURCE, 6, 6, intake._rekey_list(outlet, SOURCE, records))
        outlet.send()
        await brokers.acknowledge()

    brokers = run(test)
    written = brokers.written
    (letter,) = written.pop(("shop-dead-letters", 1))
    assert (letter.value, dict(letter.headers)["origin-offset"]) == (b"3", b"3")
    assert [record.value for (records,) in [written.values()] for record in records] == [b"0", b"1", b"2", b"4", b"5"]
    assert (brokers.events, brokers.rejected) == ({"source": 5}, {"unexpected": 1})


def test_events_keep_the_header_that_a_segment_names() -> None:
    segments = SegmentHeaders(Rulebook((Rules(segments=(Segment("tier", HEADERS, "x-tier"),)),)))
    block = pack_headers([("X-Tier", b"gold"), ("X-Other", b"o")])
    record = Record(0, TIME, None, b'{"puid": "p", "features": [1], "output": 1}', block)

    async def test(outlet: Outlet, brokers: Brokers) -> None:
        intake = Intake(SETTINGS, PARTITIONS, Stats(), segments=segments)
        outlet.note(SOURCE, 1, 1, intake._rekey_list(outlet, SOURCE, [record]))
        outlet.send()
        await brokers.acknowledge()

    written = [dict(one.headers) for records in run(test).written.values() for one in records]
    assert [(one.get("x-tier"), one.get("x-other")) for one in written] == [(b"gold", None)] * 2


def test_an_outlet_closes_also_in_the_moment_in_which_it_has_something_to_send() -> None:
    async def test(outlet: Outlet, brokers: Brokers) -> None:
        await turns()
        outlet.note(SOURCE, 7, 1)
        outlet.send()
        async with asyncio.timeout(PATIENCE):
            await outlet.close()

    assert run(test).committed == []


# -- with a group -----------------------------------------------------------------------------------------------------


class Producer:
    """One whose brokers take everything, unless it has to wait for their acknowledgements."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, int]] = []
        self.slow = False
        self.takes = 10 << 20  # bytes
        self.broken = False
        self._sender = SimpleNamespace(sender_task=None)

    def create_batch(self, most_bytes: int) -> BatchBuilder:
        return BatchBuilder(most_bytes, 0)

    async def send_batch(self, batch: BatchBuilder, topic: str, *, partition: int) -> asyncio.Future[None]:
        future = asyncio.get_running_loop().create_future()
        if batch.size() > self.takes or self.broken:
            future.set_exception(OutOfOrderSequenceNumber() if self.broken else MessageSizeTooLargeError())
            self.broken = True
            return future
        self.batches.append((topic, batch.record_count()))
        if not self.slow:
            future.set_result(None)
        return future

    async def stop(self) -> None:
        pass


def run_intake(
    brokers: scripted.Brokers, test: Callable[[Intake, Producer], Awaitable[None]], **settings: Any
) -> Producer:
    """Run a test with an intake that reads the topic `source`."""
    producer = Producer()

    async def open_producer(*_: Any) -> Any:
        producer.broken = False
        return producer

    async def whole() -> None:
        intake = Intake(
            load_settings(**{"app_id": "shop", "intake_topics": ("source",), "session_timeout": 10.0} | settings),
            PARTITIONS,
            Stats(),
            open_consumer=brokers.open_consumer,
            open_producer=open_producer,
        )
        intake.start()
        await test(intake, producer)
        await intake.stop()

    in_no_time(whole())
    return producer


@pytest.mark.parametrize(
    ("start", "partitions_at_the_start", "offset"),
    [
        ("earliest", 2, 10),
        ("latest", 2, 20),
        (105.0, 2, 15),
        (200.0, 2, 20),
        ("latest", 1, 10),
        ("latest", 0, 10),
        (105.0, 0, 10),
    ],
)
def test_a_partition_without_offset_begins_where_the_setting_says_and_a_new_one_at_its_beginning(
    start: str | float, partitions_at_the_start: int, offset: int
) -> None:
    """It holds the offsets 10 to 19, of the seconds 100 to 109. The start is committed before any record comes."""
    brokers = scripted.Brokers(**({"source": partitions_at_the_start} if partitions_at_the_start else {}))
    for second in range(90, 110):
        brokers.write(SOURCE, b"{}", timestamp=second * 1000)
    brokers.beginnings[SOURCE] = 10
    brokers.silent = True

    async def test(intake: Intake, producer: Producer) -> None:
        await asyncio.sleep(5)
        brokers.partitions["source"] = 2
        if partitions_at_the_start == 1:
            await brokers.member.rebalance()
        await until(lambda: SOURCE in brokers.committed)

    run_intake(brokers, test, start=start)
    assert [commit[SOURCE] for commit in brokers.commits if SOURCE in commit] == [offset]
    assert [place for tp, place in brokers.member.sought if tp == SOURCE] == [offset]


def test_what_was_read_is_delivered_and_committed_before_a_partition_goes() -> None:
    brokers = scripted.Brokers(source=2)
    brokers.committed[SOURCE] = 0

    async def test(intake: Intake, producer: Producer) -> None:
        await until(lambda: SOURCE in brokers.member.assignment() if brokers.consumers else False)
        brokers.write(SOURCE, *[b'{"puid": "%d", "features": [1], "output": 0}' % n for n in range(700)], b"broken")
        await until(lambda: intake.events["source"] >= 600)
        brokers.member.share = []
        await brokers.member.rebalance()
        assert sum(count for topic, count in producer.batches if topic == "inference-requests") == 700
        assert brokers.committed[SOURCE] == 701
        brokers.member.share = None
        await brokers.member.rebalance()
        await asyncio.sleep(60)
        assert intake.lag() == 0

    producer = run_intake(brokers, test)
    written: Counter[str] = Counter()
    for topic, count in producer.batches:
        written[topic] += count
    assert written == {"inference-requests": 700, "inference-responses": 700, "shop-dead-letters": 1}


def test_brokers_that_do_not_acknowledge_before_a_partition_goes_have_it_sent_again() -> None:
    brokers = scripted.Brokers(source=2)
    brokers.committed[SOURCE] = 0

    async def test(intake: Intake, producer: Producer) -> None:
        producer.slow = True
        await until(lambda: SOURCE in brokers.member.assignment() if brokers.consumers else False)
        brokers.write(SOURCE, b'{"puid": "p", "features": [1], "output": 0}')
        await until(lambda: len(producer.batches) == 2)
        await brokers.member.rebalance()
        assert brokers.committed[SOURCE] == 0
        assert not intake.events.total()
        producer.slow = False
        await until(lambda: brokers.committed[SOURCE] == 1)
        assert intake.events == {"source": 2}

    run_intake(brokers, test)
    assert len(brokers.consumers) == 2


def test_a_topic_that_is_not_there_is_waited_for_and_the_log_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    brokers = scripted.Brokers()
    caplog.set_level("INFO")

    def said(text: str) -> int:
        return sum(text in record.getMessage() for record in caplog.records)

    async def test(intake: Intake, producer: Producer) -> None:
        brokers.topics_error = KafkaConnectionError("away")
        await asyncio.sleep(20)
        assert said("waits for topic") == 0
        brokers.topics_error = None
        await asyncio.sleep(20)
        assert said("intake waits for topic source, which does not exist") == 1
        brokers.partitions["source"] = 1
        await until(lambda: brokers.member.topics == ["source"])
        del brokers.partitions["source"]
        await until(lambda: brokers.member.topics == [])
        assert said("waits for topic") == 2

    run_intake(brokers, test)
    assert said("intake reads topics=['source']") == 1
    assert len(brokers.consumers) == 1


# -- which topics -----------------------------------------------------------------------------------------------------

EXISTING: Final = [
    "seldon", "seldon.default.model.iris.inputs", "seldon.default.model.iris.outputs", "other", "__consumer_offsets",
    "inference-requests", "inference-responses", "inference-feedback", "joined", "shop-exchanges", "shop-panes",
    "shop-dead-letters", "seldonXdefault",
]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ("seldon", ["seldon"]),
        ("absent", []),
        ("seldon.default", []),
        (r"seldon\..*", ["seldon.default.model.iris.inputs", "seldon.default.model.iris.outputs"]),
        (r"seldon\.default", []),
        (r".*\.outputs,other", ["other", "seldon.default.model.iris.outputs"]),
        (".*", [*EXISTING[:4], "seldonXdefault"]),
        ("(inference|shop)-.*", []),
        ("seldon.*,seldon", ["seldon", *EXISTING[1:3], "seldonXdefault"]),
        ("__consumer_offsets", ["__consumer_offsets"]),
    ],
)
def test_a_name_is_read_as_it_is_a_pattern_matches_whole_names_but_none_of_our_own(
    names: str, found: list[str]
) -> None:
    settings = load_settings(app_id="shop", log_topic="joined", intake_topics=names)
    assert sources_among(settings, EXISTING) == set(found)


@pytest.mark.parametrize(
    ("name", "acl"),
    [
        ("seldon.default", ("seldon.default", "literal")),
        (r"seldon\..*", ("seldon.", "prefixed")),
        ("seldon.default.*", ("seldon", "prefixed")),
        ("model-1{2,3}", ("model-", "prefixed")),
        ("ab*c", ("a", "prefixed")),
        ("ab+c", ("ab", "prefixed")),
        (".*outputs", ("*", "literal")),
        ("one|two", ("*", "literal")),
    ],
)
def test_the_right_to_read_covers_whatever_a_pattern_can_match(name: str, acl: tuple[str, str]) -> None:
    plain = acls_of(load_settings())
    (source, group, of_operator) = (acl for acl in acls_of(load_settings(intake_topics=(name,))) if acl not in plain)
    assert (source.name, source.pattern, source.resource, source.operations) == (*acl, "topic", ("Describe", "Read"))
    assert (group.name, group.resource, group.operations) == ("tally-intake", "group", ("Describe", "Read"))
    assert of_operator == source._replace(role="operator")


def test_batches_that_are_refused_are_halved_until_the_culprit_is_alone_and_put_aside() -> None:
    """Topics take less than they said, or do not say it."""
    brokers = scripted.Brokers(source=2)
    brokers.committed[SOURCE] = 0
    large = b'{"puid": "large", "features": ["%b"], "output": 0}' % (b"x" * 300_000)
    small = [b'{"puid": "%d", "features": ["%b"], "output": 0}' % (number, b"x" * 300) for number in range(3000)]

    async def test(intake: Intake, producer: Producer) -> None:
        producer.takes = 100_000
        await until(lambda: SOURCE in brokers.member.assignment() if brokers.consumers else False)
        brokers.write(SOURCE, *small[:2000], large, *small[2000:])
        await until(lambda: brokers.committed[SOURCE] == 3001, 600)
        assert intake.events == {"source": 6001}, "the answer to the large request is not large"
        assert intake._stats.rejected == {"too-large": 1}

    producer = run_intake(brokers, test)
    assert ("shop-dead-letters", 1) in producer.batches
    assert len(brokers.consumers) < 10

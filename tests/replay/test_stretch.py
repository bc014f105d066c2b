"""What `--from` and `--to` mean, and what is said where they mean nothing."""

import asyncio
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
from aiokafka import TopicPartition

from app.replay.stretch import Bound, Stretch, StretchError, check_order, find_stretch, parse_bound

NOW = 1_795_244_400.0  # 2026-11-21T07:00:00Z
ZERO, ONE = TopicPartition("asked", 0), TopicPartition("asked", 1)


class Found(NamedTuple):
    offset: int


class Brokers:
    """Two partitions, with the offsets 10 to 20 and 30 to 50, of which only the first has a record from a moment on."""

    def assign(self, tps: Any) -> None:
        assert tps == [ZERO, ONE]

    async def beginning_offsets(self, _: Any) -> dict[TopicPartition, int]:
        return {ZERO: 10, ONE: 30}

    async def end_offsets(self, _: Any) -> dict[TopicPartition, int]:
        return {ZERO: 20, ONE: 50}

    async def offsets_for_times(self, times: Mapping[TopicPartition, int]) -> dict[TopicPartition, Found | None]:
        assert set(times) == {ZERO, ONE}
        return {ZERO: Found(15), ONE: None}


def bound(option: str, text: str) -> Bound:
    return parse_bound(option, text, NOW)


def between(begin: str, end: str) -> Stretch:
    return asyncio.run(find_stretch(Brokers(), [ZERO, ONE], bound("--from", begin), bound("--to", end)))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2h", NOW - 7200),
        ("90s", NOW - 90),
        ("2026-11-21T06:00:00Z", NOW - 3600),
        ("2026-11-21T07:00:00+01:00", NOW - 3600),
    ],
)  # fmt: skip
def test_a_time_is_a_moment_or_a_duration_before_now(text: str, moment: float) -> None:
    assert bound("--from", text).moment == moment


def test_offsets_name_partitions_of_topics() -> None:
    assert bound("--to", "a.b-c:0:12,asked:1:9").offsets == {TopicPartition("a.b-c", 0): 12, ONE: 9}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("yesterday", r"--from must be earliest, .* \(got 'yesterday'\)\."),
        ("", r"--from must be earliest, .* \(got ''\)\."),
        ("Earliest", r"--from must be .*"),
        ("asked:0", r"--from must be .*"),
        ("asked:0:", r"--from must be .*"),
        ("asked:x:1", r"--from must be .*"),
        ("asked:0:-1", r"--from must be .*"),
        ("asked:0:1,", r"--from must be .*"),
        ("asked:0:1,asked:0:2", r"--from names partition 0 of asked twice: name each once\."),
        ("2026-13-21T07:00:00Z", r"--from must be .*"),
        ("1969-01-01T00:00:00Z", r"--from must be .*"),
        ("999999d", r"--from 999999d is before 1970: name a later time\."),
        ("-2h", r"--from must be .*"),
    ],
)
def test_a_bound_that_is_none_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(StretchError) as error:
        bound("--from", text)
    assert re.fullmatch(sentence, str(error.value))


@pytest.mark.parametrize(
    ("begin", "end"), [("latest", "latest"), ("earliest", "earliest"), ("1h", "2h"), ("1h", "1h"), ("latest", "1h")]
)
def test_a_stretch_must_end_after_it_begins(begin: str, end: str) -> None:
    with pytest.raises(StretchError) as error:
        check_order(bound("--from", begin), bound("--to", end))
    assert str(error.value) == f"--to {end} is not after --from {begin}: nothing lies between."


@pytest.mark.parametrize(
    ("begin", "end", "stretch"),
    [
        ("earliest", "latest", Stretch({ZERO: 10, ONE: 30}, {ZERO: 20, ONE: 50})),
        ("asked:0:12", "latest", Stretch({ZERO: 12, ONE: 30}, {ZERO: 20, ONE: 50})),
        ("asked:1:30", "asked:0:10,asked:1:50", Stretch({ZERO: 10, ONE: 30}, {ZERO: 10, ONE: 50})),
        # A record that is young enough may lie behind one that is not, so all is read up to the end.
        ("1h", "30m", Stretch({ZERO: 15, ONE: 50}, {ZERO: 20, ONE: 50}, 1_795_240_800_000, 1_795_242_600_000)),
        ("earliest", "1h", Stretch({ZERO: 10, ONE: 30}, {ZERO: 20, ONE: 50}, None, 1_795_240_800_000)),
    ],
)
def test_a_stretch_is_what_lies_between(begin: str, end: str, stretch: Stretch) -> None:
    assert between(begin, end) == stretch


@pytest.mark.parametrize(
    ("begin", "end", "sentence"),
    [
        ("asked:0:9", "latest", r"--from asked:0:9: partition 0 of asked has the offsets 10 to 20\."),
        ("asked:0:21", "latest", r"--from asked:0:21: partition 0 of asked has the offsets 10 to 20\."),
        ("earliest", "asked:1:51", r"--to asked:1:51: partition 1 of asked has the offsets 30 to 50\."),
        ("asked:2:0", "latest", r"--from asked:2:0: asked has the partitions 0 to 1\."),
        ("other:0:0", "latest", r"--from other:0:0: other is not replayed; asked are\."),
        ("asked:0:15", "asked:0:12", r"The stretch of asked ends at 12 in partition 0 and begins at 15: --to must .*"),
    ],
)
def test_offsets_that_are_not_there_are_refused(begin: str, end: str, sentence: str) -> None:
    with pytest.raises(StretchError) as error:
        between(begin, end)
    assert re.fullmatch(sentence, str(error.value))

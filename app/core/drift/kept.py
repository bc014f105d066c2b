"""What is kept of the features of a request, as bytes, so that they can be taken back:

    flags (1: two bytes a bin; 16: half a byte; 2: several rows; 32: with the digest of the content; 8: a long one)
    digest of the reference (4 bytes)
    digest of the request's content (4 bytes; a long one has 8: older versions kept it)
    of several rows the number of places (2 bytes)
    bins by row and place, little-endian; of two halves the higher one is the first, and 15 is no bin

The digest of the content decides between two requests of one time, so that it does not depend on the reference which of
them counts. It is the higher half of the 64 bits, so that a long one says the same. Where the model has segments, it
stands there.
"""

import struct
from array import array
from collections.abc import Sequence
from string import hexdigits
from typing import Any, Final

#: Bins that are kept of one request; of more rows the first ones.
MOST_BINS: Final = 4096
#: Bytes that the bins of a request take at most.
MOST_BYTES: Final = 2 * MOST_BINS + 11

_WIDE, _SEVERAL = 1, 2
#: Not bins, but the values themselves (`app.core.drift.recording`).
VALUES: Final = 4
_LONG_CONTENT: Final = 8
_HALVES: Final = 16
_CONTENT: Final = 32
_HEAD: Final = struct.Struct("<B4s")
_WITH_CONTENT: Final = struct.Struct("<B4sI")
_WITH_LONG_CONTENT: Final = struct.Struct("<B4sQ")
_NOTHING: Final = bytes(_HEAD.size)
_PLACES: Final = struct.Struct("<H")
#: The digest of what is by no reference.
NOBODYS: Final = "00000000"
_BYTE: Final = 256
#: Stands for no bin where half a byte is left.
_NO_BIN: Final = 15
_OF_DIGIT: Final = bytes(int(chr(code), 16) if chr(code) in hexdigits else 0 for code in range(_BYTE))


class Packing:
    """Packs bins by the reference with this digest: each row has one for each place, of `most` numbers."""

    def __init__(self, digest: bytes, places: int, most: int) -> None:
        self._flags = _HALVES if most <= _NO_BIN else 0 if most <= _BYTE else _WIDE
        self._of_one = _HEAD.pack(self._flags, digest)
        self._of_several = _HEAD.pack(self._flags | _SEVERAL, digest) + _PLACES.pack(places)

    def packed(self, bins: list[int], rows: int) -> bytes:
        """The bins of so many rows as bytes."""
        head = self._of_one if rows == 1 else self._of_several
        if self._flags == _WIDE:
            return head + array("H", bins).tobytes()
        if not self._flags:
            return head + bytes(bins)
        if len(bins) % 2:
            bins = [*bins, _NO_BIN]
        return head + bytes.fromhex(bytes(bins).hex()[1::2])


def digest_of(kept: bytes) -> str:
    """By which reference the bins of a request were found."""
    return kept[1:5].hex()


def digests_of(kept: bytes | None, *, values: bool = False) -> set[str]:
    """By which reference the bins of a request were found, if there are any. Where values themselves should be kept
    (`values`) they are of none; else they are of `NOBODYS`.
    """
    if not kept or len(kept) == body_begin(kept):
        return set()
    return set() if values and kept[0] & VALUES else {digest_of(kept)}


def half_of(digest: int) -> int:
    """What is kept of the 64 bits of a digest: the higher 32, so that the order of two is that of the whole."""
    return digest >> 32


def with_content(kept: bytes | None, digest: int) -> bytes:
    """The same with the digest of the request's content, of which half is kept; that alone where nothing else is."""
    kept = kept or _NOTHING
    return _WITH_CONTENT.pack(kept[0] | _CONTENT, kept[1:5], half_of(digest)) + kept[_HEAD.size :]


def content_of(kept: bytes | None) -> int:
    """Half of the digest of a request's content; 0 where it is not kept."""
    if not kept or not kept[0] & (_CONTENT | _LONG_CONTENT):
        return 0
    if kept[0] & _LONG_CONTENT:
        return half_of(_WITH_LONG_CONTENT.unpack_from(kept)[2])
    content: int = _WITH_CONTENT.unpack_from(kept)[2]
    return content


def body_begin(kept: bytes) -> int:
    """Where that begins which stands behind the digests."""
    if kept[0] & _CONTENT:
        return _WITH_CONTENT.size
    return _WITH_LONG_CONTENT.size if kept[0] & _LONG_CONTENT else _HEAD.size


def single(kept: bytes) -> bytes | None:
    """The bins of a request of one row, by the places of features, one a byte; None where they need more, or it has
    several rows.
    """
    if kept[0] & (_WIDE | _SEVERAL | VALUES):
        return None
    bins = kept[body_begin(kept) :]
    return _of_halves(bins) if kept[0] & _HALVES else bins


def unpacked(kept: bytes) -> tuple[str, int, Any]:
    """All that they say, however they are packed: the digests of the reference and of the content, and bins by place
    or, where these are kept, the values.
    """
    body = kept[body_begin(kept) :] if kept[0] & VALUES else places_and_bins(kept)
    return digest_of(kept), content_of(kept), body


def _of_halves(packed: bytes) -> bytes:
    bins = packed.hex().encode().translate(_OF_DIGIT)
    return bins[:-1] if bins and bins[-1] == _NO_BIN else bins


def places_and_bins(kept: bytes) -> list[tuple[int, int]]:
    """The bins of a request again: of each row the places of features, and the number of the bin of each."""
    flags = kept[0]
    if flags & VALUES:
        return []
    begin = body_begin(kept)
    features = 0
    if flags & _SEVERAL:
        features = _PLACES.unpack_from(kept, begin)[0]
        begin += _PLACES.size
    bins: Sequence[int] = kept[begin:]
    if flags & _WIDE:
        bins = array("H", kept[begin:])
    elif flags & _HALVES:
        bins = _of_halves(kept[begin:])
    features = features or len(bins)
    return [(number % features, bin_) for number, bin_ in enumerate(bins)]

"""An exchange: all that is known of one puid, as it is kept.

The structs are written as msgpack arrays: some 100 bytes for one leg, one row, one feedback.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from app.core.join.statements import Feedback, RowLabels
from app.core.payloads.marks import Mark

# Flags of a LegState: the part came inside a feedback, and counts only until the real one comes.
REQUEST_IN_FEEDBACK: Final = 1
RESPONSE_IN_FEEDBACK: Final = 2


class SegmentValues(msgspec.Struct, array_like=True, gc=False):
    """The values that a leg has in the segments of its model, as numbers in the partition's `Numbers`.

    `request` and `answer` are those that each says of the whole. `rows` are those of single rows, by row, for each
    segment of which the rows of the request have different ones. Between two requests of one time `digest` decides.
    """

    request: tuple[int, ...] = ()
    answer: tuple[int, ...] = ()
    digest: int = 0
    rows: tuple[tuple[int, ...], ...] = ()


class LegState(msgspec.Struct, array_like=True, gc=False):
    """The request and the winning response of one leg. Times are event times in µs, 0 where the part is unknown.

    `leg`, `identity` and `classes` are numbers in the partition's `Numbers`.
    `..._ahead` is by how many ms the part's pane time lies before its event time (its clock was ahead).
    A request is kept by its time alone; but for its values in segments, and where its model has a reference by the bins
    of its features, in `evidence` (`app.core.drift.kept`), so that they can be taken back when another request wins.
    """

    leg: int
    request_time: int = 0
    request_ahead: int = 0
    time: int = 0
    digest: int = 0
    ahead: int = 0
    flags: int = 0
    identity: int = 0
    classes: int = 0
    marks: list[Mark] = []
    scores: bytes | None = None
    evidence: bytes | None = None
    #: Of each row those of all classes, as 64-bit floats. What is counted of them names them (`chances`).
    probabilities: bytes | None = None
    segments: SegmentValues | None = None  # None where its model has none
    metrics: dict[int, int] | None = None  # what the response's custom metrics count; None where it has none

    @property
    def request_pane_time(self) -> int:
        """The µs by which the request falls in its pane."""
        return self.request_time - self.request_ahead * 1000

    @property
    def pane_time(self) -> int:
        """The µs by which the response, and with it the whole leg, falls in its pane."""
        return self.time - self.ahead * 1000


class Counted(msgspec.Struct, array_like=True, gc=False):
    """What an exchange has counted for one account in one pane: one of each atom or bundle, and other amounts.

    All are numbers in the partition's `Numbers`. `values` count what their measures make of them; the letter of the
    measure comes first. All of it counts in the same pane of the accounts `also`, too: those of segments.
    """

    account: int
    pane: int
    atoms: list[int]
    amounts: dict[int, int] = {}
    values: tuple[bytes, ...] = ()
    also: tuple[int, ...] = ()


def once_and_more(atoms: Iterable[int]) -> tuple[list[int], dict[int, int]]:
    """What a `Counted` keeps of atoms that may come several times: those that come once, and the amounts of others."""
    amounts = Counter(atoms)
    once = [atom for atom, amount in amounts.items() if amount == 1]
    return once, {atom: amount for atom, amount in amounts.items() if amount > 1}


class Detection(msgspec.Struct, array_like=True, gc=False):
    """That a detector (of outliers, of drift) spoke of the request, or that a feedback brought custom metrics.

    `metrics` are what is counted of it. What else a detector said is in the record of the exchange.
    """

    kind: int
    leg: int
    time: int
    digest: int
    metrics: dict[int, int] | None = None
    ahead: int = 0

    @property
    def pane_time(self) -> int:
        """The µs by which it falls in a pane."""
        return self.time - self.ahead * 1000


class Monitored(msgspec.Struct, array_like=True, gc=False):
    """What a version of a monitor said of the rows of a leg's answer (`monitored`). `time` is that of the answer,
    `asked` that of the request that it was scored with; 0 for none.

    `result` is as `app.core.measures.monitors` packs it.
    """

    leg: int
    time: int
    ahead: int
    digest: int
    result: bytes
    asked: int = 0

    @property
    def rank(self) -> tuple[int, int, int, int]:
        """Of two results of one monitor the greater one holds."""
        return self.time, self.asked, self.digest, self.ahead

    @property
    def key(self) -> bytes:
        """Which monitor it is, and which version."""
        return self.result[: 1 + self.result[0]]


class Exchange(msgspec.Struct, array_like=True, gc=False):
    """All that is known of one puid. `newest` is the newest record timestamp of its parts, in seconds.

    `counted` is what it counts as. `rows` are the labels of single rows (`row_labels`), packed until somebody asks for
    them. `held` are parts of the joined record that wait for the prediction which they speak of. What most have none of
    is a tuple: an empty one is made and thrown away for nothing.
    """

    newest: int
    legs: list[LegState]
    feedbacks: list[Feedback]
    counted: list[Counted]
    rows: tuple[Any, ...] = ()
    detections: tuple[Detection, ...] = ()
    held: tuple[bytes, ...] = ()
    monitors: tuple[Monitored, ...] = ()


class _Age(msgspec.Struct, array_like=True, gc=False):
    """The age of an exchange, at a fraction of the cost of decoding it. A value without all fields is no exchange."""

    newest: int
    legs: msgspec.Raw
    feedbacks: msgspec.Raw
    counted: msgspec.Raw
    rows: msgspec.Raw
    detections: msgspec.Raw
    held: msgspec.Raw


_encode_into = msgspec.msgpack.Encoder().encode_into
_buffer = bytearray()


def encode(exchange: Exchange) -> bytes:
    """The bytes that are kept and written. Not thread-safe.

    `Encoder.encode` shrinks a larger buffer, whose rest the allocator cannot use: 50 bytes more for each exchange.
    """
    if exchange.rows:
        return _encoded_with_rows(exchange)
    _encode_into(exchange, _buffer)
    return bytes(_buffer)


def _encoded_with_rows(exchange: Exchange) -> bytes:
    rows = exchange.rows
    exchange.rows = tuple(block.packed() if isinstance(block, RowLabels) else block for block in rows)
    _encode_into(exchange, _buffer)
    exchange.rows = rows
    return bytes(_buffer)


def row_labels(exchange: Exchange) -> tuple[RowLabels, ...]:
    """The labels of single rows."""
    rows = exchange.rows
    if not all(isinstance(block, RowLabels) for block in rows):
        unpacked = RowLabels.unpacked
        rows = exchange.rows = tuple(block if isinstance(block, RowLabels) else unpacked(block) for block in rows)
    return rows


decode_age = msgspec.msgpack.Decoder(_Age).decode
decode = msgspec.msgpack.Decoder(Exchange).decode

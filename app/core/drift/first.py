"""References of first rows: what a version was asked and has answered first, in the place of training data.

Until a version has its reference, each of its answers has a record of its own beside the counts: what was asked, and
what was predicted. The reference is made of the earliest of these, once, and written: from then on it is as one of a
file. An answer counts against it where it is later than all of which the reference is made, whenever that was known.

A record is the time of the answer (µs, 8 bytes), the number of rows (4 bytes), little-endian, then as MessagePack

    [columns (their names, or how many there are), rows, [[class, number, probability, measures] of each row answered]]
"""

import struct
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from app.core.drift.building import CATEGORIES, distribution_of
from app.core.drift.distribution import LONGEST
from app.core.drift.recording import Asked, columns_of, values_of
from app.core.drift.reference import MOST_BINS_TOGETHER, MOST_FEATURES, PREDICTION, SCORE, Reference

#: How many rows a reference may be made of: with fewer nothing can be told, and every worker keeps them while it waits.
FEWEST_ROWS: Final = 100
MOST_ROWS: Final = 100_000

_HEAD: Final = struct.Struct("<QI")


class Predicted(NamedTuple):
    """One row of an answer: the class and the number that it may be, and the probability."""

    predicted: str | None
    number: float | None
    score: float | None
    measures: bool  # it is a measurement


class First(msgspec.Struct):
    """A reference that was made, as it is written."""

    reference: Reference
    until: int  # the time (µs) of the last answer that it is made of
    rows: int  # of how many rows it is

    def encode(self) -> bytes:
        """As JSON."""
        return msgspec.json.encode(self)


def decode_first(raw: bytes) -> First:
    """The reference that was written. Raises an error of msgspec's where it is none."""
    return msgspec.json.decode(raw, type=First)


def record_of(time: int, asked: Asked, predicted: Iterable[Predicted]) -> bytes:
    """The record of an answer."""
    texts = [
        one if one.predicted is None else one._replace(predicted=one.predicted[:LONGEST])
        for one, _ in zip(predicted, asked.rows, strict=False)
    ]
    return _HEAD.pack(time, len(asked.rows)) + msgspec.msgpack.encode([asked.columns, asked.rows, texts])


def time_and_rows(record: bytes) -> tuple[int, int]:
    """The time of a record's answer, and its number of rows. Raises struct.error where it is none."""
    time, rows = _HEAD.unpack_from(record)
    return time, rows


def read_record(record: bytes) -> tuple[Asked, list[Predicted]]:
    """What was asked and predicted, of a record."""
    columns, rows, predicted = msgspec.msgpack.decode(record[_HEAD.size :])
    asked = Asked(columns if type(columns) is int else tuple(columns), rows)
    return asked, [Predicted(*one) for one in predicted]


def until_of(records: Sequence[bytes], rows: int) -> int | None:
    """The time of the answer by which so many rows have come; None where they have not."""
    before = 0
    for time, own in sorted(map(time_and_rows, records)):
        before += own
        if before >= rows:
            return time
    return None


def first_of(records: Sequence[bytes], until: int) -> First:
    """The reference of the answers up to a time. Of requests with different columns those count that most rows have."""
    chosen = sorted(record for record in records if time_and_rows(record)[0] <= until)
    asked, predicted = [], list[Predicted]()
    for record in chosen:
        one, answer = read_record(record)
        asked.append(one)
        predicted += answer
    columns = columns_of(asked)[:MOST_FEATURES]
    values = values_of(asked, columns)
    categories = max(2, min(CATEGORIES, MOST_BINS_TOGETHER // (len(columns) + 2)))
    features = tuple(distribution_of(name, values[name], categories=categories) for name in columns)
    rows = sum(len(one.rows) for one in asked)
    if 2 * sum(one.measures for one in predicted) > len(predicted):
        numbers = distribution_of(PREDICTION, [one.number for one in predicted], "continuous")
        return First(Reference(features, numbers), until, rows)
    classes = distribution_of(PREDICTION, [one.predicted for one in predicted], "categorical")
    scores = [one.score for one in predicted]
    score = None if scores.count(None) == len(scores) else distribution_of(SCORE, scores, "continuous")
    return First(Reference(features, classes, score), until, rows)

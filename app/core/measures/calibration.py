"""Calibration: how often what a probability says turns out so, learnt from the rows that have labels.

It is the isotonic regression of outcomes on probabilities (Zadrozny and Elkan 2002; Ayer et al. 1955): neighbouring
bins are pooled until shares rise with the probability. All of it is found from whole numbers, so whoever has the same
sums finds the same, in whatever order they came.
"""

from collections.abc import Iterable
from typing import NamedTuple


class Block(NamedTuple):
    """Neighbouring probabilities of which the same share turns out so. Its bounds are those at which any row was."""

    low: float
    high: float
    rows: int
    true: int  # of these rows, those that turned out so


#: Blocks from the lowest probability on, whose shares rise.
Curve = tuple[Block, ...]


class Learnt(NamedTuple):
    """What the labels of a model say of its probabilities, and what is to be known before it is used."""

    of_two: Curve = ()  # of the positive class's probability, of two
    of_highest: Curve = ()  # of the highest probability, of more classes: whether the class predicted is right
    least: int = 1  # with fewer labels nothing is estimated
    bare: bool = False  # whether a bare 0 or 1 is a probability


def curve_of(points: Iterable[tuple[float, int, int]]) -> Curve:
    """The curve of labelled rows: (probability, rows, those that turned out so), from the lowest probability on."""
    blocks: list[Block] = []
    for place, rows, true in points:
        block = Block(place, place, rows, true)
        # Shares are compared as fractions: exactly.
        while blocks and blocks[-1].true * block.rows >= block.true * blocks[-1].rows:
            before = blocks.pop()
            block = Block(before.low, block.high, before.rows + block.rows, before.true + block.true)
        blocks.append(block)
    return tuple(blocks)

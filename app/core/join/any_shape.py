"""Exchanges of any shape: many rows, many legs, many feedbacks, segments of rows, pairs.

What each answer and request counts as is written out, row by row where rows differ. The common shape, which nearly all
exchanges have, is counted by `settling` without all that.
"""

from collections.abc import Iterable, Iterator, Sequence

from app.core.counts.numbers import Numbers
from app.core.join.chances import of_rows
from app.core.join.exchange import Counted, Exchange, once_and_more
from app.core.join.features import named
from app.core.join.gathering import Counting, Gathering
from app.core.join.pairing import Answer, Pairing
from app.core.join.segmenting import NO_ACCOUNTS, Accounts, Segmenting
from app.core.join.tallying import OF_AMOUNTS, OF_ANSWERS, OF_LABELLED, OF_VALUES, Tallying, values_of, with_features
from app.core.measures.drift import DRIFT
from app.core.measures.rewards import REWARDS
from app.core.segments import Segment

#: The atoms of an answer of few rows are written one by one, those of more rows as amounts.
_FEW_ATOMS = 16


class AnyShape:
    """Counts exchanges of any shape, with one partition's `Numbers`."""

    def __init__(
        self,
        numbers: Numbers,
        tallying: Tallying,
        gathering: Gathering,
        segmenting: Segmenting,
        pane_us: int,
        *,
        by_labels: bool,
    ) -> None:
        self._numbers = numbers
        self._tallying = tallying
        self._gathering = gathering
        self._segmenting = segmenting
        self._pane_us = pane_us
        self._by_labels = by_labels
        self._pairing = Pairing(numbers, tallying.classes, tallying.atom)

    def counted(self, exchange: Exchange) -> list[Counted]:
        """What the exchange counts as now: at most one entry for each account, pane and part of its rows."""
        found = []
        countings = self._gathering.countings(exchange)
        for counting in countings:
            evidence = counting.evidence
            atoms = self._tallying.once(counting)
            counted = Counted(self._tallying.account(counting.identity), counting.pane, atoms)
            if counting.seen < counting.pane:
                self._tallying.see(counted.account, counting.seen)
            if len(atoms) > _FEW_ATOMS:  # of many rows
                counted.atoms, counted.amounts = once_and_more(atoms)
            self._tallying.add_amounts(counted, [measure.amounts for measure in OF_AMOUNTS], evidence)
            kept = ((measure, measure.values(evidence)) for measure in OF_VALUES)
            counted.values = (*(measure.letter + values for measure, values in kept if values), *of_rows(evidence))
            accounts = self._accounts_of(counting)
            counted.also = accounts.whole
            found += with_features(counted, self._features(counting))
            for segment, values in accounts.rows:
                found += self._counted_by_rows(counting, segment, values)
        if self._by_labels:
            for counting in countings:
                found += self._counted_by_labels(counting)
        answers = [
            Answer(one.state.leg, one.identity, one.pane, one.evidence, self._label_panes(one))
            for one in countings
            if one.state is not None and one.evidence.marks
        ]
        if len(answers) > 1:
            found += self._pairing.counted(answers)
        return found

    def _features(self, counting: Counting) -> bytes | None:
        """What is kept of the features of a request: whose they are, or, where its bins are none of its own, those."""
        evidence = counting.evidence
        if evidence.features is None:
            return None
        if evidence.rules.reference is not None and evidence.rules.reference.first:
            return DRIFT.letter + evidence.features
        return named(self._numbers.leg(self._numbers.identities[counting.identity].leg))

    def _label_panes(self, counting: Counting) -> list[int] | None:
        """By row the panes in which labels came, where they count there."""
        times = counting.label_times if self._by_labels else None
        return None if times is None else [time // self._pane_us for time in times]

    def _counted_by_labels(self, counting: Counting) -> Iterator[Counted]:
        """What labels and the reward of some evidence count as in the panes in which they came."""
        evidence, times = counting.evidence, counting.label_times
        accounts = self._accounts_of(counting)
        panes: dict[int, list[int]] = {}
        if evidence.labels is not None and times is not None:
            for row, label in enumerate(evidence.labels):
                if label is not None:
                    panes.setdefault(times[row] // self._pane_us, []).append(row)
        if evidence.reward is not None:
            panes.setdefault(counting.reward_pane, [])
        for pane, rows in sorted(panes.items()):
            counted = Counted(
                self._tallying.label_account(counting.identity),
                pane,
                *once_and_more(self._tallying.label_atoms(counting, rows)),
            )
            if evidence.reward is not None and pane == counting.reward_pane:
                counted.atoms += [self._tallying.atom(atom) for atom in REWARDS.counts(evidence)]
                self._tallying.add_amounts(counted, (REWARDS.amounts,), evidence)
            part = evidence.part(rows)
            self._tallying.add_amounts(counted, OF_LABELLED, part)
            counted.values = values_of(part, of_rows=True) + of_rows(evidence, rows)
            counted.also = accounts.by_labels
            yield counted
            for segment, values in accounts.rows:
                yield from self._labelled_by_rows(counting, segment, values, pane, rows)

    # -- segments -----------------------------------------------------------------------------------------------------

    def _accounts_of(self, counting: Counting) -> Accounts:
        """Where evidence counts by its values in segments: that of an answer alone does."""
        state = counting.state
        if state is None or not self._segmenting.has_segments(state.leg):
            return NO_ACCOUNTS
        return self._segmenting.accounts(state)

    def _counted_by_rows(self, counting: Counting, segment: Segment, values: Sequence[int]) -> Iterator[Counted]:
        """What an answer counts as in a segment of which its rows have different values: each row in its own, and
        what is known of the whole in that of `SEVERAL`.
        """
        evidence, state, pane = counting.evidence, counting.state, counting.pane
        assert state is not None
        labels = evidence.labels or [None] * len(evidence.marks)
        for value, rows in _by_value(values, range(len(evidence.marks))):
            atoms = [
                atom for row in rows for atom in self._tallying.rows.atoms(state, evidence.marks[row], labels[row])
            ]
            counted = Counted(self._segmenting.account(counting.identity, value), pane, *once_and_more(atoms))
            part = evidence.part(rows)
            self._tallying.add_amounts(counted, [measure.amounts for measure in OF_AMOUNTS if measure.of_rows], part)
            counted.values = values_of(part, of_rows=True) + of_rows(evidence, rows)
            yield counted
        account = self._segmenting.account(counting.identity, self._segmenting.several(state, segment))
        whole = Counted(
            account, pane, [self._tallying.atom(atom) for measure in OF_ANSWERS for atom in measure.counts(evidence)]
        )
        self._tallying.add_amounts(whole, [measure.amounts for measure in OF_AMOUNTS if not measure.of_rows], evidence)
        whole.values = values_of(evidence, of_rows=False)
        yield whole

    def _labelled_by_rows(
        self, counting: Counting, segment: Segment, values: Sequence[int], pane: int, labelled: Iterable[int]
    ) -> Iterator[Counted]:
        """The same by the time of labels: of those rows whose labels came in a pane, and of a reward that did."""
        evidence, state, identity = counting.evidence, counting.state, counting.identity
        assert state is not None
        for value, rows in _by_value(values, labelled):
            account = self._segmenting.account(identity, value, by_labels=True)
            counted = Counted(account, pane, *once_and_more(self._tallying.label_atoms(counting, rows)))
            part = evidence.part(rows)
            self._tallying.add_amounts(counted, OF_LABELLED, part)
            counted.values = values_of(part, of_rows=True) + of_rows(evidence, rows)
            yield counted
        if evidence.reward is not None and pane == counting.reward_pane:
            several = self._segmenting.several(state, segment)
            account = self._segmenting.account(identity, several, by_labels=True)
            whole = Counted(account, pane, [self._tallying.atom(atom) for atom in REWARDS.counts(evidence)])
            self._tallying.add_amounts(whole, (REWARDS.amounts,), evidence)
            yield whole


def _by_value(values: Sequence[int], rows: Iterable[int]) -> list[tuple[int, list[int]]]:
    """Some rows by the value that each has."""
    found: dict[int, list[int]] = {}
    for row in rows:
        found.setdefault(values[row], []).append(row)
    return sorted(found.items())

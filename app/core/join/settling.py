"""Settling: what an exchange counts as, from its parts to atoms in panes.

The whole is computed anew from the exchange at every change and compared with what was counted before, so that any
order of events, and any correction, ends at the same counts. Who is judged by what is said by `judging`; what is known
of each by `gathering`; what is counted of it by the measures.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from app.core.counts.accounts import BY_LABELS, Account
from app.core.counts.atoms import Atom
from app.core.counts.numbers import Numbers
from app.core.join.chances import of_one, of_rows
from app.core.join.classes import ToldApart
from app.core.join.exchange import Counted, Exchange, LegState, once_and_more
from app.core.join.features import named
from app.core.join.gathering import Counting, Gathering
from app.core.join.judging import Judging, brings_label
from app.core.join.pairing import BRIER_LETTER, LETTER, Answer, Pairing
from app.core.join.rows import Rows
from app.core.join.segmenting import NO_ACCOUNTS, Accounts, Segmenting
from app.core.join.statements import REWARD, Feedback
from app.core.measures import paired
from app.core.measures.catalogue import MEASURES
from app.core.measures.drift import DRIFT
from app.core.measures.measure import Evidence, Measure, has_own
from app.core.measures.probabilities import PROBABILITIES
from app.core.measures.rewards import REWARDS
from app.core.payloads.marks import Mark
from app.core.segments import Segment

_CACHED_BUNDLES: Final = 20_000
_MOST_BUNDLES: Final = 4096
#: The atoms of an answer of few rows are written one by one, those of more rows as amounts.
_FEW_ATOMS: Final = 16
_OF_ANSWERS: Final[tuple[Measure[Any], ...]] = tuple(measure for measure in MEASURES if has_own(measure, "counts"))
_WITH_VALUES: Final[tuple[Measure[Any], ...]] = tuple(measure for measure in MEASURES if has_own(measure, "values"))
#: Those whose values are kept as they are. Of probabilities (`chances`) and of features (`features`) less is.
_OF_VALUES: Final = tuple(measure for measure in _WITH_VALUES if measure not in (PROBABILITIES, DRIFT))
#: What values count as, by the letter that they begin with.
_AMOUNTS_OF: Final[dict[bytes, Callable[[bytes], Iterable[tuple[Atom, int]]]]] = {
    **{measure.letter: measure.amounts_of for measure in _WITH_VALUES},
    LETTER: paired.amounts_of,
    BRIER_LETTER: paired.brier_amounts_of,
}
_OF_AMOUNTS: Final[tuple[Measure[Any], ...]] = tuple(measure for measure in MEASURES if has_own(measure, "amounts"))

_Amounts = Callable[[Evidence], Iterable[tuple[Atom, int]]]


class _Bundle(NamedTuple):
    """What exchanges that are alike count as once each, by one number; the measures that add amounts to it; and the
    evidence that these are given. What is an answer's own in it is written anew for each: probabilities,
    delay, reward.
    """

    number: int
    amounts: tuple[_Amounts, ...]
    evidence: Evidence
    by_labels: int | None = None  # the number of what label and reward alone count as
    rewarded: bool = False
    chances: list[bytes] | None = None  # what is kept of an answer that gives probabilities; never changed
    segmented: bool = False  # whether the model has segments


class Settling:
    """Counts exchanges by the user's rules, with one partition's `Numbers`."""

    def __init__(
        self, numbers: Numbers, judging: Judging, segmenting: Segmenting, pane_seconds: int, *, by_labels: bool = False
    ) -> None:
        self._numbers = numbers
        self._segmenting = segmenting
        self._judging = judging
        self._pane_us = pane_seconds * 1_000_000
        self._by_labels = by_labels
        self._label_accounts: dict[int, int] = {}  # identity → its account by the time of labels
        self._accounts: dict[int, int] = {}  # identity → its account as a whole
        self._atoms: dict[Atom, int] = {}
        self._bundles: dict[tuple[Any, ...], _Bundle] = {}  # by leg, and what the exchange is like
        self._alike: dict[tuple[Any, ...], _Bundle] = {}  # the same by the leg's sort
        self._classes = ToldApart(numbers)
        self._pairing = Pairing(numbers, self._classes, self._atom)
        self._gathering = Gathering(numbers, judging, self._pane_us)
        self._rows = Rows(numbers, judging, self._classes)
        self.mixed = self._rows.mixed  # legs of which the last exchange shows that they have rows of both natures
        self.seen: dict[int, int] = {}  # by account: the earliest pane that any part of an answer falls in

    def counted(self, exchange: Exchange) -> list[Counted]:
        """What the exchange counts as now: at most one entry for each account and pane, and one for features."""
        feedbacks = exchange.feedbacks
        if len(exchange.legs) == 1 and len(feedbacks) < 2 and not exchange.rows:
            state = exchange.legs[0]
            if state.time and len(state.marks) == 1:
                feedback = feedbacks[0] if feedbacks else None
                if feedback is None or feedback.named == state.leg:
                    return self._common_shape(exchange, state, feedback)
            elif not feedbacks and not state.time:
                return self._request_alone(exchange, state)
        return self._any_shape(exchange)

    # -- the common shape ---------------------------------------------------------------------------------------------

    def _common_shape(self, exchange: Exchange, state: LegState, feedback: Feedback | None) -> list[Counted]:
        """One answered leg, one row, at most one feedback, which names that leg: nearly all exchanges look so.

        What such an exchange counts as once each is worked out for each combination and kept as a bundle of atoms.
        """
        label: Mark = None
        flags = 0
        reward: int | None = None
        if feedback is not None:
            flags = feedback.flags
            if type(feedback.labels) is list:
                if len(feedback.labels) != 1:
                    return self._any_shape(exchange)
                label = feedback.labels[0]
            reward = feedback.reward
            if reward is None and flags & REWARD:
                flags = ~flags  # a reward taken back is not one never given
        mark = state.marks[0]
        if type(mark) is float or type(label) is float:  # too many to be kept
            return self._any_shape(exchange)
        key = (state.leg, state.classes, state.request_time > 0, mark, flags, label)
        bundle = self._bundles.get(key)
        if bundle is None:
            bundle = self._find_bundle(key, exchange, state)
            if bundle is None:
                return self._any_shape(exchange)
        account = self._accounts.get(state.identity)
        if account is None:
            account = self._account(state.identity)
        pane = state.pane_time // self._pane_us
        begin = pane * self._pane_us
        if state.request_ahead or 0 < state.request_time < begin:
            self._see(account, state.request_pane_time // self._pane_us)
        if feedback is not None and (feedback.ahead or feedback.time < begin) and _brings_anything(feedback):
            self._see(account, feedback.pane_time // self._pane_us)
        counted = Counted(account, pane, [bundle.number])
        if bundle.amounts:
            delay = None
            if label is not None and feedback is not None:
                delay = feedback.time - state.time
                if delay < 0:
                    delay = 0
            evidence = bundle.evidence
            evidence.probabilities = state.probabilities
            evidence.delay = delay
            evidence.reward = reward
            self._add_amounts(counted, bundle.amounts, evidence)
        chances: list[bytes] = []
        if bundle.chances and (state.probabilities is not None or (type(mark) is int and mark >= 0)):
            chances = bundle.chances
        counted.values = chances
        accounts = self._segmenting.accounts(state) if bundle.segmented else NO_ACCOUNTS
        counted.also = accounts.whole
        found = [counted] if state.evidence is None else _with_features(counted, state.leg)
        if bundle.by_labels is None or feedback is None:
            return found
        labelled = Counted(self._label_account(state.identity), feedback.pane_time // self._pane_us, [bundle.by_labels])
        if bundle.rewarded:
            self._add_amounts(labelled, (REWARDS.amounts,), bundle.evidence)
        labelled.values = chances
        labelled.also = accounts.by_labels
        return [*found, labelled]

    def _request_alone(self, exchange: Exchange, state: LegState) -> list[Counted]:
        """One leg that has not answered yet, of which only the request is known."""
        bundle = self._bundles.get((state.leg,))
        if bundle is None:
            bundle = self._find_bundle((state.leg,), exchange, state)
            if bundle is None:
                return self._any_shape(exchange)
        account = self._account(self._judging.unversioned(state.leg))
        counted = Counted(account, state.request_pane_time // self._pane_us, [bundle.number])
        if state.evidence is not None:
            counted.values = [named(state.leg)]
        self._add_amounts(counted, bundle.amounts, bundle.evidence)
        return [counted]

    def _find_bundle(self, key: tuple[Any, ...], exchange: Exchange, state: LegState) -> _Bundle | None:
        """The bundle that stands under a key from now on: that of another leg of the same sort, or a new one."""
        leg, *what = key
        row: list[int] = []
        if state.time:
            labels = self._judging.labels(state, self._judging.statements(state, exchange)).marks
            row = self._rows.atoms(state, state.marks[0], labels[0] if labels else None)
        alike = (self._judging.sort(leg), *what)
        bundle = self._alike.get(alike)
        if bundle is None or not {*row} <= {*self._numbers.unbundle(bundle.number)}:  # it tells other classes apart
            bundle = self._new_bundle(exchange)
            if bundle is None:
                return None
            self._alike[alike] = bundle
        if len(self._bundles) >= _CACHED_BUNDLES:
            self._bundles.clear()
        self._bundles[key] = bundle
        return bundle

    def _new_bundle(self, exchange: Exchange) -> _Bundle | None:
        """The bundle of an exchange that counts in one account and pane; None for others, and where there are many."""
        countings = self._gathering.countings(exchange)
        if len(countings) != 1 or len(self._alike) >= _MOST_BUNDLES:
            return None
        evidence = countings[0].evidence
        if any(measure.values(evidence) for measure in _OF_VALUES):
            return None
        active = tuple(measure.amounts for measure in _OF_AMOUNTS if [*measure.amounts(evidence)])
        counting = countings[0]
        number = self._numbers.bundle(tuple(self._once(counting)))
        by_labels = None
        if self._by_labels:
            atoms = self._label_atoms(counting, range(len(evidence.marks)))
            atoms += [self._atom(atom) for atom in REWARDS.counts(evidence)]
            by_labels = self._numbers.bundle(tuple(atoms)) if atoms else None
        chances = None
        if evidence.labels is not None and evidence.marks:
            chances = of_one(evidence.marks[0], evidence.labels[0], evidence.classes, evidence.rules)
        segmented = counting.state is not None and self._segmenting.has_segments(counting.state.leg)
        return _Bundle(number, active, evidence, by_labels, evidence.reward is not None, chances, segmented)

    # -- any shape ----------------------------------------------------------------------------------------------------

    def _any_shape(self, exchange: Exchange) -> list[Counted]:
        found = []
        countings = self._gathering.countings(exchange)
        for counting in countings:
            evidence = counting.evidence
            atoms = self._once(counting)
            counted = Counted(self._account(counting.identity), counting.pane, atoms)
            if counting.seen < counting.pane:
                self._see(counted.account, counting.seen)
            if len(atoms) > _FEW_ATOMS:  # of many rows
                counted.atoms, counted.amounts = once_and_more(atoms)
            self._add_amounts(counted, [measure.amounts for measure in _OF_AMOUNTS], evidence)
            counted.values = [measure.letter + kept for measure in _OF_VALUES if (kept := measure.values(evidence))]
            counted.values += of_rows(evidence)
            accounts = self._accounts_of(counting)
            counted.also = accounts.whole
            if evidence.features is None:
                found.append(counted)
            else:
                leg = self._numbers.leg(self._numbers.identities[counting.identity].leg)
                found += _with_features(counted, leg)
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
                self._label_account(counting.identity), pane, *once_and_more(self._label_atoms(counting, rows))
            )
            if evidence.reward is not None and pane == counting.reward_pane:
                counted.atoms += [self._atom(atom) for atom in REWARDS.counts(evidence)]
                self._add_amounts(counted, (REWARDS.amounts,), evidence)
            counted.values = _values(evidence.part(rows), of_rows=True) + of_rows(evidence, rows)
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
            atoms = [atom for row in rows for atom in self._rows.atoms(state, evidence.marks[row], labels[row])]
            counted = Counted(self._segmenting.account(counting.identity, value), pane, *once_and_more(atoms))
            part = evidence.part(rows)
            self._add_amounts(counted, [measure.amounts for measure in _OF_AMOUNTS if measure.of_rows], part)
            counted.values = _values(part, of_rows=True) + of_rows(evidence, rows)
            yield counted
        account = self._segmenting.account(counting.identity, self._segmenting.several(state, segment))
        whole = Counted(
            account, pane, [self._atom(atom) for measure in _OF_ANSWERS for atom in measure.counts(evidence)]
        )
        self._add_amounts(whole, [measure.amounts for measure in _OF_AMOUNTS if not measure.of_rows], evidence)
        whole.values = _values(evidence, of_rows=False)
        yield whole

    def _labelled_by_rows(
        self, counting: Counting, segment: Segment, values: Sequence[int], pane: int, labelled: Iterable[int]
    ) -> Iterator[Counted]:
        """The same by the time of labels: of those rows whose labels came in a pane, and of a reward that did."""
        evidence, state, identity = counting.evidence, counting.state, counting.identity
        assert state is not None
        for value, rows in _by_value(values, labelled):
            account = self._segmenting.account(identity, value, by_labels=True)
            counted = Counted(account, pane, *once_and_more(self._label_atoms(counting, rows)))
            counted.values = _values(evidence.part(rows), of_rows=True) + of_rows(evidence, rows)
            yield counted
        if evidence.reward is not None and pane == counting.reward_pane:
            several = self._segmenting.several(state, segment)
            account = self._segmenting.account(identity, several, by_labels=True)
            whole = Counted(account, pane, [self._atom(atom) for atom in REWARDS.counts(evidence)])
            self._add_amounts(whole, (REWARDS.amounts,), evidence)
            yield whole

    # -- atoms --------------------------------------------------------------------------------------------------------

    def _label_atoms(self, counting: Counting, rows: Iterable[int]) -> list[int]:
        """The atoms of those of some rows that have a label."""
        evidence, state = counting.evidence, counting.state
        if state is None or evidence.labels is None:
            return []
        labels = evidence.labels
        return [
            atom
            for row in rows
            if labels[row] is not None
            for atom in self._rows.atoms(state, evidence.marks[row], labels[row])
        ]

    def _once(self, counting: Counting) -> list[int]:
        """The atoms that evidence counts once each."""
        evidence, state = counting.evidence, counting.state
        atoms = [self._atom(atom) for measure in _OF_ANSWERS for atom in measure.counts(evidence)]
        if state is not None:
            labels = evidence.labels or [None] * len(evidence.marks)
            for mark, label in zip(evidence.marks, labels, strict=True):
                atoms += self._rows.atoms(state, mark, label)
        return atoms

    def _add_amounts(self, counted: Counted, amounts: Iterable[_Amounts], evidence: Evidence) -> None:
        """Add what measures find out anew for every answer. An amount of one takes less room among the atoms."""
        numbers = self._atoms
        for find in amounts:
            for atom, amount in find(evidence):
                number = numbers.get(atom)
                if number is None:
                    number = self._atom(atom)
                if amount == 1:
                    counted.atoms.append(number)
                elif amount:
                    counted.amounts[number] = counted.amounts.get(number, 0) + amount

    def amounts_of(self, values: bytes) -> Iterator[tuple[int, int]]:
        """What values that are kept count as: atoms, by their numbers, and amounts."""
        for atom, amount in _AMOUNTS_OF[values[:1]](values[1:]):
            yield self._atom(atom), amount

    def _see(self, account: int, pane: int) -> None:
        """Note a pane that a part of an account falls in, but does not count in."""
        if pane < self.seen.get(account, pane + 1):
            self.seen[account] = pane

    # -- numbers ------------------------------------------------------------------------------------------------------

    def _account(self, identity: int) -> int:
        account = self._accounts.get(identity)
        if account is None:
            account = self._accounts[identity] = self._numbers.account(Account(self._numbers.identities[identity]))
        return account

    def _label_account(self, identity: int) -> int:
        account = self._label_accounts.get(identity)
        if account is None:
            own = Account(self._numbers.identities[identity], BY_LABELS)
            account = self._label_accounts[identity] = self._numbers.account(own)
        return account

    def _atom(self, atom: Atom) -> int:
        number = self._atoms.get(atom)
        if number is None:
            number = self._atoms[atom] = self._numbers.atom(atom)
        return number

    def recover(self) -> None:
        """Take from the numbers which classes are told apart."""
        self._classes.recover()


def _by_value(values: Sequence[int], rows: Iterable[int]) -> list[tuple[int, list[int]]]:
    """Some rows by the value that each has."""
    found: dict[int, list[int]] = {}
    for row in rows:
        found.setdefault(values[row], []).append(row)
    return sorted(found.items())


def _values(evidence: Evidence, *, of_rows: bool) -> list[bytes]:
    """What measures keep as it is of evidence, of single rows or of the whole."""
    found = ((measure, measure.values(evidence)) for measure in _OF_VALUES if measure.of_rows == of_rows)
    return [measure.letter + kept for measure, kept in found if kept]


def _with_features(counted: Counted, leg: int) -> list[Counted]:
    """An entry, and the features of its request; in one of their own where it counts in segments: these do not."""
    if counted.also:
        return [counted, Counted(counted.account, counted.pane, [], {}, [named(leg)])]
    counted.values = [named(leg), *counted.values]
    return [counted]


def _brings_anything(feedback: Feedback) -> bool:
    """Whether a feedback does more than take back."""
    return feedback.reward is not None or brings_label(feedback)

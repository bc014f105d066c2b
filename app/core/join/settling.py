"""Settling: what an exchange counts as, from its parts to atoms in panes.

The whole is computed anew from the exchange at every change and compared with what was counted before, so that any
order of events, and any correction, ends at the same counts. Who is judged by what is said by `judging`; what is known
of each by `gathering`; what is counted of it by `tallying`. Here is the common shape; all others are in `any_shape`.
"""

from typing import Any, Final, NamedTuple

from app.core.counts.numbers import Numbers
from app.core.join.any_shape import AnyShape
from app.core.join.by_version import ByVersion
from app.core.join.chances import of_one
from app.core.join.exchange import Counted, Exchange, LegState
from app.core.join.features import named
from app.core.join.gathering import Gathering
from app.core.join.judging import Judging, brings_label
from app.core.join.monitored import counted_results
from app.core.join.segmenting import NO_ACCOUNTS, Segmenting
from app.core.join.statements import REWARD, Feedback
from app.core.join.tallying import OF_AMOUNTS, OF_LABELLED, OF_VALUES, Amounts, Tallying, with_features
from app.core.measures.drift import DRIFT
from app.core.measures.measure import Evidence
from app.core.measures.rewards import REWARDS
from app.core.payloads.marks import Mark

_CACHED_BUNDLES: Final = 20_000
_MOST_BUNDLES: Final = 4096


class _Bundle(NamedTuple):
    """What exchanges that are alike count as once each, by one number; the measures that add amounts to it; and the
    evidence that these are given. What is an answer's own in it is written anew for each: probabilities,
    delay, reward.
    """

    number: int
    amounts: tuple[Amounts, ...]
    evidence: Evidence
    by_labels: int | None = None  # the number of what label and reward alone count as
    of_labels: tuple[Amounts, ...] = ()  # the measures that add amounts to that
    chances: tuple[bytes, ...] = ()  # what is kept of an answer that gives probabilities
    segmented: bool = False  # whether the model has segments
    by_version: bool = False  # whether the references of the model are those of its versions


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
        self._bundles: dict[tuple[Any, ...], _Bundle] = {}  # by leg, and what the exchange is like
        self._alike: dict[tuple[Any, ...], _Bundle] = {}  # the same by the leg's sort
        self.by_version = ByVersion(numbers, judging)
        self._gathering = Gathering(numbers, judging, self.by_version, self._pane_us)
        self._accounts: dict[int, int] = {}  # identity → its account as a whole
        self._tallying = Tallying(numbers, judging)
        self._any_shape = AnyShape(
            numbers, self._tallying, self._gathering, segmenting, self._pane_us, by_labels=by_labels
        )
        self.amounts_of = self._tallying.amounts_of
        #: Legs of which the last exchange shows that they have rows of both natures.
        self.mixed = self._tallying.rows.mixed
        self.seen = self._tallying.seen  # by account: the earliest pane that any part of an answer falls in

    def counted(self, exchange: Exchange) -> list[Counted]:
        """What the exchange counts as now: at most one entry for each account and pane, one for features, and one for
        each result of a monitor.
        """
        if exchange.monitors:
            return self._monitored(exchange)
        feedbacks = exchange.feedbacks
        if len(exchange.legs) == 1 and len(feedbacks) < 2 and not exchange.rows:
            state = exchange.legs[0]
            if state.time and len(state.marks) == 1:
                feedback = feedbacks[0] if feedbacks else None
                if feedback is None or feedback.named == state.leg:
                    return self._common_shape(exchange, state, feedback)
            elif not feedbacks and not state.time:
                return self._request_alone(exchange, state)
        return self._any_shape.counted(exchange)

    def _monitored(self, exchange: Exchange) -> list[Counted]:
        """What an exchange counts as that has results of monitors: these stand behind all that it has without them."""
        results, exchange.monitors = exchange.monitors, ()
        found = self.counted(exchange)
        exchange.monitors = results
        account, unversioned = self._tallying.account, self._judging.unversioned
        return [*found, *counted_results(exchange, account, unversioned, self._pane_us)]

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
                    return self._any_shape.counted(exchange)
                label = feedback.labels[0]
            reward = feedback.reward
            if reward is None and flags & REWARD:
                flags = ~flags  # a reward taken back is not one never given
        mark = state.marks[0]
        if type(mark) is float or type(label) is float:  # too many to be kept
            return self._any_shape.counted(exchange)
        key = (state.leg, state.classes, state.request_time > 0, mark, flags, label)
        bundle = self._bundles.get(key)
        if bundle is None:
            bundle = self._find_bundle(key, exchange, state)
            if bundle is None:
                return self._any_shape.counted(exchange)
        account = self._accounts.get(state.identity)
        if account is None:
            account = self._accounts[state.identity] = self._tallying.account(state.identity)
        pane_us = self._pane_us
        pane = (state.time - state.ahead * 1000) // pane_us
        begin = pane * pane_us
        if state.request_ahead or 0 < state.request_time < begin:
            self._tallying.see(account, state.request_pane_time // pane_us)
        if feedback is not None and (feedback.ahead or feedback.time < begin) and _brings_anything(feedback):
            self._tallying.see(account, feedback.pane_time // pane_us)
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
            if bundle.by_version:
                evidence.live = self.by_version.live(state)
            self._tallying.add_amounts(counted, bundle.amounts, evidence)
        chances: tuple[bytes, ...] = ()
        if bundle.chances and (state.probabilities is not None or (type(mark) is int and mark >= 0)):
            chances = bundle.chances
        counted.values = chances
        accounts = self._segmenting.accounts(state) if bundle.segmented else NO_ACCOUNTS
        counted.also = accounts.whole
        found = [counted] if state.evidence is None else with_features(counted, self._features(state, bundle))
        if bundle.by_labels is None or feedback is None:
            return found
        labelled = Counted(
            self._tallying.label_account(state.identity), feedback.pane_time // pane_us, [bundle.by_labels]
        )
        if bundle.of_labels:
            self._tallying.add_amounts(labelled, bundle.of_labels, bundle.evidence)
        labelled.values = chances
        labelled.also = accounts.by_labels
        return [*found, labelled]

    def _request_alone(self, exchange: Exchange, state: LegState) -> list[Counted]:
        """One leg that has not answered yet, of which only the request is known."""
        bundle = self._bundles.get((state.leg,))
        if bundle is None:
            bundle = self._find_bundle((state.leg,), exchange, state)
            if bundle is None:
                return self._any_shape.counted(exchange)
        account = self._tallying.account(self._judging.unversioned(state.leg))
        counted = Counted(account, state.request_pane_time // self._pane_us, [bundle.number])
        if state.evidence is not None:
            with_features(counted, self._features(state, bundle))
        self._tallying.add_amounts(counted, bundle.amounts, bundle.evidence)
        return [counted]

    def _features(self, state: LegState, bundle: _Bundle) -> bytes | None:
        """What is kept of the features of a leg's request beside what it counts as."""
        if not bundle.by_version:
            return named(state.leg)
        bins = self.by_version.bins(state)
        return None if bins is None else DRIFT.letter + bins

    def _find_bundle(self, key: tuple[Any, ...], exchange: Exchange, state: LegState) -> _Bundle | None:
        """The bundle that stands under a key from now on: that of another leg of the same sort, or a new one."""
        leg, *what = key
        row: tuple[int, ...] = ()
        if state.time:
            labels = self._judging.labels(state, self._judging.statements(state, exchange)).marks
            row = self._tallying.rows.atoms(state, state.marks[0], labels[0] if labels else None)
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
        if any(measure.values(evidence) for measure in OF_VALUES):
            return None
        active = tuple(measure.amounts for measure in OF_AMOUNTS if [*measure.amounts(evidence)])
        counting = countings[0]
        number = self._numbers.bundle(tuple(self._tallying.once(counting)))
        by_labels = None
        if self._by_labels:
            atoms = self._tallying.label_atoms(counting, range(len(evidence.marks)))
            atoms += [self._tallying.atom(atom) for atom in REWARDS.counts(evidence)]
            by_labels = self._numbers.bundle(tuple(atoms)) if atoms else None
        of_labels = tuple(amounts for amounts in (REWARDS.amounts, *OF_LABELLED) if amounts in active)
        chances: tuple[bytes, ...] = ()
        if evidence.labels is not None and evidence.marks:
            chances = of_one(evidence, self._numbers)
        segmented = counting.state is not None and self._segmenting.has_segments(counting.state.leg)
        reference = evidence.rules.reference
        by_version = reference is not None and reference.first > 0
        return _Bundle(number, active, evidence, by_labels, of_labels, chances, segmented, by_version)

    def recover(self) -> None:
        """Take from the numbers which classes are told apart."""
        self._tallying.recover()


def _brings_anything(feedback: Feedback) -> bool:
    """Whether a feedback does more than take back."""
    return feedback.reward is not None or brings_label(feedback)

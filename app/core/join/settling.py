"""What an exchange counts as: from its parts to atoms in panes.

The whole is computed anew from the exchange at every change and compared with what was counted before, so that any
order of events, and any correction, ends at the same counts.
"""

from bisect import bisect_left
from collections.abc import Iterable
from typing import Any, Final

from app.core.counts.numbers import (
    DELAY_0,
    DELAY_BUCKETS,
    FEEDBACK,
    MISMATCHED,
    REQUEST,
    RESPONSE,
    REWARDS,
    Names,
)
from app.core.events import Identity, Leg
from app.core.join.exchange import LABELS, REWARD, ROW_LABELS, Exchange, Feedback, Group, LegState
from app.core.measures.verdict import COUNTERS, UNLABELLED, Atom, judge, label_text, predicted_text
from app.core.payloads.marks import Mark
from app.core.rules import Rulebook, Rules

_BUCKETS_US: Final = [bound * 1_000_000 for bound in DELAY_BUCKETS]
_CACHED_VERDICTS: Final = 20_000
_MOST_BUNDLES: Final = 4096
#: Classes of one leg that are told apart; more are garbage, and would make records too large for Kafka.
MOST_CLASSES: Final = 1000
OTHER: Final = "other"
ANOTHER: Final = "another"
_DELAYS: Final = range(DELAY_0, DELAY_0 + len(DELAY_BUCKETS) + 1)


class Counting:
    """Counts exchanges by the user's rules, with the numbers of one partition's `Names`."""

    def __init__(self, names: Names, rulebook: Rulebook, pane_seconds: int) -> None:
        self._names = names
        self._rulebook = rulebook
        self._pane_us = pane_seconds * 1_000_000
        self._applies: dict[tuple[int, int], bool] = {}
        self._verdicts: dict[tuple[int, int, Mark, Mark], int] = {}
        self._words: dict[tuple[int, int, Mark, Mark], tuple[Any, Any, bool | None]] = {}
        self._rules: dict[int, Rules] = {}
        self._known: dict[int, set[str]] = {}
        self.dropped_classes = 0
        self._class_atoms: dict[int, int] = {}
        self._bundles: dict[tuple[int, int, bool, Mark, int, Mark, int], tuple[int, bool, bool]] = {}
        self._whole: dict[int, bool] = {}
        self._plain: dict[int, int] = {}

    def groups(self, exchange: Exchange) -> list[Group]:
        """What the exchange counts as now: at most one group for each identity and pane."""
        feedbacks = exchange.feedbacks
        if len(exchange.legs) == 1 and len(feedbacks) < 2:
            state = exchange.legs[0]
            if state.time and len(state.marks) == 1:
                feedback = feedbacks[0] if feedbacks else None
                if feedback is None or (feedback.named == state.leg and not feedback.flags & ROW_LABELS):
                    return self._common_shape(exchange, state, feedback)
            elif not feedbacks and not state.time:
                return [self._unanswered(state)]
        return self._any_shape(exchange)

    def _common_shape(self, exchange: Exchange, state: LegState, feedback: Feedback | None) -> list[Group]:
        """One answered leg, one row, at most one feedback, which names that leg: nearly all exchanges look so.

        What such an exchange counts as is worked out once for each combination and kept as a bundle of atoms.
        """
        label: Mark = None
        flags = delay = points = 0
        bucket = -1
        if feedback is not None:
            flags = feedback.flags
            if type(feedback.labels) is list:
                if len(feedback.labels) != 1:
                    return self._any_shape(exchange)
                label = feedback.labels[0]
                if label is not None:
                    delay = feedback.time - state.time
                    if delay < 0:
                        delay = 0
                    bucket = bisect_left(_BUCKETS_US, delay)
            if feedback.reward is not None:
                points = feedback.reward
            elif flags & REWARD:
                flags = ~flags  # a reward taken back is not one never given
        mark = state.marks[0]
        key = (state.leg, state.classes, state.request_time > 0, mark, flags, label, bucket)
        bundle = self._bundles.get(key)
        if bundle is None:
            groups = self._any_shape(exchange)
            cacheable = len(groups) == 1 and type(mark) is not float and type(label) is not float
            if not cacheable or len(self._bundles) >= _MOST_BUNDLES:
                return groups
            atoms = groups[0].atoms
            bundle = self._bundles[key] = (
                self._names.bundle(tuple(atoms)),
                any(atom in _DELAYS for atom in atoms),
                REWARDS in atoms,
            )
        number, timed, rewarded = bundle
        pane = state.pane_time // self._pane_us
        return [Group(state.identity, pane, [number], delay if timed else 0, points if rewarded else 0)]

    def _any_shape(self, exchange: Exchange) -> list[Group]:
        feedbacks = exchange.feedbacks
        groups: list[Group] = []
        # Labels that meet no leg yet.
        unmet = [feedback for feedback in feedbacks if feedback.flags & (LABELS | ROW_LABELS)]
        fed: dict[int, Feedback] = {}  # identity without response → the newest feedback for it
        for state in exchange.legs:
            told = self.telling(state, exchange)
            if state.time:
                group = Group(state.identity, state.pane_time // self._pane_us, [])
                if state.request_time:
                    group.atoms.append(REQUEST)
                group.atoms.append(RESPONSE)
                if state.classes:
                    group.atoms.append(self._class_atom(state.classes))
                if self._count_labelled(state, told, group):
                    group.atoms.append(FEEDBACK)
                groups.append(group)
            else:
                group = self._unanswered(state)
                groups.append(group)
                for feedback in told:
                    _keep_newest(fed, group.identity, feedback)
            unmet = [feedback for feedback in unmet if feedback not in told]
        for feedback in unmet:
            _keep_newest(fed, self._unversioned(feedback.named), feedback)
        for feedback in feedbacks:
            if feedback.flags & REWARD and feedback.reward is not None:
                self._count_reward(feedback, exchange, groups, fed)
        for identity, feedback in fed.items():
            if not any(group.identity == identity and FEEDBACK in group.atoms for group in groups):
                _group(groups, identity, self._pane(feedback)).atoms.append(FEEDBACK)
        return groups

    def _unanswered(self, state: LegState) -> Group:
        return Group(self._unversioned(state.leg), state.request_pane_time // self._pane_us, [REQUEST])

    def labels(self, state: LegState, told: list[Feedback]) -> tuple[list[Mark] | None, int, bool, bool]:
        """The labels of a leg's rows from the feedbacks that apply to it: marks, time of the newest, any, mismatch."""
        batch: Feedback | None = None
        single: list[Feedback] = []
        for feedback in told:
            flags = feedback.flags
            if flags & LABELS and (batch is None or (feedback.time, feedback.digest) > (batch.time, batch.digest)):
                batch = feedback
            if flags & ROW_LABELS:
                single.append(feedback)
        rows = len(state.marks)
        if batch is None and not single:
            return None, 0, False, False
        marks: list[Mark] | None = None
        newest = 0
        mismatch = False
        if batch is not None and type(batch.labels) is list:
            if len(batch.labels) == rows:
                marks, newest = batch.labels, batch.time
            else:
                mismatch = True
        if single:
            marks = list(marks) if marks else [None] * rows
            after = (batch.time, batch.digest) if batch is not None else (-1, 0)
            for feedback in sorted(single, key=lambda feedback: (feedback.time, feedback.digest)):
                assert type(feedback.labels) is dict
                if (feedback.time, feedback.digest) > after:
                    for row, mark in feedback.labels.items():
                        if row < rows:
                            marks[row] = mark
                            if mark is not None:
                                newest = max(newest, feedback.time)
                        else:
                            mismatch = True
        return marks, newest, True, mismatch

    def _count_labelled(self, state: LegState, told: list[Feedback], group: Group) -> bool:
        marks, newest, met, mismatch = self.labels(state, told)
        atoms = group.atoms
        if marks is None:
            for mark in state.marks:
                atoms.append(self._verdict(state, mark, None))
        else:
            for mark, label in zip(state.marks, marks, strict=True):
                atoms.append(self._verdict(state, mark, label))
            if any(label is not None for label in marks):
                delay = max(0, newest - state.time)
                group.delay = delay
                atoms.append(DELAY_0 + bisect_left(_BUCKETS_US, delay))
        if mismatch:
            atoms.append(MISMATCHED)
        return met

    def _count_reward(
        self, feedback: Feedback, exchange: Exchange, groups: list[Group], fed: dict[int, Feedback]
    ) -> None:
        assert feedback.reward is not None
        identity, home = self.reward_home(feedback, exchange)
        group = _group(groups, identity, self._pane(feedback) if home is None else home.pane_time // self._pane_us)
        group.atoms.append(REWARDS)
        group.points += feedback.reward
        if home is None:
            _keep_newest(fed, identity, feedback)
        elif FEEDBACK not in group.atoms:
            group.atoms.append(FEEDBACK)

    def reward_home(self, feedback: Feedback, exchange: Exchange) -> tuple[int, LegState | None]:
        """Whose the reward is: the leg that it names, else the one leg that is no shadow; and that leg's response."""
        home: LegState | None = None
        owner = feedback.named
        if not self.names_leg(feedback.named):
            home, owner = self._reward_candidate(feedback.named, exchange)
        if home is None:
            home = next((state for state in exchange.legs if state.leg == owner and state.time), None)
        return (home.identity if home is not None else self._unversioned(owner)), home

    def names_leg(self, named: int) -> bool:
        """Whether a leg is named with predictor and model, so that a reward for it needs no search for its home."""
        whole = self._whole.get(named)
        if whole is None:
            leg = self._names.legs[named]
            whole = self._whole[named] = bool(leg.predictor and leg.model)
        return whole

    def _reward_candidate(self, number: int, exchange: Exchange) -> tuple[LegState | None, int]:
        """The one leg that a reward without a leg may belong to, else the leg without predictor and model."""
        legs = self._names.legs
        named = legs[number]
        homes = [state for state in exchange.legs if self._may_own_reward(named, legs[state.leg], state)]
        services = {legs[state.leg][:2] for state in homes}
        service = services.pop() if len(services) == 1 and not named.service else named[:2]
        nowhere = self._names.leg(Leg(*service, "", ""))
        return (homes[0] if len(homes) == 1 else None), nowhere

    def _may_own_reward(self, named: Leg, leg: Leg, state: LegState) -> bool:
        if not state.time or (named.predictor and named.predictor != leg.predictor):
            return False
        return _fits(named, leg) and leg.predictor not in self._rulebook.of(leg).shadow

    def telling(self, state: LegState, exchange: Exchange) -> list[Feedback]:
        """The label feedbacks that judge a leg."""
        told = [
            feedback
            for feedback in exchange.feedbacks
            if feedback.flags & (LABELS | ROW_LABELS) and self._applies_to(feedback.named, state.leg)
        ]
        if told and len(exchange.legs) > 1 and self._is_beside_scored(state, exchange):
            return []
        return told

    def _is_beside_scored(self, state: LegState, exchange: Exchange) -> bool:
        """Whether another model of the same predictor is the scored one."""
        scored = self.rules(state.leg).scored_model
        leg = self._names.legs[state.leg]
        if scored is None or leg.model == scored:
            return False
        return any(self._names.legs[other.leg] == leg._replace(model=scored) for other in exchange.legs)

    def _applies_to(self, named: int, leg: int) -> bool:
        """Whether a label of a feedback that names `named` judges `leg`: it judges every leg of its service.

        Of the predictor that the feedback names only the model that it names, unless a `scored_model` settles it.
        """
        known = self._applies.get((named, leg))
        if known is None:
            name, other = self._names.legs[named], self._names.legs[leg]
            scored = self._rulebook.of(other).scored_model
            model_fits = scored is not None or name.predictor != other.predictor or name.model in ("", other.model)
            known = self._applies[named, leg] = _fits(name, other) and model_fits
        return known

    def rules(self, leg: int) -> Rules:
        """The rules of a leg."""
        rules = self._rules.get(leg)
        if rules is None:
            rules = self._rules[leg] = self._rulebook.of(self._names.legs[leg])
        return rules

    def _verdict(self, state: LegState, mark: Mark, label: Mark) -> int:
        key = (state.leg, state.classes, mark, label)
        atom = self._verdicts.get(key)
        # 1 and 1.0 are one key but not one mark; integral floats are never marks.
        if atom is None:
            names = self._names
            atom = names.atom(
                self._bounded(state.leg, judge(mark, label, names.classes[state.classes], self.rules(state.leg)))
            )
            if len(self._verdicts) < _CACHED_VERDICTS and type(mark) is not float and type(label) is not float:
                self._verdicts[key] = atom
        return atom

    def _bounded(self, leg: int, atom: Atom) -> Atom:
        """The same atom, with classes beyond the most that a leg may have as "other" (a second one as "another")."""
        if atom.row == COUNTERS:
            return atom
        predicted = self._bounded_class(leg, atom.column)
        if atom.row == UNLABELLED:
            return Atom(UNLABELLED, predicted)
        actual = self._bounded_class(leg, atom.row[1:])
        if actual == predicted and atom.row[1:] != atom.column:
            predicted = ANOTHER
        return Atom("=" + actual, predicted)

    def _bounded_class(self, leg: int, text: str) -> str:
        known = self._known.setdefault(leg, set())
        if text not in known:
            if len(known) >= MOST_CLASSES:
                self.dropped_classes += 1
                return OTHER
            known.add(text)
        return text

    def recover_classes(self, counted: Iterable[tuple[Identity, str, str]]) -> None:
        """Take the classes that are known from what has been counted: (identity, row, column)."""
        for identity, row, column in counted:
            known = self._known.setdefault(self._names.leg(identity.leg), set())
            if row == UNLABELLED:
                known.add(column)
            elif row[:1] == "=":
                known.update((row[1:], column))

    def words(self, state: LegState, mark: Mark, label: Mark) -> tuple[Any, Any, bool | None]:
        """What a row says in words: predicted, label, and whether it is correct, None where that is no question."""
        key = (state.leg, state.classes, mark, label)
        words = self._words.get(key)
        if words is None:
            names, rules = self._names.classes[state.classes], self.rules(state.leg)
            predicted, actual = predicted_text(mark, names, rules), label_text(label, names, rules)
            atom = judge(mark, label, names, rules)
            words = (
                predicted if predicted is not None else mark,
                actual if actual is not None else label,
                atom.row[1:] == atom.column if atom.row[:1] == "=" else None,
            )
            if len(self._words) < _CACHED_VERDICTS and type(mark) is not float and type(label) is not float:
                self._words[key] = words
        return words

    def _class_atom(self, classes: int) -> int:
        atom = self._class_atoms.get(classes)
        if atom is None:
            atom = self._class_atoms[classes] = self._names.class_list_atom(classes)
        return atom

    def _unversioned(self, leg: int) -> int:
        identity = self._plain.get(leg)
        if identity is None:
            identity = self._plain[leg] = self._names.identity(Identity(*self._names.legs[leg], ""))
        return identity

    def _pane(self, feedback: Feedback) -> int:
        return feedback.pane_time // self._pane_us


def _fits(named: Leg, leg: Leg) -> bool:
    """Whether a leg is of the service that a feedback names, where it names one."""
    return (not named.service or named.service == leg.service) and (
        not named.namespace or named.namespace == leg.namespace
    )


def _keep_newest(fed: dict[int, Feedback], identity: int, feedback: Feedback) -> None:
    old = fed.get(identity)
    if old is None or feedback.pane_time > old.pane_time:
        fed[identity] = feedback


def _group(groups: list[Group], identity: int, pane: int) -> Group:
    """The group of an identity and pane, added where it is new."""
    for group in groups:
        if group.identity == identity and group.pane == pane:
            return group
    group = Group(identity, pane, [])
    groups.append(group)
    return group

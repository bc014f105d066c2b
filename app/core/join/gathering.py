"""Gathering: the evidence of an exchange, of each leg and of feedback that meets no answer, and in which pane."""

from app.core.counts.numbers import Numbers
from app.core.join.by_version import ByVersion
from app.core.join.exchange import Exchange, LegState
from app.core.join.judging import Judging, brings_label, statements
from app.core.join.statements import REWARD, Feedback, Statement, waits
from app.core.measures.measure import Evidence


class Counting:
    """Evidence on its way to what is counted: whose it is, and in which pane."""

    __slots__ = ("evidence", "identity", "label_times", "pane", "reward_pane", "seen", "state")

    def __init__(self, identity: int, pane: int, evidence: Evidence, state: LegState | None = None) -> None:
        self.identity = identity
        self.pane = pane
        self.evidence = evidence
        self.state = state  # the answer that it is of
        self.seen = pane  # the earliest pane that any of its parts falls in
        self.label_times: list[int] | None = None  # by row: the µs by which its label falls in a pane
        self.reward_pane = pane  # that of its reward, where it has one

    def answers(self, leg: int) -> bool:
        """Whether it is that of a leg's answer."""
        return self.state is not None and self.state.leg == leg


class Gathering:
    """Gathers evidence by the user's rules, with one partition's `Numbers`."""

    def __init__(self, numbers: Numbers, judging: Judging, by_version: ByVersion, pane_us: int) -> None:
        self._numbers = numbers
        self._judging = judging
        self._by_version = by_version
        self._pane_us = pane_us

    def countings(self, exchange: Exchange) -> list[Counting]:
        """The evidence of an exchange: of each leg, and of feedback that meets no answer."""
        judging = self._judging
        found: list[Counting] = []
        predicted = bool(exchange.legs)
        unmet = [one for one in statements(exchange) if brings_label(one) and (predicted or not waits(one))]
        unanswered: dict[int, list[Statement]] = {}  # identity without answer → the feedbacks for it
        for state in exchange.legs:
            stated = judging.statements(state, exchange)
            bringing = [one for one in stated if brings_label(one)]
            if state.time:
                counting = self._answered(state, stated)
                for one in bringing:
                    self._tell(counting, one)
            else:
                counting = self._unanswered(state)
                if bringing:
                    unanswered.setdefault(counting.identity, []).extend(bringing)
            found.append(counting)
            if unmet and stated:
                unmet = [one for one in unmet if not any(one is met for met in stated)]
        for one in unmet:
            own = next((counting for counting in found if counting.answers(one.named)), None)
            if own is not None:  # it names an answer that it does not judge
                self._tell(own, one)
            else:
                unanswered.setdefault(judging.unversioned(one.named), []).append(one)
        for feedback in exchange.feedbacks:
            if feedback.flags & REWARD and feedback.reward is not None and (predicted or not waits(feedback)):
                self._give_reward(feedback, exchange, found, unanswered)
        for identity, told in unanswered.items():
            known = [counting for counting in found if counting.identity == identity and counting.evidence.feedback]
            counting = known[0] if known else self._at(found, identity, max(one.pane_time for one in told))
            for one in told:
                self._tell(counting, one)
        return found

    def _answered(self, state: LegState, stated: list[Statement]) -> Counting:
        labels = self._judging.labels(state, stated)
        labelled = labels.marks is not None and any(label is not None for label in labels.marks)
        evidence = Evidence(
            rules=self._judging.rules(state.leg),
            request=state.request_time > 0,
            response=True,
            classes=self._numbers.classes[state.classes],
            marks=state.marks,
            features=self._features(state),
            live=self._by_version.live(state),
            probabilities=state.probabilities,
            labels=labels.marks,
            mismatched=labels.mismatched,
            delay=max(0, labels.newest - state.time) if labelled else None,
        )
        counting = Counting(state.identity, state.pane_time // self._pane_us, evidence, state)
        counting.label_times = labels.pane_times
        if state.request_time:
            counting.seen = min(counting.seen, state.request_pane_time // self._pane_us)
        return counting

    def _unanswered(self, state: LegState) -> Counting:
        evidence = Evidence(rules=self._judging.rules(state.leg), request=True, features=self._features(state))
        return Counting(self._judging.unversioned(state.leg), state.request_pane_time // self._pane_us, evidence)

    def _features(self, state: LegState) -> bytes | None:
        """The bins of a leg's request."""
        return state.evidence if self._by_version.watched(state.leg) is None else self._by_version.bins(state)

    def _tell(self, counting: Counting, one: Statement) -> None:
        """A feedback counts to what it is about, whose part it is."""
        counting.evidence.feedback = True
        counting.seen = min(counting.seen, one.earliest_pane_time // self._pane_us)

    def _give_reward(
        self, feedback: Feedback, exchange: Exchange, found: list[Counting], unanswered: dict[int, list[Statement]]
    ) -> None:
        """A reward counts with the answer that it is about, else by itself."""
        identity, answer = self._judging.reward_owner(feedback, exchange)
        if answer is None:
            counting = self._at(found, identity, feedback.pane_time)
            unanswered.setdefault(identity, []).append(feedback)
        else:
            counting = next(one for one in found if one.state is answer)
            self._tell(counting, feedback)
        counting.evidence.reward = feedback.reward
        counting.reward_pane = feedback.pane_time // self._pane_us

    def _at(self, found: list[Counting], identity: int, pane_time: int) -> Counting:
        """The evidence of an identity in the pane of a time, added where it is new."""
        pane = pane_time // self._pane_us
        for counting in found:
            if counting.identity == identity and counting.pane == pane:
                return counting
        leg = self._numbers.leg(self._numbers.identities[identity].leg)
        counting = Counting(identity, pane, Evidence(rules=self._judging.rules(leg)))
        found.append(counting)
        return counting

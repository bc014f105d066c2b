"""Judging: which answers a label concerns, and whose a reward is."""

from typing import Any, Final, NamedTuple

from app.core.counts.numbers import Numbers
from app.core.events import Identity, Leg
from app.core.join.exchange import Exchange, LegState, row_labels
from app.core.join.statements import LABELS, Feedback, RowLabels, Statement, held
from app.core.measures.verdict import ACTUAL, judge, label_text, predicted_text
from app.core.payloads.marks import Mark
from app.core.rules import Rulebook, Rules

_CACHED: Final = 20_000
_FAILED: Final[list[Mark]] = [None]  # a failed answer: it has no rows that a label could be right about


class Labels(NamedTuple):
    """What feedbacks say of the rows of an answer."""

    marks: list[Mark] | None = None  # by row; None where no feedback speaks of them
    newest: int = 0  # the event time of the newest label, µs
    pane_times: list[int] | None = None  # by row: the µs by which its label falls in a pane
    mismatched: bool = False  # there are labels for other rows than the answer has


NO_LABELS: Final = Labels()


class Judging:
    """Judges exchanges by the user's rules, with one partition's `Numbers`."""

    def __init__(self, numbers: Numbers, rulebook: Rulebook) -> None:
        self._numbers = numbers
        self._rulebook = rulebook
        self._concerned: dict[tuple[int, int], bool | Leg] = {}
        self._words: dict[tuple[int, int, Mark, Mark], tuple[Any, Any, bool | None]] = {}
        self._rules: dict[int, Rules] = {}
        self._named: dict[int, bool] = {}
        self._unversioned: dict[int, int] = {}
        self._sorts: dict[tuple[Any, ...], int] = {}
        self._sort_of: dict[int, int] = {}

    def rules(self, leg: int) -> Rules:
        """The rules of a leg."""
        rules = self._rules.get(leg)
        if rules is None:
            rules = self._rules[leg] = self._rulebook.of(self._numbers.legs[leg])
        return rules

    def sort(self, leg: int) -> int:
        """The number of all that matters of a leg where it is the only one: legs of one sort are judged alike."""
        number = self._sort_of.get(leg)
        if number is None:
            rules, own = self.rules(leg), self._numbers.legs[leg]
            beside_scored = rules.scored_model not in (None, own.model)
            what = rules, beside_scored, own.predictor in rules.shadow, self.names_leg(leg)
            number = self._sort_of[leg] = self._sorts.setdefault(what, len(self._sorts))
        return number

    def unversioned(self, leg: int) -> int:
        """The identity of a leg that has not answered: without version."""
        identity = self._unversioned.get(leg)
        if identity is None:
            identity = self._unversioned[leg] = self._numbers.identity(Identity(*self._numbers.legs[leg], ""))
        return identity

    # -- labels -------------------------------------------------------------------------------------------------------

    def statements(self, state: LegState, exchange: Exchange) -> list[Statement]:
        """What is said of labels that judge a leg."""
        found = [one for one in statements(exchange) if self._concerns(one.named, state.leg, exchange)]
        return [] if found and self._is_beside_scored(state.leg, exchange) else found

    def labels(self, state: LegState, stated: list[Statement]) -> Labels:
        """What the statements that judge a leg say of its rows. For each row the newest one holds."""
        if not stated:
            return NO_LABELS
        if state.marks == _FAILED:
            return NO_LABELS._replace(marks=[None])
        rows = len(state.marks)
        if len(stated) == 1 and isinstance(stated[0], Feedback):
            batch = stated[0]
            if batch.labels is None:
                return Labels([None] * rows)
            if len(batch.labels) == rows:
                return Labels(batch.labels, batch.time, [batch.pane_time] * rows, mismatched=False)
            return Labels([None] * rows, mismatched=True)
        batches = [one for one in stated if isinstance(one, Feedback)]
        found = held(batches, (one for one in stated if isinstance(one, RowLabels)), self._numbers.legs)
        fits = found.length in (None, rows)
        marks: list[Mark] = [None] * rows
        pane_times = [0] * rows
        newest = 0
        mismatched = not fits
        for row, mark in found.marks.items():
            if mark is None or not (fits or row in found.single):
                continue
            if row < rows:
                marks[row], pane_times[row] = mark, found.pane_times[row]
                newest = max(newest, found.times[row])
            else:
                mismatched = True
        return Labels(marks, newest, pane_times, mismatched)

    def _concerns(self, named: int, leg: int, exchange: Exchange) -> bool:
        """Whether a label of a feedback that names `named` judges `leg`: it judges every leg of its service.

        Of the predictor that the feedback names only the model that it names, unless a `scored_model` settles it or
        that model is no part of the exchange.
        """
        known = self._concerned.get((named, leg))
        if known is None:
            name, other = self._numbers.legs[named], self._numbers.legs[leg]
            if not _fits(name, other):
                known = False
            elif name.predictor != other.predictor or name.model in ("", other.model) or self.rules(leg).scored_model:
                known = True
            else:
                known = other._replace(model=name.model)
            self._concerned[named, leg] = known
        if isinstance(known, Leg):  # another model of its predictor is named
            return not any(self._numbers.legs[state.leg] == known for state in exchange.legs)
        return known

    def _is_beside_scored(self, leg: int, exchange: Exchange) -> bool:
        """Whether another model of the same predictor is the scored one.

        A shadow of other models has none of the name that the rule says: there it must be part of the exchange.
        """
        rules, own = self.rules(leg), self._numbers.legs[leg]
        if rules.scored_model is None or own.model == rules.scored_model:
            return False
        scored = own._replace(model=rules.scored_model)
        return own.predictor not in rules.shadow or any(
            self._numbers.legs[state.leg] == scored for state in exchange.legs
        )

    # -- rewards ------------------------------------------------------------------------------------------------------

    def reward_owner(self, feedback: Feedback, exchange: Exchange) -> tuple[int, LegState | None]:
        """Whose the reward of a feedback is, as an identity, and that leg's answer where there is one.

        It is the leg's that the feedback names, else that of the one leg which is no shadow. A feedback may name only a
        part of a leg: its predictor and model, but no namespace.
        """
        answer: LegState | None = None
        owner = feedback.named
        if not self.names_leg(owner):
            answer, owner = self._only_candidate(owner, exchange)
        if answer is None:
            answer = next((state for state in exchange.legs if state.leg == owner and state.time), None)
        if answer is None and owner == feedback.named:
            answer, _ = self._only_candidate(owner, exchange)
        return (answer.identity if answer is not None else self.unversioned(owner)), answer

    def names_leg(self, named: int) -> bool:
        """Whether a leg is named with predictor and model, so that it is known whose a reward for it is."""
        whole = self._named.get(named)
        if whole is None:
            leg = self._numbers.legs[named]
            whole = self._named[named] = bool(leg.predictor and leg.model)
        return whole

    def _only_candidate(self, number: int, exchange: Exchange) -> tuple[LegState | None, int]:
        """The one leg that a reward without a leg may belong to, else the leg without predictor and model."""
        legs = self._numbers.legs
        named = legs[number]
        candidates = [state for state in exchange.legs if self._may_own_reward(named, legs[state.leg], state)]
        services = {legs[state.leg][:2] for state in candidates}
        service = services.pop() if len(services) == 1 and not named.service else named[:2]
        nobody = self._numbers.leg(Leg(*service, "", ""))
        return (candidates[0] if len(candidates) == 1 else None), nobody

    def _may_own_reward(self, named: Leg, leg: Leg, state: LegState) -> bool:
        if not state.time or named.predictor not in ("", leg.predictor) or named.model not in ("", leg.model):
            return False
        return _fits(named, leg) and leg.predictor not in self._rulebook.of(leg).shadow

    # -- verdicts -----------------------------------------------------------------------------------------------------

    def words(self, state: LegState, mark: Mark, label: Mark) -> tuple[Any, Any, bool | None]:
        """What a row says in words: predicted, label, and whether it is correct, None where that is no question."""
        key = (state.leg, state.classes, mark, label)
        words = self._words.get(key)
        if words is None:
            classes, rules = self._numbers.classes[state.classes], self.rules(state.leg)
            predicted, actual = predicted_text(mark, classes, rules), label_text(label, classes, rules)
            atom = judge(mark, label, classes, rules)
            words = (
                predicted if predicted is not None else mark,
                actual if actual is not None else label,
                atom.row == ACTUAL + atom.column if atom.row.startswith(ACTUAL) else None,
            )
            if len(self._words) < _CACHED and type(mark) is not float and type(label) is not float:
                self._words[key] = words
        return words


def statements(exchange: Exchange) -> list[Statement]:
    """All that is said of labels in an exchange."""
    found: list[Statement] = [feedback for feedback in exchange.feedbacks if feedback.flags & LABELS]
    if exchange.rows:
        found += row_labels(exchange)
    return found


def brings_label(one: Statement) -> bool:
    """Whether any label of a statement holds: it does not only take one back, and is not outdated as a whole."""
    if isinstance(one, Feedback):
        return one.labels is not None and any(mark is not None for mark in one.labels)
    return any(label.mark is not None for label in one.rows.values())


def _fits(named: Leg, leg: Leg) -> bool:
    """Whether a leg is of the service that a feedback names, where it names one."""
    return (not named.service or named.service == leg.service) and (
        not named.namespace or named.namespace == leg.namespace
    )

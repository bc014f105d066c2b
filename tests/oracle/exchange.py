"""Rules 2 to 9: what the events of one puid count as."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from tests.oracle.classes import (
    Chances,
    Value,
    chances_of,
    labelled_class,
    number_of,
    predicted_class,
    row_counts_as,
    said_of,
)
from tests.oracle.events import Answer, Event, answer_of, is_label, labels_of
from tests.oracle.rules import Leg, Rule, rule_of
from tests.oracle.segments import Values, digest_of, places, values_of

PANE = 60_000_000

#: The leg and the version.
Identity = tuple[str, str, str, str, str]


class Fact(NamedTuple):
    """What counts once: of whom, in which pane, and as what. `seen`: nothing, but that a part lies in that pane."""

    who: Identity
    pane: int
    what: tuple[Any, ...]
    also: frozenset[tuple[str, str]] = frozenset()  # the segments and values in which it counts as well


class Claim(NamedTuple):
    """What a feedback says of one row. Of an equal rank what names the row's label itself is the greater."""

    rank: tuple[int, int, Leg]
    strength: int
    event: Event
    label: Value
    alone: bool  # by a feedback for that row alone


class Labels(NamedTuple):
    """What is said within one service: of each row the claim that holds, and the batches that say how many they are."""

    claims: dict[int, Claim]
    batches: list[Event]


def facts_of(events: Iterable[Event], rules: tuple[Rule, ...]) -> Iterator[Fact]:
    """All that one exchange counts as."""
    # Of the same event twice the lower record time holds.
    copies: dict[object, Event] = {}
    for event in (_ranked(event, rules) for event in events):
        known = copies.get(event.statement)
        if known is None or event.stamp < known.stamp:
            copies[event.statement] = event
    return _Exchange(sorted(copies.values(), key=lambda event: event.rank), rules).facts()


def _ranked(event: Event, rules: tuple[Rule, ...]) -> Event:
    """An event with the digest that decides: headers that say something of segments are part of a request or answer."""
    slices = rule_of(rules, event.leg).segments if event.kind != "feedback" else ()
    return event._replace(digest=digest_of(slices, event.value, event.headers)) if slices else event


class _Exchange:
    def __init__(self, events: list[Event], rules: tuple[Rule, ...]) -> None:
        self.rules = rules
        self.requests: dict[Leg, Event] = {}
        self.answers: dict[Leg, tuple[Event, Answer]] = {}
        # The real one of a part beats one that a feedback carries; then the greatest stays.
        for event in [event for event in events if _carries_response(event)]:
            self._answer(event, event.body["response"])
            if event.body.get("request"):
                self._ask(event, self.requests)
        asked: dict[Leg, Event] = {}
        for event in events:
            if event.kind == "request":
                self._ask(event, asked)
            elif event.kind == "response":
                self._answer(event, event.body)
        self.requests |= asked
        self.legs = {*self.requests, *self.answers}
        self.labels = self._labels([event for event in events if is_label(event)])
        rewards = [event for event in events if event.kind == "feedback" and "reward" in event.body]
        rewards = [event for event in rewards if event.leg.predictor not in self.rule(event.leg).shadow]
        self.reward = rewards[-1] if rewards and rewards[-1].body["reward"] is not None else None
        if self.reward is not None and not self._counts(self.reward):
            self.reward = None

    def _counts(self, event: Event) -> bool:
        """Whether a feedback counts: one for a row waits for its prediction, since its id may be another puid's."""
        return event.row is None or bool(self.legs)

    def rule(self, leg: Leg) -> Rule:
        return rule_of(self.rules, leg)

    def _ask(self, event: Event, into: dict[Leg, Event]) -> None:
        # Without segments nothing of a request is counted but its time, so requests of one time are one.
        def rank(of: Event) -> tuple[int, int, int]:
            return of.time, of.digest if self.rule(of.leg).segments else 0, -of.pane_time

        known = into.get(event.leg)
        if known is None or rank(event) > rank(known):
            into[event.leg] = event

    def _answer(self, event: Event, body: dict[str, object]) -> None:
        self.answers[event.leg] = event, answer_of(event, body, self.rule(event.leg).classes)

    def who(self, leg: Leg) -> Identity:
        return *leg, self.answers[leg][1].version if leg in self.answers else ""

    # -- labels -------------------------------------------------------------------------------------------------------

    @staticmethod
    def _labels(stated: list[Event]) -> list[Labels]:
        """The greatest claim to each row, within each service that is named: what it has beaten is not remembered."""
        services = []
        for home in {event.leg.home for event in stated}:
            own = [event for event in stated if event.leg.home == home]
            batches = [event for event in own if event.row is None]
            rows = {event.row for event in own if event.row is not None}
            rows |= {row for batch in batches for row in range(len(labels_of(batch) or ()))}
            # One that takes back stands in the way of what other services' labels say.
            claims = {row: max(found) for row in rows if (found := [*_claims(own, row)])}
            # Of batches that a newer one has outdated in every row nothing is remembered, not even how many they were.
            whole = [batch.rank for batch in batches if None not in (labels_of(batch) or ())]
            batches = [batch for batch in batches if batch.rank >= max(whole, default=batch.rank)]
            services.append(Labels(claims, batches))
        return services

    def judges(self, event: Event, leg: Leg) -> bool:
        """Whether a label is about a leg."""
        name = event.leg
        return leg.is_of_service(name) and not self._is_beside_scored(leg) and not self._is_another_model(name, leg)

    def _is_beside_scored(self, leg: Leg) -> bool:
        scored = self.rule(leg).scored_model
        if scored in (None, leg.model):
            return False
        return leg.predictor not in self.rule(leg).shadow or leg._replace(model=scored or "") in self.legs

    def _is_another_model(self, name: Leg, leg: Leg) -> bool:
        """Whether another model of its own predictor is named, which has a leg here."""
        if self.rule(leg).scored_model or name.predictor != leg.predictor or name.model in ("", leg.model):
            return False
        return leg._replace(model=name.model) in self.legs

    def label_rows(self, leg: Leg, count: int) -> tuple[list[Claim | None], bool]:
        """The label of each row of a leg's answer, and whether labels do not match them in number."""
        batches = sorted(
            (batch for labels in self.labels for batch in labels.batches if self.judges(batch, leg)),
            key=lambda event: event.rank,
        )
        length = None
        if batches:
            newest = labels_of(batches[-1])
            length = None if newest is None else len(newest)
        fits = length in (None, count)
        mismatched = not fits
        found: list[Claim | None] = [None] * count
        rows = {row for labels in self.labels for row in labels.claims}
        for row in rows:
            claims = [labels.claims[row] for labels in self.labels if row in labels.claims]
            claims = [claim for claim in claims if self.judges(claim.event, leg)]
            claims += [claim for claim in _claims(batches, row) if claim.label is None]
            best = max(claims, default=None)
            if best is None or best.label is None or not (fits or best.alone):
                continue
            if row < count:
                found[row] = best
            else:
                mismatched = True
        return found, mismatched

    # -- facts --------------------------------------------------------------------------------------------------------

    def facts(self) -> Iterator[Fact]:
        for leg in self.legs:
            if leg in self.answers:
                yield from self._answered(leg)
            else:
                yield from self._asked(leg, self.requests[leg].pane_time // PANE)
        yield from self._pairs()
        told: dict[Leg, list[int]] = {}  # of which leg there is feedback, and the pane times of what it says
        for event in self._holding():
            judged = [leg for leg in self.legs if self.judges(event, leg)]
            for leg in judged or [event.leg]:
                told.setdefault(leg, []).append(event.pane_time)
        if self.reward is not None:
            owner = self._owner(self.reward)
            told.setdefault(owner, []).append(self.reward.pane_time)
            pane = self._pane(owner, self.reward.pane_time)
            points = round(self.reward.body["reward"] * 1_000_000_000)
            also = places(self._values(owner))
            yield Fact(self.who(owner), pane, ("reward", points), also)
            yield Fact(self.who(owner), self.reward.pane_time // PANE, ("label", "reward", points), also)
        for who, times in _by_identity({leg: (self.who(leg), times) for leg, times in told.items()}).items():
            (leg, *_) = [leg for leg in told if self.who(leg) == who]
            yield Fact(who, self._pane(leg, max(times)), ("part", "feedback"))
            for time in times:
                yield Fact(who, time // PANE, ("seen",))

    def _pairs(self) -> Iterator[Fact]:
        """Each answer of a shadow with each of its service that is none: at most 16, those of the lowest names."""
        shadows = sorted((self.who(leg), leg) for leg in self.answers if leg.predictor in self.rule(leg).shadow)
        others = sorted((self.who(leg), leg) for leg in self.answers if leg.predictor not in self.rule(leg).shadow)
        pairs = [(other, shadow) for _, shadow in shadows for _, other in others if other.home == shadow.home]
        for first, second in pairs[:16]:
            pane = self.answers[first][0].pane_time // PANE
            for claim, what in self._compared(first, second):
                yield Fact(self.who(first), pane, ("pair", self.who(second), *what))
                if claim is not None:
                    labelled = claim.event.pane_time // PANE
                    yield Fact(self.who(first), labelled, ("label", "pair", self.who(second), *what))

    def _compared(self, *legs: Leg) -> Iterator[tuple[Claim | None, tuple[Any, ...]]]:
        """By row: whether both name one class; the class and who is right; or by how much the second misses more; each
        beside the label that both are judged by.
        """
        answers = [self.answers[leg][1] for leg in legs]
        if len(answers[0].rows) != len(answers[1].rows):
            return
        labels = [self.label_rows(leg, len(answers[0].rows))[0] for leg in legs]
        for row in range(len(answers[0].rows)):
            claims = [own[row] for own in labels]
            said = [None if claim is None else claim.label for claim in claims]
            label = said[0] if said[0] == said[1] else None
            shared = claims[0] if label is not None else None
            values = [answer.rows[row] for answer in answers]
            asked = [
                (value, answer.classes, self.rule(leg))
                for value, answer, leg in zip(values, answers, legs, strict=True)
            ]
            named = [None if value is None else predicted_class(value, names, rule) for value, names, rule in asked]
            if None not in named:
                yield shared, ("agree" if named[0] == named[1] else "differ",)
                yield shared, ("named", *named)
            whats = [row_counts_as(value, label, names, rule) for value, names, rule in asked]
            if [what[0] for what in whats] == ["judged", "judged"]:
                yield shared, ("judged", whats[0][1], *(what[1] == what[2] for what in whats))
            chances = [self._chances(leg, row, label) for leg in legs]
            if chances[0] is not None and chances[1] is not None and not any(one.bare for one in chances if one):
                yield shared, ("brier", chances[1].brier - chances[0].brier)
            numbers = [number_of(value) for value in (*values, label)]
            if whats == [("measured",), ("measured",)] and None not in numbers:
                first, second, right = numbers
                yield shared, ("missed", abs(second - right) - abs(first - right))  # type: ignore[operator]

    def _chances(self, leg: Leg, row: int, label: Value) -> Chances | None:
        answer = self.answers[leg][1]
        vector = answer.vectors[row] if answer.vectors else None
        return chances_of(answer.rows[row], vector, label, answer.classes, self.rule(leg))

    def _pane(self, leg: Leg, time: int) -> int:
        """All of a leg falls in the pane of its answer, before that each part in its own."""
        return (self.answers[leg][0].pane_time if leg in self.answers else time) // PANE

    def _holding(self) -> list[Event]:
        """The feedbacks of which a label holds, within the service that they name."""
        found = {}
        for labels in self.labels:
            for claim in labels.claims.values():
                if claim.label is not None and self._counts(claim.event):
                    found[claim.event.statement] = claim.event
        return list(found.values())

    def _owner(self, reward: Event) -> Leg:
        """The leg that a reward names, else the one that is no shadow; with none or several nobody of the service."""
        name = reward.leg
        if name.predictor and name.model and name in self.answers:
            return name
        fitting = [leg for leg in self.answers if leg.is_named_by(name)]
        fitting = [leg for leg in fitting if leg.predictor not in self.rule(leg).shadow]
        if len(fitting) == 1:
            return fitting[0]
        if name.predictor and name.model:
            return name
        homes = {leg.home for leg in fitting}
        home = homes.pop() if len(homes) == 1 and not name.service else name.home
        return Leg(*home, "", "")

    def _values(self, leg: Leg) -> Values:
        """The values of a leg's answer in the segments of its model; none where it has not answered."""
        if leg not in self.answers:
            return {}
        event, answer = self.answers[leg]
        asked = self.requests.get(leg)
        return values_of(
            self.rule(leg).segments,
            None if asked is None else _said(asked, "request"),
            _said(event, "response"),
            len(answer.rows),
        )

    def _asked(self, leg: Leg, pane: int) -> Iterator[Fact]:
        """A request, and its features, where it does not come with a feedback."""
        event, watch = self.requests[leg], self.rule(leg).watch
        yield Fact(self.who(leg), pane, ("part", "request"))
        if watch is not None and event.kind == "request":
            yield from (Fact(self.who(leg), pane, ("features", row)) for row in watch.rows(event.body))

    def _answered(self, leg: Leg) -> Iterator[Fact]:
        event, answer = self.answers[leg]
        who, pane, rule = self.who(leg), event.pane_time // PANE, self.rule(leg)
        values = self._values(leg)
        yield Fact(who, pane, ("part", "response"), places(values))
        if leg in self.requests:
            yield from self._asked(leg, pane)
            yield Fact(who, self.requests[leg].pane_time // PANE, ("seen",))
        if answer.classes:
            yield Fact(who, pane, ("classes", answer.classes))
        if answer.rows == [None]:  # it has no rows that a label could be about
            yield Fact(who, pane, ("failed",), places(values, 0))
            return
        labels, mismatched = self.label_rows(leg, len(answer.rows))
        if mismatched:
            yield Fact(who, pane, ("mismatch",))
        for number, (row, claim) in enumerate(zip(answer.rows, labels, strict=True)):
            label = None if claim is None else claim.label
            what = row_counts_as(row, label, answer.classes, rule)
            also = places(values, number)
            yield Fact(who, pane, what, also)
            if rule.watch is not None and row is not None:
                yield Fact(who, pane, ("predicted", predicted_class(row, answer.classes, rule)))
                if label is not None:
                    yield Fact(who, pane, ("labelled", labelled_class(label, answer.classes, rule)))
            vector = answer.vectors[number] if answer.vectors else None
            if rule.estimate and (said := said_of(row, vector, label, answer.classes, rule)) is not None:
                yield Fact(who, pane, ("said", said))
            numbers = number_of(row), number_of(label)
            whats: list[tuple[Any, ...]] = [what]
            if what == ("measured",) and None not in numbers:
                yield Fact(who, pane, ("error", *numbers), also)
                whats.append(("error", *numbers))
            chances = self._chances(leg, number, label)
            if chances is not None:
                yield Fact(who, pane, ("chances", chances), also)
                whats.append(("chances", chances))
            if claim is not None and row is not None:  # and by the time at which the label came
                yield from (Fact(who, claim.event.pane_time // PANE, ("label", *one), also) for one in whats)
        times = [claim.event.time for claim in labels if claim is not None]
        if times:
            yield Fact(who, pane, ("delay", max(0, max(times) - event.time)))


def _said(event: Event, part: str) -> tuple[Any, dict[str, str]]:
    """The body of a request or answer, and its headers; of one that a feedback carries these are not known."""
    return (event.body[part], {}) if event.kind == "feedback" else (event.body, event.headers)


def _carries_response(event: Event) -> bool:
    """Whether a feedback brings the response; that for a row alone is none of the batch."""
    return event.kind == "feedback" and event.row is None and bool(event.body.get("response"))


def _claims(events: Iterable[Event], row: int) -> Iterator[Claim]:
    """What is said of a row: null in a list leaves it alone, null in the place of the list takes all back; a batch says
    that there are no rows beyond it.
    """
    for event in events:
        labels = labels_of(event)
        if event.row is not None:
            if event.row == row:
                yield Claim(event.rank, 1, event, labels[0] if labels else None, alone=True)
        elif labels is None or row >= len(labels):
            yield Claim(event.rank, 0, event, None, alone=False)
        elif labels[row] is not None:
            yield Claim(event.rank, 2, event, labels[row], alone=False)


def _by_identity(told: dict[Leg, tuple[Identity, list[int]]]) -> dict[Identity, list[int]]:
    found: dict[Identity, list[int]] = {}
    for who, times in told.values():
        found.setdefault(who, []).extend(times)
    return found

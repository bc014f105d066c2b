"""Changes: what a joined record says, document by document."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from app.core.events import Identity, Kind, Leg, Reason, RefusedError
from app.core.outputs.documents.contents import (
    MOST_COPIED,
    drift_content,
    feedback_fields,
    message_rows,
    number_of,
    outlier_rows,
    parsed,
    stamps_of,
    time_text,
)
from app.core.outputs.documents.merging import HIDDEN, Change, Piece, State, Statement, micros, outranks
from app.core.outputs.documents.places import (
    KSERVE,
    SELDON,
    Body,
    Place,
    day_suffix,
    head_of,
    index_name,
    row_id,
    set_model,
)
from app.core.outputs.documents.records import Answer, JoinedRecord, Part, read
from app.core.outputs.documents.redaction import hides_class, redacted, without
from app.core.rules import Rulebook

_MOST_ENGINES: Final = 10_000
_SOURCES: Final = ("io.seldon.serving.", "org.kubeflow.serving.", "io.kserve.serving.")
_REQUEST, _RESPONSE, _FEEDBACK, _OUTLIER, _DRIFT = (kind.value for kind in Kind)
_LOGGED: Final = (_REQUEST, _RESPONSE, _OUTLIER)


@dataclass(slots=True)
class _Group:
    """What a record says of the documents in one index: of one predictor, as a rule."""

    index: str
    head: Body
    time: int
    scored: str | None
    answers: list[Answer] = field(default_factory=list)
    judged: Answer | None = None
    reward: float | None = None
    elsewhere: tuple[str, ...] = ()
    before: tuple[str, ...] = ()


class Documents:
    """Makes changes of joined records, by the user's rules. It remembers by which engine each leg is logged."""

    def __init__(self, rulebook: Rulebook, *, daily: bool = False) -> None:
        self._rulebook = rulebook
        self._daily = daily
        self._engines: dict[Leg, str] = {}

    def changes(self, record: bytes) -> list[Change]:
        """What a joined record says, document by document. Raises RefusedError where it is none."""
        try:
            joined = read(record)
        except (msgspec.DecodeError, RecursionError) as error:
            raise RefusedError(Reason.DOCUMENT_REFUSED, f"the joined record cannot be read: {error}") from None
        for part in joined.parts:
            part.at = micros(part.time)
            part.index = self._index(part.leg, part.engine)
        groups = self._groups(joined)
        found: dict[Place, Change] = {}
        by_row = bool(joined.parts) and all(part.kind == _FEEDBACK and part.row >= 0 for part in joined.parts)
        for group in groups.values():
            if group.judged is not None:
                self._add_state(found, group, joined, {0, *(part.row for part in joined.parts)} if by_row else None)
        for part in joined.parts:
            if part.kind == _FEEDBACK:
                self._add_feedback(found, groups, joined, part)
            elif part.kind == _DRIFT:
                self._add_drift(found, joined.puid, part)
            else:
                self._add_piece(found, groups[part.index], joined.puid, part)
        for group in groups.values():
            self._hide_classes(found, group, joined)
        return list(found.values())

    # -- groups -------------------------------------------------------------------------------------------------------

    @staticmethod
    def _index(leg: Leg | Identity, engine: str) -> str:
        return index_name(engine or SELDON, leg.namespace, leg.service or leg.model, leg.predictor)

    def _groups(self, joined: JoinedRecord) -> dict[str, _Group]:
        """The groups that the record's legs and parts belong to, by the plain names of their indices."""
        engines = self._engines
        logged = [part for part in joined.parts if part.kind in _LOGGED]
        for part in logged:
            if part.kind != _OUTLIER and engines.get(part.leg) != part.engine:
                if len(engines) >= _MOST_ENGINES:
                    engines.clear()
                engines[part.leg] = part.engine
        groups: dict[str, _Group] = {}
        for answer in joined.legs:
            leg = Leg(*answer.leg[:4])
            engine = engines.get(leg)
            own = next((part.engine for part in joined.parts if part.engine), "") if engine is None else engine
            index = self._index(leg, own)
            group = groups.get(index)
            if group is None:
                group = groups[index] = self._new_group(joined.puid, leg, own, index)
                if engine is None:
                    group.elsewhere = (self._index(leg, SELDON if own == KSERVE else KSERVE),)
            group.answers.append(answer)
        for part in logged:
            if part.index not in groups:
                groups[part.index] = self._new_group(joined.puid, part.leg, part.engine, part.index)
        for index, group in groups.items():
            self._settle(group, [part for part in logged if part.index == index])
        return groups

    def _new_group(self, puid: str, leg: Leg, engine: str, index: str) -> _Group:
        return _Group(index, head_of(puid, leg, engine or SELDON), 0, self._rulebook.of(leg).scored_model)

    def _settle(self, group: _Group, parts: list[Part]) -> None:
        """Choose the model that is judged, the time of the documents and with it their day."""
        scored, answers = group.scored, group.answers
        if answers:
            group.judged = judged = (
                answers[0]
                if len(answers) == 1
                else max(answers, key=lambda answer: (answer.leg.model == scored, answer.response_time, answer.leg))
            )
            set_model(group.head, judged.leg.model)
            group.reward = next((answer.reward for answer in answers if answer.reward is not None), None)
        requests = [(part.leg.model, part.at) for part in parts if part.kind == _REQUEST]
        asked = [(answer.leg.model, answer.request_time) for answer in answers if answer.request_time]
        if asked or requests:
            group.time = min([(model != scored, time) for model, time in asked + requests])[1]
        elif group.judged is not None:
            group.time = group.judged.response_time
        else:
            group.time = min(part.at for part in parts)
        if self._daily:
            plain, today = group.index, day_suffix(group.time)
            group.index = plain + today
            group.elsewhere = tuple(index + today for index in group.elsewhere)
            if requests:
                times = {time for answer in answers for time in (answer.request_time, answer.response_time) if time}
                group.before = tuple(sorted({plain + day_suffix(time) for time in times} - {group.index}))

    # -- changes ------------------------------------------------------------------------------------------------------

    def _add_state(
        self, found: dict[Place, Change], group: _Group, joined: JoinedRecord, rows: Collection[int] | None
    ) -> None:
        """What holds of the rows of the judged model: of all, or of those that the record can have changed."""
        judged, puid = group.judged, joined.puid
        assert judged is not None
        if "reward" in self._rulebook.of(judged.leg.leg).redact:
            group.reward = None
        count = len(judged.rows)
        unowned = all(answer.reward is None for answer in joined.legs)
        for index in range(count or 1):
            if rows is not None and index not in rows:
                continue
            verdict: Body = {}
            if count:
                row = judged.rows[index]
                verdict = {"predicted": row.predicted}
                if row.label is not None:
                    verdict["label"] = row.label
                    if row.correct is not None:
                        verdict["correct"] = row.correct
                    if judged.delay is not None and count == 1:
                        verdict["delay_seconds"] = judged.delay / 1e6
            reward = number_of(group.reward) if index == 0 else None
            if reward is not None:
                verdict["reward"] = reward
            _change(found, group, row_id(puid, index, count)).state = State(
                verdict, reward, unowned, judged.response_time if count > 1 else 0
            )

    def _add_piece(self, found: dict[Place, Change], group: _Group, puid: str, part: Part) -> None:
        rules = self._rulebook.of(part.leg)
        if part.kind == _OUTLIER:
            stamps = stamps_of(part)
            contents = [row | stamps for row in outlier_rows(redacted(parsed(part.payload), part.kind, rules))]
        else:
            count = 0
            if part.kind == _RESPONSE:
                count = next((len(answer.rows) for answer in group.answers if answer.leg[:4] == part.leg), 0)
            contents = message_rows(part, rules, count)
        for index, content in enumerate(contents):
            change = _change(found, group, row_id(puid, index, len(contents)))
            new = Piece(part.leg.model, part.at, content)
            old = change.pieces.get(part.kind)
            if old is None or outranks(part.kind, new, old.model, old.time, change.scored):
                change.pieces[part.kind] = new

    def _add_drift(self, found: dict[Place, Change], puid: str, part: Part) -> None:
        rules, engine, time = self._rulebook.of(part.leg), part.engine or SELDON, part.at
        detector = next((part.source.removeprefix(it) for it in _SOURCES if part.source.startswith(it)), part.source)
        index = index_name(engine, part.leg.namespace, detector, None, kind="drift")
        group = _Group(index + (day_suffix(time) if self._daily else ""), head_of(puid, part.leg, engine), time, None)
        body = redacted(parsed(part.payload), part.kind, rules)
        content = drift_content(body, rules.prediction_schema.requests) | stamps_of(part)
        without(content, rules.redact)  # what was a list is by feature now
        _change(found, group, row_id(puid, 0, 1)).pieces[_DRIFT] = Piece(part.leg.model, time, content)

    def _add_feedback(
        self, found: dict[Place, Change], groups: dict[str, _Group], joined: JoinedRecord, part: Part
    ) -> None:
        """A feedback goes to the documents of the predictor that it names; where it names none, to those of all that
        have answered. What its label means for other predictors is in their verdicts.
        """
        puid = joined.puid
        for group in [group for group in groups.values() if _concerns(part.leg, group)] or [
            self._orphanage(groups, puid, part)
        ]:
            judged = group.judged
            rules = self._rulebook.of(part.leg if judged is None else judged.leg.leg)
            fields = feedback_fields(redacted(parsed(part.payload), part.kind, rules))
            if part.leg.predictor in rules.shadow:
                fields.pop("reward", None)
            elif joined.legs and fields.get("reward") is not None and not _has_answered(part.leg, group):
                fields["reward"] = HIDDEN
            # Who has not answered yet will have as many rows as who has: they are asked the same.
            count = max([len(answer.rows) for answer in (joined.legs if judged is None else [judged])], default=0)
            statement = Statement(part.at, time_text(part.time), part.source, fields)
            if count < 2:
                whole = part.row < 0 or (joined.legs and part.row == 0)
                number = row_id(puid, 0, 1) if whole else row_id(puid, part.row, part.row + 2)
                _change(found, group, number).statements.append(statement)
                continue
            # The reward is the first row's; labels are those of all rows, or of one.
            labels = {name: value for name, value in fields.items() if name != "reward"}
            labelled = statement._replace(fields=labels) if "truth" in fields or "reward" not in fields else None
            whole = count * len(part.payload) <= MOST_COPIED
            for index in range(count) if part.row < 0 else (part.row,):
                if index == 0:
                    _change(found, group, row_id(puid, 0, count)).statements.append(statement)
                elif labelled is not None and (whole or part.row > 0):
                    _change(found, group, row_id(puid, index, count)).statements.append(labelled)
            if part.row > 0 and "reward" in fields:
                beside = statement if labelled is None else statement._replace(fields={"reward": fields["reward"]})
                _change(found, group, row_id(puid, 0, count)).statements.append(beside)

    def _hide_classes(self, found: dict[Place, Change], group: _Group, joined: JoinedRecord) -> None:
        """Note for the documents of a predictor which classes in their verdicts are values that the user keeps back."""
        judged = group.judged
        rules = None if judged is None else self._rulebook.of(judged.leg.leg)
        if judged is None or rules is None or not rules.redact:
            return
        hidden: dict[str, bool] = {}
        for part in joined.parts:
            if part.kind == _FEEDBACK or (part.kind == _RESPONSE and part.leg == judged.leg.leg):
                before, after = parsed(part.payload), redacted(parsed(part.payload), part.kind, rules)
                for name, what in (("predicted", "response"), ("label", "truth")):
                    own = (before, after) if part.kind == what else (_member(before, what), _member(after, what))
                    if own[0] is not None:
                        hidden[name] = hidden.get(name, False) or hides_class(*own, what)
        for change in found.values():
            if change.place[0] == group.index:
                change.hidden = hidden

    def _orphanage(self, groups: dict[str, _Group], puid: str, part: Part) -> _Group:
        """Where a feedback goes whose prediction is not known: to the documents of the predictor that it names."""
        group = groups.get(part.index) or self._new_group(puid, part.leg, part.engine, part.index)
        if not group.time:
            group.time = part.at
            group.index += day_suffix(group.time) if self._daily else ""
        return group


def _change(found: dict[Place, Change], group: _Group, number: str) -> Change:
    place = group.index, number
    change = found.get(place)
    if change is None:
        change = found[place] = Change(place, group.head, group.time, group.scored, group.elsewhere, group.before)
    return change


def _member(body: Any, name: str) -> Any:
    return body.get(name) if type(body) is dict else None


def _concerns(named: Leg, group: _Group) -> bool:
    """Whether a feedback that names `named` is one for a group's answers."""
    return any(
        (not named.namespace or named.namespace == answer.leg.namespace)
        and (not named.service or named.service == answer.leg.service)
        and (not named.predictor or named.predictor == answer.leg.predictor)
        for answer in group.answers
    )


def _has_answered(named: Leg, group: _Group) -> bool:
    """Whether the leg that a reward names has answered: only then it is known whether the reward is its own."""
    return any(named.model in ("", answer.leg.model) for answer in group.answers)

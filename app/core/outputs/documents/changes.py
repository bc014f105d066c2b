"""Changes: what a joined record says, document by document."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from app.core.events import Identity, Kind, Leg, Reason, RefusedError
from app.core.outputs.documents.contents import (
    DEEPEST,
    MOST_COPIED,
    drift_content,
    feedback_fields,
    message_rows,
    number_of,
    outlier_rows,
    parsed,
    result_rows,
    stamps_of,
    time_text,
)
from app.core.outputs.documents.merging import HIDDEN, Change, Piece, State, Stated, micros, outranks
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
from app.core.payloads.loosejson import shallow
from app.core.rules import Rulebook

_MOST_ENGINES: Final = 10_000
#: Levels of a joined record around a payload.
_AROUND: Final = 3
_DAY: Final = 86_400 * 10**6  # µs
#: Within so many µs of midnight the requests of one prediction, to several models, may be of two days.
_NEAR_MIDNIGHT: Final = 600 * 10**6
_SOURCES: Final = ("io.seldon.serving.", "org.kubeflow.serving.", "io.kserve.serving.")
_REQUEST, _RESPONSE, _FEEDBACK, _OUTLIER, _DRIFT, _MONITOR = (kind.value for kind in Kind)
_LOGGED: Final = (_REQUEST, _RESPONSE, _OUTLIER, _MONITOR)
#: Parts that know themselves by which engine their leg is logged.
_OF_ENGINE: Final = (_REQUEST, _RESPONSE)


@dataclass(slots=True)
class _PredictorDocuments:
    """What a record says of one predictor's documents, or of a detector's. All are in one index."""

    index: str
    head: Body
    time: int
    scored: str | None
    answers: list[Answer] = field(default_factory=list)
    judged: Answer | None = None
    reward: float | None = None
    elsewhere: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    may_move: bool = False


class Documents:
    """Makes changes of joined records, by the user's rules. It remembers by which engine each leg is logged."""

    def __init__(self, rulebook: Rulebook, *, daily: bool = False) -> None:
        self._rulebook = rulebook
        self._daily = daily
        self._engines: dict[Leg, str] = {}

    def changes(self, record: bytes) -> list[Change]:
        """What a joined record says, document by document. Raises RefusedError where it is none."""
        try:
            joined = _read(record)
        except (msgspec.DecodeError, RecursionError) as error:
            raise RefusedError(Reason.DOCUMENT_REFUSED, f"the joined record cannot be read: {error}") from None
        for part in joined.parts:
            part.at = micros(part.time)
            part.index = self._index(part.leg, part.engine)
        by_index = self._by_index(joined)
        found: dict[Place, Change] = {}
        by_row = bool(joined.parts) and all(part.kind == _FEEDBACK and part.row >= 0 for part in joined.parts)
        for documents in by_index.values():
            if documents.judged is not None:
                self._add_state(found, documents, joined, {0, *(part.row for part in joined.parts)} if by_row else None)
        for part in joined.parts:
            if part.kind == _FEEDBACK:
                self._add_feedback(found, by_index, joined, part)
            elif part.kind == _DRIFT:
                self._add_drift(found, joined.puid, part)
            elif part.kind == _MONITOR:
                self._add_result(found, by_index[part.index], joined.puid, part)
            else:
                self._add_piece(found, by_index[part.index], joined.puid, part)
        for documents in by_index.values():
            self._hide_classes(found, documents, joined)
        return list(found.values())

    # -- predictors ---------------------------------------------------------------------------------------------------

    @staticmethod
    def _index(leg: Leg | Identity, engine: str) -> str:
        return index_name(engine or SELDON, leg.namespace, leg.service or leg.model, leg.predictor)

    def _by_index(self, joined: JoinedRecord) -> dict[str, _PredictorDocuments]:
        """What the record says of each predictor, by the plain name of its index."""
        engines = self._engines
        logged = [part for part in joined.parts if part.kind in _LOGGED]
        for part in logged:
            if part.kind in _OF_ENGINE and engines.get(part.leg) != part.engine:
                if len(engines) >= _MOST_ENGINES:
                    engines.clear()
                engines[part.leg] = part.engine
        by_index: dict[str, _PredictorDocuments] = {}
        for answer in joined.legs:
            leg = Leg(*answer.leg[:4])
            known = engines.get(leg)
            engine = next((part.engine for part in joined.parts if part.engine), "") if known is None else known
            index = self._index(leg, engine)
            documents = by_index.get(index)
            if documents is None:
                documents = by_index[index] = self._new_documents(joined.puid, leg, engine, index)
                if known is None:
                    documents.elsewhere = (self._index(leg, SELDON if engine == KSERVE else KSERVE),)
            documents.answers.append(answer)
        for part in logged:
            if part.index not in by_index:
                by_index[part.index] = self._new_documents(joined.puid, part.leg, part.engine, part.index)
        for index, documents in by_index.items():
            self._settle(documents, [part for part in logged if part.index == index])
        return by_index

    def _new_documents(self, puid: str, leg: Leg, engine: str, index: str) -> _PredictorDocuments:
        return _PredictorDocuments(index, head_of(puid, leg, engine or SELDON), 0, self._rulebook.of(leg).scored_model)

    def _settle(self, documents: _PredictorDocuments, parts: list[Part]) -> None:
        """Choose the model that is judged, the time of the documents and with it their day."""
        scored, answers = documents.scored, documents.answers
        if answers:
            documents.judged = judged = (
                answers[0]
                if len(answers) == 1
                else max(answers, key=lambda answer: (answer.leg.model == scored, answer.response_time, answer.leg))
            )
            set_model(documents.head, judged.leg.model, judged.leg.version)
            documents.reward = next((answer.reward for answer in answers if answer.reward is not None), None)
        requests = [(part.leg.model, part.at) for part in parts if part.kind == _REQUEST]
        asked = [(answer.leg.model, answer.request_time) for answer in answers if answer.request_time]
        if asked or requests:
            documents.time = min([(model != scored, time) for model, time in asked + requests])[1]
        elif documents.judged is not None:
            documents.time = documents.judged.response_time
        else:
            documents.time = min(part.at for part in parts)
        if self._daily:
            plain, today = documents.index, day_suffix(documents.time)
            documents.index = plain + today
            documents.elsewhere = tuple(index + today for index in documents.elsewhere)
            if requests:
                times = {time for answer in answers for time in (answer.request_time, answer.response_time) if time}
                documents.before = tuple(sorted({plain + day_suffix(time) for time in times} - {documents.index}))
            documents.may_move = (documents.time + _NEAR_MIDNIGHT) % _DAY < 2 * _NEAR_MIDNIGHT

    # -- changes ------------------------------------------------------------------------------------------------------

    def _add_state(
        self,
        found: dict[Place, Change],
        documents: _PredictorDocuments,
        joined: JoinedRecord,
        rows: Collection[int] | None,
    ) -> None:
        """The state of the judged model's rows: of all, or of those alone that the record can have changed."""
        judged, puid = documents.judged, joined.puid
        assert judged is not None
        if "reward" in self._rulebook.of(judged.leg.leg).redact:
            documents.reward = None
        count = len(judged.rows)
        unowned = all(answer.reward is None for answer in joined.legs)
        for index in range(count or 1):
            if rows is not None and index not in rows:
                continue
            verdict: Body = {}
            if count:
                row = judged.rows[index]
                verdict = {"predicted": row.predicted}
                if row.probability is not None and not self._rulebook.of(judged.leg.leg).redact:
                    verdict["probability"] = row.probability  # where anything is kept back, it may be that
                if row.label is not None:
                    verdict["label"] = row.label
                    if row.correct is not None:
                        verdict["correct"] = row.correct
                    elif row.error is not None:
                        verdict["error"] = row.error
                    if judged.delay is not None and count == 1:
                        verdict["delay_seconds"] = judged.delay / 1e6
                if row.segments:
                    verdict["segments"] = row.segments
            reward = number_of(documents.reward) if index == 0 else None
            if reward is not None:
                verdict["reward"] = reward
            _change(found, documents, row_id(puid, index, count)).state = State(
                verdict, reward, unowned, judged.response_time if count > 1 else 0
            )

    def _add_piece(self, found: dict[Place, Change], documents: _PredictorDocuments, puid: str, part: Part) -> None:
        rules = self._rulebook.of(part.leg)
        if part.kind == _OUTLIER:
            stamps = stamps_of(part)
            contents = [row | stamps for row in outlier_rows(redacted(parsed(part.payload), part.kind, rules))]
        else:
            count = 0
            if part.kind == _RESPONSE:
                count = next((len(answer.rows) for answer in documents.answers if answer.leg[:4] == part.leg), 0)
            contents = message_rows(part, rules, count)
        for index, content in enumerate(contents):
            change = _change(found, documents, row_id(puid, index, len(contents)))
            new = Piece(part.leg.model, part.at, content)
            old = change.pieces.get(part.kind)
            if old is None or outranks(part.kind, new, old.model, old.time, change.scored):
                change.pieces[part.kind] = new

    @staticmethod
    def _add_result(found: dict[Place, Change], documents: _PredictorDocuments, puid: str, part: Part) -> None:
        """What a monitor said goes to the documents of the rows."""
        name, rows = result_rows(parsed(part.payload))
        for index, content in enumerate(rows):
            change = _change(found, documents, row_id(puid, index, len(rows)))
            change.monitors[name] = {**content, "ce-time": time_text(part.time)}

    def _add_drift(self, found: dict[Place, Change], puid: str, part: Part) -> None:
        rules, engine, time = self._rulebook.of(part.leg), part.engine or SELDON, part.at
        detector = next((part.source.removeprefix(it) for it in _SOURCES if part.source.startswith(it)), part.source)
        index = index_name(engine, part.leg.namespace, detector, None, kind="drift")
        documents = _PredictorDocuments(
            index + (day_suffix(time) if self._daily else ""), head_of(puid, part.leg, engine), time, None
        )
        body = redacted(parsed(part.payload), part.kind, rules)
        content = drift_content(body, rules.prediction_schema.requests) | stamps_of(part)
        without(content, rules.redact)  # what was a list is by feature now
        _change(found, documents, row_id(puid, 0, 1)).pieces[_DRIFT] = Piece(part.leg.model, time, content)

    def _add_feedback(
        self, found: dict[Place, Change], by_index: dict[str, _PredictorDocuments], joined: JoinedRecord, part: Part
    ) -> None:
        """A feedback goes to the documents of the predictor that it names; where it names none, to those of all that
        have answered. Other predictors have only its label, in their verdicts.
        """
        puid = joined.puid
        for documents in [some for some in by_index.values() if _concerns(part.leg, some)] or [
            self._orphanage(by_index, puid, part)
        ]:
            judged = documents.judged
            rules = self._rulebook.of(part.leg if judged is None else judged.leg.leg)
            fields = feedback_fields(redacted(parsed(part.payload), part.kind, rules))
            if part.leg.predictor in rules.shadow:
                fields.pop("reward", None)
            elif joined.legs and fields.get("reward") is not None and not _has_answered(part.leg, documents):
                fields["reward"] = HIDDEN
            # A predictor that has not answered will answer as many rows as the others: all are asked the same.
            count = max([len(answer.rows) for answer in (joined.legs if judged is None else [judged])], default=0)
            stated = Stated(part.at, time_text(part.time), part.source, fields)
            if count < 2:
                whole = part.row < 0 or (joined.legs and part.row == 0)
                number = row_id(puid, 0, 1) if whole else row_id(puid, part.row, part.row + 2)
                _change(found, documents, number).stated.append(stated)
                continue
            # The reward goes to the first row, labels go to all rows, or to the one that the feedback names.
            labels = {name: value for name, value in fields.items() if name != "reward"}
            labelled = stated._replace(fields=labels) if "truth" in fields or "reward" not in fields else None
            whole = count * len(part.payload) <= MOST_COPIED
            for index in range(count) if part.row < 0 else (part.row,):
                if index == 0:
                    _change(found, documents, row_id(puid, 0, count)).stated.append(stated)
                elif labelled is not None and (whole or part.row > 0):
                    _change(found, documents, row_id(puid, index, count)).stated.append(labelled)
            if part.row > 0 and "reward" in fields:
                beside = stated if labelled is None else stated._replace(fields={"reward": fields["reward"]})
                _change(found, documents, row_id(puid, 0, count)).stated.append(beside)

    def _hide_classes(self, found: dict[Place, Change], documents: _PredictorDocuments, joined: JoinedRecord) -> None:
        """Note for the documents of a predictor which classes in their verdicts are values that the user keeps back."""
        judged = documents.judged
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
            if change.place[0] == documents.index:
                change.hidden = hidden
                change.more = joined.more

    def _orphanage(self, by_index: dict[str, _PredictorDocuments], puid: str, part: Part) -> _PredictorDocuments:
        """Where a feedback goes whose prediction is not known: to the documents of the predictor that it names."""
        documents = by_index.get(part.index) or self._new_documents(puid, part.leg, part.engine, part.index)
        if not documents.time:
            documents.time = part.at
            documents.index += day_suffix(documents.time) if self._daily else ""
        return documents


def _change(found: dict[Place, Change], documents: _PredictorDocuments, number: str) -> Change:
    place = documents.index, number
    change = found.get(place)
    if change is None:
        change = found[place] = Change(
            place,
            documents.head,
            documents.time,
            documents.scored,
            documents.elsewhere,
            documents.before,
            documents.may_move,
        )
    return change


def _read(record: bytes) -> JoinedRecord:
    try:
        return read(record)
    except RecursionError:  # a payload nested deeper than Python goes
        return read(shallow(record, DEEPEST + _AROUND))


def _member(body: Any, name: str) -> Any:
    return body.get(name) if type(body) is dict else None


def _concerns(named: Leg, documents: _PredictorDocuments) -> bool:
    """Whether a feedback on `named` is one on the answers of these documents."""
    return any(
        (not named.namespace or named.namespace == answer.leg.namespace)
        and (not named.service or named.service == answer.leg.service)
        and (not named.predictor or named.predictor == answer.leg.predictor)
        for answer in documents.answers
    )


def _has_answered(named: Leg, documents: _PredictorDocuments) -> bool:
    """Whether the model that a feedback names has answered; where it names none, whether any has."""
    return any(named.model in ("", answer.leg.model) for answer in documents.answers)

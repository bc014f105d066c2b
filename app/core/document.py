"""Documents: what Elasticsearch holds of a prediction, made of joined records (`app.core.joined`).

One document for each row that a predictor answered, in the shape of Seldon's request logger
(https://github.com/SeldonIO/seldon-core/tree/v1.13.1/components/seldon-request-logger):

    index  inference-log-<engine>-<namespace>-<service>-<endpoint>, with a suffix -2026.11.21 where indices are daily
    _id    <puid> of one row, <puid>-item-<N> of several
    body   {"@timestamp", "RequestId", "ServingEngine", "Ce-Inferenceservicename", "Ce-Endpoint"?, "Ce-Namespace"?,
            "Ce-Modelid"?,
            "request"?, "response"?: {"payload" (the whole body), "instance" (this row), "elements" (by column),
                "names"?, "dataType", "meta"?, "id"?, "parameters"?, "status"?, "error"?, "ce-time", "ce-source"?,
                "ce-modelid"?},
            "feedback"?: {the body: "truth" …, "reward" (a number), "ce-time", "ce-source"?, "ce-times"?},
            "outlier"?: {"data": {"is_outlier", …}, …, "ce-time", "ce-source"?},
            "verdict"?: {"predicted", "label"?, "correct"?, "reward"?, "delay_seconds"?}}

What a drift detector says goes to an index of its own, drift-log-<engine>-<namespace>-<detector>, under the puid.

What a record says is the same whatever came before: its parts are the winners of their kind and leg, and all that is
*state* (the verdict, the reward) stands in every record as a whole. So a document is what `merged` makes of the records
of its puid in their order in the log; to merge one again changes nothing.

- Models of one predictor that answer under one puid (a graph) share its documents: the request is that of the model
  asked first and the response that of the model that answered last, which are the graph's input and output, or both are
  those of `scored_model`. A part of another model than `Ce-Modelid` says so in `ce-modelid`.
- A request of k rows and a response of m rows meet only where k = m; else each has documents of its own.
- The reward of a puid is one, so of several rows the first has it: sums over documents are those of the series.
- A feedback that names no predictor is in the documents of those that have answered before it. One that answers later
  has what it means in its verdict alone.
- Feedbacks that tell different things are one: the newest truth, the newest reward, and all else that the newer of
  the two says. What is older than `ce-time` has its time in `ce-times`.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
import orjson

from app.core.clock import format_time, parse_time
from app.core.events import Identity, Kind, Leg, Reason, RefusedError
from app.core.forms import Table, table_of
from app.core.rules import Column, Rulebook, Rules

Body = dict[str, Any]
#: In the place of a reward that nobody has who has answered: the document has only its time, in `ce-times`.
_HIDDEN: Final = object()
#: Where a document is: its index and its id.
Place = tuple[str, str]
Found = TypeVar("Found")

SELDON: Final = "seldon"
KSERVE: Final = "inferenceservice"
#: So many bytes of one body may be copied to the documents of its rows; of a larger one only the first row has it.
MOST_COPIED: Final = 4 << 20
#: Elasticsearch's limit for `_id`, in bytes; and for the names of indices, less the suffix of a day.
_LONGEST_ID: Final = 512
_LONGEST_INDEX: Final = 240
#: Of `elements`: characters of a name, and values in all.
_LONGEST_COLUMN: Final = 1000
_MOST_VALUES: Final = 10_000
_MOST_ENGINES: Final = 10_000

_FOREIGN: Final = re.compile(r"[^a-z0-9._-]")
#: A time that Elasticsearch's `strict_date_optional_time` reads as Python does.
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)?")
#: What a name must be for Elasticsearch to read it as one field wherever it stands.
_FIELD: Final = re.compile(r"[A-Za-z0-9_@-]+")
_LEFTOVERS: Final = ("meta", "id", "parameters", "status", "error")
#: What a feedback can state; all else that it has comes with these.
_STATEMENTS: Final = ("truth", "reward", "response")
_SOURCES: Final = ("io.seldon.serving.", "org.kubeflow.serving.", "io.kserve.serving.")
_REQUEST, _RESPONSE, _FEEDBACK, _OUTLIER, _DRIFT = (kind.value for kind in Kind)
_LOGGED: Final = (_REQUEST, _RESPONSE, _OUTLIER)


# -- the joined record ------------------------------------------------------------------------------------------------


class _Part(msgspec.Struct, gc=False):
    kind: str
    leg: Leg
    time: str
    payload: msgspec.Raw
    source: str = ""
    engine: str = ""
    row: int = -1
    # Worked out once: the time in µs, and the plain name of the index that the part is for.
    at: int = 0
    index: str = ""


class _Row(msgspec.Struct, gc=False):
    predicted: Any = None
    label: Any = None
    correct: bool | None = None


class _Answer(msgspec.Struct, gc=False):
    leg: Identity
    response_time: int
    rows: list[_Row]
    request_time: int = 0
    reward: float | None = None
    delay: int | None = None


class _Joined(msgspec.Struct, gc=False):
    puid: str
    parts: list[_Part]
    legs: list[_Answer]


_read = msgspec.json.Decoder(_Joined).decode


# -- what a record says of a document ---------------------------------------------------------------------------------


class Piece(NamedTuple):
    """A part of a document that replaces the one that was there, if it outranks it."""

    model: str
    time: int  # µs
    content: Body


class Told(NamedTuple):
    """What a feedback told: the fields of its body. `text` is its time as it came."""

    time: int
    text: str
    source: str
    fields: Body


class State(NamedTuple):
    """What holds of a row since this record, whatever held before.

    `unowned`: no leg has the reward, neither this one nor another. `answered`: when, of one of several rows (µs).
    """

    verdict: Body
    reward: float | None
    unowned: bool
    answered: int


@dataclass(slots=True)
class Change:
    """What one joined record says of one document. `place` is where it is written.

    It may be in an index `elsewhere` (the record does not say by which engine it was logged), and is changed there; or
    it is still in one of `before`, from where it moves.
    """

    place: Place
    head: Body
    time: int  # µs: when the prediction was asked for, as far as is known
    scored: str | None
    elsewhere: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    pieces: dict[str, Piece] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    state: State | None = None

    @property
    def begins(self) -> bool:
        """Whether this is, most likely, the first that is said of the document."""
        return _REQUEST in self.pieces and not self.elsewhere and not self.before

    @property
    def places(self) -> list[Place]:
        """Where the document may be."""
        index, number = self.place
        return [(it, number) for it in (index, *self.elsewhere, *self.before)]


@dataclass(slots=True)
class _Group:
    """What a record says of the documents in one index: of one predictor, as a rule."""

    index: str
    head: Body
    time: int
    scored: str | None
    answers: list[_Answer] = field(default_factory=list)
    judged: _Answer | None = None
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
            joined = _read(record)
        except (msgspec.DecodeError, RecursionError) as error:
            raise RefusedError(Reason.DOCUMENT_REFUSED, f"the joined record cannot be read: {error}") from None
        for part in joined.parts:
            part.at = _micros(part.time)
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
        return list(found.values())

    # -- groups -------------------------------------------------------------------------------------------------------

    @staticmethod
    def _index(leg: Leg | Identity, engine: str) -> str:
        return index_name(engine or SELDON, leg.namespace, leg.service or leg.model, leg.predictor)

    def _groups(self, joined: _Joined) -> dict[str, _Group]:
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
            told = next((part.engine for part in joined.parts if part.engine), "") if engine is None else engine
            index = self._index(leg, told)
            group = groups.get(index)
            if group is None:
                group = groups[index] = self._new_group(joined.puid, leg, told, index)
                if engine is None:
                    group.elsewhere = (self._index(leg, SELDON if told == KSERVE else KSERVE),)
            group.answers.append(answer)
        for part in logged:
            if part.index not in groups:
                groups[part.index] = self._new_group(joined.puid, part.leg, part.engine, part.index)
        for index, group in groups.items():
            self._settle(group, [part for part in logged if part.index == index])
        return groups

    def _new_group(self, puid: str, leg: Leg, engine: str, index: str) -> _Group:
        return _Group(index, _head(puid, leg, engine or SELDON), 0, self._rulebook.of(leg).scored_model)

    def _settle(self, group: _Group, parts: list[_Part]) -> None:
        """Choose the model that is judged, the time of the documents and with it their day."""
        scored, answers = group.scored, group.answers
        if answers:
            group.judged = judged = (
                answers[0]
                if len(answers) == 1
                else max(answers, key=lambda answer: (answer.leg.model == scored, answer.response_time, answer.leg))
            )
            _set_model(group.head, judged.leg.model)
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
            plain, today = group.index, _day(group.time)
            group.index = plain + today
            group.elsewhere = tuple(index + today for index in group.elsewhere)
            if requests:
                times = {time for answer in answers for time in (answer.request_time, answer.response_time) if time}
                group.before = tuple(sorted({plain + _day(time) for time in times} - {group.index}))

    # -- changes ------------------------------------------------------------------------------------------------------

    def _add_state(
        self, found: dict[Place, Change], group: _Group, joined: _Joined, rows: Collection[int] | None
    ) -> None:
        """What holds of the rows of the judged model: of all, or of those that the record can have changed."""
        judged, puid = group.judged, joined.puid
        assert judged is not None
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
            reward = _number(group.reward) if index == 0 else None
            if reward is not None:
                verdict["reward"] = reward
            _change(found, group, row_id(puid, index, count)).state = State(
                verdict, reward, unowned, judged.response_time if count > 1 else 0
            )

    def _add_piece(self, found: dict[Place, Change], group: _Group, puid: str, part: _Part) -> None:
        rules = self._rulebook.of(part.leg)
        if part.kind == _OUTLIER:
            stamps = _stamps(part)
            contents = [row | stamps for row in _outlier_rows(_redacted(_parsed(part.payload), rules.redact))]
        else:
            count = 0
            if part.kind == _RESPONSE:
                count = next((len(answer.rows) for answer in group.answers if answer.leg[:4] == part.leg), 0)
            contents = _message_rows(part, rules, count)
        for index, content in enumerate(contents):
            change = _change(found, group, row_id(puid, index, len(contents)))
            new = Piece(part.leg.model, part.at, content)
            old = change.pieces.get(part.kind)
            if old is None or outranks(part.kind, new, old.model, old.time, change.scored):
                change.pieces[part.kind] = new

    def _add_drift(self, found: dict[Place, Change], puid: str, part: _Part) -> None:
        rules, engine, time = self._rulebook.of(part.leg), part.engine or SELDON, part.at
        detector = next((part.source.removeprefix(it) for it in _SOURCES if part.source.startswith(it)), part.source)
        index = index_name(engine, part.leg.namespace, detector, None, kind="drift")
        group = _Group(index + (_day(time) if self._daily else ""), _head(puid, part.leg, engine), time, None)
        body = _redacted(_parsed(part.payload), rules.redact)
        content = _drift_content(body, rules.prediction_schema.requests) | _stamps(part)
        _change(found, group, row_id(puid, 0, 1)).pieces[_DRIFT] = Piece(part.leg.model, time, content)

    def _add_feedback(
        self, found: dict[Place, Change], groups: dict[str, _Group], joined: _Joined, part: _Part
    ) -> None:
        """A feedback goes to the documents of the predictor that it names; where it names none, to those of all that
        have answered. What its label means for other predictors is in their verdicts.
        """
        puid = joined.puid
        body = _parsed(part.payload)
        for group in [group for group in groups.values() if _concerns(part.leg, group)] or [
            self._orphanage(groups, puid, part)
        ]:
            judged = group.judged
            rules = self._rulebook.of(part.leg if judged is None else judged.leg.leg)
            fields = _feedback_fields(_redacted(_parsed(part.payload), rules.redact) if rules.redact else body)
            if part.leg.predictor in rules.shadow:
                fields.pop("reward", None)
            elif joined.legs and fields.get("reward") is not None and not _has_answered(part.leg, group):
                fields["reward"] = _HIDDEN
            # Who has not answered yet will have as many rows as who has: they are asked the same.
            count = max([len(answer.rows) for answer in (joined.legs if judged is None else [judged])], default=0)
            told = Told(part.at, _time_text(part.time), part.source, fields)
            if count < 2:
                whole = part.row < 0 or (joined.legs and part.row == 0)
                number = row_id(puid, 0, 1) if whole else row_id(puid, part.row, part.row + 2)
                _change(found, group, number).told.append(told)
                continue
            # The reward is the first row's, and what is told of labels that of all, or of one.
            labels = {name: value for name, value in fields.items() if name != "reward"}
            labelled = told._replace(fields=labels) if "truth" in fields or "reward" not in fields else None
            whole = count * len(part.payload) <= MOST_COPIED
            for index in range(count) if part.row < 0 else (part.row,):
                if index == 0:
                    _change(found, group, row_id(puid, 0, count)).told.append(told)
                elif labelled is not None and (whole or part.row > 0):
                    _change(found, group, row_id(puid, index, count)).told.append(labelled)
            if part.row > 0 and "reward" in fields:
                beside = told if labelled is None else told._replace(fields={"reward": fields["reward"]})
                _change(found, group, row_id(puid, 0, count)).told.append(beside)

    def _orphanage(self, groups: dict[str, _Group], puid: str, part: _Part) -> _Group:
        """Where a feedback goes whose prediction is not known: to the documents of the predictor that it names."""
        group = groups.get(part.index) or self._new_group(puid, part.leg, part.engine, part.index)
        if not group.time:
            group.time = part.at
            group.index += _day(group.time) if self._daily else ""
        return group


def _change(found: dict[Place, Change], group: _Group, number: str) -> Change:
    place = group.index, number
    change = found.get(place)
    if change is None:
        change = found[place] = Change(place, group.head, group.time, group.scored, group.elsewhere, group.before)
    return change


# -- names ------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=10_000)
def index_name(engine: str, namespace: str, service: str, endpoint: str | None, *, kind: str = "inference") -> str:
    """The index of a predictor's documents; with no `endpoint`, of a detector's.

    Characters that an index cannot have become `_`; a name that is too long ends with its digest.
    """
    words = [f"{kind}-log", engine, namespace or "unknown-namespace", service or "unknown-inferenceservice"]
    if endpoint is not None:
        words.append(endpoint or "unknown-endpoint")
    name = _FOREIGN.sub("_", "-".join(words).lower())
    if len(name) > _LONGEST_INDEX:
        name = f"{name[: _LONGEST_INDEX - 17]}-{blake2b(name.encode(), digest_size=8).hexdigest()}"
    return name


def row_id(puid: str, index: int, count: int) -> str:
    """The id of a row's document."""
    suffix = f"-item-{index}" if count > 1 else ""
    if len(puid) + len(suffix) > _LONGEST_ID // 4 and len(puid.encode()) + len(suffix) > _LONGEST_ID:
        return blake2b(puid.encode(), digest_size=32).hexdigest() + suffix
    return puid + suffix


def _day(time: int) -> str:
    return "-" + format_time(time)[:10].replace("-", ".")


def _head(puid: str, leg: Leg, engine: str) -> Body:
    head: Body = {
        "RequestId": puid,
        "ServingEngine": engine,
        "Ce-Inferenceservicename": leg.service or leg.model or None,
    }
    if leg.predictor:
        head["Ce-Endpoint"] = leg.predictor
    if leg.namespace:
        head["Ce-Namespace"] = leg.namespace
    _set_model(head, leg.model)
    return head


def _set_model(head: Body, model: str) -> None:
    if model:
        head["Ce-Modelid"] = model
    else:
        head.pop("Ce-Modelid", None)


def _concerns(named: Leg, group: _Group) -> bool:
    """Whether a feedback that names `named` is one for a group's answers."""
    return any(
        (not named.namespace or named.namespace == answer.leg.namespace)
        and (not named.service or named.service == answer.leg.service)
        and (not named.predictor or named.predictor == answer.leg.predictor)
        for answer in group.answers
    )


def _has_answered(named: Leg, group: _Group) -> bool:
    """Whether it is known if a leg has the reward that was told of it."""
    return any(named.model in ("", answer.leg.model) for answer in group.answers)


def _micros(text: str) -> int:
    return parse_time(text.encode()) or 0


def _time_text(text: str) -> str:
    """A time as it came, or as Elasticsearch can read it."""
    return text if _TIME.fullmatch(text) else format_time(_micros(text))


def _stamps(part: _Part) -> Body:
    stamps = {"ce-time": _time_text(part.time)}
    return stamps | {"ce-source": part.source} if part.source else stamps


def _number(value: Any) -> Any:
    """A reward as a number: true is 1, and what is whole has no fraction."""
    if type(value) is float and value.is_integer():
        return int(value)
    return int(value) if type(value) is bool else value


# -- documents --------------------------------------------------------------------------------------------------------


def merged(document: Body | None, change: Change) -> Body:
    """A document after a change. What is given is left as it is."""
    old = document or {}
    state = change.state
    head = old if document is not None and state is None else change.head
    new: Body = {"@timestamp": None}
    for name in ("RequestId", "ServingEngine", "Ce-Inferenceservicename", "Ce-Endpoint", "Ce-Namespace", "Ce-Modelid"):
        if name in head:
            new[name] = head[name]
    if "ServingEngine" in old:  # it is its index's; a feedback does not know by which engine the prediction was logged
        new["ServingEngine"] = old["ServingEngine"]
    before, now = old.get("Ce-Modelid", ""), new.get("Ce-Modelid", "")
    for kind in (_REQUEST, _RESPONSE, _OUTLIER, _DRIFT):
        piece, content = change.pieces.get(kind), old.get(kind)
        model = "" if content is None else content.get("ce-modelid", before)
        if piece is not None and (
            content is None or outranks(kind, piece, model, _micros(content.get("ce-time", "")), change.scored)
        ):
            content, model = piece.content, piece.model
        if content is not None:
            if model != now:
                content = {**content, "ce-modelid": model}
            elif "ce-modelid" in content:
                content = {name: value for name, value in content.items() if name != "ce-modelid"}
            new[kind] = content
    feedback = _merged_feedback(old.get(_FEEDBACK), change.told, state)
    if feedback is not None:
        new[_FEEDBACK] = feedback
    verdict: Body = old.get("verdict", {}) if state is None else state.verdict
    if state is not None and state.answered and feedback is not None and "truth" in feedback and "label" in verdict:
        # The record has one delay, to the newest label of all rows; that of a row is to its own.
        told = _micros(feedback.get("ce-times", {}).get("truth", feedback["ce-time"]))
        verdict = {**verdict, "delay_seconds": max(0, told - state.answered) / 1e6}
    if verdict:
        new["verdict"] = verdict
    if _REQUEST in new:
        new["@timestamp"] = new[_REQUEST].get("ce-time")
    elif document is None or state is not None:
        new["@timestamp"] = format_time(change.time)
    else:
        new["@timestamp"] = old.get("@timestamp")
    return new


def standing(change: Change, found: Mapping[Place, Found]) -> tuple[Place, Found | None, list[Place]]:
    """Where a document is to be written, what it is now, and where it is to be removed, by what was found of it."""
    index, number = change.place
    here = next((it for it in (index, *change.elsewhere) if (it, number) in found), index)
    before = [(it, number) for it in change.before if (it, number) in found]
    now = found.get((here, number))
    return (here, number), found[before[0]] if now is None and before else now, before


def outranks(kind: str, new: Piece, model: str, time: int, scored: str | None) -> bool:
    """Whether a part takes the place of a model's at a time. Of the same model it does: the log has its winners."""
    if new.model == model:
        return True
    if kind == _REQUEST:
        return (new.model != scored, new.time, new.model) < (model != scored, time, model)
    return (new.model == scored, new.time, new.model) > (model == scored, time, model)


def _merged_feedback(old: Body | None, told: list[Told], state: State | None) -> Body | None:
    """The newest of each statement, the reward as it stands, and what else the newest feedback says of these."""
    stated: dict[str, tuple[int, str, Any]] = {}
    others: dict[int, Body] = {}  # by time: what else was said
    source = None
    if old:
        last, source, times = old.get("ce-time", ""), old.get("ce-source"), old.get("ce-times", {})
        for name in _STATEMENTS:
            if name in old or name in times:
                text = times.get(name, last)
                stated[name] = (_micros(text), text, old.get(name, _HIDDEN))
        others[_micros(last)] = {
            name: value for name, value in old.items() if name not in _STATEMENTS and not name.startswith("ce-")
        }
    newest = max((it[:2] for it in stated.values()), default=(0, ""))
    for time, text, its_source, fields in told:
        for name, value in fields.items():
            if name not in _STATEMENTS:
                others.setdefault(time, {})[name] = value
            elif name not in stated or time >= stated[name][0]:
                stated[name] = (time, text, value)
        if (time, text) >= newest:
            newest, source = (time, text), its_source or None
    time, text, value = stated.pop("reward", (0, "", None))
    if state is not None:
        value = _HIDDEN if state.reward is None and state.unowned and value is _HIDDEN else state.reward
    if value is not None:
        stated["reward"] = (time, text, value)
    if not stated:
        return None
    now, last = max(it[:2] for it in stated.values())
    feedback = {name: value for name, (_, _, value) in stated.items() if value is not _HIDDEN} | others.get(now, {})
    if last:
        feedback["ce-time"] = last
    if source is not None:
        feedback["ce-source"] = source
    older = {name: text for name, (_, text, value) in stated.items() if text != last or value is _HIDDEN}
    if older:
        feedback["ce-times"] = older
    return feedback


# -- bodies -----------------------------------------------------------------------------------------------------------


def _parsed(raw: msgspec.Raw) -> Any:
    """What a payload says."""
    try:
        return orjson.loads(memoryview(raw))
    except orjson.JSONDecodeError as error:
        raise RefusedError(Reason.DOCUMENT_REFUSED, f"a payload cannot be read: {error}") from None


def _message_rows(part: _Part, rules: Rules, count: int) -> list[Body]:
    """The part of each row of a request or a response. `count` is the number of its rows where that is known."""
    body = _parsed(part.payload)
    table, wrong = _table(body, part.kind)
    count = count or (len(table.rows) if table is not None else 1)
    columns = rules.prediction_schema.requests if part.kind == _REQUEST else rules.prediction_schema.responses
    if rules.redact:
        body = _without(body, rules.redact)
        table = _table(body, part.kind)[0]
        if table is not None:
            table = _blanked_table(table, body, columns, rules.redact)
        _blank(body, columns, rules.redact)
    common = _stamps(part)
    if type(body) is dict:
        for name in _LEFTOVERS:
            if name in body:
                common[name] = body[name]
    wide = False
    if table is not None:
        wide = _is_wide(table)
        common["dataType"] = table.data_type
        if table.names is not None and not wide:
            common["names"] = list(table.names)
    elif "status" not in common:
        common.setdefault("error", wrong)
    whole = count * len(part.payload) <= MOST_COPIED
    rows = []
    for index in range(count):
        content: Body = {"payload": body} if whole or not index else {}
        if table is not None and len(table.rows) == count:
            row = table.rows[index]
            content["instance"] = row[0] if wide else row
            content["elements"] = _elements(table, index, columns)
        content.update(common)
        rows.append(content)
    return rows


def _table(body: Any, what: str) -> tuple[Table | None, str]:
    try:
        table = table_of(body, what)
    except RefusedError as refused:
        return None, refused.detail
    return (table, "") if table.rows else (None, f"the {what} has no rows")


def _is_wide(table: Table) -> bool:
    """Whether rows are made of whole tensors. The request logger keeps the first: here it is the `instance`, and
    `elements` are all, by their names.
    """
    return table.record and type(table.rows[0][0]) is list


def _elements(table: Table, index: int, columns: tuple[Column, ...]) -> Body | None:
    row = table.rows[index]
    cells = row if type(row) is list else [row]
    elements = (elements_of(cells, columns) if columns else None) or table.elements(index)
    return elements if elements is not None and _is_searchable(elements) else None


def elements_of(cells: list[Any], columns: tuple[Column, ...]) -> Body | None:
    """The values of a row by the columns of a prediction schema, None where they do not fit it."""
    if sum(len(column.parts) or 1 for column in columns) != len(cells):
        return None
    elements: Body = {}
    values = iter(cells)
    for name, parts, categories in columns:
        if parts:
            elements[name] = {part: next(values) for part in parts}
        else:
            value = next(values)
            elements[name] = dict(categories).get(_code(value), value) if categories else value
    return elements


def _code(value: Any) -> str:
    return str(int(value)) if type(value) is float and value.is_integer() else str(value)


def _is_searchable(elements: Body) -> bool:
    """Whether Elasticsearch takes these names as keys, and the values are not so many that nobody would search them."""
    waiting: list[Any] = [elements]
    values = 0
    for now in waiting:
        values += len(now)
        if values > _MOST_VALUES:
            return False
        inner = now
        if type(now) is dict:
            if "\0" in "".join(now) or len(max(now, key=len, default="")) > _LONGEST_COLUMN:
                return False
            inner = now.values()
        waiting += [value for value in inner if type(value) is list or type(value) is dict]
    return True


def _feedback_fields(body: Any) -> Body:
    """The body as it is, with the reward as a number. A field of a name that Elasticsearch would not read as one, or
    that is this document's own, is under `payload` with all the others.
    """
    if type(body) is not dict:
        return {"payload": body}
    fields = {
        name: value
        for name, value in body.items()
        if _FIELD.fullmatch(name) and not name.startswith(("ce-", "payload"))
    }
    if len(fields) < len(body):
        fields["payload"] = body
    if "reward" in fields:
        fields["reward"] = _number(fields["reward"])
    return fields


def _outlier_rows(body: Any) -> list[Body]:
    """What an outlier detector says of each row: its lists with one entry a row are split."""
    data = body.get("data") if type(body) is dict else None
    if type(data) is not dict or not _are_fields(body) or not _are_fields(data):
        return [{"payload": body}]
    told = data.get("is_outlier")
    count = len(told) if type(told) is list and told else 1
    rows = []
    for index in range(count):
        row = dict(data)
        for name in ("is_outlier", "instance_score", "feature_score"):
            value = data.get(name)
            if type(value) is list and len(value) == count and (value is told or told is not None):
                row[name] = value[index]
        if not all(_is_numeric(row.get(name)) for name in ("is_outlier", "instance_score")):
            return [{"payload": body}]
        if type(row.get("is_outlier")) is bool:
            row["is_outlier"] = int(row["is_outlier"])
        rows.append({**body, "data": row})
    return rows


def _drift_content(body: Any, columns: tuple[Column, ...]) -> Body:
    """What a drift detector says: `drift_type` feature where it says it feature by feature, then by their names."""
    data = body.get("data") if type(body) is dict else None
    if type(data) is not dict or not _are_fields(body) or not _are_fields(data):
        return {"payload": body}
    data = dict(data)
    by_feature = False
    for name in ("distance", "p_val"):
        if type(data.get(name)) is list:
            by_feature = True
            data[f"feature_{name}"] = _by_feature(data.pop(name), columns)
    data["drift_type"] = "feature" if by_feature else "batch"
    if not all(_is_numeric(data.get(name)) for name in ("is_drift", "distance", "p_val", "threshold")):
        return {"payload": body}
    if type(data.get("is_drift")) in (int, float):
        data["is_drift"] = bool(data["is_drift"])
    return {**body, "data": data}


def _by_feature(values: list[Any], columns: tuple[Column, ...]) -> Any:
    for names in ([column.name for column in columns], list(_columns(columns))):
        if names and len(names) == len(values):
            return dict(zip(names, values, strict=True))
    return values


def _are_fields(content: Body) -> bool:
    return all(_FIELD.fullmatch(name) and not name.startswith("ce-") for name in content)


def _is_numeric(value: Any) -> bool:
    """Whether a field of numbers takes a value."""
    if type(value) is list:
        return all(type(one) in (int, float, bool) for one in value)
    return value is None or type(value) in (int, float, bool)


# -- what is left out -------------------------------------------------------------------------------------------------


def _columns(columns: tuple[Column, ...]) -> Iterator[str]:
    """The names of single columns."""
    for column in columns:
        yield from column.parts or (column.name,)


def _redacted(body: Any, entries: tuple[str, ...]) -> Any:
    if not entries:
        return body
    body = _without(body, entries)
    messages = [body, *(body.get(name) for name in ("request", "response", "truth"))] if type(body) is dict else []
    for message in messages:
        _blank(message, (), entries)
    return body


def _without(body: Any, entries: tuple[str, ...]) -> Any:
    """A body without the keys of these names, wherever they stand, and without what these dotted paths lead to.

    The body is changed. Lists on the way of a path are gone through.
    """
    waiting = [body]
    while waiting:
        value = waiting.pop()
        if type(value) is dict:
            for entry in entries:
                value.pop(entry, None)
            waiting += value.values()
        elif type(value) is list:
            waiting += [item for item in value if type(item) in (dict, list)]
    for entry in entries:
        *way, last = entry.split(".")
        found = [body]
        for step in way:
            found = [value[step] for value in _spread(found) if step in value]
        for value in _spread(found):
            value.pop(last, None)
    return body


def _spread(values: list[Any]) -> list[Body]:
    """The objects among values, and in lists among them."""
    found = []
    waiting = values[::-1]
    while waiting:
        value = waiting.pop()
        if type(value) is dict:
            found.append(value)
        elif type(value) is list:
            waiting += value[::-1]
    return found


def _places(names: Collection[str], columns: tuple[Column, ...], entries: tuple[str, ...]) -> list[int]:
    """Which columns are meant: by their own names, or by those of the schema."""
    meant = [index for index, name in enumerate(names) if name in entries]
    index = 0
    for column in columns:
        for part in column.parts or (column.name,):
            if column.name in entries or part in entries:
                meant.append(index)
            index += 1
    return meant


def _blanked_table(table: Table, body: Any, columns: tuple[Column, ...], entries: tuple[str, ...]) -> Table | None:
    """A table with null in the place of what is left out; None where it is not known what that is."""
    places = _places(table.names or (), columns, entries)
    if any(tensor.get("name") in entries for tensor in _tensors(body)) and not places:
        return None  # a single tensor, whose columns have no names
    if not places:
        return table
    rows: list[Any] = []
    for row in table.rows:
        if type(row) is list:
            rows.append([None if index in places else cell for index, cell in enumerate(row)])
        else:
            rows.append(None)
    return table._replace(rows=rows, own_type=table.data_type)


def _tensors(body: Any) -> list[Body]:
    lists = [body.get(name) for name in ("inputs", "outputs")] if type(body) is dict else []
    return [tensor for value in lists if type(value) is list for tensor in value if type(tensor) is dict]


def _blank(body: Any, columns: tuple[Column, ...], entries: tuple[str, ...]) -> None:
    """Take these columns out of a payload: null in rows, no data in tensors of their names."""
    if type(body) is not dict:
        return
    for tensor in _tensors(body):
        if tensor.get("name") in entries:
            for name in ("data", "contents"):
                tensor.pop(name, None)
            for name in ("raw_input_contents", "raw_output_contents", "rawInputContents", "rawOutputContents"):
                body.pop(name, None)
    data = body.get("data")
    names = data.get("names") if type(data) is dict else None
    places = _places(names if type(names) is list else (), columns, entries)
    if not places:
        return
    if type(data) is dict:
        for name in ("tensor", "tftensor"):  # flat: only with its shape it is known which value is whose
            data.pop(name, None)
        _blank_rows(data.get("ndarray"), places)
    for name in ("instances", "predictions"):
        _blank_rows(body.get(name), places)


def _blank_rows(rows: Any, places: list[int]) -> None:
    if type(rows) is not list:
        return
    for index, row in enumerate(rows):
        if type(row) is not list:
            rows[index] = None
            continue
        for place in places:
            if place < len(row):
                row[place] = None

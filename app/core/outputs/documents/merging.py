"""What one joined record changes of one document, and the document after it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

from app.core.clock import format_time, parse_time
from app.core.events import Kind
from app.core.outputs.documents.places import Body, Place

Found = TypeVar("Found")
#: The value of a reward whose model has not answered: the document has only its time, in `ce-times`.
HIDDEN: Final = object()
#: The fields in which a feedback states something. Its other fields come with these.
_STATEMENTS: Final = ("truth", "reward", "response")
_SOURCE: Final = "ce-source"
_HEAD: Final = (
    "RequestId",
    "ServingEngine",
    "Ce-Inferenceservicename",
    "Ce-Endpoint",
    "Ce-Namespace",
    "Ce-Modelid",
    "Ce-Modelversion",
)
_REQUEST, _RESPONSE, _FEEDBACK, _OUTLIER, _DRIFT, _ = (kind.value for kind in Kind)


class Piece(NamedTuple):
    """A part of a document that replaces the one that was there, if it outranks it."""

    model: str
    time: int  # µs
    content: Body


class Stated(NamedTuple):
    """What a feedback states: the fields of its body. `text` is its time as it came."""

    time: int  # µs
    text: str
    source: str
    fields: Body


class State(NamedTuple):
    """What holds of a row since this record, whatever held before.

    `unowned`: no leg has the reward. `answered`: when this row of several was answered, in µs; 0 for a single row.
    """

    verdict: Body
    reward: float | None
    unowned: bool
    answered: int


@dataclass(slots=True)
class Change:
    """What one joined record says of one document. `place` is where it is written.

    The record may not say by which engine it was logged: if the document is in an index `elsewhere`, it is changed
    there. If it is still in one of `before`, the indices of other days, it moves from there. `may_move`: what another
    model of the predictor was asked may yet move it to another day.
    """

    place: Place
    head: Body
    time: int  # µs: when the prediction was asked for, as far as is known
    scored: str | None
    elsewhere: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    may_move: bool = False
    pieces: dict[str, Piece] = field(default_factory=dict)
    stated: list[Stated] = field(default_factory=list)
    monitors: Body = field(default_factory=dict)  # what each monitor says of the row, by name
    state: State | None = None
    #: Of the classes in the verdict (`predicted`, `label`) that parts of the record bring: whether they are values that
    #: the user keeps back. None where the user keeps nothing back.
    hidden: Mapping[str, bool] | None = None
    more: bool = False  # the rest of the record follows in another

    @property
    def begins(self) -> bool:
        """Whether the document is, most likely, not there yet, and begins where it stays."""
        return _REQUEST in self.pieces and not self.elsewhere and not self.before and not self.may_move

    @property
    def places(self) -> list[Place]:
        """Where the document may be."""
        index, number = self.place
        return [(it, number) for it in (index, *self.elsewhere, *self.before)]


def micros(text: str) -> int:
    """A time in µs; 0 for none."""
    return parse_time(text.encode()) or 0


def merged(document: Body | None, change: Change) -> Body:
    """A document after a change. What is given is left as it is."""
    old = document or {}
    state = change.state
    head = old if document is not None and state is None else change.head
    new: Body = {"@timestamp": None}
    for name in _HEAD:
        if name in head:
            new[name] = head[name]
    if "ServingEngine" in old:  # a feedback does not know by which engine the prediction was logged
        new["ServingEngine"] = old["ServingEngine"]
    before, now = old.get("Ce-Modelid", ""), new.get("Ce-Modelid", "")
    for kind in (_REQUEST, _RESPONSE, _OUTLIER, _DRIFT):
        piece, content = change.pieces.get(kind), old.get(kind)
        model = "" if content is None else content.get("ce-modelid", before)
        if piece is not None and (
            content is None or outranks(kind, piece, model, micros(content.get("ce-time", "")), change.scored)
        ):
            content, model = piece.content, piece.model
        if content is not None:
            if model != now:
                content = {**content, "ce-modelid": model}
            elif "ce-modelid" in content:
                content = {name: value for name, value in content.items() if name != "ce-modelid"}
            new[kind] = content
    monitors = _merged_monitors(old.get("monitors", {}), change.monitors)
    if monitors:
        new["monitors"] = monitors
    feedback = _merged_feedback(old.get(_FEEDBACK), change.stated, state)
    if feedback is not None:
        new[_FEEDBACK] = feedback
    verdict: Body = old.get("verdict", {}) if state is None else state.verdict
    if state is not None and state.answered and feedback is not None and "truth" in feedback and "label" in verdict:
        # The record's delay ends with the newest label of all rows, a row's with its own.
        labelled = micros(feedback.get("ce-times", {}).get("truth", feedback["ce-time"]))
        verdict = {**verdict, "delay_seconds": max(0, labelled - state.answered) / 1e6}
    if state is not None and change.hidden is not None:
        verdict = _without_hidden(verdict, old.get("verdict", {}), change.hidden, more=change.more)
    if verdict:
        new["verdict"] = verdict
    if _REQUEST in new:
        new["@timestamp"] = new[_REQUEST].get("ce-time")
    elif document is None or state is not None:
        new["@timestamp"] = format_time(change.time)
    else:
        new["@timestamp"] = old.get("@timestamp")
    return new


def _merged_monitors(old: Body, new: Body) -> Body:
    """What monitors say of a row: of each the word on the newest answer holds, in the log's order where it is one."""
    found = dict(old)
    for name, said in new.items():
        if name not in found or micros(said["ce-time"]) >= micros(found[name].get("ce-time", "")):
            found[name] = said
    return found


def _without_hidden(verdict: Body, old: Body, hidden: Mapping[str, bool], *, more: bool) -> Body:
    """A verdict without the classes that are kept back; `redacted` names them.

    What the record does not bring stays hidden, or shown, as it was. What it does not bring and the document did not
    have is hidden: nobody can say any more whose value it is. Where more of the record follows, that may still say it.
    """
    classes = [name for name in ("predicted", "label") if name in verdict]
    unknown = [name for name in classes if name not in hidden and name not in old]
    gone = [
        name
        for name in classes
        if hidden.get(name) or name in old.get("redacted", ()) or (name in unknown and not more)
    ]
    if not gone and not unknown:
        return verdict
    left_out = {*gone, *unknown, "error"}  # which would say the one by the other
    shown = {name: value for name, value in verdict.items() if name not in left_out}
    return shown | {"redacted": gone} if gone else shown


def standing(change: Change, found: Mapping[Place, Found]) -> tuple[Place, Found | None, list[Place]]:
    """Where a document is to be written, what it is now, and where it is to be removed, by what was found of it."""
    index, number = change.place
    here = next((it for it in (index, *change.elsewhere) if (it, number) in found), index)
    before = [(it, number) for it in change.before if (it, number) in found]
    now = found.get((here, number))
    return (here, number), found[before[0]] if now is None and before else now, before


def outranks(kind: str, new: Piece, model: str, time: int, scored: str | None) -> bool:
    """Whether a part replaces one of this model and time. One of the same model does: the log has its winners."""
    if new.model == model:
        return True
    if kind == _REQUEST:
        return (new.model != scored, new.time, new.model) < (model != scored, time, model)
    return (new.model == scored, new.time, new.model) > (model == scored, time, model)


def _merged_feedback(old: Body | None, stated: list[Stated], state: State | None) -> Body | None:
    """The newest of each statement, the reward as it counts, and the other fields that came with the newest.

    What came with older statements is kept in `ce-others`: the newest may turn out to be no reward of this document.
    """
    statements: dict[str, tuple[int, str, Any]] = {}  # by name: the time in µs, the time as it came, the value
    others: dict[int, Body] = {}  # by time in µs: all other fields, and `ce-source`
    if old:
        last, source, times = old.get("ce-time", ""), old.get("ce-source"), old.get("ce-times", {})
        for name in _STATEMENTS:
            if name in old or name in times:
                text = times.get(name, last)
                statements[name] = (micros(text), text, old.get(name, HIDDEN))
                beside = old.get("ce-others", {}).get(name, {})
                others.setdefault(micros(text), {_SOURCE: source}).update(beside)
        others.setdefault(micros(last), {_SOURCE: source}).update(
            {name: value for name, value in old.items() if name not in _STATEMENTS and not name.startswith("ce-")}
        )
    for time, text, its_source, fields in stated:
        beside = others.setdefault(time, {})
        beside[_SOURCE] = its_source or None
        for name, value in fields.items():
            if name not in _STATEMENTS:
                beside[name] = value
            elif name not in statements or time >= statements[name][0]:
                statements[name] = (time, text, value)
    time, text, value = statements.pop("reward", (0, "", None))
    if state is not None:
        value = HIDDEN if state.reward is None and state.unowned and value is HIDDEN else state.reward
    if value is not None:
        statements["reward"] = (time, text, value)
    if not statements:
        return None
    now, last = max(it[:2] for it in statements.values())
    shown = others.get(now, {_SOURCE: None})
    feedback = {name: value for name, (_, _, value) in statements.items() if value is not HIDDEN}
    feedback |= {name: value for name, value in shown.items() if name != _SOURCE}
    if last:
        feedback["ce-time"] = last
    if shown[_SOURCE] is not None:
        feedback[_SOURCE] = shown[_SOURCE]
    older = {name: text for name, (_, text, value) in statements.items() if text != last or value is HIDDEN}
    if older:
        feedback["ce-times"] = older
    kept = {
        name: beside
        for name, (at, _, _) in sorted(statements.items())
        if at != now and (beside := _differing(others.get(at, shown), shown[_SOURCE]))
    }
    if kept:
        feedback["ce-others"] = kept
    return feedback


def _differing(beside: Body, source: str | None) -> Body:
    """What came with an older statement, its source only where that is another one."""
    return {name: value for name, value in beside.items() if name != _SOURCE or value != source}

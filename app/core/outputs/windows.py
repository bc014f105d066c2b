"""Window documents: the history of every model in windows that are aligned to the epoch, restated while labels come.

One document for each model, window and start, and nothing for a window in which nothing was counted:

    _id  <namespace>/<service>/<predictor>/<model>[@<version>]/[<segment>=<value>]/<window>/<start>
    {"identity": "…/…/…/…@…", "model_namespace", "model_service", "predictor", "model", "model_version", "segment": "",
     "window": "5m", "start": "2026-11-21T07:00:00Z", "end": "2026-11-21T07:05:00Z", "task",
     "exchanges": {"request", "response", "feedback"}, "mismatched",
     "rows": {"correct", "incorrect", "measured", "unlabelled", "failed"},
     "samples", "scores": {"accuracy", …}, "score_samples": {the same names},
     "classes": [{"class", "tp", "fp", "fn", "tn", "scores", "score_samples"}, …],
     "confusion": [{"actual", "predicted", "rows"}, …], "rewards", "reward_points"}

Counts and names are those of the Prometheus series; a score that is undefined is null. `classes` are those that occur
in the window; for a binary model the positive one alone, under the name "", whose scores are those of the whole. A
document of a segment has "value" besides; there is one for each value that is shown. Where fairness is asked for, those
of the whole have "fairness": [{"attribute", "value", "scores", "score_samples"}, …], that of all others together first.

A window is the union of its panes, so it can be stated while all of them are kept: windows of whole coarse panes as
long as these, smaller ones for two hours (120 fine panes). Once the first of them goes, the document stays as it is.
The clock on the wall says when: what workers that were away for longer count afterwards, by clocks of their own that
are behind, no longer comes into these documents.
"""

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from app.core.clock import format_time
from app.core.counts.accounts import Account
from app.core.counts.panes import COARSE, COARSE_PANES, FINE, FINE_KEPT, PaneClock, Window
from app.core.events import Identity, identity_fields
from app.core.measures.catalogue import MEASURES
from app.core.measures.confusion import CONFUSION
from app.core.measures.measure import DOCUMENT
from app.core.measures.reading import Nature, Reading
from app.core.measures.readings import Readings
from app.core.outputs.report import fairness_fields, fields_of
from app.core.rules import Rules
from app.core.scores.catalogue import scores_of
from app.core.scores.score import Score
from app.core.segments import slice_of

INDEX: Final = "tally-windows"
#: What Elasticsearch takes as an id, in bytes.
_LONGEST_ID: Final = 512

_KEYWORD: Final = {"type": "keyword"}
_LONG: Final = {"type": "long"}
_DOUBLE: Final = {"type": "double"}
_SCORES: Final = {"type": "object", "dynamic": True}
#: Only what is named here is indexed. Names of scores come from code and settings, so they are few; classes are nested
#: documents with fields of their own, and the cells of the confusion are kept without being indexed: neither adds a
#: field, however many classes there are.
MAPPINGS: Final[dict[str, Any]] = {
    "dynamic": False,
    "dynamic_templates": [
        {"scores": {"path_match": "*scores.*", "mapping": _DOUBLE}},  # of the whole, and of classes
        {"score_samples": {"path_match": "*score_samples.*", "mapping": _LONG}},
    ],
    "properties": {
        "identity": _KEYWORD,
        **dict.fromkeys(identity_fields(Identity("", "", "", "", "")), _KEYWORD),
        "segment": _KEYWORD,
        "value": _KEYWORD,
        "window": _KEYWORD,
        "start": {"type": "date"},
        "end": {"type": "date"},
        "task": _KEYWORD,
        **{
            field.name: dict(field.mapping)
            for measure in MEASURES
            for field in measure.fields
            if field.mapping is not None
        },
        "scores": _SCORES,
        "score_samples": _SCORES,
        "fairness": {
            "type": "nested",
            "dynamic": False,
            "properties": {
                "attribute": _KEYWORD,
                "value": _KEYWORD,
                "scores": _SCORES,
                "score_samples": _SCORES,
            },
        },
        "classes": {
            "type": "nested",
            "dynamic": False,
            "properties": {
                "class": _KEYWORD,
                **dict.fromkeys(("tp", "fp", "fn", "tn"), _LONG),
                "scores": _SCORES,
                "score_samples": _SCORES,
            },
        },
    },
}
#: Of documents that can change no more and are still to be written so many are kept.
_MOST_LAST: Final = 20_000


class Slot(NamedTuple):
    """Which document: of which model, of which window, and the number of that window counted from 1970; and of which
    segment and value of it, if it is not of the whole.
    """

    identity: Identity
    window: Window
    number: int
    segment: tuple[str, str] | None = None

    @property
    def start(self) -> int:
        """When the window begins, in seconds since the epoch."""
        return self.number * self.window.seconds


class WindowDocument(NamedTuple):
    """One document as it is now; the body is None where nothing is counted in the window any more."""

    slot: Slot
    id: str
    body: dict[str, Any] | None


class WindowDocuments:
    """Which documents have to be written, and what they say. It alone takes from the view what is touched."""

    def __init__(self, readings: Readings, clock: PaneClock) -> None:
        view = readings.view
        view.take_touched()
        self._readings = readings
        self._view = view
        self._clock = clock
        self._due: dict[Slot, None] = {}
        self._last: dict[Slot, WindowDocument] = {}  # as they were when they could last be stated
        self._natures: dict[Identity, Nature] = {}
        #: Of each model how its segments are shown, by those of its accounts.
        self._segments: dict[Identity, dict[str, tuple[str, str]]] = {}
        #: Of each window its level, and how many panes it has.
        self._shapes: dict[Window, tuple[str, int]] = {}
        #: How many documents were not written before there were too many of them.
        self.dropped = 0
        for window in view.windows:
            level = self._level(window)
            length = self._length(level)
            assert window.seconds % length == 0  # the settings refuse any other
            self._shapes[window] = level, window.seconds // length

    def note(self, now: float, *, writing: bool) -> None:
        """Take from the view what has changed, and of documents that can change no more what they say.

        To be called every few seconds, on every worker. Not `writing`, it only remembers what would have to be written:
        this worker may be the next one.
        """
        touched = self._view.take_touched()
        for account in {place[0] for place in touched if not place[0].segment}:
            if isinstance(account.subject, Identity) and self._changed_nature(account.subject):
                for own in ("", *self._segments.get(account.subject, ())):
                    touched.update(self._places_of(account.subject, own))
        before = self._note_segments(touched)
        for account, level, pane in touched:
            identity, own = account
            if isinstance(identity, Identity):  # pairs have no documents
                if not own:
                    self._note_due(identity, None, level, pane)
                for shown in (before.get(identity), self._segments.get(identity)):
                    if shown is not None and own in shown:
                        self._note_due(identity, shown[own], level, pane)
                        if self._readings.rulebook.of(identity.leg).fairness is not None:
                            self._note_due(identity, None, level, pane)  # which says how values fare
        for slot in [slot for slot in self._due if self._is_closing(slot, now)]:
            whole = self._is_whole(slot, now)
            if writing and whole:
                self._last[slot] = self._document(slot)
            if writing or not whole:
                del self._due[slot]
        if not writing:
            self._last.clear()
        while len(self._last) > _MOST_LAST:
            del self._last[next(iter(self._last))]
            self.dropped += 1

    def _note_segments(self, touched: set[tuple[Account, str, int]]) -> dict[Identity, dict[str, tuple[str, str]]]:
        """Find how segments are shown where any has changed. What is shown otherwise than before is touched as a whole.

        Returns how they were shown: documents by which that was said are to be written, too.
        """
        found = {}
        for identity in {account.subject for account, _, _ in touched if account.segment}:
            if isinstance(identity, Identity):
                before, shown = self._segments.get(identity, {}), self._readings.segments(identity)
                for own in [own for own in before.keys() | shown.keys() if before.get(own) != shown.get(own)]:
                    touched.update(self._places_of(identity, own))
                found[identity], self._segments[identity] = before, shown
        return found

    def _places_of(self, identity: Identity, segment: str) -> list[tuple[Account, str, int]]:
        account = Account(identity, segment)
        return [(account, level, pane) for level, pane in self._view.counted_panes(account)]

    def _note_due(self, identity: Identity, segment: tuple[str, str] | None, level: str, pane: int) -> None:
        for window, (own_level, panes) in self._shapes.items():
            if level == own_level:
                self._due[Slot(identity, window, pane // panes, segment)] = None

    def take(self, now: float, most: int) -> list[WindowDocument]:
        """Some of the documents that have changed. They count as written: whoever cannot write them puts them back."""
        documents: list[WindowDocument] = []
        while self._last and len(documents) < most:
            documents.append(self._last.pop(next(iter(self._last))))
        while self._due and len(documents) < most:
            slot = next(iter(self._due))
            if self._is_closing(slot, now):
                break  # it is for the next note
            del self._due[slot]
            documents.append(self._document(slot))
        return documents

    def put_back(self, documents: Iterable[WindowDocument], now: float) -> None:
        """Say that documents were not written. They come again, as they are then."""
        for document in documents:
            if not self._is_closing(document.slot, now):
                self._due[document.slot] = None
            else:
                self._last.setdefault(document.slot, document)

    def _changed_nature(self, identity: Identity) -> bool:
        """Whether a model is read as something else than before: then so is every pane of it that is kept."""
        nature = self._readings.nature(identity)
        before = self._natures.pop(identity, None)
        if nature is not None:
            self._natures[identity] = nature
        return nature != before

    def _level(self, window: Window) -> str:
        """The panes that a window is made of: of those that it can be made of the ones that are kept longest."""
        clock = self._clock
        in_fine = clock.span(window, 0.0)[0] == FINE
        in_coarse = window.seconds % self._length(COARSE) == 0
        coarse_last = clock.retention_seconds > FINE_KEPT * clock.pane_seconds
        return COARSE if in_coarse and (coarse_last or not in_fine) else FINE

    def _length(self, level: str) -> int:
        return self._clock.pane_seconds if level == FINE else self._clock.pane_seconds * COARSE_PANES

    def _panes_of(self, slot: Slot) -> tuple[str, range]:
        level, count = self._shapes[slot.window]
        return level, range(slot.number * count, (slot.number + 1) * count)

    def _is_closing(self, slot: Slot, now: float) -> bool:
        """Whether a document is stated for the last time, or was: from half a pane before its first pane goes."""
        level, panes = self._panes_of(slot)
        return self._clock.retired(level, panes[0], now + self._length(level) / 2)

    def _is_whole(self, slot: Slot, now: float) -> bool:
        """Whether no pane of a window has gone yet, by the clock of any worker."""
        level, panes = self._panes_of(slot)
        return not self._clock.retired(level, panes[0], now + self._length(level) / 4)

    def _document(self, slot: Slot) -> WindowDocument:
        reading = self._readings.of_panes(slot.identity, *self._panes_of(slot), slot.segment)
        rules = self._readings.rulebook.of(slot.identity.leg)
        return WindowDocument(slot, document_id(slot), None if reading is None else _body(slot, reading, rules))


def document_id(slot: Slot) -> str:
    """`<identity>/<segment>/<window>/<start>`, where the segment is empty for the whole model, else `<name>=<value>`;
    `/`, `@` and `%` within a name are written %2F, %40 and %25.

    The id of an identity that is too long for that has a digest in its place.
    """
    *leg, version = map(_escaped, slot.identity)
    name = "/".join(leg) + (f"@{version}" if version else "")
    segment = "" if slot.segment is None else _escaped(slice_of(*slot.segment))
    rest = f"/{segment}/{slot.window.name}/{_moment(slot.start)}"
    if len((name + rest).encode(errors="replace")) > _LONGEST_ID:
        name = _digest(name)
    if len((name + rest).encode(errors="replace")) > _LONGEST_ID:
        rest = rest.replace(segment, _digest(segment), 1)
    return name + rest


def _escaped(word: str) -> str:
    return word.replace("%", "%25").replace("/", "%2F").replace("@", "%40")


def _digest(text: str) -> str:
    return blake2b(text.encode(errors="replace"), digest_size=16).hexdigest()


def _moment(seconds: int) -> str:
    return format_time(seconds * 1_000_000).replace(".000000", "")


def _body(slot: Slot, reading: Reading, rules: Rules) -> dict[str, Any]:
    scores = scores_of(reading)
    return {
        "identity": str(slot.identity),
        **identity_fields(slot.identity),
        "segment": slot.segment[0] if slot.segment is not None else "",
        **({"value": slot.segment[1]} if slot.segment is not None else {}),
        "window": slot.window.name,
        "start": _moment(slot.start),
        "end": _moment(slot.start + slot.window.seconds),
        "task": reading.nature.task,
        **fields_of(reading, DOCUMENT),
        **_scores(score for score in scores if not score.of_class),
        **(fairness_fields(reading, rules) if slot.segment is None else {}),
        "classes": [
            {"class": name, "tp": one.tp, "fp": one.fp, "fn": one.fn, "tn": one.tn}
            | (_scores(score for score in scores if score.of_class == name) if name else {})
            for name, one in CONFUSION.of(reading).outcomes.items()
            if one.tp or one.fp or one.fn or (one.tn and not name)
        ],
    }


def _scores(scores: Iterator[Score]) -> dict[str, dict[str, Any]]:
    given = list(scores)
    return {
        "scores": {score.name: score.value for score in given},
        "score_samples": {score.name: score.samples for score in given},
    }

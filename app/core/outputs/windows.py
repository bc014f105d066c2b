"""Window documents: the history of every model in windows that are aligned to the epoch, restated while labels come.

One document for each model, window and start, and nothing for a window in which nothing was counted:

    _id  <namespace>/<service>/<predictor>/<model>[@<version>]/<segment>/<window>/<start>
    {"identity": "…/…/…/…@…", "model_namespace", "model_service", "predictor", "model", "model_version", "segment": "",
     "window": "5m", "start": "2026-11-21T07:00:00Z", "end": "2026-11-21T07:05:00Z", "task",
     "exchanges": {"request", "response", "feedback"}, "mismatched",
     "rows": {"correct", "incorrect", "measured", "unlabelled", "failed"},
     "samples", "scores": {"accuracy", …}, "score_samples": {the same names},
     "classes": [{"class", "tp", "fp", "fn", "tn", "scores", "score_samples"}, …],
     "confusion": [{"actual", "predicted", "rows"}, …], "rewards", "reward_points"}

Counts and names are those of the Prometheus series; a score that is undefined is null. `classes` are those that occur
in the window; for a binary model the positive one alone, under the name "", whose scores are those of the whole.

A window is the union of its panes, so it can be stated while all of them are kept: windows of whole days as long as
these, where they are counted, windows of whole coarse panes as long as those, smaller ones for two hours (120 fine
panes). Once the first of them goes, the document stays as it is.
The clock on the wall says when: what workers that were away for longer count afterwards, by clocks of their own that
are behind, no longer comes into these documents.
"""

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from app.core.clock import format_time
from app.core.counts.panes import COARSE, DAY, FINE, PaneClock, Window
from app.core.events import Identity, identity_fields
from app.core.measures.catalogue import MEASURES
from app.core.measures.confusion import CONFUSION
from app.core.measures.measure import DOCUMENT
from app.core.measures.reading import Nature, Reading
from app.core.measures.readings import Readings
from app.core.outputs.report import fields_of
from app.core.scores.catalogue import scores_of
from app.core.scores.score import Score

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
    """Which document: of which model, of which window, and the number of that window counted from 1970."""

    identity: Identity
    window: Window
    number: int

    @property
    def start(self) -> int:
        """When the window begins, in seconds since the epoch."""
        return self.number * self.window.seconds


class WindowDocument(NamedTuple):
    """One document, of what is read of the window now: None where nothing is counted in it any more."""

    slot: Slot
    id: str
    reading: Reading | None

    @property
    def body(self) -> dict[str, Any] | None:
        """What it says, made anew each time; None where it is to go."""
        return None if self.reading is None else _body(self.slot, self.reading)

    @property
    def runs_code(self) -> bool:
        """Whether the body has scores that are the user's own code, which may take long."""
        return self.reading is not None and any(own.function.runs_code for own in self.reading.nature.own_scores)


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
        #: Of each window its level, and how many panes it has.
        self._shapes: dict[Window, tuple[str, int]] = {}
        #: How many documents were not written before there were too many of them.
        self.dropped = 0
        for window in view.windows:
            level = self._level(window)
            length = clock.length(level)
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
                touched.update((account, *place) for place in self._view.counted_panes(account))
        for account, level, pane in touched:
            if not isinstance(account.subject, Identity) or account.segment:
                continue  # pairs and segments have no documents
            for window, (own_level, panes) in self._shapes.items():
                if level == own_level:
                    self._due[Slot(account.subject, window, pane // panes)] = None
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
        levels = [level for level in (COARSE, FINE) if window.seconds % clock.length(level) == 0]
        if clock.can_be_of_days(window):
            levels.insert(0, DAY)
        if clock.level(window) != FINE:
            levels.remove(FINE)  # there would be too many
        return max(levels, key=clock.kept)

    def _panes_of(self, slot: Slot) -> tuple[str, range]:
        level, count = self._shapes[slot.window]
        return level, range(slot.number * count, (slot.number + 1) * count)

    def _is_closing(self, slot: Slot, now: float) -> bool:
        """Whether a document is stated for the last time, or was: from half a pane before its first pane goes."""
        level, panes = self._panes_of(slot)
        return self._clock.retired(level, panes[0], now + self._clock.length(level) / 2)

    def _is_whole(self, slot: Slot, now: float) -> bool:
        """Whether no pane of a window has gone yet, by the clock of any worker."""
        level, panes = self._panes_of(slot)
        return not self._clock.retired(level, panes[0], now + self._clock.length(level) / 4)

    def _document(self, slot: Slot) -> WindowDocument:
        reading = self._readings.of_panes(slot.identity, *self._panes_of(slot))
        return WindowDocument(slot, document_id(slot), reading)


def document_id(slot: Slot) -> str:
    """`<identity>/<segment>/<window>/<start>`; `/`, `@` and `%` within a name are written %2F, %40 and %25.

    The id of an identity that is too long for that has a digest in its place.
    """
    *leg, version = (word.replace("%", "%25").replace("/", "%2F").replace("@", "%40") for word in slot.identity)
    name = "/".join(leg) + (f"@{version}" if version else "")
    rest = f"//{slot.window.name}/{_moment(slot.start)}"
    if len((name + rest).encode(errors="replace")) > _LONGEST_ID:
        name = blake2b(name.encode(errors="replace"), digest_size=16).hexdigest()
    return name + rest


def _moment(seconds: int) -> str:
    return format_time(seconds * 1_000_000).replace(".000000", "")


def _body(slot: Slot, reading: Reading) -> dict[str, Any]:
    scores = scores_of(reading)
    return {
        "identity": str(slot.identity),
        **identity_fields(slot.identity),
        "segment": "",
        "window": slot.window.name,
        "start": _moment(slot.start),
        "end": _moment(slot.start + slot.window.seconds),
        "task": reading.nature.task,
        **fields_of(reading, DOCUMENT),
        **_scores(score for score in scores if not score.of_class),
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

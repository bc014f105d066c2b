"""Window documents: the history of every model in windows that are aligned to the epoch, restated while labels come.

One document for each model, window and start, and nothing for a window in which nothing was counted:

    _id  <namespace>/<service>/<predictor>/<model>[@<version>]/[<segment>=<value>]/<window>/<start>
    {"identity": "…/…/…/…@…", "model_namespace", "model_service", "predictor", "model", "model_version", "segment": "",
     "window": "5m", "clock": "predictions", "start": "2026-11-21T07:00:00Z", "end": "2026-11-21T07:05:00Z", "task",
     "exchanges": {"request", "response", "feedback"}, "mismatched",
     "rows": {"correct", "incorrect", "measured", "unlabelled", "failed"},
     "samples", "scores": {"accuracy", …}, "score_samples": {the same names},
     "classes": [{"class", "tp", "fp", "fn", "tn", "scores", "score_samples"}, …],
     "confusion": [{"actual", "predicted", "rows"}, …], "rewards", "reward_points"}

Counts and names are those of the Prometheus series; a score that is undefined is null. `classes` are those that occur
in the window; for a binary model the positive one alone, under the name "", whose scores are those of the whole. Where
the YAML file says so there are `score_limits`, `score_low` and `score_high` beside each `scores`.

The same windows by the time at which labels and rewards came are documents of their own: `clock` is "labels", the
window "labels_5m", and what is no matter of labels (`exchanges`, `mismatched`, the coverage) is not there. What is
counted of two legs that are compared has its documents in another index: `compared`.

Of a segment there is a document for each value that is shown, with "value" besides. Where fairness is asked for, those
of the whole have "fairness": [{"attribute", "value", "scores", "score_samples"}, …], that of all others together first.

Where estimates are asked for, those by the time of predictions have "estimate": {"rows", "labels", "scores", "low",
"high"}, calibrated by the labels that had come when the document was written: labels of other windows restate none.

A window is the union of its panes, so it can be stated while all of them are kept: windows of whole days as long as
these, where they are counted, windows of whole coarse panes as long as those, smaller ones for two hours (120 fine
panes). Once the first of them goes, the document stays as it is.
The clock on the wall says when: what workers that were away for longer count afterwards, by clocks of their own that
are behind, no longer comes into these documents.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from app.core.counts.accounts import BY_LABELS, Account, Pair
from app.core.counts.panes import COARSE, DAY, FINE, PaneClock, Window
from app.core.events import Identity, identity_fields
from app.core.measures.catalogue import MEASURES
from app.core.measures.confusion import CONFUSION
from app.core.measures.measure import DOCUMENT
from app.core.measures.reading import Nature, Reading
from app.core.measures.readings import Readings, clock_and_segment
from app.core.outputs import compared
from app.core.outputs.report import estimate_fields, fairness_fields, fields_of
from app.core.outputs.slots import Slot, document_id
from app.core.rules import Rules
from app.core.scores.catalogue import SHARES, scores_of
from app.core.scores.estimates import ESTIMATED
from app.core.scores.score import Score, wilson
from app.core.segments import parts_of, slice_of

INDEX: Final = "tally-windows"

#: How what is counted in segments is shown: by an account's segment the segment and value.
Values = Mapping[str, tuple[str, str]]

_KEYWORD: Final = {"type": "keyword"}
_LONG: Final = {"type": "long"}
_DOUBLE: Final = {"type": "double"}
_SCORES: Final = {
    name: {"type": "object", "dynamic": True}
    for name in ("scores", "score_samples", "score_limits", "score_low", "score_high")
}
#: Only what is named here is indexed. Names of scores come from code and settings, so they are few; classes are nested
#: documents with fields of their own, and the cells of the confusion are kept without being indexed: neither adds a
#: field, however many classes there are.
MAPPINGS: Final[dict[str, Any]] = {
    "dynamic": False,
    "dynamic_templates": [
        {name: {"path_match": f"*{name}.*", "mapping": _LONG if name == "score_samples" else _DOUBLE}}
        for name in _SCORES  # of the whole, and of classes
    ],
    "properties": {
        "identity": _KEYWORD,
        **dict.fromkeys(identity_fields(Identity("", "", "", "", "")), _KEYWORD),
        "segment": _KEYWORD,
        "value": _KEYWORD,
        "window": _KEYWORD,
        "clock": _KEYWORD,
        "start": {"type": "date"},
        "end": {"type": "date"},
        "task": _KEYWORD,
        **{
            field.name: dict(field.mapping)
            for measure in MEASURES
            for field in measure.fields
            if field.mapping is not None
        },
        **_SCORES,
        "estimate": {
            "dynamic": False,
            "properties": {
                **dict.fromkeys(("rows", "labels"), _LONG),
                **{name: {"properties": dict.fromkeys(ESTIMATED, _DOUBLE)} for name in ("scores", "low", "high")},
            },
        },
        "fairness": {
            "type": "nested",
            "dynamic": False,
            "properties": {
                "attribute": _KEYWORD,
                "value": _KEYWORD,
                "scores": _SCORES["scores"],
                "score_samples": _SCORES["score_samples"],
            },
        },
        "classes": {
            "type": "nested",
            "dynamic": False,
            "properties": {
                "class": _KEYWORD,
                **dict.fromkeys(("tp", "fp", "fn", "tn"), _LONG),
                **_SCORES,
            },
        },
    },
}
#: Of documents that can change no more and are still to be written so many are kept.
_MOST_LAST: Final = 20_000


class WindowDocument(NamedTuple):
    """One document as it is now, and its place: index and id."""

    slot: Slot
    place: tuple[str, str]
    make: Callable[[], dict[str, Any]] | None  # the body, of what has been read; None where nothing is counted any more
    runs_code: bool = False  # whether that runs code of the user's own, which may take long

    @property
    def body(self) -> dict[str, Any] | None:
        """What it says, made anew each time; None where nothing is counted in the window any more."""
        return None if self.make is None else self.make()


class WindowDocuments:
    """Which documents have to be written, and what they say."""

    def __init__(self, readings: Readings, clock: PaneClock) -> None:
        view = readings.view
        self._readings = readings
        self._view = view
        self._clock = clock
        #: What has documents: what is counted by the time of the prediction, and by that of labels.
        self._segments = ("", BY_LABELS) if view.by_labels else ("",)
        self._due: dict[Slot, None] = {}
        self._last: dict[Slot, WindowDocument] = {}  # as they were when they could last be stated
        self._natures: dict[Identity, Nature] = {}
        #: Of each model how its segments are shown, by those of its accounts.
        self._values: dict[Identity, Values] = {}
        #: Of each window its level, and how many panes it has.
        self._shapes: dict[Window, tuple[str, int]] = {}
        #: How many documents were not written before there were too many of them.
        self.dropped = 0
        for window in view.windows:
            level = self._level(window)
            length = clock.length(level)
            assert window.seconds % length == 0  # the settings refuse any other
            self._shapes[window] = level, window.seconds // length

    def note(self, touched: set[tuple[Account, str, int]], now: float, *, writing: bool) -> None:
        """Take what has changed, as the view says it, and of documents that can change no more what they say.

        To be called every few seconds, on every worker. Not `writing`, it only remembers what would have to be written:
        this worker may be the next one.
        """
        for subject in {account.subject for account, _, _ in touched if account.segment in self._segments}:
            if isinstance(subject, Identity) and self._changed_nature(subject):
                for own in ("", *self._values.get(subject, ())):
                    touched |= self._places_of(subject, own)
        before = self._note_values(touched)
        for account, level, pane in touched:
            for shown in self._shown(account, before):
                for window, (own_level, panes) in self._shapes.items():
                    if level == own_level:
                        self._due[Slot(shown, window, pane // panes)] = None
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

    def _note_values(self, touched: set[tuple[Account, str, int]]) -> dict[Identity, Values]:
        """Find how segments are shown where any has changed. What is shown otherwise than before is touched as a whole.

        Returns how they were shown: documents by which that was said are to be written, too.
        """
        found: dict[Identity, Values] = {}
        for subject in {account.subject for account, _, _ in touched if account.segment not in self._segments}:
            if isinstance(subject, Identity):
                before, shown = self._values.get(subject, {}), self._readings.segments(subject)
                for own in [own for own in before.keys() | shown.keys() if before.get(own) != shown.get(own)]:
                    touched |= self._places_of(subject, own)
                found[subject], self._values[subject] = before, shown
        return found

    def _places_of(self, identity: Identity, own: str) -> set[tuple[Account, str, int]]:
        """All panes in which a segment of a model has counted, by all clocks."""
        accounts = [Account(identity, clock + own) for clock in self._segments]
        return {(account, *place) for account in accounts for place in self._view.counted_panes(account)}

    def _shown(self, account: Account, before: Mapping[Identity, Values]) -> Iterator[Account]:
        """What has documents of what an account counts: it, or what its value of a segment is shown as, and was.

        What is shown as nothing any more may have a document of its own. Of the whole fairness is said, too.
        """
        if account.segment in self._segments:
            yield account
            return
        clock, own = clock_and_segment(account.segment)
        identity = account.subject
        if clock not in self._segments or not isinstance(identity, Identity):
            return
        rules = self._readings.rulebook.of(identity.leg)
        if all(segment.name != parts_of(own)[0] for segment in rules.segments):
            return  # it is declared no more
        shown, was = self._values[identity].get(own), before.get(identity, {}).get(own)
        for value in {shown, was}:
            if value is not None:
                yield Account(identity, clock + slice_of(*value))
        if shown is None or not before.get(identity):
            yield account
        if rules.fairness is not None:
            yield Account(identity, clock)

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
        level, panes = self._panes_of(slot)
        account, rulebook = slot.account, self._readings.rulebook
        subject = account.subject
        if isinstance(subject, Pair):
            shared = self._readings.pair_of_panes(account, level, panes)
            make = None if shared is None else partial(compared.window_body, slot, subject, shared, rulebook)
            return WindowDocument(slot, (compared.INDEX, document_id(slot)), make)
        reading, rules = self._readings.of_panes(account, level, panes), rulebook.of(subject.leg)
        make = None if reading is None else partial(_body, slot, subject, reading, rules)
        return WindowDocument(slot, (INDEX, document_id(slot)), make, rules.run_code)


def _body(slot: Slot, identity: Identity, reading: Reading, rules: Rules) -> dict[str, Any]:
    by_class: dict[str, list[Score]] = {"": []}
    for score in scores_of(reading):
        by_class.setdefault(score.of_class, []).append(score)
    return {
        "identity": str(identity),
        **identity_fields(identity),
        **slot.fields(),
        "task": reading.nature.task,
        **fields_of(reading, DOCUMENT),
        **_scores(by_class[""], rules),
        **estimate_fields(reading),
        **({} if slot.segment else fairness_fields(reading, rules)),
        "classes": [
            {"class": name, "tp": one.tp, "fp": one.fp, "fn": one.fn, "tn": one.tn}
            | (_scores(by_class.get(name, ()), rules) if name else {})
            for name, one in CONFUSION.of(reading).outcomes.items()
            if one.tp or one.fp or one.fn or (one.tn and not name)
        ],
    }


def _scores(scores: Iterable[Score], rules: Rules) -> dict[str, Mapping[str, Any]]:
    """The fields of the scores of a whole model, or of one class."""
    given = {score.name: score for score in scores}
    found: dict[str, Mapping[str, Any]] = {
        "scores": {name: score.value for name, score in given.items()},
        "score_samples": {name: score.samples for name, score in given.items()},
    }
    limits = {
        name: limit for name, of_class, limit in rules.limits if name in given and given[name].of_class == of_class
    }
    if limits:
        found["score_limits"] = limits
    if rules.intervals:
        intervals = {
            name: (None, None) if score.value is None else wilson(score.value, score.samples)
            for name, score in given.items()
            if name in SHARES
        }
        found["score_low"] = {name: low for name, (low, _) in intervals.items()}
        found["score_high"] = {name: high for name, (_, high) in intervals.items()}
    return found

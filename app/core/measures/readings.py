"""Readings of the merged view: what all measures say of each model, as the model that its totals show it to be."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from types import MappingProxyType
from typing import Final, NamedTuple

from app.core.counts.accounts import BY_LABELS, METRICS, Account, Pair
from app.core.counts.book import Sums
from app.core.counts.cells import Latest, later
from app.core.counts.panes import FINE_KEPT, TOTAL, Window
from app.core.counts.view import View
from app.core.events import Identity
from app.core.measures.catalogue import MEASURES
from app.core.measures.confusion import CONFUSION, judged_and_right, nature_of
from app.core.measures.custom import CUSTOM, settled
from app.core.measures.estimates import ESTIMATES, learnt
from app.core.measures.exchanges import ASKED_OR_ANSWERED, EXCHANGES
from app.core.measures.monitors import MONITORS, alerts_atom
from app.core.measures.paired import NAME as PAIRED
from app.core.measures.paired import PairedReading
from app.core.measures.paired import read as read_pair
from app.core.measures.reading import Alerting, Nature, Reading
from app.core.monitors import MonitorSpec, is_alerting
from app.core.rules import Rulebook
from app.core.segments import parts_of, shown_values, slice_of

#: What the names of windows by labels begin with.
LABELS: Final = "labels_"


def read(sums: Sums, nature: Nature, *, by_labels: bool = False) -> Reading:
    """What all measures say of some sums."""
    by_measure = {measure.name: measure.read(sums.get(measure.name, {}), nature) for measure in MEASURES}
    return Reading(nature, by_measure, by_labels)


def labels_window(window: Window) -> str:
    """The name of a window of what labels and rewards said that came within it."""
    return f"{LABELS}{window.name}"


def is_shown(total: Sums) -> bool:
    """Whether more is counted of a model than that feedback names it: it may misspell the name."""
    exchanges = total.get(EXCHANGES.name, {})
    return bool(total.keys() - {EXCHANGES.name}) or any(exchanges.get(part) for part in ASKED_OR_ANSWERED)


class ModelSums(NamedTuple):
    """What is counted of a model, by "total" and window: as a whole, and in each (segment, value) that is shown."""

    whole: Mapping[str, Sums]
    segments: Mapping[tuple[str, str], Mapping[str, Sums]]
    folded_values: int = 0
    #: Of each monitor the rows that were alerts in each fine pane, and how many of these panes the shortest window has.
    alerts: Mapping[str, Sequence[int]] = MappingProxyType({})
    panes_of_alert: int = 1
    history: tuple[tuple[int, int, int], ...] = ()  # as of a `Reading`

    @property
    def cells(self) -> int:
        """How many cells all of it has."""
        windows = (self.whole, *self.segments.values())
        return sum(len(cells) for of in windows for sums in of.values() for cells in sums.values())


def clock_and_segment(own: str) -> tuple[str, str]:
    """What an account's segment begins with by the time of labels ("" by that of predictions), and the rest of it."""
    return (BY_LABELS, own.removeprefix(BY_LABELS)) if own.startswith(BY_LABELS) else ("", own)


def _shown_as(own: str, values: Mapping[str, tuple[str, str]]) -> list[str]:
    """The segments of a model's accounts that are shown as one; the whole is shown as itself."""
    return [one for one, shown in values.items() if slice_of(*shown) == own] if own else [""]


def _copies(windows: Mapping[str, Sums]) -> dict[str, Sums]:
    return {name: {measure: dict(cells) for measure, cells in sums.items()} for name, sums in windows.items()}


def _together(several: Iterable[Sums]) -> Sums:
    """The sums of several accounts."""
    first, *others = [sums for sums in several if sums] or [{}]
    if not others:
        return first
    found = {measure: dict(cells) for measure, cells in first.items()}
    for sums in others:
        for measure, cells in sums.items():
            own = found.setdefault(measure, {})
            for cell, amount in cells.items():
                known = own.get(cell)
                if type(amount) is Latest:
                    own[cell] = later(known, amount)
                else:
                    own[cell] = amount + (known or 0)
    return found


def _alerting(spec: MonitorSpec, sums: ModelSums) -> Alerting:
    alerts = sums.alerts.get(spec.key, ())
    return Alerting(spec, is_alerting(alerts, sums.panes_of_alert, spec.hold, spec.clear))


class Readings:
    """Reads a view by the user's rules. More classes than `most_classes` are shown as one, and so are more values of a
    segment than `most_values`; of custom metrics as many are shown as `most_metrics` says: names, and label sets of
    each.
    """

    def __init__(
        self,
        view: View,
        rulebook: Rulebook,
        most_classes: int,
        most_values: int = 50,
        most_metrics: tuple[int, int] = (50, 50),
    ) -> None:
        self.view = view
        self.rulebook = rulebook
        self._most_classes = most_classes
        self._most_values = most_values
        self._most_metrics = most_metrics

    def of_models(self, now: float) -> Iterator[tuple[Identity, dict[str, Reading]]]:
        """Of each model what is read of it: "total", then each window that ends now."""
        for identity in self.view.identities():
            readings = self.of_model(identity, now)
            if readings is not None:
                yield identity, readings

    def of_model(self, identity: Identity, now: float) -> dict[str, Reading] | None:
        """The same of one model; None where nothing is counted of it."""
        sums = self._sums(identity, now)
        return None if sums is None else self.of_sums(identity, sums)

    def snapshot(self, identity: Identity, now: float) -> ModelSums | None:
        """What is counted of a model at this moment, in total and in each window that ends now, for `of_sums`: it stays
        as it is while the view goes on. None where nothing is counted.
        """
        found = self._sums(identity, now)
        if found is None:
            return None
        segments = {own: _copies(windows) for own, windows in found.segments.items()}
        return found._replace(whole=_copies(found.whole), segments=segments)

    def of_sums(self, identity: Identity, sums: ModelSums) -> dict[str, Reading]:
        """What a model's sums say, in total and in windows. The view is not asked."""
        nature = self._with_learnt(self._nature(identity, sums.whole[TOTAL]), identity, sums.whole[TOTAL])
        of_segments = nature._replace(reference=None)  # features do not count in segments
        readings = {}
        for name, whole in sums.whole.items():
            by_labels = name.startswith(LABELS)
            segments = {
                own: read(windows[name], of_segments, by_labels=by_labels) for own, windows in sums.segments.items()
            }
            own = read(whole, nature, by_labels=by_labels)
            if nature.monitors and name == TOTAL:
                own = own._replace(monitors=tuple(_alerting(spec, sums) for spec in nature.monitors))
            readings[name] = own._replace(segments=segments, folded_values=sums.folded_values) if segments else own
        if sums.history:
            readings[TOTAL] = readings[TOTAL]._replace(history=sums.history)
        return readings

    def _sums(self, identity: Identity, now: float) -> ModelSums | None:
        total = self._total(identity)
        if not is_shown(total):
            return None
        accounts: dict[tuple[str, str], list[str]] = {}
        values = self.segments(identity)
        for own, shown in values.items():
            accounts.setdefault(shown, []).append(own)
        segments = {shown: self._windows(identity, owns, now) for shown, owns in accounts.items()}
        folded = len(values) - sum(slice_of(*shown) in owns for shown, owns in accounts.items())
        whole = self._windows(identity, [""], now)
        whole[TOTAL] = total
        found = ModelSums(whole, segments, folded)
        if self.rulebook.of(identity.leg).changes:
            found = found._replace(history=tuple(self._history(identity, now)))
        alerts, panes = self._alerts(identity, now)
        return found._replace(alerts=alerts, panes_of_alert=panes) if alerts else found

    def _alerts(self, identity: Identity, now: float) -> tuple[dict[str, Sequence[int]], int]:
        """Of each monitor the rows that were alerts in each fine pane, and how many of these the shortest window has;
        nothing where the model has no monitors.
        """
        specs, view = self._monitors(identity), self.view
        if not specs or not view.windows:
            return {}, 1
        level, lo, hi = view.span(min(view.windows, key=attrgetter("seconds")), now)
        panes = range(hi - FINE_KEPT, hi)
        alerts: dict[str, Sequence[int]] = {
            spec.key: view.amounts(Account(identity), level, panes, (MONITORS.name, alerts_atom(spec.key)))
            for spec in specs
        }
        return alerts, hi - lo

    def alerting_monitors(self, identity: Identity, now: float) -> list[str]:
        """The names of a model's monitors that alert now."""
        alerts, panes = self._alerts(identity, now)
        return [
            spec.name
            for spec in self._monitors(identity)
            if is_alerting(alerts.get(spec.key, ()), panes, spec.hold, spec.clear)
        ]

    def rules_in_force(self, identity: Identity) -> tuple[MonitorSpec | str, ...]:
        """What of a model's rules may change while a worker runs: its monitors, and the digest of its reference."""
        reference = self.rulebook.of(identity.leg).reference
        return *self._monitors(identity), "" if reference is None else reference.live_of(identity).digest

    def _monitors(self, identity: Identity) -> tuple[MonitorSpec, ...]:
        """The monitors of a model, as they are in force."""
        return tuple(monitor.spec for monitor in self.rulebook.of(identity.leg).monitors)

    def _total(self, identity: Identity) -> Sums:
        """What is counted of a model in total, its custom metrics among it."""
        total, metrics = self.view.total(Account(identity)), self.view.total(Account(identity, METRICS))
        return {**total, **metrics} if metrics else total

    def history_version(self, identity: Identity, now: float) -> int:
        """Something that changes when another pane of the history of a model closes."""
        return self.view.open_pane(now) if self.rulebook.of(identity.leg).changes else 0

    def _history(self, identity: Identity, now: float) -> Iterator[tuple[int, int, int]]:
        """Of each closed pane when it begins, the rows judged, and those that are right."""
        for begin, sums in self.view.history(Account(identity), now):
            yield begin, *judged_and_right(sums.get(CONFUSION.name, {}))

    def metric_families(self) -> set[tuple[str, str]]:
        """Those (type, key) of custom metrics that can be shown together, over all models."""
        found: set[tuple[str, str]] = set()
        for identity in self.view.identities():
            cells = self.view.total(Account(identity, METRICS)).get(CUSTOM.name)
            if cells:
                found |= CUSTOM.read(cells, self._limited(Nature("unknown"))).families
        return settled(found)

    def _windows(self, identity: Identity, segments: Sequence[str], now: float) -> dict[str, Sums]:
        """What some segments of a model have counted together, in total and in windows; "" is the whole."""
        view = self.view
        accounts = [Account(identity, segment) for segment in segments]
        sums = {TOTAL: _together(view.total(account) for account in accounts)}
        for window in view.windows:
            sums[window.name] = _together(view.window(account, window, now) for account in accounts)
        if view.by_labels:
            accounts = [Account(identity, BY_LABELS + segment) for segment in segments]
            for window in view.windows:
                sums[labels_window(window)] = _together(view.window(account, window, now) for account in accounts)
        return sums

    def accounts_of_pair(self, pair: Pair) -> list[Account]:
        """All accounts of which `of_pair` reads."""
        return [Account(pair), Account(pair, BY_LABELS)] if self.view.by_labels else [Account(pair)]

    def accounts(self, identity: Identity) -> list[Account]:
        """All accounts of which `snapshot` reads windows."""
        segments = ["", *self.segments(identity)]
        found = [Account(identity, segment) for segment in (*segments, METRICS)]
        if self.view.by_labels:
            found += [Account(identity, BY_LABELS + segment) for segment in segments]
        return found

    def segments(self, identity: Identity) -> dict[str, tuple[str, str]]:
        """How what is counted in the segments of a model is shown: of each account's segment the segment and value.

        Only what the rules declare is shown, and of each segment the values of the lowest ranks that occur.
        """
        declared = {segment.name: segment for segment in self.rulebook.of(identity.leg).segments}
        if not declared:
            return {}
        values: dict[str, list[str]] = {}
        for own in self.view.segments(identity):
            name, value = parts_of(own)
            if name in declared and self.view.total(Account(identity, own)):
                values.setdefault(name, []).append(value)
        return {
            slice_of(name, value): (name, shown)
            for name, segment in declared.items()
            for value, shown in shown_values(values.get(name, ()), self._most_values, segment.always).items()
        }

    def of_pairs(self, now: float) -> Iterator[tuple[Pair, dict[str, PairedReading]]]:
        """Of each two legs that are compared what is read of both: "total", then each window that ends now, by either
        clock.
        """
        for pair in self.view.pairs():
            readings = self.of_pair(pair, now)
            if readings is not None:
                yield pair, readings

    def of_pair(self, pair: Pair, now: float) -> dict[str, PairedReading] | None:
        """The same of two legs; None where nothing is counted of them."""
        view = self.view
        total = view.total(Account(pair))
        if not total:
            return None
        sums = {TOTAL: total} | {window.name: view.window(Account(pair), window, now) for window in view.windows}
        if view.by_labels:
            by_labels = Account(pair, BY_LABELS)
            sums |= {labels_window(window): view.window(by_labels, window, now) for window in view.windows}
        return {name: read_pair(own.get(PAIRED, {})) for name, own in sums.items()}

    def nature(self, identity: Identity) -> Nature | None:
        """As what a model is read; None where nothing is counted of it."""
        total = self._total(identity)
        return self._nature(identity, total) if is_shown(total) else None

    def of_panes(self, account: Account, level: str, panes: range) -> Reading | None:
        """What some panes of a model say together, as a whole or in a value of a segment that is shown, by either
        clock; None where nothing is counted in them. Of the whole it has the segment over which fairness is asked for.
        """
        identity, own = account
        assert isinstance(identity, Identity)
        clock, own = clock_and_segment(own)
        rule = self.rulebook.of(identity.leg).fairness
        values = self.segments(identity) if own or rule is not None else {}
        sums = self._of_panes(identity, [clock + one for one in _shown_as(own, values)], level, panes)
        nature = self.nature(identity) if sums else None
        if nature is None:
            return None
        nature = self._with_learnt(nature, identity, self.view.total(Account(identity)))
        of_segments = nature._replace(reference=None)
        reading = read(sums, of_segments if own else nature, by_labels=bool(clock))
        if own or rule is None:
            return reading
        segments = {}
        for shown in {shown for shown in values.values() if shown[0] == rule.attribute}:
            owns = [clock + one for one in _shown_as(slice_of(*shown), values)]
            segments[shown] = read(self._of_panes(identity, owns, level, panes), of_segments, by_labels=bool(clock))
        return reading._replace(segments=dict(sorted(segments.items())))

    def _of_panes(self, identity: Identity, segments: Iterable[str], level: str, panes: range) -> Sums:
        return _together(self.view.panes(Account(identity, segment), level, panes) for segment in segments)

    def pair_of_panes(self, account: Account, level: str, panes: range) -> PairedReading | None:
        """What some panes of a pair's account say together; None where nothing is counted in them."""
        sums = self.view.panes(account, level, panes)
        return read_pair(sums.get(PAIRED, {})) if sums else None

    def _nature(self, identity: Identity, total: Sums) -> Nature:
        rules = self.rulebook.of(identity.leg)
        nature = self._limited(nature_of(total.get(CONFUSION.name, {}), rules, self._most_classes))
        if rules.monitors:
            nature = nature._replace(monitors=self._monitors(identity))
        if rules.reference is None:
            return nature
        awaits = rules.reference.first and identity not in rules.reference.versions
        gathered = self.view.gathered.rows[identity] if awaits else None
        return nature._replace(reference=rules.reference.live_of(identity), gathered=gathered)

    def _with_learnt(self, nature: Nature, identity: Identity, total: Sums) -> Nature:
        """The same with what the labels of a model say of its probabilities: another label may change that, and not as
        what it is read.
        """
        rules = self.rulebook.of(identity.leg)
        if not rules.estimate:
            return nature
        return nature._replace(learnt=learnt(total.get(ESTIMATES.name, {}), rules.least_count))

    def _limited(self, nature: Nature) -> Nature:
        metrics, series = self._most_metrics
        return nature._replace(most_metrics=metrics, most_metric_series=series)

"""Readings of the merged view: what all measures say of each model, as the model that its totals show it to be."""

from collections.abc import Iterator, Mapping
from typing import Final

from app.core.counts.accounts import BY_LABELS, Account, Pair
from app.core.counts.panes import TOTAL, Window
from app.core.counts.view import Sums, View
from app.core.events import Identity
from app.core.measures.catalogue import MEASURES
from app.core.measures.confusion import CONFUSION, nature_of
from app.core.measures.exchanges import ASKED_OR_ANSWERED, EXCHANGES
from app.core.measures.paired import NAME as PAIRED
from app.core.measures.paired import PairedReading
from app.core.measures.paired import read as read_pair
from app.core.measures.reading import Nature, Reading
from app.core.rules import Rulebook

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


class Readings:
    """Reads a view by the user's rules. More classes than `most_classes` are shown as one."""

    def __init__(self, view: View, rulebook: Rulebook, most_classes: int) -> None:
        self.view = view
        self.rulebook = rulebook
        self._most_classes = most_classes

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

    def snapshot(self, identity: Identity, now: float) -> dict[str, Sums] | None:
        """What is counted of a model at this moment, in total and in each window that ends now, for `of_sums`: it stays
        as it is while the view goes on. None where nothing is counted.
        """
        found = self._sums(identity, now)
        if found is None:
            return None
        return {name: {measure: dict(cells) for measure, cells in sums.items()} for name, sums in found.items()}

    def of_sums(self, identity: Identity, sums: Mapping[str, Sums]) -> dict[str, Reading]:
        """What a model's sums say, in total and in windows. The view is not asked."""
        nature = self._nature(identity, sums[TOTAL])
        return {name: read(some, nature, by_labels=name.startswith(LABELS)) for name, some in sums.items()}

    def _sums(self, identity: Identity, now: float) -> dict[str, Sums] | None:
        view, account = self.view, Account(identity)
        total = view.total(account)
        if not is_shown(total):
            return None
        sums = {TOTAL: total} | {window.name: view.window(account, window, now) for window in view.windows}
        if view.by_labels:
            labelled = Account(identity, BY_LABELS)
            sums |= {labels_window(window): view.window(labelled, window, now) for window in view.windows}
        return sums

    def of_pairs(self, now: float) -> Iterator[tuple[Pair, dict[str, PairedReading]]]:
        """Of each two legs that are compared what is read of both: "total", then each window that ends now."""
        for pair in self.view.pairs():
            readings = self.of_pair(pair, now)
            if readings is not None:
                yield pair, readings

    def of_pair(self, pair: Pair, now: float) -> dict[str, PairedReading] | None:
        """The same of two legs; None where nothing is counted of them."""
        view, account = self.view, Account(pair)
        total = view.total(account)
        if not total:
            return None
        sums = {TOTAL: total, **{window.name: view.window(account, window, now) for window in view.windows}}
        return {name: read_pair(own.get(PAIRED, {})) for name, own in sums.items()}

    def nature(self, identity: Identity) -> Nature | None:
        """As what a model is read; None where nothing is counted of it."""
        total = self.view.total(Account(identity))
        return self._nature(identity, total) if is_shown(total) else None

    def of_panes(self, account: Account, level: str, panes: range) -> Reading | None:
        """What some panes of a model's account say together; None where nothing is counted in them."""
        assert isinstance(account.subject, Identity)
        sums = self.view.panes(account, level, panes)
        nature = self.nature(account.subject) if sums else None
        return None if nature is None else read(sums, nature, by_labels=account.segment == BY_LABELS)

    def pair_of_panes(self, account: Account, level: str, panes: range) -> PairedReading | None:
        """What some panes of a pair's account say together; None where nothing is counted in them."""
        sums = self.view.panes(account, level, panes)
        return read_pair(sums.get(PAIRED, {})) if sums else None

    def _nature(self, identity: Identity, total: Sums) -> Nature:
        rules = self.rulebook.of(identity.leg)
        nature = nature_of(total.get(CONFUSION.name, {}), rules, self._most_classes)
        return nature if rules.reference is None else nature._replace(reference=rules.reference.live)

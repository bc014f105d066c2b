"""Segments and fairness: which values an answer has, which are shown, and how the groups of one fare."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from xxhash import xxh3_64_intdigest

MISSING: Final = "(missing)"
SEVERAL: Final = "(several)"
_SPECIAL: Final = (MISSING, SEVERAL, "(list)", "(object)", "(too long)", "(no number)")
#: How many values of a segment are shown, those that always are among them.
SHOWN: Final = 3

#: By segment one value, or a list with one of each row.
Values = dict[str, str | list[str]]


class Slice(NamedTuple):
    """A declared segment: where its values stand (tags, headers, features, payload, route), and its bins."""

    name: str
    source: str
    field: str = ""
    bins: tuple[float, ...] = ()
    kept: tuple[str, ...] = ()

    @property
    def always(self) -> tuple[str, ...]:
        """The values that are never shown as others."""
        return *_SPECIAL, *self.kept, *(_bin(place, self.bins) for place in range(len(self.bins) + bool(self.bins)))

    def said(self, body: Mapping[str, Any], headers: Mapping[str, str], *, asked: bool) -> str | list[str] | None:
        """What a request or an answer says; None where it says nothing."""
        if self.source == "features":
            return self._of_rows(body) if asked else None
        raw: Any
        if self.source == "headers":
            raw = headers.get(self.field, headers.get(f"ce_{self.field}"))
        elif self.source == "tags":
            raw = body.get("meta", {}).get("tags", {}).get(self.field)
        elif self.source == "route":
            chosen = {} if asked else body.get("meta", {}).get("routing", {})
            raw = ",".join(f"{router}:{branch}" for router, branch in sorted(chosen.items()) if branch >= 0)
        else:
            raw = body
            for key in self.field.split("."):
                raw = raw.get(key) if isinstance(raw, dict) else None
        return self._value(raw)

    def _of_rows(self, body: Mapping[str, Any]) -> str | list[str] | None:
        names, rows = body.get("data", {}).get("names") or [], body.get("data", {}).get("ndarray", [])
        if self.field not in names:
            return None
        values = [self._value(row[names.index(self.field)]) for row in rows]
        found = [MISSING if value is None else value for value in values]
        if len(values) == 1:
            return values[0]
        return found[0] if len({*found}) == 1 else found

    def _value(self, raw: Any) -> str | None:
        if isinstance(raw, list) and len(raw) == 1:
            (raw,) = raw
        if isinstance(raw, list | dict):
            return "(list)" if isinstance(raw, list) else "(object)"
        if raw is None or raw == "":
            return None
        if self.bins:
            try:
                number = float("x" if isinstance(raw, bool) else raw)
            except ValueError:
                return "(no number)"
            return _bin(sum(bound <= number for bound in self.bins), self.bins)
        if isinstance(raw, bool):
            return "true" if raw else "false"
        text = f"{raw:.0f}" if isinstance(raw, float) and raw.is_integer() else str(raw).strip()
        return "(too long)" if len(text) > 100 else text or None


def _bin(place: int, bins: Sequence[float]) -> str:
    texts = [f"{bound:g}" for bound in bins]
    if place == 0:
        return f"<{texts[0]}"
    return f">={texts[-1]}" if place == len(bins) else f"{texts[place - 1]}-{texts[place]}"


def values_of(slices: Iterable[Slice], asked: tuple[Any, Any] | None, answer: tuple[Any, Any], rows: int) -> Values:
    """The values of an answer, by what it says, else its request: body and headers of each."""
    found: Values = {}
    for one in slices:
        value = one.said(*answer, asked=False)
        if value is None and asked is not None:
            value = one.said(*asked, asked=True)
        found[one.name] = MISSING if value is None or (isinstance(value, list) and len(value) != rows) else value
    return found


def places(values: Values, row: int | None = None) -> frozenset[tuple[str, str]]:
    """Where something counts that is of a row, or of the whole answer."""
    of_whole = {name: SEVERAL if isinstance(value, list) else value for name, value in values.items()}
    of_rows = {} if row is None else {name: value[row] for name, value in values.items() if isinstance(value, list)}
    return frozenset({**of_whole, **of_rows}.items())


def digest_of(slices: Iterable[Slice], value: bytes, headers: Mapping[str, str]) -> int:
    """What decides between two events of one time: the value, and what headers say of segments."""
    own = [headers.get(one.field, headers.get(f"ce_{one.field}")) for one in slices if one.source == "headers"]
    given = [text for text in own if text is not None]
    return xxh3_64_intdigest(value, xxh3_64_intdigest("\0".join(given).encode()) if given else 0)


def shown(one: Slice, occurring: Iterable[str]) -> dict[str, str]:
    """As what each value is shown: those of the lowest hashes as themselves."""
    always = {value for value in occurring if value in one.always}
    ranked = sorted({*occurring} - always, key=lambda value: xxh3_64_intdigest(value.encode()))
    own = always | {*ranked[: max(0, SHOWN - len(always))]}
    return {value: value if value in own else "other" for value in occurring}


# -- fairness ---------------------------------------------------------------------------------------------------------


class Fair(NamedTuple):
    """Which segment is to be treated alike, by which value and class."""

    attribute: str
    privileged: str
    positive: str | None = None


#: (value, measure, score, the rows that it rests on)
Treated = tuple[str, str, float | None, int]


def treatments(fair: Fair, positive: str, facts: Mapping[str, Sequence[tuple[Any, ...]]]) -> Iterator[Treated]:
    """All measures, of what is judged and answered in each value of the attribute."""
    privileged = _Group.of(facts.get(fair.privileged, ()), positive)
    others = {value: own for value, own in facts.items() if value != fair.privileged and value not in _SPECIAL}
    together = [what for own in others.values() for what in own]
    for value, own in {"": together, **others}.items():
        group = _Group.of(own, positive)
        yield (
            value,
            "statistical_parity_difference",
            _less(group.selection, privileged.selection),
            min(group.rows, privileged.rows),
        )
        impact = None
        if group.selection is not None and privileged.selection:
            impact = group.selection / privileged.selection
        yield value, "disparate_impact", impact, min(group.rows, privileged.rows)
        opportunity, alarm = _less(group.true, privileged.true), _less(group.false, privileged.false)
        positives = min(group.positives, privileged.positives)
        yield value, "equal_opportunity_difference", opportunity, positives
        odds = None if opportunity is None or alarm is None else (opportunity + alarm) / 2
        yield value, "average_odds_difference", odds, min(positives, group.negatives, privileged.negatives)


class _Group(NamedTuple):
    rows: int
    positives: int
    negatives: int
    selection: float | None
    true: float | None
    false: float | None

    @classmethod
    def of(cls, facts: Iterable[tuple[Any, ...]], positive: str) -> "_Group":
        """The rates of some rows."""
        answered = [what for what in facts if what[0] in ("judged", "unlabelled")]
        sides = [
            [what for what in answered if what[0] == "judged" and (what[1] == positive) is side]
            for side in (True, False)
        ]
        rates = [sum(what[-1] == positive for what in own) / len(own) if own else None for own in (answered, *sides)]
        return cls(len(answered), *map(len, sides), *rates)


def _less(own: float | None, other: float | None) -> float | None:
    return None if own is None or other is None else own - other

"""Rule 6: which class a prediction or a label is, and what one row counts as."""

import math
import re
from typing import Any, Final, NamedTuple

from tests.oracle.estimates import Said
from tests.oracle.rules import Rule

_TRUE: Final = ("true", "True", "TRUE")
_FALSE: Final = ("false", "False", "FALSE")
ROUNDING: Final = 1e-6


class Position(NamedTuple):
    """A place among the class names: the argmax of a vector, or one of Seldon's names t:0, t:1 …"""

    place: int


#: A class text, a place among the names, or a number that is not integral; None: no prediction, no label.
Value = str | Position | float | None


def value_of(raw: Any) -> Value:
    """What a scalar says: 4, 4.0, "4" and [4] are the class "4"; true and its texts are "1"."""
    if isinstance(raw, list):
        (raw,) = raw
    if isinstance(raw, bool) or raw in _TRUE or raw in _FALSE:
        return "1" if raw is True or raw in _TRUE else "0"
    if isinstance(raw, float) and not raw.is_integer():
        return raw
    if isinstance(raw, int | float):
        return str(int(raw))
    assert isinstance(raw, str)
    text = raw.strip(" \t\r\n\v\f")
    if re.fullmatch(r"(0|-?[1-9]\d*)(\.0+)?", text):
        return text.split(".")[0]
    if re.fullmatch(r"t:(0|[1-9]\d*)", text):
        return Position(int(text[2:]))
    if text in _TRUE or text in _FALSE:
        return value_of(text)
    return text or "(empty)"


def names_of(raw: Any, width: int) -> tuple[str, ...]:
    """The class names that a payload gives: none where they do not fit, or are Seldon's own."""
    if not raw or len(raw) != width or all(re.fullmatch(r"t:\d+", name) for name in raw):
        return ()
    return tuple(name.strip(" \t\r\n\v\f") or "(empty)" for name in raw)


def class_of(value: str | Position, names: tuple[str, ...]) -> str:
    """The name is the class; a label may be the name or the index, an exact name first."""
    if isinstance(value, Position):
        return names[value.place] if value.place < len(names) else str(value.place)
    if value in names:
        return value
    for name in names:
        if value_of(name) == value:
            return name
    return names[int(value)] if value.isdecimal() and int(value) < len(names) else value


def _number(value: Value) -> float | None:
    if isinstance(value, float):
        return value
    return float(value) if value in ("0", "1") else None


def number_of(value: Value) -> float | None:
    """The number that a prediction or label of a model that measures is; None for a place, and for other texts."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    return value if isinstance(value, float) and math.isfinite(value) else None


def _knows_two(names: tuple[str, ...], rule: Rule) -> bool:
    """Whether two classes are declared or known."""
    if rule.task is not None:
        return rule.task == "binary"
    return rule.positive is not None or len(names) == 2


def _poles(names: tuple[str, ...], rule: Rule) -> tuple[str, str]:
    """What a score says below the threshold, and from it on."""
    pair = names if len(names) == 2 else ()
    positive = rule.positive or (pair[1] if pair else "1")
    if positive in pair:
        return next(name for name in pair if name != positive), positive
    return ("1" if positive == "0" else "0"), positive


def _is_score(value: Value, names: tuple[str, ...], rule: Rule) -> bool:
    number = _number(value)
    if number is None or rule.task == "regression" or not -ROUNDING <= number <= 1 + ROUNDING:
        return False
    return isinstance(value, float) or _knows_two(names, rule)


def predicted_class(value: Value, names: tuple[str, ...], rule: Rule) -> str | None:
    """The class that is predicted, None for a measurement."""
    names = names or rule.classes
    if _is_score(value, names, rule):
        number = _number(value)
        assert number is not None
        return _poles(names, rule)[number >= rule.threshold]
    return labelled_class(value, names, rule)


def positive_of(names: tuple[str, ...], rule: Rule) -> str:
    """The positive one of two classes."""
    return _poles(names, rule)[1]


def labelled_class(value: Value, names: tuple[str, ...], rule: Rule) -> str | None:
    """The class that a label says, None for a measurement."""
    assert value is not None
    if isinstance(value, float):
        return repr(value) if rule.task in ("binary", "multiclass") else None
    return class_of(value, names or rule.classes)


class Chances(NamedTuple):
    """The probabilities of a row: of each class, whose is the label's, and whose the positive one's of two."""

    values: tuple[float, ...]
    label: int
    positive: int | None
    bare: bool = False  # it is just 0 or 1, which is a class as often
    names: tuple[str, ...] = ()  # of more classes than two, where each is ranked against the rest

    @property
    def brier(self) -> float:
        """Of two classes the square of the positive one's error, of more the sum over all."""
        errors = [value - (place == self.label) for place, value in enumerate(self.values)]
        return math.fsum(error**2 for error in errors) if self.positive is None else errors[self.positive] ** 2


def chances_of(
    predicted: Value, vector: list[float] | None, label: Value, names: tuple[str, ...], rule: Rule
) -> Chances | None:
    """The probabilities of a labelled row, None where it has none or none that count."""
    if label is None or rule.task == "regression":
        return None
    actual = labelled_class(label, names, rule)
    if vector is not None:
        if min(vector) < 0 or abs(math.fsum(vector) - 1) > ROUNDING or names.count(actual or "") != 1:
            return None
        positive = _poles(names, rule)[1]
        of_two = (0 if positive == names[0] else 1) if len(names) == 2 else None
        ranked = rule.probabilities is True and len(names) > 2 and len(rule.classes) > 2
        return Chances(tuple(vector), names.index(actual or ""), of_two, names=names if ranked else ())
    own = names or rule.classes
    if not _is_score(predicted, own, rule) or actual not in _poles(own, rule):
        return None
    number = _number(predicted)
    assert number is not None
    number = min(max(number, 0.0), 1.0)
    return Chances(
        (1 - number, number),
        _poles(own, rule).index(actual),
        1,
        isinstance(predicted, str) and rule.probabilities is None,
    )


def said_of(
    predicted: Value, vector: list[float] | None, label: Value, names: tuple[str, ...], rule: Rule
) -> Said | None:
    """The probability of a row, labelled or not; None where it has none."""
    if predicted is None or rule.task == "regression":
        return None
    actual = None if label is None else labelled_class(label, names, rule)
    says = predicted_class(predicted, names, rule)
    if vector is not None:
        if min(vector) < 0 or abs(math.fsum(vector) - 1) > ROUNDING:
            return None
        if len(vector) != 2:
            return Said(
                max(vector), two=False, positive=True, true=None if actual is None else actual == says, bare=False
            )
        value = vector[0 if _poles(names, rule)[1] == names[0] else 1]
    elif _is_score(predicted, names or rule.classes, rule):
        number = _number(predicted)
        assert number is not None
        value = min(max(number, 0.0), 1.0)
    else:
        return None
    poles = _poles(names or rule.classes, rule)
    true = actual == poles[1] if actual in poles else None
    return Said(
        value,
        two=True,
        positive=says == poles[1],
        true=true,
        bare=vector is None and isinstance(predicted, str) and rule.probabilities is None,
    )


def row_counts_as(predicted: Value, label: Value, names: tuple[str, ...], rule: Rule) -> tuple[str, ...]:
    """One row: failed, unmeasured, measured, (unlabelled, class) or (judged, actual, predicted)."""
    if predicted is None:
        return ("failed",)
    says = predicted_class(predicted, names, rule)
    is_measured = rule.task == "regression" or says is None
    if label is None:
        return ("unmeasured",) if is_measured or says is None else ("unlabelled", says)
    actual = labelled_class(label, names, rule)
    if is_measured or says is None or actual is None:
        return ("measured",)
    own = names or rule.classes
    if isinstance(predicted, float) and rule.task is None and not _knows_two(own, rule):
        # A score of which nobody has said that it is one: it is where it meets 0 or 1.
        return ("judged", actual, says) if actual in _poles(own, rule) else ("measured",)
    return ("judged", actual, says)

"""The verdict: predicted against label, for one row of one leg.

What a row counts as is an atom of the confusion. The verdict words that users see are read out of its sums
(`confusion`), since only there it is known whether the model does classification at all.
"""

from typing import Final

from app.core.counts.atoms import Atom
from app.core.payloads.marks import Mark, class_text
from app.core.rules import Rules

#: Rows of the confusion itself are named so, with the actual class behind it.
ACTUAL: Final = "confusion="
#: Rows without label, by predicted class: they say which classes the model knows.
UNLABELLED: Final = "confusion/unlabelled"
_OTHERS: Final = "confusion"
#: By how much the rounding of 32 bits may carry a score beyond 0 and 1.
_ROUNDING: Final = 1e-6

FAILED: Final = Atom(_OTHERS, "failed")
MEASURED: Final = Atom(_OTHERS, "measured")
UNMEASURED: Final = Atom(_OTHERS, "unmeasured")


def poles(classes: tuple[str, ...], rules: Rules) -> tuple[str, str]:
    """The classes that a single score means below the threshold, and from it on."""
    names = classes or rules.classes
    positive = rules.positive or (names[1] if len(names) == 2 else "1")
    if len(names) == 2 and positive in names:
        return names[1 - names.index(positive)], positive
    return "1" if positive == "0" else "0", positive


def is_score(mark: Mark, classes: tuple[str, ...], rules: Rules) -> bool:
    """Whether a prediction is a single score: a number from 0 to 1, and a little beyond them by rounding.

    0 and 1 themselves may also be classes, so they are scores only where there are two classes: by the task, by a
    positive class, or by their names.
    """
    if rules.task == "regression" or not isinstance(mark, int | float) or not -_ROUNDING <= mark <= 1 + _ROUNDING:
        return False
    return type(mark) is float or _has_two_classes(classes, rules)


def _has_two_classes(classes: tuple[str, ...], rules: Rules) -> bool:
    """Whether two classes are declared or known."""
    if rules.task is not None:
        return rules.task == "binary"
    return rules.positive is not None or len(classes or rules.classes) == 2


def predicted_text(mark: Mark, classes: tuple[str, ...], rules: Rules) -> str | None:
    """The class that a prediction names, or None where it is a measurement or failed."""
    if mark is None:
        return None
    if is_score(mark, classes, rules):
        return poles(classes, rules)[mark >= rules.threshold]  # type: ignore[operator]
    if isinstance(mark, float):
        return repr(mark) if rules.task in ("binary", "multiclass") else None
    return class_text(mark, classes or rules.classes)


def label_text(mark: Mark, classes: tuple[str, ...], rules: Rules) -> str | None:
    """The class that a label names, or None where it is a measurement or absent."""
    if isinstance(mark, float):
        return repr(mark) if rules.task in ("binary", "multiclass") else None
    return None if mark is None else class_text(mark, classes or rules.classes)


def judge(mark: Mark, label: Mark, classes: tuple[str, ...], rules: Rules) -> Atom:
    """The atom of one row. `classes` are the class names of the response.

    Labels and single outputs that are neither integral nor text are evidence of regression, scores in [0, 1] against
    0/1 labels, or of two known classes, aside: such rows count as measured (or unmeasured, without label), never in the
    confusion.
    """
    if mark is None:
        return FAILED
    predicted = predicted_text(mark, classes, rules)
    if label is None:
        return UNMEASURED if predicted is None or rules.task == "regression" else Atom(UNLABELLED, predicted)
    actual = label_text(label, classes, rules)
    if predicted is None or actual is None or rules.task == "regression":
        return MEASURED
    if (
        type(mark) is float
        and rules.task is None
        and not _has_two_classes(classes, rules)
        and actual not in poles(classes, rules)
    ):
        return MEASURED
    return Atom(ACTUAL + actual, predicted)


def is_labelled(atom: Atom) -> bool:
    """Whether an atom counts a row with its label."""
    return atom.row.startswith(ACTUAL) or atom == MEASURED

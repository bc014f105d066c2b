"""The verdict: predicted against label, for one row of one leg.

What a row counts as is an *atom*: a cell (row, column) of the tally. The verdict words that users see are read out of
the tally (`app.core.measures.reading`), since only there it is known whether the model does classification at all.
"""

from typing import Final, NamedTuple

from app.core.payloads.marks import Mark, class_text
from app.core.rules import Rules


class Atom(NamedTuple):
    """One counter of a tally: the confusion's row of a class and the predicted column, or a named counter."""

    row: str
    column: str


#: The row of all counters that are no class counts. Rows of the confusion are named "=" + the actual class.
COUNTERS: Final = "counters"
#: Rows without label, by predicted class: they say which classes the model knows.
UNLABELLED: Final = "unlabelled"
#: Lists of classes that responses have fixed, as JSON text.
CLASSES: Final = "classes"

FAILED: Final = Atom(COUNTERS, "failed")
MEASURED: Final = Atom(COUNTERS, "measured")
UNMEASURED: Final = Atom(COUNTERS, "unmeasured")


def predicted_text(mark: Mark, names: tuple[str, ...], rules: Rules) -> str | None:
    """The class that a prediction names, or None where it is a measurement or failed."""
    if not isinstance(mark, float):
        return None if mark is None else class_text(mark, names or rules.classes)
    if 0 <= mark <= 1 and rules.task != "regression":
        return (rules.positive or "1") if mark >= rules.threshold else rules.negative()
    return repr(mark) if rules.task in ("binary", "multiclass") else None


def label_text(mark: Mark, names: tuple[str, ...], rules: Rules) -> str | None:
    """The class that a label names, or None where it is a measurement or absent."""
    if isinstance(mark, float):
        return repr(mark) if rules.task in ("binary", "multiclass") else None
    return None if mark is None else class_text(mark, names or rules.classes)


def judge(mark: Mark, label: Mark, names: tuple[str, ...], rules: Rules) -> Atom:
    """The atom of one row. `names` are the class names of the response.

    Labels and single outputs that are neither integral nor text are evidence of regression, scores in [0, 1] against
    0/1 labels aside: such rows count as measured (or unmeasured, without label), never in the confusion.
    """
    if mark is None:
        return FAILED
    predicted = predicted_text(mark, names, rules)
    if label is None:
        return UNMEASURED if predicted is None or rules.task == "regression" else Atom(UNLABELLED, predicted)
    actual = label_text(label, names, rules)
    if predicted is None or actual is None or rules.task == "regression":
        return MEASURED
    if (
        type(mark) is float
        and rules.task is None
        and actual not in (predicted, rules.positive or "1", rules.negative())
    ):
        return MEASURED
    return Atom("=" + actual, predicted)

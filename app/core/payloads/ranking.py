"""Rankings: several classes with a score each, of which the best is the prediction. Answers write them as

    [{"label": "cat", "score": 0.9}, …]     Hugging Face's top-k, and others with words of their own
    [["cat", 0.9], …]                       TensorFlow Serving's classify
    ["0.9:1:cat", …]                        Triton's classification: value, index and, where it knows one, label
    ["cat", …] beside [0.9, …]              TensorFlow's `classes` and `scores`, Vertex AI's `displayNames`

https://huggingface.co/docs/api-inference/tasks/text-classification
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_classification.md
"""

import re
from collections.abc import Sequence
from math import isfinite
from typing import Any, Final, NamedTuple

from app.core.events import Reason, RefusedError
from app.core.payloads.words import is_blocked, is_class, is_identifier, is_score

_CLASSIFICATION: Final = re.compile(r"(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|-?nan|-?inf):(\d{1,9})(?::(.*))?", re.DOTALL)
#: By how much probabilities may miss 1 in sum: they were rounded.
_ROUNDED: Final = 0.01


class Ranked(NamedTuple):
    """A prediction (a class, or a vector with one score a class), and the score of a class where it has one."""

    value: Any
    score: float | None = None


class NoClassError(Exception):
    """Rows hold no class; the message says why."""


def best(labels: Sequence[Any], scores: Sequence[Any]) -> Ranked:
    """The class with the highest score, the first of several. Refuses scores that are null or not finite.

    Where no class has a name they are positions, as Seldon writes them: t:0, t:1 …
    """
    for score in scores:
        if score is None or not isfinite(score):
            raise RefusedError(Reason.NOT_FINITE, f"the score of a class is {'null' if score is None else score}")
    index = max(range(len(scores)), key=scores.__getitem__)
    label = labels[index]
    return Ranked(f"t:{index}" if not any(label != "" for label in labels) else label, float(scores[index]))


def best_of_lists(labels: Any, scores: Any) -> Ranked | None:
    """The same of two lists, None where they are no ranking."""
    if (
        type(labels) is list
        and type(scores) is list
        and 0 < len(labels) == len(scores)
        and all(type(label) in (str, int) for label in labels)
        and _are_scores(scores)
    ):
        return best(labels, scores)
    return None


def best_of_items(row: list[Any]) -> Ranked | None:
    """The best of a row that lists classes with their scores, None where it does not.

    Raises NoClassError where it lists objects of which class and score are only a part: things in a picture, words of a
    text.
    """
    if all(type(item) is list and len(item) == 2 and type(item[0]) is str for item in row):
        scores = [item[1] for item in row]
        return best([item[0] for item in row], scores) if _are_scores(scores) else None
    if not all(type(item) is dict for item in row):
        return None
    places = [_label_and_score(item) for item in row]
    if None in places:
        raise NoClassError("rows list objects that are more, or less, than a class and its score")
    labels = [item[place[0]] for item, place in zip(row, places, strict=True) if place is not None]
    scores = [item[place[1]] for item, place in zip(row, places, strict=True) if place is not None]
    if not all(type(label) in (str, int, bool) for label in labels) or not _are_scores(scores):
        raise NoClassError("rows list objects whose class is no text, or whose score is no number")
    return best(labels, scores)


def is_one_ranking(rows: list[Any]) -> bool:
    """Whether a list of classes with their scores is the answer to one row: different classes, the best first, whose
    scores are all that there is.
    """
    places = [_label_and_score(row) if type(row) is dict else None for row in rows]
    if len(rows) < 2 or None in places:
        return False
    labels = {str(row[place[0]]) for row, place in zip(rows, places, strict=True) if place is not None}
    scores = [row[place[1]] for row, place in zip(rows, places, strict=True) if place is not None]
    if len(labels) < len(rows) or not all(type(score) in (int, float) for score in scores):
        return False
    return sorted(scores, reverse=True) == scores and abs(sum(scores) - 1) <= _ROUNDED


def _label_and_score(item: dict[str, Any]) -> tuple[str, str] | None:
    """The names of class and score in an item that has nothing else."""
    scores = [name for name in item if is_score(name)]
    others = [name for name in item if name not in scores]
    labels = [name for name in others if is_class(name)] or [name for name in others if not is_identifier(name)]
    extra = [name for name in others if name not in labels and not is_identifier(name)]
    if len(scores) != 1 or len(labels) != 1 or extra or any(is_blocked(name) for name in others):
        return None
    return labels[0], scores[0]


def _are_scores(scores: Sequence[Any]) -> bool:
    return all(type(score) in (int, float) or score is None for score in scores)


# -- Triton -----------------------------------------------------------------------------------------------------------


def are_classifications(texts: Sequence[Any], width: int) -> bool:
    """Whether texts, `width` of a row, are Triton's classifications, and not classes that only look like them (12:30).

    Triton writes values of floats with six digits behind the point, sorts them, and its labels are words.
    """
    found = [_CLASSIFICATION.fullmatch(text) if type(text) is str else None for text in texts]
    matches = [match for match in found if match is not None]
    if not matches or len(matches) < len(found):
        return False
    if all("." in match[1] or "n" in match[1] or (match[3] and not match[3].isdecimal()) for match in matches):
        return True
    rows = [matches[start : start + width] for start in range(0, len(matches), width)]
    return width > 1 and all(_is_sorted(row) for row in rows)


def is_one_row(texts: Sequence[str]) -> bool:
    """Whether the classifications of a tensor of one dimension are those of one row: of a model without batches."""
    matches = [match for text in texts if (match := _CLASSIFICATION.fullmatch(text))]
    values = [float(match[1]) for match in matches]
    return _is_sorted(matches) and not (min(values) >= 0 and max(values) <= 1 and sum(values) > 1.001)


def _is_sorted(row: Sequence[re.Match[str]]) -> bool:
    values = [float(match[1]) for match in row]
    return values == sorted(values, reverse=True) and len({match[2] for match in row}) == len(row)


def best_of_texts(row: Any) -> Ranked | None:
    """The best of one row's classifications, None where they are none. An index without a label is a position."""
    texts = row if type(row) is list else [row]
    found = [_CLASSIFICATION.fullmatch(text) if type(text) is str else None for text in texts]
    matches = [match for match in found if match is not None]
    if not matches or len(matches) < len(found):
        return None
    return best([match[3] or f"t:{match[2]}" for match in matches], [float(match[1]) for match in matches])

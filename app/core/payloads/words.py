"""What names of columns say: whether what stands there is a class, a score, an area, or nothing of the kind."""

import re
from functools import lru_cache
from typing import Final

#: A class column has the first of these words that any name has.
CLASS_WORDS: Final = ("predict", "label", "classes", "class", "displayname", "tagname", "categor", "output")
#: Of a column that stands alone these are enough.
ALONE: Final = frozenset({"target", "outcome", "result", "value", "y", "y_pred", "y_hat", "yhat", "0"})
#: Vectors under the first of these words before others.
SCORE_WORDS: Final = ("prob", "softmax", "likelihood", "confidence", "score", "logit")
#: Where something is; then the class beside it is one of several in a picture.
_PLACES: Final = re.compile(r"box|mask|segment|keypoint|landmark|polygon|detection", re.IGNORECASE)
#: What a model makes on its way to an answer.
_FEATURES: Final = re.compile(r"embedding|heatmap|attention|hidden_state", re.IGNORECASE)
_IDENTIFIER: Final = re.compile(
    r"(?:^|[\W_])(?:ids?|uuid|guid|node|time|timestamp|date|took|ms|latency|duration|version|model|rank|index|idx|row)"
    r"(?:$|[\W_])",
    re.IGNORECASE,
)
_IDENTIFIER_ENDS: Final = ("Id", "ID", "Ids", "Time", "Version")
#: Of one quantity, and no classes.
_STATISTICS: Final = re.compile(
    r"mean|avg|average|std|stddev|stdev|sd|var|variance|min|minimum|max|maximum|median|mode|mae|rmse|mse|loss|error|"
    r"lower|upper|lower_?bound|upper_?bound|threshold|total|sum|count|[pq]\d+|raw|value|score|time|latency",
    re.IGNORECASE,
)
_SCORE_NAMES: Final = r"probability|probabilities|probas?|probs?|scores?|confidences?|softmax|likelihoods?|logits?"
#: How a name says of which class it is the score: the first group is what the columns of a family share.
_FAMILIES: Final = (
    re.compile(
        rf"(?P<family>(?:.*[\W_])?(?:{_SCORE_NAMES}))(?:[\s_\-.:/]+|[(\[<])(?:of[\s_]+)?(?P<name>.+?)[)\]>]?",
        re.IGNORECASE,
    ),
    re.compile(rf"(?P<name>.+?)[\s_\-.:/]+(?P<family>{_SCORE_NAMES})", re.IGNORECASE),
    re.compile(r"(?P<family>prob(?:a|ability)?|score|confidence)(?P<name>[A-Z0-9].*)"),
    re.compile(r"(?P<name>.+?)(?P<family>Prob(?:ability)?|Score|Confidence)"),
)
_LOOSE_FAMILIES: Final = (
    re.compile(r"(?P<family>p)(?:[\s_.]|[(\[])(?P<name>.+?)[)\]]?", re.IGNORECASE),
    re.compile(
        r"(?P<family>(?:.*[\W_])?(?:prediction|predicted|pred|label|class|output|category|target))[\s_\-.:]*(?P<name>.+)",
        re.IGNORECASE,
    ),
)


@lru_cache(maxsize=4096)
def is_score(name: str) -> bool:
    """Whether a name says that a score stands there."""
    return any(word in name.lower() for word in SCORE_WORDS)


@lru_cache(maxsize=4096)
def is_identifier(name: str) -> bool:
    """Whether a name says that what stands there is no part of the answer: an id, a time, a version."""
    return bool(_IDENTIFIER.search(name)) or name.endswith(_IDENTIFIER_ENDS)


@lru_cache(maxsize=4096)
def is_blocked(name: str) -> bool:
    """Whether a name says that places, areas or features stand there, which are no class by themselves."""
    return is_place(name) or bool(_FEATURES.search(name))


@lru_cache(maxsize=4096)
def is_place(name: str) -> bool:
    """Whether a name says that places or areas of things stand there."""
    return bool(_PLACES.search(name))


@lru_cache(maxsize=4096)
def is_statistic(name: str) -> bool:
    """Whether a name is that of a quantity, and of no class."""
    return bool(_STATISTICS.fullmatch(name))


@lru_cache(maxsize=4096)
def is_class(name: str) -> bool:
    """Whether a name says that a class stands there."""
    return class_rank(name) >= 0


@lru_cache(maxsize=4096)
def class_rank(name: str) -> int:
    """Which of the class words a name has, -1 for none."""
    word = name.lower()
    if is_score(name) or is_blocked(name) or word.startswith("all_"):
        return -1
    return next((rank for rank, wanted in enumerate(CLASS_WORDS) if wanted in word), -1)


@lru_cache(maxsize=4096)
def holds_answer(name: str) -> bool:
    """Whether a name says that the whole answer stands there, scores too, and not that classes do."""
    return CLASS_WORDS[class_rank(name)] in ("predict", "output")


@lru_cache(maxsize=4096)
def score_rank(name: str) -> int:
    """Which of the score words a name has, -1 for none."""
    word = name.lower()
    return next((rank for rank, wanted in enumerate(SCORE_WORDS) if wanted in word), -1)


@lru_cache(maxsize=4096)
def family_of(name: str) -> tuple[str, str] | None:
    """Of a name that says of which class it is the score: what such names share, and the class."""
    return _family(name, _FAMILIES)


@lru_cache(maxsize=4096)
def names_its_class(name: str) -> bool:
    """Whether a score's name ends with a class, like `Probability_setosa`; `fraud_score` is the model's own score."""
    return any(pattern.fullmatch(name) for pattern in (_FAMILIES[0], _FAMILIES[2]))


@lru_cache(maxsize=4096)
def loose_family_of(name: str) -> tuple[str, str] | None:
    """The same of names that may mean something else: `class_cat`, `p_cat`. Their numbers must sum to 1."""
    return _family(name, _LOOSE_FAMILIES)


def _family(name: str, patterns: tuple[re.Pattern[str], ...]) -> tuple[str, str] | None:
    for pattern in patterns:
        found = pattern.fullmatch(name)
        if found is not None:
            return found["family"].lower(), found["name"]
    return None

"""Versions of models, as responses name them."""

import re
from functools import lru_cache
from math import isfinite
from typing import Any, Final

_TAG: Final = re.compile(r"^[^@]*:([^:/@]+)(?:@.*)?$")


def version_text(value: Any) -> str:
    """A V2 `model_version` as text, "" where it is none. Whole numbers beyond 64 bits become floats, as elsewhere."""
    kind = type(value)
    if kind is int and not -(2**63) <= value < 2**64:
        try:
            value = float(value)
        except OverflowError:
            return ""
    if kind is float and not isfinite(value):
        return ""
    return str(value) if kind in (str, int, float) and value else ""


@lru_cache(maxsize=1024)
def tag_of(image: str) -> str:
    """The tag of an image, "" where it has none."""
    tag = _TAG.search(image)
    return tag[1] if tag else ""

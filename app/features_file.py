"""Declared features in the YAML file: how they are written, and the sentence where that is wrong."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.core.drift.declared import Declared
from app.core.drift.distribution import MOST_BINS, category_of
from app.core.drift.reference import MOST_FEATURES

_Bound = Annotated[float, Field(allow_inf_nan=False)]


class FeatureEntry(BaseModel):
    """One of `features:` of a model: the bounds of its numbers, or the list of its categories."""

    model_config = ConfigDict(extra="forbid", strict=True)

    least: _Bound | None = Field(None, alias="min")
    most: _Bound | None = Field(None, alias="max")
    one_of: list[Any] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        bounded = self.least is not None or self.most is not None
        if bounded == (self.one_of is not None):
            raise ValueError("must have either min, max or both, or one_of")
        if self.least is not None and self.most is not None and self.least > self.most:
            raise ValueError(f"has min {self.least:g} above max {self.most:g}")
        if self.one_of is not None and not 0 < len(self.one_of) <= MOST_BINS:
            raise ValueError(f"must have 1 to {MOST_BINS:,} values in one_of; it has {len(self.one_of):,}")
        for value in self.one_of or ():
            if not isinstance(value, str | int | float) or category_of(value) is None:
                raise ValueError(
                    f"has {value!r} in one_of, which is no text or number: what is missing is never invalid"
                )
        return self


def declared_of(entries: Mapping[str, FeatureEntry]) -> tuple[Declared, ...]:
    """The features as the core takes them. Raises ValueError with what is wrong."""
    if len(entries) > MOST_FEATURES:
        raise ValueError(f"there are {len(entries):,}; a model may have {MOST_FEATURES:,}")
    for name in entries:
        if not name or name != name.strip() or name.startswith("("):
            raise ValueError(f"{name!r} is no name of a column: it must begin with no blank and no bracket")
    return tuple(
        Declared(name, entry.least, entry.most, tuple(str(category_of(value)) for value in entry.one_of or ()))
        for name, entry in entries.items()
    )

"""The YAML file that `TALLY_CONFIG` names: what is set per model, and the rules that the core takes from it."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from app.core.drift.live import Live, Watched
from app.core.rules import Column, Fairness, Rulebook, Rules, Schema
from app.core.scores.catalogue import SCORES
from app.reference_file import ReferenceFileError, place_of, read_reference
from app.segments_file import FairnessEntry, check_fairness, check_redaction, segments_of
from app.settings import SettingsError
from app.yaml_file import YamlError, read_yaml

#: How like a key another must be to be taken for it, as difflib measures it.
_ALIKE: Final = 0.65


def _text_keys(value: Any) -> Any:
    """YAML reads the code `0:` as a number."""
    return {str(key): text for key, text in value.items()} if isinstance(value, dict) else value


def _path_alone(value: Any) -> Any:
    """A path may stand alone: `reference: FILE`."""
    return {"path": value} if isinstance(value, str) else value


def _of_a_leg(pattern: str) -> str:
    if pattern.count("/") < 3 and not any(sign in pattern for sign in "*?["):
        raise ValueError(
            "fits no model: it must be namespace/service/predictor/model, or a pattern for that like a/b/*"
        )
    return pattern


def _score_and_class(name: str) -> tuple[str, str]:
    score, _, of_class = name.partition("/")
    return score, of_class


class SchemaPart(BaseModel):
    """One of the columns that a ONE_HOT or PROBA column is made of."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    data_type: str = ""


class SchemaColumn(BaseModel):
    """One column of a prediction schema, as Seldon Deploy's model metadata has them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    type: Literal["REAL", "CATEGORICAL", "ONE_HOT", "PROBA", "TEXT", "TENSOR"] = "REAL"
    data_type: str = ""
    n_categories: int | str = 0
    category_map: Annotated[dict[str, str], BeforeValidator(_text_keys)] = {}
    parts: list[SchemaPart] = Field([], alias="schema")
    shape: list[int] = []

    def column(self) -> Column:
        """The column as the core takes it."""
        parts = tuple(part.name for part in self.parts) if self.type in ("ONE_HOT", "PROBA") else ()
        categories = tuple(self.category_map.items()) if self.type == "CATEGORICAL" else ()
        return Column(self.name, parts, categories)


class SchemaEntry(BaseModel):
    """`prediction_schema:` of a model."""

    model_config = ConfigDict(extra="forbid", strict=True)

    requests: list[SchemaColumn] = []
    responses: list[SchemaColumn] = []


class ReferenceEntry(BaseModel):
    """`reference:` of a model: a file, or the folder with its `histogram.prom`; from the folder of the YAML file on."""

    model_config = ConfigDict(extra="forbid", strict=True)

    path: str = Field(min_length=1)


class ModelEntry(BaseModel):
    """One entry of `models:` in the YAML file. Unknown keys are an error."""

    model_config = ConfigDict(extra="forbid", strict=True)

    match: Annotated[str, AfterValidator(_of_a_leg)] = Field(min_length=1)
    task: Literal["binary", "multiclass", "regression"] | None = None
    positive: str | None = None
    threshold: float = Field(default=0.5, ge=0, le=1)
    classes: list[str] = []
    scored_model: str | None = None
    shadow: list[str] = ["shadow"]
    compare: list[str] | None = None
    least_count: int = Field(default=100, ge=1)
    limits: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = {}
    intervals: bool = False
    redact: list[str] = []
    reference: Annotated[ReferenceEntry | None, BeforeValidator(_path_alone)] = None
    segments: dict[str, Any] = {}
    fairness: FairnessEntry | None = None
    probabilities: bool | None = None
    prediction_schema: SchemaEntry = SchemaEntry()

    @field_validator("limits")
    @classmethod
    def _are_of_scores(cls, limits: dict[str, float]) -> dict[str, float]:
        for name, limit in limits.items():
            score, of_class = _score_and_class(name)
            formula = next((one for one in SCORES if one.name == score), None)
            if formula is None:
                meant = get_close_matches(score, [one.name for one in SCORES], n=1, cutoff=_ALIKE)
                raise ValueError(f"there is no score {score}" + (f"; did you mean {meant[0]}?" if meant else ""))
            if of_class and not formula.by_class:
                raise ValueError(f"{score} is never of one class")
            if formula.bounded and abs(limit) > 1:
                raise ValueError(f"{score} is 1 at most")
        return limits

    @field_validator("segments")
    @classmethod
    def _are_segments(cls, segments: dict[str, Any]) -> dict[str, Any]:
        segments_of(segments)
        return segments

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        segments = segments_of(self.segments)
        check_redaction(segments, self.redact, self._schema())
        check_fairness(segments, self._fairness())
        return self

    def _schema(self) -> Schema:
        parts = self.prediction_schema.requests, self.prediction_schema.responses
        return Schema(*(tuple(column.column() for column in part) for part in parts))

    def _fairness(self) -> Fairness | None:
        return None if self.fairness is None else self.fairness.rules()

    def rules(self, reference: Watched | None = None) -> Rules:
        """The entry as the core takes it, with its reference as it was read."""
        lists: dict[str, Any] = {name: tuple(getattr(self, name)) for name in ("classes", "shadow", "redact")}
        lists["limits"] = tuple((*_score_and_class(name), limit) for name, limit in self.limits.items())
        lists["compare"] = None if self.compare is None else tuple(self.compare)
        lists["fairness"] = self._fairness()
        lists["segments"] = check_fairness(segments_of(self.segments), self._fairness())
        others = {"prediction_schema": self._schema(), "reference": reference}
        return Rules(**{**self.model_dump(), **lists, **others})


class ConfigFile(BaseModel):
    """The YAML file named by `TALLY_CONFIG`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    models: list[ModelEntry] = []


#: What stands below each key; nothing but texts below the others.
_BELOW: Final[Mapping[str, type[BaseModel]]] = {
    "": ConfigFile,
    "models": ModelEntry,
    "reference": ReferenceEntry,
    "prediction_schema": SchemaEntry,
    "fairness": FairnessEntry,
    "requests": SchemaColumn,
    "responses": SchemaColumn,
    "schema": SchemaPart,
}
#: What pydantic says less plainly, by its name of the fault.
_WORDS: Final[Mapping[str, str]] = {
    "missing": "is missing",
    "string_type": "must be a text: put it in quotes",
    "list_type": "must be a list like [a, b]",
    "model_type": "must hold keys, each with its value",
    "dict_type": "must hold keys, each with its value",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "invalid_key": "unknown, and no text",
}
_SHOWN: Final = 100


def load_rulebook(path: Path | None) -> Rulebook:
    """The rules per model from the YAML file, none without a file.

    Raises `SettingsError` with a sentence for each thing that is wrong.
    """
    if path is None:
        return Rulebook()
    try:
        content = read_yaml(path)
        file = ConfigFile.model_validate({} if content is None else content)
    except YamlError as error:
        raise SettingsError(f"TALLY_CONFIG: {path}{error}.") from None
    except ValidationError as error:
        by_place = {_path(fault["loc"], content): fault for fault in reversed(error.errors())}  # the first of each
        sentences = [_sentence_about(place, fault) for place, fault in reversed(by_place.items())]
        raise SettingsError("\n".join(f"TALLY_CONFIG: {path}: {sentence}" for sentence in sentences)) from None
    canonical = orjson.dumps(file.model_dump(), option=orjson.OPT_SORT_KEYS)
    references, wrong = _references(path, file.models)
    if wrong:
        raise SettingsError("\n".join(f"TALLY_CONFIG: {path}: {sentence}" for sentence in wrong))
    rules = (entry.rules(watched) for entry, watched in zip(file.models, references, strict=True))
    return Rulebook(tuple(rules), blake2b(canonical, digest_size=6).hexdigest())


def _references(path: Path, models: Sequence[ModelEntry]) -> tuple[list[Watched | None], list[str]]:
    """The references of entries as they are now, and a sentence for each that cannot be used."""
    found: list[Watched | None] = []
    wrong: list[str] = []
    for place, entry in enumerate(models):
        if entry.reference is None:
            found.append(None)
            continue
        own = place_of(path.parent / entry.reference.path)
        try:
            found.append(Watched(str(own), Live(read_reference(own), entry.least_count)))
        except ReferenceFileError as error:
            wrong.append(f"models[{place}].reference: {own}{error}.")
    return found, wrong


def _sentence_about(place: str, fault: ErrorDetails) -> str:
    """What is wrong, by the YAML's own path."""
    kind = fault["type"]
    if not place:
        return "must hold `models:`, and below it a list of entries."
    if kind == "extra_forbidden":
        *above, key = (word for word in fault["loc"] if isinstance(word, str))
        below = _BELOW[above[-1] if above else ""]
        known = [field.alias or name for name, field in below.model_fields.items()]
        meant = get_close_matches(key, known, n=1, cutoff=_ALIKE)
        return f"{place}: unknown; " + (f"did you mean {meant[0]}?" if meant else f"known are {', '.join(known)}.")
    message = str(fault["msg"]).removeprefix("Value error, ")
    reason = _WORDS.get(kind) or message[:1].lower() + message[1:]
    given = repr(fault["input"])
    shown = given if len(given) <= _SHOWN else given[:_SHOWN] + "…"
    return f"{place}: {reason}." if kind == "missing" else f"{place}: {reason} (got {shown})."


def _path(place: tuple[int | str, ...], content: Any) -> str:
    """A place as one would write it, like `models[2].threshold`, as far as the file has it."""
    path = ""
    for word in place:
        if isinstance(content, dict):
            path += f".{word}" if path else str(word)
            content = content.get(word)
        elif isinstance(content, list) and isinstance(word, int):
            path += f"[{word}]"
            content = content[word]
        else:  # pydantic goes on with names of its own
            break
    return path

"""The YAML file that `TALLY_CONFIG` names: what is set per model, and the rules that the core takes from it."""

import csv
import re
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
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from app.core.drift.first import FEWEST_ROWS, MOST_ROWS
from app.core.drift.live import Live, Watched
from app.core.drift.reference import Reference
from app.core.monitors import Monitor
from app.core.rules import Column, Fairness, OwnScore, Rulebook, Rules, Schema
from app.core.scores.catalogue import SCORES
from app.core.scores.own import MeanCost
from app.features_file import FeatureEntry, declared_of
from app.monitors_file import MOST_MONITORS, AlertEntry, MonitorEntry, MonitorFileError, check_names
from app.own_scores import Function, OwnFunction, check_on_example, function_of
from app.reference_file import ReferenceFileError, place_of, read_reference
from app.segments_file import FairnessEntry, check_fairness, check_redaction, segments_of
from app.settings import SettingsError
from app.yaml_file import YamlError, read_yaml

#: Scores that a model may have of the user's own.
_MOST_OWN: Final = 20
_SCORE_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_LARGEST_COST: Final = 1e15
#: Characters of `probability_field`.
_LONGEST_FIELD: Final = 200
_FOLDER: Final = "folder"  # of the YAML file: validators find it there
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


def _example_classes(entry: Mapping[str, Any]) -> list[str]:
    """Those that are declared, else two."""
    classes: list[str] = entry.get("classes") or []
    positive = entry.get("positive") or "1"
    return classes or ["1" if positive == "0" else "0", positive]


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
    """`reference:` of a model: a file, or the folder with its `histogram.prom`, from the folder of the YAML file on; or
    how many rows that a version is asked first are its reference.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    path: str | None = Field(None, min_length=1)
    first: int | None = Field(None, ge=FEWEST_ROWS, le=MOST_ROWS)

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.path is None) == (self.first is None):
            raise ValueError("must have either path, the file of a reference, or first, a number of rows")
        return self


class ScoreEntry(BaseModel):
    """One of `scores:` of a model: a matrix of costs, or a function, which may stand there alone."""

    model_config = ConfigDict(extra="forbid", strict=True)

    matrix: dict[str, Annotated[float, Field(ge=-_LARGEST_COST, le=_LARGEST_COST)]] | None = None
    function: str | None = None
    greater_is_better: bool | None = None
    _function: Function | None = PrivateAttr(None)

    @model_validator(mode="before")
    @classmethod
    def _of_text(cls, value: Any) -> Any:
        return {"function": value} if isinstance(value, str) else value

    @field_validator("matrix", mode="before")
    @classmethod
    def _has_texts(cls, matrix: Any) -> Any:
        if isinstance(matrix, dict) and not all(isinstance(key, str) for key in matrix):
            raise ValueError('must have each pair in quotes, like {"1,0": 100}')
        return matrix

    @field_validator("matrix")
    @classmethod
    def _has_pairs(cls, matrix: dict[str, float] | None) -> dict[str, float] | None:
        if matrix is not None:
            if not matrix:
                raise ValueError('must have costs, like {"1,0": 100, "0,1": 5} (actual,predicted)')
            pairs = [_pair(key) for key in matrix]
            for key, pair in zip(matrix, pairs, strict=True):
                if pairs.count(pair) > 1:
                    raise ValueError(f"{key} stands there twice")
        return matrix

    @model_validator(mode="after")
    def _is_one(self) -> "ScoreEntry":
        if (self.matrix is None) == (self.function is None):
            raise ValueError("must have either a matrix or a function")
        return self

    def find(self, folder: Path, classes: list[str]) -> None:
        """Find its function, also in this folder, and try it on a confusion of these classes. Raises FunctionError."""
        if self.function is not None:
            self._function = function_of(self.function, folder)
            check_on_example(self._function, classes)

    def score(self, name: str) -> OwnScore:
        """The score as the core takes it, once its function is found."""
        if self._function is not None:
            return OwnScore(name, OwnFunction(str(self.function), self._function), self.greater_is_better is not False)
        costs = tuple((_pair(key), cost) for key, cost in (self.matrix or {}).items())
        return OwnScore(name, MeanCost(costs), self.greater_is_better is True)


def _pair(key: str) -> tuple[str, str]:
    """The (actual, predicted) that a matrix names; a class with a comma stands in quotes, as in CSV."""
    words = next(csv.reader([key], skipinitialspace=True), [])
    if len(words) != 2 or not all(word.strip() for word in words):
        raise ValueError(f'{key} is no pair of classes: write "actual,predicted"')
    return words[0].strip(), words[1].strip()


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
    scores: Annotated[dict[str, ScoreEntry], Field(max_length=_MOST_OWN)] = {}
    limits: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = {}
    intervals: bool = False
    changes: bool = False
    redact: list[str] = []
    reference: Annotated[ReferenceEntry | None, BeforeValidator(_path_alone)] = None
    monitors: Annotated[dict[str, MonitorEntry], Field(max_length=MOST_MONITORS), AfterValidator(check_names)] = {}
    features: dict[str, FeatureEntry] = {}
    segments: dict[str, Any] = {}
    fairness: FairnessEntry | None = None
    probabilities: bool | None = None
    probability_field: str | None = None
    estimate: bool = False
    prediction_schema: SchemaEntry = SchemaEntry()

    @field_validator("scores")
    @classmethod
    def _are_own(cls, scores: dict[str, ScoreEntry], info: ValidationInfo) -> dict[str, ScoreEntry]:
        if scores and info.data.get("task") == "regression":
            raise ValueError("are made of classes, and with task: regression there are none")
        taken = {formula.name for formula in SCORES}
        faults: list[InitErrorDetails] = []
        for name, score in scores.items():
            place: tuple[str, ...] = (name,)
            try:
                if name in taken:
                    raise ValueError(f"there is a score {name} already: give yours another name")
                if not _SCORE_NAME.fullmatch(name):
                    raise ValueError("must be a name of up to 64 letters, digits and _ that begins with a letter")
                place = (name, "function")
                score.find((info.context or {}).get(_FOLDER, Path()), _example_classes(info.data))
            except ValueError as error:
                fault = PydanticCustomError("own_score", "{reason}", {"reason": str(error)})
                given = name if len(place) == 1 else score.function
                faults.append(InitErrorDetails(type=fault, loc=place, input=given))
        if faults:
            raise ValidationError.from_exception_data("scores", faults)
        return scores

    @field_validator("limits")
    @classmethod
    def _are_of_scores(cls, limits: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        own = info.data.get("scores")
        if own is None:  # what is wrong there is told
            return limits
        for name, limit in limits.items():
            score, of_class = _score_and_class(name)
            if score in own and not of_class:
                continue
            if score in own:
                raise ValueError(f"{score} is never of one class")
            formula = next((one for one in SCORES if one.name == score), None)
            if formula is None:
                meant = get_close_matches(score, [*own, *(one.name for one in SCORES)], n=1, cutoff=_ALIKE)
                raise ValueError(f"there is no score {score}" + (f"; did you mean {meant[0]}?" if meant else ""))
            if of_class and not formula.by_class:
                raise ValueError(f"{score} is never of one class")
            if formula.bounded and abs(limit) > 1:
                raise ValueError(f"{score} is 1 at most")
        return limits

    @field_validator("probability_field")
    @classmethod
    def _is_a_path(cls, field: str | None, info: ValidationInfo) -> str | None:
        if field is not None:
            if not field.strip() or len(field) > _LONGEST_FIELD or not all(field.split(".")):
                raise ValueError(f"must be a column or a dotted path of up to {_LONGEST_FIELD} characters, like proba")
            if field.count("*") > 1 or ("*" in field and "." in field) or field == "*":
                raise ValueError("may have one * for the class, in the name of a column like proba_*")
            if info.data.get("probabilities") is False:
                raise ValueError("says where probabilities are, and `probabilities: false` keeps none: take one out")
            if info.data.get("task") == "regression":
                raise ValueError("is for models of classes, and with task: regression there are none")
        return field

    @field_validator("features")
    @classmethod
    def _are_features(cls, features: dict[str, FeatureEntry]) -> dict[str, FeatureEntry]:
        declared_of(features)
        return features

    @field_validator("segments")
    @classmethod
    def _are_segments(cls, segments: dict[str, Any]) -> dict[str, Any]:
        segments_of(segments)
        return segments

    @field_validator("estimate")
    @classmethod
    def _has_probabilities(cls, estimate: bool, info: ValidationInfo) -> bool:
        if estimate and info.data.get("probabilities") is False:
            raise ValueError("is made of probabilities, and probabilities: false keeps none: take one of them out")
        if estimate and info.data.get("task") == "regression":
            raise ValueError("is made of probabilities, and with task: regression there are none: take one of them out")
        return estimate

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

    def watched(self, folder: Path) -> Watched | None:
        """Its reference as it is now, and what it declares of features. Raises ReferenceFileError."""
        declared = declared_of(self.features)
        columns = tuple(name for column in self._schema().requests for name in column.names)
        first = 0 if self.reference is None else self.reference.first or 0
        if self.reference is None or self.reference.path is None:
            live = Live(Reference(()), self.least_count, declared, columns)
            return Watched("", live, first) if declared or first else None
        own = place_of(folder / self.reference.path)
        try:
            return Watched(str(own), Live(read_reference(own), self.least_count, declared, columns))
        except ReferenceFileError as error:
            raise ReferenceFileError(f"{own}{error}") from None

    def rules(self, reference: Watched | None = None, monitors: Sequence[Monitor] = ()) -> Rules:
        """The entry as the core takes it, with its reference and its monitors as they were read."""
        lists: dict[str, Any] = {name: tuple(getattr(self, name)) for name in ("classes", "shadow", "redact")}
        lists["scores"] = tuple(score.score(name) for name, score in self.scores.items())
        lists["limits"] = tuple((*_score_and_class(name), limit) for name, limit in self.limits.items())
        lists["compare"] = None if self.compare is None else tuple(self.compare)
        lists["fairness"] = self._fairness()
        lists["segments"] = check_fairness(segments_of(self.segments), self._fairness())
        others = {"prediction_schema": self._schema(), "reference": reference, "monitors": tuple(monitors)}
        return Rules(**{**self.model_dump(exclude={"features"}), **lists, **others})


class ConfigFile(BaseModel):
    """The YAML file named by `TALLY_CONFIG`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    models: list[ModelEntry] = []


#: What stands below each key; nothing but texts below the others.
_BELOW: Final[Mapping[str, type[BaseModel]]] = {
    "": ConfigFile,
    "models": ModelEntry,
    "reference": ReferenceEntry,
    "features": FeatureEntry,
    "prediction_schema": SchemaEntry,
    "fairness": FairnessEntry,
    "requests": SchemaColumn,
    "responses": SchemaColumn,
    "schema": SchemaPart,
    "scores": ScoreEntry,
    "monitors": MonitorEntry,
    "alert_when": AlertEntry,
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
        file = ConfigFile.model_validate({} if content is None else content, context={_FOLDER: path.absolute().parent})
    except YamlError as error:
        raise SettingsError(f"TALLY_CONFIG: {path}{error}.") from None
    except ValidationError as error:
        by_place = {_path(fault["loc"], content): fault for fault in reversed(error.errors())}  # the first of each
        sentences = [_sentence_about(place, fault) for place, fault in reversed(by_place.items())]
        raise SettingsError("\n".join(f"TALLY_CONFIG: {path}: {sentence}" for sentence in sentences)) from None
    counted_by = file.model_dump(exclude={"models": {"__all__": {"monitors"}}})  # which may change without a restart
    canonical = orjson.dumps(counted_by, option=orjson.OPT_SORT_KEYS)
    references, wrong = _references(path, file.models)
    monitors, lacking = _monitors(path, file.models)
    wrong += lacking
    if wrong:
        raise SettingsError("\n".join(f"TALLY_CONFIG: {path}: {sentence}" for sentence in wrong))
    read = zip(file.models, references, monitors, strict=True)
    rules = (entry.rules(watched, own) for entry, watched, own in read)
    return Rulebook(tuple(rules), blake2b(canonical, digest_size=6).hexdigest())


def _references(path: Path, models: Sequence[ModelEntry]) -> tuple[list[Watched | None], list[str]]:
    """The references of entries as they are now, and a sentence for each that cannot be used."""
    found: list[Watched | None] = []
    wrong: list[str] = []
    for place, entry in enumerate(models):
        try:
            found.append(entry.watched(path.parent))
        except ReferenceFileError as error:
            wrong.append(f"models[{place}].reference: {error}.")
    return found, wrong


def _monitors(path: Path, models: Sequence[ModelEntry]) -> tuple[list[list[Monitor]], list[str]]:
    """The monitors of entries as they are now, and a sentence for each that cannot be used."""
    found: list[list[Monitor]] = []
    wrong: list[str] = []
    for place, entry in enumerate(models):
        found.append([])
        for name, monitor in entry.monitors.items():
            try:
                found[-1].append(monitor.monitor(name, path.absolute().parent))
            except MonitorFileError as error:
                wrong.append(f"models[{place}].monitors.{name}: {error}.")
    return found, wrong


def _sentence_about(place: str, fault: ErrorDetails) -> str:
    """What is wrong, by the YAML's own path."""
    kind = fault["type"]
    if not place:
        return "must hold `models:`, and below it a list of entries."
    if kind == "extra_forbidden":
        *above, key = (word for word in fault["loc"] if isinstance(word, str))
        # What stands below scores, features and monitors are names of the user's.
        named = next((key for key in ("scores", "features", "monitors") if key in above), "")
        last = above[-1] if above else ""
        below = _BELOW[last if last == "alert_when" else named or last]
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
        if word == "[key]":  # pydantic's own word for the key itself
            break
        if isinstance(content, dict):
            path += f".{word}" if path else str(word)
            content = content.get(word)
        elif isinstance(content, list) and isinstance(word, int):
            path += f"[{word}]"
            content = content[word]
        else:  # pydantic goes on with names of its own
            break
    return path

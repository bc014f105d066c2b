"""The YAML file that `TALLY_CONFIG` names: what is set per model, and the rules that the core takes from it."""

from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from app.core.rules import Column, Rulebook, Rules, Schema
from app.settings import SettingsError, sentence_about


def _text_keys(value: Any) -> Any:
    """YAML reads the code `0:` as a number."""
    return {str(key): text for key, text in value.items()} if isinstance(value, dict) else value


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


class ModelEntry(BaseModel):
    """One entry of `models:` in the YAML file. Unknown keys are an error."""

    model_config = ConfigDict(extra="forbid", strict=True)

    match: str
    task: Literal["binary", "multiclass", "regression"] | None = None
    positive: str | None = None
    threshold: float = Field(default=0.5, ge=0, le=1)
    classes: list[str] = []
    scored_model: str | None = None
    shadow: list[str] = ["shadow"]
    compare: list[str] | None = None
    least_count: int = Field(default=100, ge=1)
    redact: list[str] = []
    prediction_schema: SchemaEntry = SchemaEntry()

    def rules(self) -> Rules:
        """The entry as the core takes it."""
        lists: dict[str, Any] = {name: tuple(getattr(self, name)) for name in ("classes", "shadow", "redact")}
        lists["compare"] = None if self.compare is None else tuple(self.compare)
        schema = self.prediction_schema
        columns = (tuple(column.column() for column in part) for part in (schema.requests, schema.responses))
        return Rules(**{**self.model_dump(), **lists, "prediction_schema": Schema(*columns)})


class ConfigFile(BaseModel):
    """The YAML file named by `TALLY_CONFIG`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    models: list[ModelEntry] = []


def load_rulebook(path: Path | None) -> Rulebook:
    """The rules per model from the YAML file, none without a file. Raises `SettingsError` with one sentence."""
    if path is None:
        return Rulebook()
    try:
        text = path.read_text()
    except OSError as error:
        raise SettingsError(f"TALLY_CONFIG: {path} cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise SettingsError(f"TALLY_CONFIG: {path} is no UTF-8 text.") from None
    try:
        content = yaml.safe_load(text)
        file = ConfigFile.model_validate(content if content is not None else {})
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise SettingsError(f"TALLY_CONFIG: {path}{line} is no YAML.") from None
    except ValidationError as error:
        raise SettingsError(f"TALLY_CONFIG: {path}: {sentence_about(error, '')}") from None
    canonical = orjson.dumps(file.model_dump(), option=orjson.OPT_SORT_KEYS)
    return Rulebook(tuple(entry.rules() for entry in file.models), blake2b(canonical, digest_size=6).hexdigest())

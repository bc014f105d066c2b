"""Monitors in the YAML file: how they are written, and the sentence where that is wrong."""

import hashlib
import sys
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from app.core.monitors import NAME, AlertWhen, Code, Monitor, MonitorSpec, alert_when, model_form
from app.setting_values import parse_duration, parse_size

#: Monitors of one model: each is a process.
MOST_MONITORS: Final = 10
_KINDS: Final = ("file", "function", "model")
_LONGEST_SECONDS: Final = 600.0
_LEAST_BYTES: Final = 16 << 20
#: Every file is read whole when a worker starts, and whenever it has changed.
_LARGEST_BYTES: Final = 512 << 20


class MonitorFileError(ValueError):
    """What a monitor runs cannot be found; the message is the rest of a sentence that begins with its place."""


class AlertEntry(BaseModel):
    """`alert_when:` of a monitor: `{value: '> 0.5'}`, or the comparison alone."""

    model_config = ConfigDict(extra="forbid", strict=True)

    value: str

    @model_validator(mode="before")
    @classmethod
    def _of_text(cls, given: Any) -> Any:
        return {"value": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _is_condition(self) -> Self:
        alert_when(self.value)
        return self

    def condition(self) -> AlertWhen:
        """As the core takes it."""
        return alert_when(self.value)


def _seconds(value: Any) -> float:
    seconds = parse_duration(float(value) if isinstance(value, int) and not isinstance(value, bool) else value)
    if not 0 < seconds <= _LONGEST_SECONDS:
        raise ValueError("must be more than nothing and at most 10m")
    return seconds


def _bytes(value: Any) -> int:
    size = parse_size(str(value) if isinstance(value, bool) else value)
    if size < _LEAST_BYTES:
        raise ValueError("must be at least 16MiB")
    return size


class MonitorEntry(BaseModel):
    """One of `monitors:` of a model."""

    model_config = ConfigDict(extra="forbid", strict=True)

    file: str | None = None
    function: str | None = None
    model: str | None = None
    digest: str | None = None
    trusted: list[str] | None = None
    output: str | None = None
    call: Literal["predict", "score"] | None = None
    alert_when: AlertEntry
    timeout: Annotated[float, BeforeValidator(_seconds)] = 10.0
    memory: Annotated[int, BeforeValidator(_bytes)] = 1 << 30
    hold: int = Field(default=1, ge=1)
    clear: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        given = [kind for kind in _KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError("must have one of file (your Python file), function (module:function) and model")
        form = "" if self.model is None else model_form(self.model)
        if form == "joblib" and self.digest is None:
            raise ValueError(
                "must have a digest beside its model: to load one runs code, so say which you trust, by its sha256sum "
                "(a .skops or .onnx file runs none)"
            )
        for key, may, what in (
            ("digest", bool(form), "a digest, which only a"),
            ("trusted", form == "skops", "trusted, which only a .skops"),
            ("output", form == "onnx", "output, which only an .onnx"),
        ):
            if getattr(self, key) is not None and not may:
                raise ValueError(f"has {what} model has")
        if self.model is not None and self.call is not None:
            raise ValueError("has a model, which is always scored in batches: leave out call")
        if self.clear >= self.hold:
            raise ValueError(f"clear ({self.clear}) must be below hold ({self.hold}): else it would end as it begins")
        return self

    def code(self, folder: Path) -> Code:
        """What it runs, as the core takes it; files are found from this folder on."""
        kind = next(kind for kind in _KINDS if getattr(self, kind) is not None)
        place = str(getattr(self, kind))
        if kind != "function":
            place = str(folder / place)
        digest = (self.digest or "").removeprefix("sha256:").lower()
        trusted = tuple(self.trusted or ())
        return Code(
            kind, place, str(folder), self.call or "", digest, self.timeout, self.memory, trusted, self.output or ""
        )

    def monitor(self, name: str, folder: Path) -> Monitor:
        """The monitor as its files are now. Raises MonitorFileError."""
        code = self.code(folder)
        spec = MonitorSpec(name, version_of(code), self.alert_when.condition(), self.hold, self.clear)
        return Monitor(spec, code)


def check_names(monitors: dict[str, MonitorEntry]) -> dict[str, MonitorEntry]:
    """The same. Raises ValueError where a name cannot be that of a series' label, a document's field."""
    for name in monitors:
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} must be a name of up to 64 letters, digits, _ and - that begins with a letter")
    return monitors


def version_of(code: Code) -> str:
    """The version of what a monitor runs: that of the bytes of its file. Raises MonitorFileError."""
    path = _source_of(code)
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise MonitorFileError(f"{path} is larger than {_LARGEST_BYTES >> 20} MiB")
        content = path.read_bytes()
    except OSError as error:
        raise MonitorFileError(f"{path} cannot be read ({error.strerror})") from None
    if code.kind == "model":
        found = hashlib.sha256(content).hexdigest()
        if code.digest and found != code.digest:
            raise MonitorFileError(
                f"{path} has the SHA-256 {found}, and digest says another: trust what it is, or mend it"
            )
    return blake2b(content, digest_size=4).hexdigest()


def _source_of(code: Code) -> Path:
    """The file of what a monitor runs."""
    if code.kind != "function":
        return Path(code.place)
    module, colon, function = code.place.partition(":")
    if not colon or not all(word.isidentifier() for part in (module, function) for word in part.split(".")):
        raise MonitorFileError("must be written module:function")
    if code.folder not in sys.path:
        sys.path.append(code.folder)  # last, so that it hides nothing
    try:
        found = find_spec(module)
    except (ImportError, ValueError):
        found = None
    if found is None or found.origin is None:
        raise MonitorFileError(f"there is no module {module}: put it on PYTHONPATH, or beside the YAML file")
    return Path(found.origin)

"""Every setting: name, type, default, one line of meaning. Nothing else reads the environment."""

import os
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.core.counts.panes import COARSE_PANES, FINE_KEPT, PaneClock, Window
from app.core.limits import Limits

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SIZES = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20}
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_NAME = re.compile(r"[A-Za-z0-9._-]*")
#: A comma between names; between braces it belongs to a pattern.
_COMMA = re.compile(r",(?![^{}]*\})")
_SERVER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):\d{1,5}")
_NODE = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?(/[\w./-]*)?")
_SIZE = re.compile(r"(\d+)(B|KiB|MiB)?")
#: How like a setting a name must be to be taken for a mistake, as difflib measures it.
_MISSPELT = 0.85


class SettingsError(Exception):
    """A setting is wrong; the message is one sentence that names it."""


def parse_duration(value: Any) -> float:
    """Seconds of a duration like `200ms`, `10s`, `5m`, `1h`, `7d`."""
    if isinstance(value, float):
        return value
    match = _DURATION.fullmatch(str(value))
    if match is None:
        raise ValueError("must be a duration like 10s, 5m, 1h or 7d")
    return float(match[1]) * _UNITS[match[2]]


def parse_size(value: Any) -> int:
    """Bytes of a size like `300000`, `64KiB`, `1MiB`."""
    if isinstance(value, int):
        return value
    match = _SIZE.fullmatch(str(value))
    if match is None:
        raise ValueError("must be a size like 300000, 64KiB or 1MiB")
    return int(match[1]) * _SIZES[match[2] or ""]


def parse_windows(value: Any) -> tuple[Window, ...]:
    """Windows from a comma list of durations; the text is the name."""
    names = [name.strip() for name in value.split(",")] if isinstance(value, str) else list(value)
    return tuple(name if isinstance(name, Window) else Window(name, int(parse_duration(name))) for name in names)


def parse_names(value: Any) -> tuple[str, ...]:
    """Names of topics, and patterns of names, from a comma list."""
    if isinstance(value, str):
        value = _COMMA.split(value) if value.strip() else ()
    return tuple(dict.fromkeys(name.strip() for name in value))


def is_pattern(name: str) -> bool:
    """Whether a name in `TALLY_INTAKE_TOPICS` is a regular expression: it holds what no topic's name can hold."""
    return not _NAME.fullmatch(name)


def parse_moment(value: Any) -> float:
    """Seconds since the epoch of an RFC 3339 time."""
    if isinstance(value, float):
        return value
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError("must be a time like 2026-11-21T07:00:00Z") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _parse_start(value: Any) -> str | float:
    return value if value in ("earliest", "latest") else parse_moment(value)


Duration = Annotated[float, BeforeValidator(parse_duration)]


class Settings(BaseSettings):
    """All settings, from the environment as `TALLY_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="TALLY_", extra="ignore", frozen=True)

    kafka_bootstrap_servers: str = Field("127.0.0.1:9092", description="comma list of brokers")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="how the brokers are reached"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "PLAIN", description="how the worker names itself, with SASL"
    )
    kafka_sasl_username: str | None = Field(None, description="user, with SASL")
    kafka_sasl_password: str | None = Field(None, description="password, with SASL", repr=False)
    kafka_ssl_cafile: Path | None = Field(None, description="certificates that the brokers are checked with")
    app_id: str = Field("tally", pattern=r"^[A-Za-z0-9._-]{1,100}$", description="group, and prefix of internal topics")
    web_host: str = Field("127.0.0.1", description="where the worker's web server listens")
    web_port: int = Field(6066, ge=0, le=65535, description="its port")
    advertised_url: str | None = Field(None, description="where other workers reach it (http://host:port when unset)")
    request_topic: str = Field("inference-requests", description="canonical topic of requests")
    response_topic: str = Field("inference-responses", description="canonical topic of responses")
    feedback_topic: str = Field("inference-feedback", description="canonical topic of feedback")
    intake_topics: Annotated[tuple[str, ...], NoDecode, BeforeValidator(parse_names)] = Field(
        (), description="topics in any dialect that are read in: comma list of names and regular expressions"
    )
    log_topic: str | None = Field(
        None, description="topic of joined records; unset is `inference-log` with Elasticsearch, else off"
    )
    partitions: int = Field(8, ge=1, le=10000, description="partitions of topics that it creates")
    replication: int = Field(-1, description="their replication; -1 is the broker's default")
    start: Annotated[str | float, BeforeValidator(_parse_start)] = Field(
        "earliest", description="earliest, latest or a time; holds for the first start only"
    )
    session_timeout: Duration = Field(10.0, description="after which a silent worker's partitions are given away")
    epoch_ms: int = Field(
        200, ge=10, le=10000, description="how long changes are gathered before they are made durable"
    )
    pane_seconds: int = Field(60, ge=1, le=3600, description="smallest slice of event time")
    windows: Annotated[tuple[Window, ...], NoDecode, BeforeValidator(parse_windows)] = Field(
        parse_windows("5m,1h,24h"), description="windows of the exported series"
    )
    exchange_retention: Duration = Field(7 * 86400.0, description="how long a label may take")
    window_retention: Duration = Field(25 * 3600.0, description="how long coarse panes are kept")
    data_dir: Path | None = Field(None, description="scratch folder (a temporary one when unset)")
    max_body: Annotated[int, BeforeValidator(parse_size)] = Field(1 << 20, description="largest event")
    max_classes: int = Field(200, ge=2, description="classes of a model that are exported; the rest are `other`")
    max_series: int = Field(
        2_000_000,
        ge=1,
        description="model series that are exported; beyond, cells of confusions are left out first, then what is of "
        "single classes, then whole models, the last by name first",
    )
    max_models: int = Field(1000, ge=1, description="models that a partition may know")
    max_label_length: int = Field(200, ge=1, description="characters of a class text")
    elasticsearch_url: str | None = Field(
        None, description="where documents are written, like https://elasticsearch:9200 (a comma list names more nodes)"
    )
    elasticsearch_api_key: str | None = Field(None, description="API key (id:key in base64)", repr=False)
    elasticsearch_username: str | None = Field(None, description="user, where there is no API key")
    elasticsearch_password: str | None = Field(None, description="password of that user", repr=False)
    elasticsearch_ca_file: Path | None = Field(None, description="certificates that Elasticsearch is checked with")
    elasticsearch_daily: bool = Field(
        default=False, description="an index for each day of requests, with the plain name as alias"
    )
    http_token: str | None = Field(None, description="bearer token that POST, /api and / ask for", repr=False)
    seldon_series: bool = Field(default=True, description="export the Seldon-compatible series too")
    scrape_interval: Duration = Field(
        2.0, description="how long a new exporter waits, so that no series is scraped twice"
    )
    now: Annotated[float | None, BeforeValidator(lambda value: None if value is None else parse_moment(value))] = Field(
        None, description="a frozen clock, for tests and replay"
    )
    config: Path | None = Field(None, description="YAML file with what is per model")

    @model_validator(mode="before")
    @classmethod
    def _logs_for_documents(cls, given: Any) -> Any:
        """Documents are made from the joined records: with Elasticsearch these are written unless it is said not to."""
        if type(given) is dict and given.get("elasticsearch_url") and "log_topic" not in given:
            return {**given, "log_topic": "inference-log"}
        return given

    @field_validator("kafka_bootstrap_servers")
    @classmethod
    def _servers(cls, value: str) -> str:
        if not all(_SERVER.fullmatch(server) for server in value.split(",")):
            raise ValueError("must be a comma list like kafka-1:9092,kafka-2:9092")
        return value

    @field_validator("request_topic", "response_topic", "feedback_topic", "log_topic")
    @classmethod
    def _topic(cls, value: str | None) -> str | None:
        if value is not None and not _TOPIC.fullmatch(value):
            raise ValueError("must be 1 to 249 letters, digits, dots, dashes and underscores")
        return value

    @field_validator("elasticsearch_url")
    @classmethod
    def _elasticsearch(cls, value: str | None) -> str | None:
        if value is not None and "@" in value:
            raise ValueError(
                "must be without credentials: they belong in TALLY_ELASTICSEARCH_USERNAME and "
                "TALLY_ELASTICSEARCH_PASSWORD, or in TALLY_ELASTICSEARCH_API_KEY"
            )
        if value is not None and not all(_NODE.fullmatch(node) for node in value.split(",")):
            raise ValueError("must be a URL like https://elasticsearch:9200, or a comma list of such")
        return value

    @field_validator("intake_topics")
    @classmethod
    def _names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if is_pattern(name):
                try:
                    re.compile(name)
                except re.error as error:
                    raise ValueError(f"{name} is no topic's name and no regular expression ({error})") from None
            if len(name.split()) != 1 or len(name) > 249:
                raise ValueError(r"must be a comma list of topics like seldon,model-.*\.outputs")
        return value

    @field_validator("replication")
    @classmethod
    def _replication(cls, value: int) -> int:
        if value != -1 and value < 1:
            raise ValueError("must be -1 (the broker's default) or at least 1")
        return value

    @field_validator("exchange_retention", "window_retention", "max_body")
    @classmethod
    def _positive(cls, value: float) -> float:
        if value < 1:
            raise ValueError("must be at least 1")
        return value

    @field_validator("session_timeout")
    @classmethod
    def _session(cls, value: float) -> float:
        if not 1 <= value <= 300:
            raise ValueError("must be between 1s and 5m")
        return value

    @model_validator(mode="after")
    def _fits(self) -> "Settings":
        topics = (self.request_topic, self.response_topic, self.feedback_topic)
        if len(set(topics)) != 3:
            raise ValueError("TALLY_REQUEST_TOPIC, TALLY_RESPONSE_TOPIC and TALLY_FEEDBACK_TOPIC must differ")
        for name in self.intake_topics:
            if name in self.own_topics:
                raise ValueError(f"TALLY_INTAKE_TOPICS must not name {name}: Tally writes that topic itself")
        if len({window.name for window in self.windows}) != len(self.windows):
            raise ValueError("TALLY_WINDOWS names a window twice")
        for window in self.windows:
            if window.seconds < self.pane_seconds:
                raise ValueError(f"TALLY_WINDOWS: {window.name} is shorter than a pane of {self.pane_seconds} s")
            fine = window.seconds <= FINE_KEPT * self.pane_seconds
            pane = self.pane_seconds if fine else self.pane_seconds * COARSE_PANES
            if window.seconds % pane:
                raise ValueError(f"TALLY_WINDOWS: {window.name} is no multiple of its panes of {pane} s")
            if not fine and window.seconds > self.window_retention:
                raise ValueError(f"TALLY_WINDOWS: {window.name} is longer than TALLY_WINDOW_RETENTION")
        if self.kafka_security_protocol.startswith("SASL") and not (
            self.kafka_sasl_username and self.kafka_sasl_password
        ):
            raise ValueError("TALLY_KAFKA_SASL_USERNAME and TALLY_KAFKA_SASL_PASSWORD are needed with SASL")
        if (self.elasticsearch_username is None) != (self.elasticsearch_password is None):
            raise ValueError("TALLY_ELASTICSEARCH_USERNAME and TALLY_ELASTICSEARCH_PASSWORD are needed together")
        if self.elasticsearch_api_key is not None and self.elasticsearch_username is not None:
            raise ValueError("TALLY_ELASTICSEARCH_API_KEY and TALLY_ELASTICSEARCH_USERNAME exclude each other")
        return self

    @property
    def topics(self) -> tuple[str, str, str]:
        """The three canonical topics: one unit of ownership a partition."""
        return self.request_topic, self.response_topic, self.feedback_topic

    @property
    def exchanges_topic(self) -> str:
        """The changelog of the exchanges."""
        return f"{self.app_id}-exchanges"

    @property
    def panes_topic(self) -> str:
        """The changelog of the counts, and the feed of the merged view."""
        return f"{self.app_id}-panes"

    @property
    def dead_letters_topic(self) -> str:
        """Where refused events go."""
        return f"{self.app_id}-dead-letters"

    @property
    def own_topics(self) -> frozenset[str]:
        """All topics that Tally itself writes."""
        own = {*self.topics, self.exchanges_topic, self.panes_topic, self.dead_letters_topic}
        return frozenset(own | {self.log_topic} if self.log_topic else own)

    @property
    def intake_group(self) -> str:
        """The consumer group that reads the topics of `TALLY_INTAKE_TOPICS`."""
        return f"{self.app_id}-intake"

    @property
    def documents_group(self) -> str:
        """The consumer group that writes the joined records to Elasticsearch."""
        return f"{self.app_id}-documents"

    @property
    def clock(self) -> PaneClock:
        """How event time is cut."""
        return PaneClock(self.pane_seconds, int(self.window_retention))

    @property
    def limits(self) -> Limits:
        """What bounds a partition."""
        return Limits(self.max_body, self.max_label_length, self.max_models, int(self.exchange_retention))

    @property
    def url(self) -> str:
        """Where other workers reach this one."""
        return (self.advertised_url or f"http://{self.web_host}:{self.web_port}").rstrip("/")


def load_settings(**changes: Any) -> Settings:
    """The settings of this process. Raises `SettingsError` with one sentence for the first wrong one."""
    _refuse_misspelt(os.environ)
    try:
        return Settings(**changes)
    except ValidationError as error:
        raise SettingsError(sentence_about(error, "TALLY_")) from None


def _refuse_misspelt(names: Iterable[str]) -> None:
    """Of the other TALLY_ names some are nobody's mistake: Kubernetes makes TALLY_PORT of a Service named tally."""
    known = [f"TALLY_{name.upper()}" for name in Settings.model_fields]
    for name in sorted(names):
        if name.upper().startswith("TALLY_") and name.upper() not in known:
            meant = get_close_matches(name.upper(), known, n=1, cutoff=_MISSPELT)
            if meant:
                raise SettingsError(f"{name} is no setting: {meant[0]} may be meant.")


def sentence_about(error: ValidationError, prefix: str) -> str:
    """The first thing that is wrong, as a sentence that names it, with the prefix before its name, and no secret."""
    first = error.errors()[0]
    reason = str(first["msg"]).removeprefix("Value error, ")
    place = ".".join(str(word) for word in first["loc"] if isinstance(word, (str, int)) and "[" not in str(word))
    if not place:
        return f"{reason}."
    name = f"{prefix}{place.upper()}" if prefix else place
    secret = any(word in place for word in ("password", "token", "api_key")) or "@" in str(first["input"])
    given = "" if secret else f" (got {first['input']!r})"
    return f"{name}: {reason[:1].lower()}{reason[1:]}{given}."

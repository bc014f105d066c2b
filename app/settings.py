"""Every setting: name, type, default, one line of meaning. Nothing else reads the environment."""

import os
import re
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.core.counts.panes import FINE, PaneClock, Window
from app.core.limits import Limits
from app.setting_names import PREFIX, unknown_names
from app.setting_values import (
    check_listen_host,
    check_nodes,
    check_servers,
    check_source,
    check_text,
    check_topic,
    check_url,
    parse_duration,
    parse_moment,
    parse_names,
    parse_size,
    parse_start,
    parse_windows,
)

_LONGEST_SECONDS: Final = 3650 * 86400.0
_APP_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")
_LONGEST_HEARTBEAT: Final = 1.0
#: So much of a wrong value is shown.
_SHOWN: Final = 100
#: Brokers' clocks may be a little ahead of this machine's.
_AHEAD_SECONDS: Final = 60


class SettingsError(Exception):
    """Settings are wrong; the message has a line for each: a sentence that names it."""


def version() -> str:
    """The version of Tally that is installed."""
    try:
        return metadata.version("tally")
    except metadata.PackageNotFoundError:  # its sources are run as they are
        return "(not installed)"


Topic = Annotated[str, AfterValidator(check_topic)]
Duration = Annotated[float, BeforeValidator(parse_duration)]


class Settings(BaseSettings):
    """All settings, from the environment as `TALLY_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="TALLY_", extra="ignore", frozen=True)

    kafka_bootstrap_servers: Annotated[str, AfterValidator(check_servers)] = Field(
        "127.0.0.1:9092", description="comma list of brokers"
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="how the brokers are reached"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "PLAIN", description="how the worker names itself, with SASL"
    )
    kafka_sasl_username: str | None = Field(None, description="user, with SASL")
    kafka_sasl_password: str | None = Field(None, description="password, with SASL", repr=False)
    kafka_ssl_cafile: Path | None = Field(None, description="certificates that the brokers are checked with")
    kafka_ssl_certfile: Path | None = Field(
        None, description="certificate that the worker shows, where brokers ask for one (PEM, with its chain)"
    )
    kafka_ssl_keyfile: Path | None = Field(None, description="its key (PEM), where that is not in the same file")
    kafka_ssl_key_password: str | None = Field(None, description="password of that key", repr=False)
    app_id: str = Field("tally", description="group, and prefix of internal topics")
    web_host: Annotated[str, AfterValidator(check_listen_host)] = Field(
        "127.0.0.1", description="where the worker's web server listens"
    )
    web_port: int = Field(6066, ge=1, le=65535, description="its port")
    web_cert_file: Path | None = Field(
        None,
        description="certificate that it shows (PEM, with its chain): then it speaks TLS; read again on change",
    )
    web_key_file: Path | None = Field(None, description="its key (PEM), where that is not in the same file")
    advertised_url: Annotated[str, AfterValidator(check_url)] | None = Field(
        None, description="where other workers reach it (http:// or https://host:port when unset)"
    )
    request_topic: Topic = Field("inference-requests", description="canonical topic of requests")
    response_topic: Topic = Field("inference-responses", description="canonical topic of responses")
    feedback_topic: Topic = Field("inference-feedback", description="canonical topic of feedback")
    intake_topics: Annotated[tuple[str, ...], NoDecode, BeforeValidator(parse_names)] = Field(
        (), description="topics in any dialect that are read in: comma list of names and regular expressions"
    )
    log_topic: Topic | None = Field(
        None, description="topic of joined records; unset is `inference-log` with Elasticsearch, else off"
    )
    partitions: int = Field(8, ge=1, le=10000, description="partitions of topics that it creates")
    replication: int = Field(-1, le=32767, description="their replication; -1 is the broker's default")
    start: Annotated[str | float, BeforeValidator(parse_start)] = Field(
        "earliest", description="earliest, latest or a time; holds for the first start only"
    )
    session_timeout: Duration = Field(10.0, description="after which a silent worker's partitions are given away")
    instance_id: Annotated[str, AfterValidator(check_topic)] | None = Field(
        None,
        description="name by which a worker comes back to its partitions, if within the session time-out: one each",
    )
    epoch_ms: int = Field(
        200,
        ge=10,
        le=10000,
        description="how long changes are gathered before they are made durable; longer with many partitions or models",
    )
    pane_seconds: int = Field(60, ge=1, le=3600, description="smallest slice of event time")
    windows: Annotated[tuple[Window, ...], NoDecode, BeforeValidator(parse_windows)] = Field(
        parse_windows("5m,1h,24h"), description="windows of the exported series"
    )
    label_windows: bool = Field(True, description="windows by the time at which labels came, too: labels_5m …")
    exchange_retention: Duration = Field(7 * 86400.0, description="how long a label may take")
    window_retention: Duration = Field(
        25 * 3600.0, description="how long the panes of long windows are kept: as long as the longest window at least"
    )
    data_dir: Path | None = Field(
        None, description="folder of the store on disk, and for scratch files (a temporary one when unset)"
    )
    store: Literal["memory", "rocksdb"] = Field(
        "memory", description="where exchanges are kept: memory, or rocksdb, which is on disk in TALLY_DATA_DIR"
    )
    store_memory: Annotated[int, BeforeValidator(parse_size)] = Field(
        256 << 20, description="memory of the store on disk; some bytes for each exchange come on top"
    )
    standbys: int = Field(
        0,
        ge=0,
        le=3,
        description="how many other workers keep the exchanges of each partition ready, with a store on disk",
    )
    max_body: Annotated[int, BeforeValidator(parse_size)] = Field(1 << 20, description="largest event")
    max_classes: int = Field(200, ge=2, description="classes of a model that are exported; the rest are `other`")
    max_segment_values: int = Field(
        50, ge=1, le=1000, description="values of a segment of a model that are told apart; the rest are `other`"
    )
    max_metrics: int = Field(
        50, ge=0, le=1000, description="custom metrics of a model that are shown; the rest are not. 0 reads none"
    )
    max_metric_series: int = Field(
        50,
        ge=1,
        le=1000,
        description="label sets of one custom metric of a model that are told apart; the rest are `other`",
    )
    max_series: int = Field(
        5_000_000,
        ge=1,
        description="model series that are exported; beyond, cells of confusions and boxkite's bins are left out "
        "first, then segments, then what is of single classes, then whole models, the last by name first",
    )
    max_models: int = Field(1000, ge=1, description="models that a partition may know")
    max_label_length: int = Field(200, ge=1, description="characters of a class text")
    elasticsearch_url: Annotated[str, AfterValidator(check_nodes)] | None = Field(
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
    boxkite_series: bool = Field(
        default=False, description="export boxkite's series of features and predictions too: a series for each bin"
    )
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

    @field_validator("*", mode="before")
    @classmethod
    def _texts(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, str) and (value.strip() or info.field_name != "intake_topics"):
            return check_text(value)
        return value

    @field_validator("app_id", mode="before")
    @classmethod
    def _app_id(cls, value: Any) -> Any:
        if not _APP_ID.fullmatch(str(value)):
            raise ValueError("must be 1 to 100 letters, digits, dots, dashes and underscores")
        return value

    @field_validator("intake_topics")
    @classmethod
    def _sources(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check_source(name) for name in value)

    @field_validator("replication")
    @classmethod
    def _replication(cls, value: int) -> int:
        if value != -1 and value < 1:
            raise ValueError("must be -1 (the broker's default) or at least 1")
        return value

    @field_validator("start")
    @classmethod
    def _start(cls, value: str | float) -> str | float:
        if isinstance(value, float) and value > time.time() + _AHEAD_SECONDS:
            raise ValueError("must be a time that has passed, or earliest or latest")
        return value

    @field_validator("exchange_retention", "window_retention")
    @classmethod
    def _retention(cls, value: float) -> float:
        if not 1 <= value <= _LONGEST_SECONDS:
            raise ValueError("must be between 1s and 3650d")
        return value

    @field_validator("scrape_interval")
    @classmethod
    def _interval(cls, value: float) -> float:
        if value > 3600:
            raise ValueError("must be at most 1h")
        return value

    @field_validator("max_body")
    @classmethod
    def _body(cls, value: int) -> int:
        if not 1 <= value <= 1 << 30:
            raise ValueError("must be between 1 and 1024MiB")
        return value

    @field_validator("store_memory")
    @classmethod
    def _store_memory(cls, value: int) -> int:
        if not 4 << 20 <= value <= 1 << 40:
            raise ValueError("must be between 4MiB and 1048576MiB")
        return value

    @field_validator("session_timeout")
    @classmethod
    def _session(cls, value: float) -> float:
        if not 1 <= value <= 300:
            raise ValueError("must be between 1s and 5m")
        return value

    @field_validator("http_token")
    @classmethod
    def _token(cls, value: str | None) -> str | None:
        if value is not None and value != value.strip():
            raise ValueError("begins or ends with a blank, which no header can bring: take it out")
        return value

    @model_validator(mode="after")
    def _fits(self) -> "Settings":
        wrong = [*self._misfits_of_kafka(), *self._misfits_of_topics(), *self._misfits_of_windows(), *self._misfits()]
        if wrong:
            raise ValueError("\n".join(wrong))
        return self

    def _misfits_of_kafka(self) -> Iterator[str]:
        """What is set of TLS and of users, against the protocol."""
        protocol = self.kafka_security_protocol
        of_sasl, of_tls = self._names_given("kafka_sasl_"), self._names_given("kafka_ssl_")
        with_user, with_tls = protocol.startswith("SASL"), protocol.endswith("SSL")
        if with_user and not (self.kafka_sasl_username and self.kafka_sasl_password):
            yield "TALLY_KAFKA_SASL_USERNAME and TALLY_KAFKA_SASL_PASSWORD are needed with SASL"
        if of_sasl and not with_user:
            better = "SASL_SSL" if with_tls or of_tls else "SASL_SSL, or SASL_PLAINTEXT where brokers have no TLS"
            yield f"{_are(of_sasl)} for a user, and TALLY_KAFKA_SECURITY_PROTOCOL={protocol} sends none: set {better}"
        if of_tls and not with_tls:
            better = "SASL_SSL" if with_user or of_sasl else "SSL"
            yield f"{_are(of_tls)} for TLS, and TALLY_KAFKA_SECURITY_PROTOCOL={protocol} does without: set {better}"
        if self.kafka_ssl_certfile is None:
            for name in ("kafka_ssl_keyfile", "kafka_ssl_key_password"):
                if getattr(self, name) is not None:
                    yield f"{PREFIX}{name.upper()} needs TALLY_KAFKA_SSL_CERTFILE, the certificate that the key is of"

    def _names_given(self, beginning: str) -> list[str]:
        """The settings of this kind that are set, as they are written."""
        names = sorted(name for name in self.model_fields_set if name.startswith(beginning))
        return [f"{PREFIX}{name.upper()}" for name in names if getattr(self, name) is not None]

    def _misfits_of_topics(self) -> Iterator[str]:
        by_setting = {
            f"TALLY_{kind.upper()}_TOPIC": getattr(self, f"{kind}_topic")
            for kind in ("request", "response", "feedback", "log")
        }
        of_app = {self.exchanges_topic, self.panes_topic, self.dead_letters_topic}
        seen: dict[str, str] = {}
        for setting, topic in by_setting.items():
            if topic in seen:
                yield f"{seen[topic]} and {setting} must differ: both name {topic}"
            elif topic in of_app:
                yield f"{setting} must not name {topic}: that topic is for what Tally notes of its own"
            elif topic is not None:
                seen[topic] = setting
        for name in self.intake_topics:
            if name in self.own_topics:
                yield f"TALLY_INTAKE_TOPICS must not name {name}: Tally writes that topic itself"

    def _misfits_of_windows(self) -> Iterator[str]:
        if len({window.name for window in self.windows}) != len(self.windows):
            yield "TALLY_WINDOWS names a window twice"
        clock = self.clock
        for window in self.windows:
            level = clock.level(window)
            pane = clock.length(level)
            if window.seconds < self.pane_seconds:
                yield f"TALLY_WINDOWS: {window.name} is shorter than a pane of {self.pane_seconds} s"
            elif window.seconds % pane:
                yield f"TALLY_WINDOWS: {window.name} is no multiple of its panes of {pane} s"
            elif level != FINE and window.seconds > self.window_retention:
                yield f"TALLY_WINDOWS: {window.name} is longer than TALLY_WINDOW_RETENTION: raise that"

    def _misfits(self) -> Iterator[str]:
        if (self.elasticsearch_username is None) != (self.elasticsearch_password is None):
            yield "TALLY_ELASTICSEARCH_USERNAME and TALLY_ELASTICSEARCH_PASSWORD are needed together"
        if self.elasticsearch_api_key is not None and self.elasticsearch_username is not None:
            yield "TALLY_ELASTICSEARCH_API_KEY and TALLY_ELASTICSEARCH_USERNAME exclude each other"
        if self.data_dir is not None and self.data_dir.exists() and not self.data_dir.is_dir():
            yield f"TALLY_DATA_DIR: {self.data_dir} is a file and must be a folder"
        if self.web_key_file is not None and self.web_cert_file is None:
            yield "TALLY_WEB_KEY_FILE needs TALLY_WEB_CERT_FILE, the certificate that the key is of"
        if self.store == "rocksdb" and self.data_dir is None:
            yield "TALLY_STORE=rocksdb needs TALLY_DATA_DIR, a folder for its databases that outlives the worker"
        if self.standbys and self.store == "memory":
            yield "TALLY_STANDBYS needs TALLY_STORE=rocksdb: what others own is kept ready on disk"

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
    def heartbeat_interval(self) -> float:
        """Seconds between two heartbeats: by them members hear of rebalances, and until all have the group waits."""
        return min(self.session_timeout / 10, _LONGEST_HEARTBEAT)

    @property
    def intake_group(self) -> str:
        """The consumer group that reads the topics of `TALLY_INTAKE_TOPICS`."""
        return f"{self.app_id}-intake"

    @property
    def documents_group(self) -> str:
        """The consumer group that writes the joined records to Elasticsearch."""
        return f"{self.app_id}-documents"

    def monitors_group(self, name: str = "") -> str:
        """The consumer group that scores the joined records with the user's monitors of a name; or how all begin."""
        return f"{self.app_id}-monitors-{name}"

    @property
    def clock(self) -> PaneClock:
        """How event time is cut."""
        return PaneClock.for_windows(
            self.windows, self.pane_seconds, int(self.window_retention), by_labels=self.label_windows
        )

    @property
    def limits(self) -> Limits:
        """What bounds a partition."""
        return Limits(
            self.max_body,
            self.max_label_length,
            self.max_models,
            int(self.exchange_retention),
            self.max_segment_values,
            self.max_metrics,
            self.max_metric_series,
        )

    @property
    def most_metrics(self) -> tuple[int, int]:
        """Of custom metrics what is shown of a model: names, and label sets of each."""
        return self.max_metrics, self.max_metric_series

    @property
    def url(self) -> str:
        """Where other workers reach this one."""
        host = f"[{self.web_host}]" if ":" in self.web_host else self.web_host
        scheme = "http" if self.web_cert_file is None else "https"
        return (self.advertised_url or f"{scheme}://{host}:{self.web_port}").rstrip("/")


def load_settings(**changes: Any) -> Settings:
    """The settings of this process. Raises `SettingsError` with a sentence for each that is wrong."""
    wrong = [*unknown_names(os.environ, Settings.model_fields)]
    try:
        settings = Settings(**changes)
    except ValidationError as error:
        wrong += _sentences_about(error)
    if wrong:
        raise SettingsError("\n".join(wrong))
    return settings


def _sentences_about(error: ValidationError) -> Iterator[str]:
    """What is wrong, a sentence for each setting that names it, with no secret."""
    for fault in error.errors():
        reason = str(fault["msg"]).removeprefix("Value error, ")
        if not fault["loc"]:
            yield from (f"{line}." for line in reason.splitlines())
            continue
        place = str(fault["loc"][0])
        given = str(fault["input"])
        secret = any(word in place for word in ("password", "token", "api_key")) or "@" in given
        shown = given if len(given) <= _SHOWN else given[:_SHOWN] + "…"
        got = "" if secret or not given.strip() else f" (got {shown!r})"
        yield f"{PREFIX}{place.upper()}: {reason[:1].lower()}{reason[1:]}{got}."


def _are(names: list[str]) -> str:
    """`A is`, or `A, B are`."""
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'}"

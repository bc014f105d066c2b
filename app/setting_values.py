"""How the values of settings are written: each parser says in a few words what a wrong one must be."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pydantic.fields import FieldInfo

from app.core.counts.panes import Window

_UNITS: Final[Mapping[str, float]] = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)")
_SIZES: Final[Mapping[str, int]] = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SIZE: Final = re.compile(r"([0-9]{1,12})(B|KiB|MiB|GiB)?")
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")
_NAME: Final = re.compile(r"[A-Za-z0-9._-]*")
#: A comma between names; between braces it belongs to a pattern.
_COMMA: Final = re.compile(r",(?![^{}]*\})")
_HOST: Final = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)"
_SERVER: Final = re.compile(rf"{_HOST}:([0-9]{{1,5}})")
_URL: Final = re.compile(rf"https?://{_HOST}(?::([0-9]{{1,5}}))?(?:/[\w./-]*)?", re.ASCII)
_LISTEN: Final = re.compile(r"[0-9A-Fa-f:.]+|[A-Za-z0-9._-]+")


def parse_duration(value: Any) -> float:
    """Seconds of a duration like `200ms`, `10s`, `5m`, `1h`, `7d`."""
    if isinstance(value, float):
        return value
    match = _DURATION.fullmatch(str(value))
    if match is None:
        raise ValueError("must be a duration like 10s, 5m, 1h or 7d")
    return float(match[1]) * _UNITS[match[2]]


def parse_size(value: Any) -> int:
    """Bytes of a size like `300000`, `64KiB`, `1MiB`, `2GiB`."""
    if isinstance(value, int):
        return value
    match = _SIZE.fullmatch(str(value))
    if match is None:
        raise ValueError("must be a size like 300000, 64KiB, 1MiB or 2GiB")
    return int(match[1]) * _SIZES[match[2] or ""]


def parse_windows(value: Any) -> tuple[Window, ...]:
    """Windows from a comma list of durations; the text is the name."""
    names = [name.strip() for name in value.split(",")] if isinstance(value, str) else list(value)
    return tuple(name if isinstance(name, Window) else _window(name) for name in names)


def _window(name: str) -> Window:
    seconds = parse_duration(name)
    if seconds != int(seconds):
        raise ValueError(f"{name} is no whole number of seconds")
    return Window(name, int(seconds))


def parse_names(value: Any) -> tuple[str, ...]:
    """Names of topics, and patterns of names, from a comma list."""
    if isinstance(value, str):
        value = _COMMA.split(value) if value.strip() else ()
    return tuple(dict.fromkeys(name.strip() for name in value))


def is_pattern(name: str) -> bool:
    """Whether a name in `TALLY_INTAKE_TOPICS` is a regular expression: it holds what no topic's name can hold."""
    return not _NAME.fullmatch(name)


def parse_moment(value: Any) -> float:
    """Seconds since the epoch of an RFC 3339 time from 1970 on."""
    if isinstance(value, float):
        return value
    try:
        moment = datetime.fromisoformat(str(value))
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError("must be a time like 2026-11-21T07:00:00Z") from None
    if seconds < 0:
        raise ValueError("must be a time after 1970")
    return seconds


def parse_start(value: Any) -> str | float:
    """`earliest`, `latest`, or a moment."""
    if value in ("earliest", "latest"):
        return str(value)
    try:
        return parse_moment(value)
    except ValueError as error:
        raise ValueError(f"{error}, or earliest or latest") from None


def check_servers(value: str) -> str:
    """A comma list of brokers, without blanks."""
    servers = [server.strip() for server in value.split(",")]
    for server in servers:
        match = _SERVER.fullmatch(server)
        if match is None or not _is_port(match[1]):
            raise ValueError("must be a comma list of host:port like kafka-1:9092,kafka-2:9092")
    return ",".join(servers)


def check_topic(value: str) -> str:
    """A name that Kafka takes for a topic."""
    if not _TOPIC.fullmatch(value) or value in (".", ".."):
        raise ValueError("must be 1 to 249 letters, digits, dots, dashes and underscores")
    return value


def check_source(value: str) -> str:
    """The name of a topic, or a regular expression for such names."""
    if len(value.split()) != 1 or len(value) > 249 or value in (".", ".."):
        raise ValueError(r"must be a comma list of topics like seldon,model-.*\.outputs")
    if is_pattern(value):
        try:
            re.compile(value)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"{value} is no topic's name and no regular expression ({error})") from None
    return value


def check_listen_host(value: str) -> str:
    """A host or address to listen on, without scheme and port."""
    if not _LISTEN.fullmatch(value):
        raise ValueError("must be a host or an address like 0.0.0.0, without scheme and port")
    return value


def check_url(value: str) -> str:
    """A URL of HTTP without credentials, query and fragment."""
    match = _URL.fullmatch(value)
    if match is None or not (match[1] is None or _is_port(match[1])):
        raise ValueError("must be a URL like http://tally-0:6066")
    return value


def check_nodes(value: str) -> str:
    """A comma list of URLs, without credentials and blanks."""
    if "@" in value:
        raise ValueError(
            "must be without credentials: they belong in TALLY_ELASTICSEARCH_USERNAME and "
            "TALLY_ELASTICSEARCH_PASSWORD, or in TALLY_ELASTICSEARCH_API_KEY"
        )
    nodes = [node.strip() for node in value.split(",")]
    try:
        return ",".join(check_url(node) for node in nodes)
    except ValueError:
        raise ValueError("must be a URL like https://elasticsearch:9200, or a comma list of such") from None


def check_text(value: str) -> str:
    """A text that is one: not empty, UTF-8, on one line."""
    if not value.strip():
        raise ValueError("is empty: give it a value, or unset it")
    if any(letter < " " or letter == "\x7f" for letter in value):
        raise ValueError("holds a line end or another control character: take it out")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("must be UTF-8") from None
    return value


def _is_port(digits: str) -> bool:
    return 0 < int(digits) <= 65535


def shown_value(value: Any, field: FieldInfo) -> str:
    """A setting's value as it would be written; of a secret only that it is set."""
    if value is None:
        return "unset"
    if not field.repr:
        return "set"
    if any(getattr(rule, "func", None) is parse_duration for rule in field.metadata):
        return _duration(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):  # the other floats are moments
        return datetime.fromtimestamp(value, UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, tuple):
        if not value:
            return "unset"
        return ",".join(part.name if isinstance(part, Window) else str(part) for part in value)
    return str(value)


def _duration(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:g}{unit}"
    return f"{seconds * 1000:g}ms"

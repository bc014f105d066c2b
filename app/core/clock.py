"""Times on the wire: RFC 3339 texts and epoch numbers."""

from datetime import UTC, datetime
from typing import Final

_SECONDS: dict[bytes, int] = {}
_CACHED_SECONDS: Final = 100_000


def parse_time(raw: bytes) -> int | None:
    """The µs since the epoch of an RFC 3339 time of any number of fraction digits, None where it is none."""
    try:
        if raw[-1:] == b"Z" and raw[19:20] == b".":
            base = _SECONDS.get(raw[:19])
            if base is not None:
                return base + int((raw[20:-1] + b"00000")[:6])
        return _parse_slowly(raw)
    except ValueError:
        return None


def _parse_slowly(raw: bytes) -> int:
    moment = datetime.fromisoformat(raw.decode().replace("z", "Z"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    whole = int(moment.replace(microsecond=0).timestamp()) * 1_000_000
    if raw[-1:] == b"Z" and len(_SECONDS) < _CACHED_SECONDS:
        _SECONDS[raw[:19]] = whole
    return whole + moment.microsecond


def format_time(micros: int) -> str:
    """RFC 3339 in UTC with µs."""
    return datetime.fromtimestamp(micros // 1_000_000, UTC).replace(microsecond=micros % 1_000_000).isoformat().replace(
        "+00:00", "Z"
    )

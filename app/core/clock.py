"""Times on the wire: RFC 3339 texts and epoch numbers."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

#: `2026-11-21T07:00:00.` → µs. Events of one second share it.
_SECONDS: dict[bytes, int] = {}
_CACHED_SECONDS: Final = 10_000
_Z: Final = ord("Z")
_YEAR_9999: Final = 253_370_764_800_000_000


def parse_time(raw: bytes) -> int | None:
    """The µs since the epoch of an RFC 3339 time of any number of fraction digits, None where it is none."""
    base = _SECONDS.get(raw[:20])
    if base is not None and len(raw) > 26 and raw[-1] == _Z:
        digits = raw[20:-1]
        return base + int(digits[:6]) if digits.isdigit() else None
    try:
        return _parse_slowly(raw)
    except (ValueError, OverflowError):
        return None


def _parse_slowly(raw: bytes) -> int | None:
    # Python's own reading is lenient about fractions in ways that the quick one cannot be.
    if not raw.isascii() or (raw[19:20] in (b".", b",") and not raw[20:21].isdigit()):
        return None
    moment = datetime.fromisoformat(raw.decode())
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    whole = int(moment.replace(microsecond=0).timestamp()) * 1_000_000
    if not 0 < whole < _YEAR_9999:  # Go writes a time that was never set as the year 1
        return None
    if raw[19:20] == b"." and raw[-1] == _Z:
        if len(_SECONDS) >= _CACHED_SECONDS:
            _SECONDS.clear()
        _SECONDS[raw[:20]] = whole
    return whole + moment.microsecond


def format_time(micros: int) -> str:
    """RFC 3339 in UTC with µs."""
    seconds, rest = divmod(micros, 1_000_000)
    return f"{_second_text(seconds)}.{rest:06d}Z"


@lru_cache(maxsize=10_000)
def _second_text(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")

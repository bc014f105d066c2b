"""What bounds a partition's growth."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds a partition's growth."""

    body_bytes: int = 1 << 20
    label_length: int = 200
    models: int = 1000
    retention_seconds: int = 7 * 86400

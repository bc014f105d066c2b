"""What bounds a partition's growth, and the records that it writes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds a partition's growth, and the records that it writes.

    The bytes of a record are those of its key and value, and of its headers where it has any.
    """

    body_bytes: int = 1 << 20
    label_length: int = 200
    models: int = 1000
    retention_seconds: int = 7 * 86400
    segment_values: int = 50  # of one segment of a model that are shown
    metrics: int = 50  # custom metrics of a model that are shown
    metric_series: int = 50  # label sets of one of them
    exchange_bytes: int = 256_000
    #: Of feedback that waits for its prediction to be joined: more is joined at once.
    held_bytes: int = 64_000
    puid_bytes: int = 16_000
    row_bytes: int = 900_000  # of a record of counts
    joined_bytes: int = 900_000
    moved_bytes: int = 800_000  # of an event that is brought to its key

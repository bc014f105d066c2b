"""What exchanges on disk cost beside those in memory: the same topics, one worker after the other."""

import shutil
import time
import uuid
from pathlib import Path
from typing import Final

from tests.bench.load import Topics
from tests.bench.table import RATE, Row
from tests.bench.tally_runs import Tally
from tests.bench.workers import Bench, exported, total, watch, worker

STORE: Final = "exchanges on disk"
#: How long a worker may take to load all of its changelog.
_LOADING_SECONDS: Final = 600.0


def run(tally: Tally) -> list[Row]:
    """A worker with its exchanges in memory, then one with them on disk; that one's restart with its folder, and
    without.
    """
    bench, topics = tally.bench, tally.topics
    app_id = f"{bench.prefix}-store-{uuid.uuid4().hex[:4]}"
    volume = bench.folder / f"{app_id}-volume"
    rows: list[Row] = []
    rates: list[float] = []
    for name, of, settings in (
        ("exchanges in memory", f"{app_id}-memory", {}),
        (STORE, app_id, on_disk(volume)),
    ):
        with worker(topics, of, bench.folder, **settings) as started:
            measured = watch([started], topics, of)
            counted = exported([started], topics.events)
            text, rss = started.metrics(), started.rss_bytes()
        first = measured.first()
        rates.append(measured.rate(first))
        rows += [
            Row(name, rates[-1], RATE),
            Row(f"{name}: CPU", measured.cpu_us(first), "µs/event"),
            Row(f"{name}: events in the exported counts", counted, f"of {topics.events:,}"),
            Row(f"{name}: open exchanges", total(text, "tally_open_exchanges")),
            Row(f"{name}: memory of the process", rss / 1e6, "MB"),
        ]
    rows += [
        Row(f"{STORE} against memory", rates[1] / rates[0]),
        Row(f"{STORE}: tally_store_bytes in memory", total(text, "tally_store_bytes", where="memory") / 1e6, "MB"),
        Row(f"{STORE}: tally_store_bytes on disk", total(text, "tally_store_bytes", where="disk") / 1e6, "MB"),
    ]
    rows += restart(bench, topics, app_id, "restart with its folder", volume)
    shutil.rmtree(volume)
    return rows + restart(bench, topics, app_id, "restart without a folder", volume)


def on_disk(volume: Path) -> dict[str, str]:
    """The settings of a worker whose exchanges are in a folder."""
    return {"TALLY_STORE": "rocksdb", "TALLY_DATA_DIR": str(volume)}


def restart(bench: Bench, topics: Topics, app_id: str, figure: str, volume: Path) -> list[Row]:
    """A worker that starts on a folder."""
    start = time.monotonic()
    with worker(topics, app_id, bench.folder, **on_disk(volume)) as restarted:
        text = restarted.wait_until(
            f"{bench.partitions} partitions ready",
            lambda text: total(text, "tally_partitions", state="ready") == bench.partitions,
            _LOADING_SECONDS,
        )
        seconds = time.monotonic() - start
        rss = restarted.rss_bytes()
    records, loading = total(text, "tally_recovered_records"), total(text, "tally_recovery_seconds")
    return [
        Row(f"{figure}: start of the process to ready", seconds, "s"),
        Row(f"{figure}: records read", records),
        Row(f"{figure}: rate", records / loading, "records/s"),
        Row(f"{figure}: memory of the process", rss / 1e6, "MB"),
    ]

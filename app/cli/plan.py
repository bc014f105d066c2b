"""`tally plan`: how many partitions and workers a load takes, and how much memory and disk, from what was measured."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import ceil
from typing import Final

from app.cli.ends import InputError
from app.cli.screen import screen, table
from app.setting_values import parse_duration, parse_size
from app.settings import load_settings

# What was measured (`make bench`). An exchange is a labelled prediction of one leg and one row.

EVENTS_AN_EXCHANGE: Final = 3
EVENTS_A_CORE: Final = 60_000  # a second: the lower end
LOADED_A_SECOND: Final = 400_000  # exchanges, by who takes partitions over
BYTES_OF_A_WORKER: Final = 190_000_000  # with buffers, and no exchange
BYTES_AN_EXCHANGE: Final = 360  # of memory
BYTES_A_MODEL: Final = 1_500_000  # of memory, of three classes and all windows
CHANGELOG_AN_EXCHANGE: Final = 150  # once compacted
#: The changelogs are compacted when so much more is in them (min.cleanable.dirty.ratio), and newer segments lie beside.
NOT_COMPACTED: Final = 1.5
PANES_A_MODEL: Final = 25_000  # a partition, of three classes, once compacted
BYTES_A_DOCUMENT: Final = 600  # in Elasticsearch
BYTES_AROUND_AN_EVENT: Final = 400  # headers and key in Kafka

# What is planned for.

#: Of a worker's core and of its memory: the rest is for catching up.
BUSY: Final = 0.5
FULL: Final = 0.8
FEWEST_PARTITIONS: Final = 8
#: So that workers can be added without making the topics anew.
PARTITIONS_A_WORKER: Final = 4
DAY: Final = 86_400
MOST_DAYS: Final = 3650


@dataclass(frozen=True, slots=True)
class Load:
    """What is to be counted. `event_bytes` are those of a payload; the retention is in seconds."""

    events_per_second: float
    retention: float
    models: int = 1
    event_bytes: int = 300
    replication: int = 3
    worker_memory: int = 2 << 30


def load_of(
    events_per_second: float,
    *,
    retention: str | None,
    models: int,
    event_bytes: str,
    replication: int,
    worker_memory: str,
) -> Load:
    """The load that the options describe. Raises `InputError` with a sentence that names the option."""
    kept = (
        load_settings().exchange_retention if retention is None else _parsed("--retention", retention, parse_duration)
    )
    if not 0 < kept <= MOST_DAYS * DAY:
        raise InputError(f"--retention: must be more than nothing and at most {MOST_DAYS}d.")
    size = int(_parsed("--event-bytes", event_bytes, parse_size))
    memory = int(_parsed("--worker-memory", worker_memory, parse_size))
    least = 2 * BYTES_OF_A_WORKER
    if memory < least:
        raise InputError(
            f"--worker-memory: must be {written(least)} at least: a worker without state takes half of it."
        )
    return Load(events_per_second, kept, models, size, replication, memory)


def _parsed(option: str, text: str, parse: Callable[[str], float]) -> float:
    try:
        return parse(text)
    except ValueError as error:
        raise InputError(f"{option}: {error} (got {text!r}).") from None


@dataclass(frozen=True, slots=True)
class Plan:
    """What it takes. All bytes of disk are with the replicas; those of Elasticsearch of one copy."""

    exchanges: int
    partitions: int
    workers: int
    memory: int  # of all workers
    memory_a_worker: int  # while one of them is away
    loading_seconds: float  # by who takes the partitions of one worker over, before it counts
    events_disk: int
    exchanges_disk: int
    panes_disk: int
    log_disk: int  # of inference-log, where documents are written
    documents_a_day: int
    documents_disk_a_day: int


def plan(load: Load) -> Plan:
    """What a load takes."""
    exchanges = ceil(load.events_per_second / EVENTS_AN_EXCHANGE * load.retention)
    state = exchanges * BYTES_AN_EXCHANGE + load.models * BYTES_A_MODEL
    room = load.worker_memory * FULL - BYTES_OF_A_WORKER
    # One may be away: the others hold and count all of it.
    others = max(1, ceil(load.events_per_second / (EVENTS_A_CORE * BUSY)), ceil(state / room))
    workers = others + 1
    partitions = max(FEWEST_PARTITIONS, FEWEST_PARTITIONS * ceil(workers * PARTITIONS_A_WORKER / FEWEST_PARTITIONS))
    kept = load.events_per_second * load.retention
    whole_event = load.event_bytes + BYTES_AROUND_AN_EVENT
    documents = load.events_per_second / EVENTS_AN_EXCHANGE * DAY
    return Plan(
        exchanges=exchanges,
        partitions=partitions,
        workers=workers,
        memory=workers * BYTES_OF_A_WORKER + state,
        memory_a_worker=BYTES_OF_A_WORKER + ceil(state / others),
        loading_seconds=exchanges / workers / LOADED_A_SECOND,
        events_disk=ceil(kept * whole_event * load.replication),
        exchanges_disk=ceil(exchanges * CHANGELOG_AN_EXCHANGE * NOT_COMPACTED * load.replication),
        panes_disk=ceil(load.models * partitions * PANES_A_MODEL * NOT_COMPACTED * load.replication),
        log_disk=ceil(kept * whole_event * load.replication),
        documents_a_day=ceil(documents),
        documents_disk_a_day=ceil(documents * (BYTES_A_DOCUMENT + EVENTS_AN_EXCHANGE * load.event_bytes)),
    )


def show(load: Load, *, as_json: bool) -> None:
    """Print the plan of a load, as a table or as JSON."""
    found = plan(load)
    if as_json:
        print(json.dumps({"load": asdict(load), "plan": asdict(found)}, indent=2))
        return
    rows = (
        ("partitions", f"{found.partitions}", "TALLY_PARTITIONS: they cannot be changed once there is state"),
        ("workers", f"{found.workers}", "one may be away; each needs a core"),
        ("memory of a worker", written(found.memory_a_worker), f"while one is away, of {written(load.worker_memory)}"),
        ("memory of all", written(found.memory), f"{found.exchanges:,} open exchanges"),
        ("a takeover", f"{found.loading_seconds:.0f} s", "until the others have loaded a worker's partitions"),
        ("Kafka: events", written(found.events_disk), f"the three canonical topics, times {load.replication}"),
        ("Kafka: exchanges", written(found.exchanges_disk), f"changelog, times {load.replication}"),
        ("Kafka: panes", written(found.panes_disk), f"changelog, times {load.replication}"),
        ("Kafka: inference-log", written(found.log_disk), f"only with Elasticsearch, times {load.replication}"),
        ("Elasticsearch", f"{written(found.documents_disk_a_day)} a day", f"{found.documents_a_day:,} documents"),
    )  # fmt: skip
    shown = table("Plan", "what", "how much", "note")
    for row in rows:
        shown.add_row(*row)
    console = screen()
    console.print(shown)
    console.print(
        "\nOf predictions of one leg and one row, each with a label. README, Size it, says what this rests on."
    )


def written(number: float) -> str:
    """Bytes with three digits and their unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:,.3g} TB"

"""`tally plan`: how many partitions and workers a load takes, and how much memory and disk, from what was measured."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import ceil, expm1, inf, sqrt
from typing import Final

from app.cli.ends import InputError
from app.cli.screen import counted, screen, table
from app.setting_values import parse_duration, parse_size
from app.settings import load_settings

# What was measured (`make bench`, and workers beside it). An exchange is a labelled prediction of one leg and one row,
# and a model has three classes and all windows.

EVENTS_AN_EXCHANGE: Final = 3
MICROSECONDS_AN_EVENT: Final = 12.0  # of a core
MICROSECONDS_MORE_ON_DISK: Final = 3.0
MICROSECONDS_MORE_WITH_DOCUMENTS: Final = 55.0  # each is written again with its label
LOADED_A_SECOND: Final = 400_000  # exchanges, by who takes partitions over
LOADED_A_SECOND_ON_DISK: Final = 270_000
BYTES_OF_A_WORKER: Final = 210_000_000  # with its buffers, and no exchange
BYTES_OF_A_WRITER: Final = 90_000_000  # more, where it writes documents
BYTES_OF_A_MODEL: Final = 200_000  # in each worker
BYTES_OF_AN_EXCHANGE: Final = 400
BYTES_HOT: Final = 600  # in memory, of an exchange that is on disk: as many as TALLY_STORE_MEMORY holds ...
BYTES_INDEXED: Final = 8  # ... and of each one
BYTES_ON_DISK: Final = 110  # of an exchange, in the store
LOGGED_AN_EXCHANGE: Final = 200  # in its changelog, once compacted
WRITTEN_AN_EXCHANGE: Final = 330  # there, until then: with its answer, and again with its label
#: A changelog is compacted once so much more is in it (min.cleanable.dirty.ratio).
NOT_COMPACTED: Final = 1.4
#: Nothing is compacted before its segment is closed (segment.ms).
SEGMENT_SECONDS: Final = 3600

# The record of a pane of counts, of one model in one partition. It holds all counts of the pane, so it grows until each
# kind has come: with the root of its exchanges, about. Panes are written by two clocks: of predictions, and of labels.

BYTES_OF_A_PANE: Final = 300  # at least
BYTES_MORE_BY_ROOT: Final = 45
BYTES_BY_PREDICTIONS: Final = 830  # at most
BYTES_BY_LABELS: Final = 650  # at most
BYTES_OF_A_TOMBSTONE: Final = 90
#: An epoch of a partition: the header of its batch, the record that ends it, and the mark of its transaction.
BYTES_OF_AN_EPOCH: Final = 160
#: How long an epoch is at least for each partition of the worker, and for each pane that changes in all partitions; for
#: these at most so long (app/worker/lane/lane.py).
SECONDS_A_PARTITION: Final = 0.025
SECONDS_A_PANE: Final = 0.0005
MOST_SECONDS_FOR_PANES: Final = 2.0

AROUND_AN_EVENT: Final = 430  # bytes of headers and key
LOGGED_SHARE: Final = 0.84  # of an exchange's events, in inference-log
BYTES_OF_A_DOCUMENT: Final = 370  # in Elasticsearch, beside the payloads

#: Panes: a minute for two hours, ten minutes for 25 hours, and totals.
FINE_SECONDS, FINE_PANES, COARSE_SECONDS, COARSE_PANES, OTHER_PANES = 60, 120, 600, 150, 2

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
    """What is to be counted. `event_bytes` are those of a payload; times are in seconds.

    `label_seconds` is how long labels take on average, some nothing and some twice that. `epoch_seconds` is for how
    long a worker gathers changes, where nothing makes that longer. `lasts` is for how long the load has gone on: for
    less than the retention while it begins.
    """

    events_per_second: float
    retention: float
    models: int = 1
    event_bytes: int = 300
    replication: int = 3
    worker_memory: int = 2 << 30
    documents: bool = False
    on_disk: bool = False
    store_memory: int = 256 << 20
    core_speed: float = 1.0  # of a core, beside those that were measured
    label_seconds: float = 3600.0
    epoch_seconds: float = 0.2
    lasts: float = inf

    @property
    def exchanges_per_second(self) -> float:
        """Exchanges that begin."""
        return self.events_per_second / EVENTS_AN_EXCHANGE


def load_of(
    events_per_second: float,
    *,
    retention: str | None,
    models: int,
    event_bytes: str,
    replication: int,
    worker_memory: str,
    documents: bool,
    store: str | None,
    core_speed: float,
    labels_after: str,
) -> Load:
    """The load that the options describe. Raises `InputError` with a sentence that names the option."""
    settings = load_settings()
    kept = settings.exchange_retention if retention is None else _parsed("--retention", retention, parse_duration)
    if not 0 < kept <= MOST_DAYS * DAY:
        raise InputError(f"--retention: must be more than nothing and at most {MOST_DAYS}d.")
    size = int(_parsed("--event-bytes", event_bytes, parse_size))
    memory = int(_parsed("--worker-memory", worker_memory, parse_size))
    on_disk = (settings.store if store is None else store) == "rocksdb"
    return Load(
        events_per_second,
        kept,
        models,
        size,
        replication,
        memory,
        documents,
        on_disk,
        settings.store_memory,
        core_speed,
        _parsed("--labels-after", labels_after, parse_duration),
        settings.epoch_ms / 1000,
    )


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
    store_disk_a_worker: int  # while one of them is away; nothing where exchanges are in memory
    events_disk: int
    exchanges_disk: int
    panes_disk: int
    log_disk: int  # of inference-log
    documents_a_day: int
    documents_disk_a_day: int


def plan(load: Load) -> Plan:
    """What a load takes."""
    kept = min(load.retention, load.lasts)
    exchanges = ceil(load.exchanges_per_second * kept)
    own = bytes_of_a_worker(load)
    room = load.worker_memory * FULL - own - (load.store_memory if load.on_disk else 0)
    if room <= 0:
        of = counted(load.models, "model")
        least = load.worker_memory * FULL - room
        raise InputError(
            f"--worker-memory: with {of} a worker takes {written(least)} before it keeps any exchange: give it "
            f"{written(least / FULL * 2)} or more."
        )
    # One may be away: the others hold and count all of it.
    held = exchanges * (BYTES_INDEXED if load.on_disk else BYTES_OF_AN_EXCHANGE)
    others = max(1, ceil(load.events_per_second / (events_a_core(load) * BUSY)), ceil(held / room))
    workers = others + 1
    partitions = max(FEWEST_PARTITIONS, FEWEST_PARTITIONS * ceil(workers * PARTITIONS_A_WORKER / FEWEST_PARTITIONS))
    events = load.events_per_second * kept * (load.event_bytes + AROUND_AN_EVENT)
    documents = load.exchanges_per_second * DAY if load.documents else 0
    return Plan(
        exchanges=exchanges,
        partitions=partitions,
        workers=workers,
        memory=workers * (own + bytes_of_exchanges(load, ceil(exchanges / workers))),
        memory_a_worker=own + bytes_of_exchanges(load, ceil(exchanges / others)),
        loading_seconds=exchanges / workers / loaded_a_second(load),
        store_disk_a_worker=ceil(exchanges * BYTES_ON_DISK / others) if load.on_disk else 0,
        events_disk=ceil(events * load.replication),
        exchanges_disk=ceil(_exchanges_logged(load, exchanges) * load.replication),
        panes_disk=ceil(_panes_logged(load, partitions, workers) * load.replication),
        log_disk=ceil(events * LOGGED_SHARE * load.replication) if load.documents else 0,
        documents_a_day=ceil(documents),
        documents_disk_a_day=ceil(documents * (BYTES_OF_A_DOCUMENT + EVENTS_AN_EXCHANGE * load.event_bytes)),
    )


def events_a_core(load: Load) -> float:
    """Events a second that a core counts, and does nothing else."""
    more = load.on_disk * MICROSECONDS_MORE_ON_DISK + load.documents * MICROSECONDS_MORE_WITH_DOCUMENTS
    return load.core_speed * 1e6 / (MICROSECONDS_AN_EVENT + more)


def loaded_a_second(load: Load) -> float:
    """Exchanges a second that are loaded by a worker that takes partitions over."""
    return load.core_speed * (LOADED_A_SECOND_ON_DISK if load.on_disk else LOADED_A_SECOND)


def bytes_of_a_worker(load: Load) -> int:
    """Memory of a worker before it keeps any exchange."""
    of_writer = BYTES_OF_A_WRITER if load.documents else 0
    return BYTES_OF_A_WORKER + load.models * BYTES_OF_A_MODEL + of_writer


def bytes_of_exchanges(load: Load, exchanges: int) -> int:
    """Memory of so many exchanges in one worker."""
    if not load.on_disk:
        return exchanges * BYTES_OF_AN_EXCHANGE
    return min(load.store_memory, exchanges * BYTES_HOT) + exchanges * BYTES_INDEXED


def _exchanges_logged(load: Load, exchanges: int) -> float:
    """Bytes of their changelog: of those of the open segments as they were written, of the others what is left."""
    recent = min(exchanges, load.exchanges_per_second * SEGMENT_SECONDS)
    return recent * WRITTEN_AN_EXCHANGE + (exchanges - recent) * LOGGED_AN_EXCHANGE * NOT_COMPACTED


def epoch_seconds(load: Load, partitions: int, workers: int) -> float:
    """How long the epochs of a partition are, where the brokers commit each within that time."""
    least = seconds = max(load.epoch_seconds, SECONDS_A_PARTITION * ceil(partitions / workers))
    while True:
        changed = load.models * partitions * sum(_changed(load, partitions, seconds))
        longer = max(least, min(changed * SECONDS_A_PANE, MOST_SECONDS_FOR_PANES))
        if longer < seconds * 1.01:
            return seconds
        seconds = longer


def _panes_logged(load: Load, partitions: int, workers: int) -> float:
    """Bytes of the other one: panes that are kept, and what has been written since their segment was begun."""
    seconds = epoch_seconds(load, partitions, workers)
    rate = load.exchanges_per_second / partitions / load.models
    by_predictions, by_labels = _changed(load, partitions, seconds)
    filled = min(FINE_SECONDS, load.lasts) / 2 * rate  # while they are written anew: half of what is in them at last
    of_a_model = by_predictions * _of_a_pane(filled, BYTES_BY_PREDICTIONS) + by_labels * _of_a_pane(
        filled, BYTES_BY_LABELS
    )
    # An answer and a label come each by itself.
    of_an_epoch = _share_with_any(2 * rate * load.models, seconds) * BYTES_OF_AN_EPOCH
    a_second = partitions * ((load.models * of_a_model + of_an_epoch) / seconds + load.models * _moved(load, rate))
    return partitions * load.models * _kept(load, rate) + a_second * min(load.lasts, SEGMENT_SECONDS)


def _changed(load: Load, partitions: int, seconds: float) -> tuple[float, float]:
    """Panes of one model in one partition that so many seconds change: by the clock of predictions, and of labels.

    Answers change the pane that is open. So do labels, by their own clock; by that of predictions each is counted
    beside its answer: the later labels come, the more panes they spread over.
    """
    rate = load.exchanges_per_second / partitions / load.models
    by_answers = by_labels = _share_with_any(rate, seconds)
    spread = 2 * load.label_seconds
    beside_answers, begin = 0.0, 0.0
    for pane_seconds, panes in ((FINE_SECONDS, FINE_PANES), (COARSE_SECONDS, COARSE_PANES)):
        end = pane_seconds * panes
        reached = max(min(spread, end) - begin, 0) / pane_seconds
        beside_answers += reached * _share_with_any(rate * min(pane_seconds / spread, 1) if spread else 0, seconds)
        begin = end
    if spread > begin:
        beside_answers += _share_with_any(rate * (1 - begin / spread), seconds)  # in the total
    return by_answers + beside_answers, by_labels


def _share_with_any(rate: float, seconds: float) -> float:
    """In how many of such stretches something happens at all that happens so often a second, at any time."""
    return -expm1(-rate * seconds)


def _of_a_pane(exchanges: float, most: float) -> float:
    """Bytes of the record of a pane with so many."""
    return min(BYTES_OF_A_PANE + BYTES_MORE_BY_ROOT * sqrt(exchanges), most)


def _moved(load: Load, rate: float) -> float:
    """Bytes a second of one model in one partition: what a pane that retires holds moves to the one that holds it."""
    written_anew = BYTES_BY_PREDICTIONS + BYTES_BY_LABELS + 2 * BYTES_OF_A_TOMBSTONE
    levels = ((FINE_SECONDS, FINE_PANES), (COARSE_SECONDS, COARSE_PANES))
    moves = (_share_with_any(rate, one) / one for one, panes in levels if load.lasts > one * panes)
    return written_anew * sum(moves)


def _kept(load: Load, rate: float) -> float:
    """Bytes of the panes that are kept of one model in one partition."""
    found = float(OTHER_PANES * (BYTES_BY_PREDICTIONS + BYTES_BY_LABELS))
    for seconds, panes in ((FINE_SECONDS, FINE_PANES), (COARSE_SECONDS, COARSE_PANES)):
        filled = min(load.lasts / seconds, panes) * _share_with_any(rate, seconds)
        in_each = rate * seconds
        found += filled * (_of_a_pane(in_each, BYTES_BY_PREDICTIONS) + _of_a_pane(in_each, BYTES_BY_LABELS))
    return found


def show(load: Load, *, as_json: bool) -> None:
    """Print the plan of a load, as a table or as JSON."""
    found = plan(load)
    if as_json:
        asked = {name: value for name, value in asdict(load).items() if name != "lasts"}
        print(json.dumps({"load": asked, "plan": asdict(found)}, indent=2))
        return
    copies = f"times {load.replication}"
    rows = [
        ("partitions", f"{found.partitions}", "TALLY_PARTITIONS: they cannot be changed once there is state"),
        ("workers", f"{found.workers}", "one may be away; each needs a core"),
        ("memory of a worker", written(found.memory_a_worker), f"while one is away, of {written(load.worker_memory)}"),
        ("memory of all", written(found.memory), f"{found.exchanges:,} open exchanges"),
        ("a takeover", f"{found.loading_seconds:.0f} s", "until the others have loaded a worker's partitions"),
        ("Kafka: events", written(found.events_disk), f"the three canonical topics, {copies}"),
        ("Kafka: exchanges", written(found.exchanges_disk), f"changelog, {copies}"),
        ("Kafka: panes", written(found.panes_disk), f"changelog, {copies}"),
    ]
    if load.on_disk:
        disk = written(found.store_disk_a_worker)
        rows.insert(4, ("disk of a worker", disk, "while one is away; twice that with TALLY_STANDBYS=1"))
    if load.documents:
        a_day = f"{written(found.documents_disk_a_day)} a day"
        rows.append(("Kafka: inference-log", written(found.log_disk), copies))
        rows.append(("Elasticsearch", a_day, f"{found.documents_a_day:,} documents, one copy"))
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

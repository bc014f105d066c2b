"""`tally import`: the documents that a request logger has written to Elasticsearch, as the events they were made of.

Each index is read in the order of its request ids, in a snapshot (a point in time), so that all documents of a puid
come together. Once Kafka has acknowledged the events of some puids, a small file says so: an import that was
interrupted goes on behind them. The events keep their times, so what is published twice counts once.

The records have the present time: with the old one the brokers might delete them before they are read, and the worker
would forget them at once. So feedback that is still to come meets the predictions that were imported.
"""

import asyncio
import json
import logging
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
)
from elasticsearch import ElasticsearchWarning
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from app.cli.client import require_topic, run
from app.cli.ends import InputError
from app.cli.screen import counted
from app.core.clock import format_time
from app.core.dialects.history import LeftOut, StoredDocument, events_of
from app.core.events import Kind
from app.exporters.elasticsearch.errors import HistoryError
from app.exporters.elasticsearch.history import History, Index, opened
from app.setting_values import parse_moment
from app.settings import Settings, load_settings
from app.worker.kafka.client import ACLS_HINT, SetupError, unreachable
from app.worker.kafka.writing import open_producer

_BATCH_BYTES: Final = 1 << 17
#: How long events may wait for their acknowledgement: an idempotent producer of aiokafka tries for ever.
_PATIENCE_SECONDS: Final = 30
_AGAIN: Final = "The same command goes on where this one was."


class Position:
    """How far an import has come, in a file that is replaced as a whole. `job` says which import it is."""

    def __init__(self, path: Path, job: dict[str, Any]) -> None:
        self._path = path
        self._job = job
        self._indices: dict[str, dict[str, Any]] = {}
        try:
            content = json.loads(path.read_bytes())
            job_before = content["import"]
            self._indices = {name: dict(entry) for name, entry in content["indices"].items()}
        except FileNotFoundError:
            return
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}): name another file with --state.") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"{path} is not the position of an import: name another file with --state.") from None
        if job_before != job:
            raise InputError(
                f"{path} is the position of another import: finish that one, delete the file, or name another with "
                "--state."
            )

    def of(self, index: Index) -> tuple[str | None, int]:
        """The last request id of an index that has been imported, and how many documents have been."""
        entry = self._indices.get(index.name)
        if entry is None or entry.get("uuid") != index.uuid:  # of an index that has been made anew nothing is known
            return None, 0
        return entry.get("after"), entry.get("documents", 0)

    def is_done(self, index: Index) -> bool:
        """Whether all of an index has been imported."""
        return self._indices.get(index.name, {}).get("done") == index.uuid

    def save(self, index: Index, after: str, documents: int) -> None:
        """Say how far an index has been imported."""
        self._indices[index.name] = {"uuid": index.uuid, "after": after, "documents": documents}
        self.write()

    def finish(self, index: Index, documents: int) -> None:
        """Say that all of an index has been imported."""
        self._indices[index.name] = {"uuid": index.uuid, "documents": documents, "done": index.uuid}
        self.write()

    def write(self) -> None:
        """Write the file."""
        beside = self._path.with_name(self._path.name + ".new")
        try:
            beside.write_text(json.dumps({"import": self._job, "indices": self._indices}, indent=1))
            beside.replace(self._path)
        except OSError as error:
            raise InputError(
                f"{self._path} cannot be written ({error.strerror}): name another file with --state."
            ) from None

    def remove(self) -> None:
        """Forget all: the next import begins at the beginning."""
        self._path.unlink(missing_ok=True)


def import_documents(names: Sequence[str], *, since: str | None, until: str | None, state: str) -> None:
    """Publish the documents of some indices as events, and say how many."""
    settings = load_settings()
    if settings.elasticsearch_url is None:
        raise InputError("TALLY_ELASTICSEARCH_URL is not set: name the Elasticsearch that has the documents.")
    # What the client says on its way is said by the command's own sentence.
    logging.getLogger("elastic_transport").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore", ElasticsearchWarning)
    run(_import(settings, names, _moment("--since", since), _moment("--until", until), Path(state)))


def _moment(option: str, text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return format_time(round(parse_moment(text) * 1_000_000))
    except (ValueError, OverflowError, OSError):
        raise InputError(f"{option} must be a time like 2026-11-21T07:00:00Z (got {text!r}).") from None


async def _import(settings: Settings, names: Sequence[str], since: str | None, until: str | None, state: Path) -> None:
    job = {
        "from": settings.elasticsearch_url,
        "to": settings.kafka_bootstrap_servers,
        "topics": list(settings.topics),
        "since": since,
        "until": until,
    }
    async with opened(settings) as client:
        history = History(settings, client, since, until)
        indices = await history.find(names)
        for topic in settings.topics:
            await require_topic(settings, topic)
        position = Position(state, job)
        position.write()
        async with open_producer(
            settings, max_request_size=2 * settings.max_body + (1 << 20), max_batch_size=_BATCH_BYTES, linger_ms=5
        ) as producer:
            work = _Import(settings, history, producer, position)
            with _progress() as progress:
                for index in indices:
                    await work.index(index, progress)
        position.remove()
    work.report(len(indices))


class _Import:
    """One run of the command."""

    def __init__(
        self,
        settings: Settings,
        history: History,
        producer: AIOKafkaProducer,
        position: Position,
    ) -> None:
        self._settings = settings
        self._history = history
        self._producer = producer
        self._position = position
        self._topics = dict(zip((Kind.REQUEST, Kind.RESPONSE, Kind.FEEDBACK), settings.topics, strict=True))
        self._documents = 0
        self._before = 0
        self._events: Counter[Kind] = Counter()
        self._left_out: Counter[LeftOut] = Counter()

    def report(self, indices: int) -> None:
        """Say what has been published."""
        kinds = ", ".join(counted(self._events[kind], kind.value) for kind in self._topics)
        of_what = "1 index" if indices == 1 else f"{indices} indices"
        print(f"imported {counted(self._documents, 'document')} of {of_what}: {kinds}")
        if self._before:
            print(f"before that, an import that was interrupted had published {counted(self._before, 'document')}")
        for reason, count in sorted(self._left_out.items()):
            print(f"left out: {count} {reason}")

    # -- reading ------------------------------------------------------------------------------------------------------

    async def index(self, index: Index, progress: Progress) -> None:
        """Publish what an index holds that has not been published yet."""
        after, documents = self._position.of(index)
        self._before += documents
        if self._position.is_done(index):
            return
        try:
            documents = await self._rest_of(index, after, documents, progress)
        except HistoryError as error:
            raise InputError(f"{error} {_AGAIN}") from None
        self._position.finish(index, documents)

    async def _rest_of(self, index: Index, after: str | None, documents: int, progress: Progress) -> int:
        """Publish what lies behind a request id; returns how many documents of the index there are then."""
        total = await self._history.count(index)
        task = progress.add_task(f"importing {escape(index.name)}", total=total, completed=documents)
        async with aclosing(self._history.portions(index, after)) as portions:
            async for last, groups in portions:
                await self._publish(index, groups)
                size = sum(map(len, groups))
                documents += size
                self._documents += size
                progress.advance(task, size)
                if last is not None:
                    self._position.save(index, last, documents)
        return documents

    # -- publishing ---------------------------------------------------------------------------------------------------

    async def _publish(self, index: Index, groups: Iterable[Sequence[StoredDocument]]) -> None:
        """Publish the events of some puids; return when Kafka has acknowledged them."""
        sent: list[asyncio.Future[object]] = []
        try:
            for group in groups:
                found = events_of(group, self._settings.max_body)
                self._left_out += found.left_out
                for kind, event in found.events:
                    topic = self._topics[kind]
                    sent.append(
                        await self._producer.send(topic, key=event.key, value=event.value, headers=list(event.headers))
                    )
                    self._events[kind] += 1
            if sent:
                done, waiting = await asyncio.wait(sent, timeout=_PATIENCE_SECONDS)
                error = next((error for future in done if (error := future.exception()) is not None), None)
                if error is not None:
                    raise error
                if waiting:
                    raise TimeoutError
        except (KafkaConnectionError, KafkaTimeoutError, RequestTimedOutError, OSError) as error:
            raise SetupError(f"{unreachable(self._settings, TimeoutError())} {_AGAIN}") from error
        except KafkaError as error:
            hint = f" ({ACLS_HINT})" if isinstance(error, TopicAuthorizationFailedError) else ""
            raise InputError(
                f"Kafka refused an event of {index.name}: {type(error).__name__}{hint}. {_AGAIN}"
            ) from None


def _progress() -> Progress:
    """A bar on a terminal, else nothing."""
    return Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())

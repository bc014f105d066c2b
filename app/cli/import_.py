"""`tally import`: the documents that a request logger has written to Elasticsearch, as the events they were made of.

Each index is read in the order of its request ids, in a snapshot (a point in time), so that all documents of a puid
come together. Once Kafka has acknowledged the events of some puids, a small file says so: an import that was
interrupted goes on behind them. The events keep their times, so what is published twice counts once.

The records have the present time: with the old one the brokers might delete them before they are read, and the worker
would forget them at once. So feedback that is still to come meets the predictions that were imported.
"""

import asyncio
import contextlib
import json
import logging
import sys
import warnings
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
)
from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch, ElasticsearchWarning, NotFoundError, UnsupportedProductError
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from app.cli.client import require_topic, run
from app.cli.ends import InputError
from app.cli.screen import counted
from app.core.clock import format_time
from app.core.dialects.history import FIELDS, KINDS, LeftOut, StoredDocument, events_of
from app.core.events import Kind
from app.exporters.elasticsearch.client import connect, sentence
from app.setting_values import parse_moment
from app.settings import Settings, load_settings
from app.worker.kafka.client import ACLS_HINT, SetupError, unreachable
from app.worker.kafka.writing import open_producer

#: How long Elasticsearch keeps a snapshot for the next question.
_KEEP_ALIVE: Final = "5m"
#: Documents of one answer; fewer where they are large.
_PAGE: Final = 500
#: Of an index whose mapping says nothing of them so many are looked at.
_SAMPLE: Final = 20
_PAGE_BYTES: Final = 16 << 20
#: Between attempts of a question that Elasticsearch did not answer.
_PAUSES: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
_PASSING: Final = frozenset({429, 502, 503, 504})
_BATCH_BYTES: Final = 1 << 17
#: How long events may wait for their acknowledgement: an idempotent producer of aiokafka tries for ever.
_PATIENCE_SECONDS: Final = 30
_AGAIN: Final = "The same command goes on where this one was."

Hit = dict[str, Any]
Answer = TypeVar("Answer")


class Index(NamedTuple):
    """One index to read, and the field by which its request ids can be sorted, if there is one."""

    name: str
    uuid: str
    field: str | None


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

    def save(self, index: Index, after: str | None, documents: int, *, done: bool = False) -> None:
        """Say how far an index has been imported."""
        entry = {"uuid": index.uuid, "after": after, "documents": documents}
        self._indices[index.name] = entry | ({"done": index.uuid} if done else {})
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
    async with _connected(settings) as client:
        indices = await _find(client, settings, names)
        for topic in settings.topics:
            await require_topic(settings, topic)
        position = Position(state, job)
        position.write()
        between = {name: moment for name, moment in (("gte", since), ("lt", until)) if moment is not None}
        only = [{"range": {"@timestamp": between}}] if between else []
        async with open_producer(
            settings, max_request_size=2 * settings.max_body + (1 << 20), max_batch_size=_BATCH_BYTES, linger_ms=5
        ) as producer:
            work = _Import(settings, client, producer, position, only)
            with _progress() as progress:
                for index in indices:
                    await work.index(index, progress)
        position.remove()
    work.report(len(indices))


@contextlib.asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator[AsyncElasticsearch]:
    """A client for Elasticsearch. Whatever goes wrong there becomes one sentence."""
    async with connect(settings) as client:
        try:
            yield client
        except UnsupportedProductError:
            raise InputError(f"What answers at {settings.elasticsearch_url} is no Elasticsearch.") from None
        except (TransportError, ApiError) as error:
            raise InputError(sentence(error, settings)) from None


async def _find(client: AsyncElasticsearch, settings: Settings, names: Iterable[str]) -> list[Index]:
    """The indices that the names, patterns and aliases mean."""
    found: dict[str, Index] = {}
    for name in names:
        try:
            reply = await client.indices.get_settings(index=name, name="index.uuid", flat_settings=True)
        except NotFoundError:
            raise InputError(f"There is no index {name} at {settings.elasticsearch_url}.") from None
        if not reply.body:
            raise InputError(f"There is no index like {name} at {settings.elasticsearch_url}.")
        for index, content in sorted(reply.body.items()):
            await _require_parts(client, index)
            found[index] = Index(index, content["settings"]["index.uuid"], await _sorted_by(client, index))
    return list(found.values())


async def _require_parts(client: AsyncElasticsearch, index: str) -> None:
    """Refuse an index whose documents have no part of a prediction: Tally's own windows, or anybody's."""
    parts = [kind.value for kind in KINDS]
    known = await client.field_caps(index=index, fields=[f"{part}.*" for part in parts])
    if known.body["fields"]:
        return
    # A mapping need not name what the documents hold.
    some = await client.search(index=index, size=_SAMPLE, source_includes=parts)
    if not any(hit.get("_source") for hit in some.body["hits"]["hits"]):
        raise InputError(f"{index} holds no documents of a request logger: none has a request, response or feedback.")


async def _sorted_by(client: AsyncElasticsearch, index: str) -> str | None:
    """The field with the request ids of an index: a keyword, or what a mapping that was not given makes of a text."""
    fields = ("RequestId", "RequestId.keyword")
    known = (await client.field_caps(index=index, fields=list(fields))).body["fields"]
    return next((field for field in fields if known.get(field, {}).keys() == {"keyword"}), None)


class _Import:
    """One run of the command."""

    def __init__(
        self,
        settings: Settings,
        client: AsyncElasticsearch,
        producer: AIOKafkaProducer,
        position: Position,
        only: list[dict[str, Any]],
    ) -> None:
        self._settings = settings
        self._client = client
        self._producer = producer
        self._position = position
        self._only = only
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
        total = await self._ask(lambda: self._client.count(index=index.name, query=self._query()))
        task = progress.add_task(f"importing {escape(index.name)}", total=total.body["count"], completed=documents)
        while True:
            try:
                async with aclosing(self._groups(index, after)) as portions:
                    async for last, groups in portions:
                        await self._publish(index, groups)
                        size = sum(map(len, groups))
                        documents += size
                        self._documents += size
                        progress.advance(task, size)
                        if last is not None:
                            after = last
                            self._position.save(index, after, documents)
                break
            except NotFoundError as error:
                if "search_context_missing_exception" not in str(error.body):
                    raise
                # Elasticsearch was started anew meanwhile: a new snapshot, from where the last one was.
        self._position.save(index, after, documents, done=True)

    async def _groups(
        self, index: Index, after: str | None
    ) -> AsyncGenerator[tuple[str | None, list[list[StoredDocument]]], None]:
        """The documents of an index, those of a puid together; with the last request id of them.

        Those whose request id cannot be sorted by come last, one by one, and without: they are all published again when
        an import is taken up.
        """
        if index.field is not None:
            beyond = [{"range": {index.field: {"gt": after}}}] if after is not None else []
            query = self._query({"exists": {"field": index.field}}, *beyond)
            last: str | None = None
            group: list[StoredDocument] = []
            async with aclosing(self._pages(index, query, [{index.field: "asc"}])) as pages:
                async for hits in pages:
                    groups = []
                    before = None
                    for hit in hits:
                        if hit["sort"][0] != last:
                            if group:
                                groups.append(group)
                                before = last
                            last, group = hit["sort"][0], []
                        group.append(StoredDocument(hit["_id"], hit["_source"]))
                    if groups:
                        yield before, groups
            if group:
                yield last, [group]
        rest = self._query() if index.field is None else self._query(without=index.field)
        async with aclosing(self._pages(index, rest, ["_shard_doc"])) as pages:
            async for hits in pages:
                yield None, [[StoredDocument(hit["_id"], hit["_source"])] for hit in hits]

    def _query(self, *filters: dict[str, Any], without: str | None = None) -> dict[str, Any]:
        unless = {"must_not": [{"exists": {"field": without}}]} if without is not None else {}
        return {"bool": {"filter": [*self._only, *filters], **unless}}

    async def _pages(self, index: Index, query: dict[str, Any], order: list[Any]) -> AsyncGenerator[list[Hit], None]:
        """All documents of a query, as they were when it began."""
        client = self._client
        opened = await self._ask(lambda: client.open_point_in_time(index=index.name, keep_alive=_KEEP_ALIVE))
        snapshot = opened.body["id"]
        after: list[Any] | None = None
        size = _PAGE
        try:
            while True:
                reply = await self._ask(
                    lambda snapshot=snapshot, after=after, size=size: client.search(  # type: ignore[misc]
                        pit={"id": snapshot, "keep_alive": _KEEP_ALIVE},
                        query=query,
                        sort=order,
                        search_after=after,
                        size=size,
                        source_includes=list(FIELDS),
                        track_total_hits=False,
                        allow_partial_search_results=False,
                    )
                )
                snapshot = reply.body["pit_id"]
                hits = reply.body["hits"]["hits"]
                if hits:
                    after = hits[-1]["sort"]
                    yield hits
                if len(hits) < size:
                    return
                length = int(reply.meta.headers.get("content-length") or 1)
                size = max(1, min(_PAGE, size * _PAGE_BYTES // length))
        finally:
            with contextlib.suppress(TransportError, ApiError):
                await client.close_point_in_time(id=snapshot)

    async def _ask(self, question: Callable[[], Awaitable[Answer]]) -> Answer:
        """Ask Elasticsearch, and for a while again where it does not answer."""
        for pause in _PAUSES:
            try:
                return await question()
            except TransportError:
                pass
            except ApiError as error:
                if error.status_code not in _PASSING:
                    raise
            await asyncio.sleep(pause)
        try:
            return await question()
        except (TransportError, ApiError) as error:
            raise InputError(f"{sentence(error, self._settings)} {_AGAIN}") from None

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

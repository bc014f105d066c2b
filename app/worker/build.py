"""One function puts the worker together: Faust's app, the lane, the feed, the web server."""

import asyncio
import errno
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import faust
import scipy.special  # noqa: F401 - else the first scrape that needs it would load it, and hold the loop
from faust.web.drivers.aiohttp import Web
from yarl import URL

from app.core.counts.view import View
from app.core.dialects.keeping import SegmentHeaders
from app.core.join.firsts import watched_of
from app.core.measures.readings import Readings
from app.core.rules import Rulebook
from app.settings import Settings, SettingsError
from app.worker.clock import Clock
from app.worker.ending import fail, give_up, guarded, on_unhandled
from app.worker.exporting import Exporting
from app.worker.first_rows import FirstRows
from app.worker.http.api import Api
from app.worker.http.certificate import PortCertificate, certificate_of
from app.worker.intake.intake import Intake
from app.worker.kafka.client import SetupError, client_options, ssl_context
from app.worker.kafka.contact import Contact
from app.worker.kafka.membership import Assignor, DeclaredTables, MembershipTransport
from app.worker.kafka.metadata import TopicFacts
from app.worker.kafka.sizes import Sizes
from app.worker.kafka.topics import ensure_topics, topic_notes, topics_of
from app.worker.kafka.watch import TopicWatch
from app.worker.lane.feed import Feed
from app.worker.lane.lane import Lane
from app.worker.life import LIFE
from app.worker.monitors.lags import MonitorLags
from app.worker.monitors.reloading import has_monitors
from app.worker.monitors.supervisor import watch_monitors
from app.worker.references import References
from app.worker.running import Running
from app.worker.store.stores import MemoryStores, Stores

_WATCH_SECONDS: Final = 0.2
#: How often a worker that its group refuses tries again.
_RETRY_SECONDS: Final = 5.0


class Worker(faust.App):  # type: ignore[misc]
    """The Faust app of Tally. Build it with `build`."""

    settings: Settings
    rulebook: Rulebook
    client_options: dict[str, Any]
    sizes: Sizes  # of the topics; nothing is known before it starts
    certificate: PortCertificate | None = None  # where its port speaks TLS
    running: Running | None = None  # None until it starts

    def _new_web(self) -> Web:
        return Pages(self)

    def _create_directories(self) -> None:
        """Faust needs no folder: what is on disk is the store's."""

    async def on_start(self) -> None:
        """Check the topics, then start what reads and writes; Faust's services (group membership first) follow."""
        LIFE.begin(self.settings)
        try:
            topics = await ensure_topics(self.settings)
            running = self._put_together(topics)
        except (SetupError, SettingsError) as error:
            give_up(error)
        asyncio.get_running_loop().set_exception_handler(on_unhandled)
        self.running = running
        LIFE.note(topic_notes(topics_of(self.settings), topics, self.settings))
        await running.start()
        self.add_future(guarded("the feed of the counts", running.feed.run()))
        self.add_future(guarded("the watch over the topics", running.topics.run()))
        self.add_future(guarded("the watch over this worker", self._watch(running)))
        if any(entry.reference is not None for entry in self.rulebook.entries):
            references = References(self.rulebook, running.notes)
            self.add_future(guarded("the watch over references", references.run()))
        if watched_of(self.rulebook):
            first_rows = FirstRows(running.readings, running.lane, running.feed)
            self.add_future(guarded("the watch over first rows", first_rows.run()))
        if has_monitors(self.rulebook):
            monitors = watch_monitors(self.settings, self.rulebook, running.notes, running.monitor_lags)
            self.add_future(guarded("the watch over monitors", monitors))
        await super().on_start()

    async def on_stop(self) -> None:
        """Commit and close before the group is left."""
        if self.running is not None:
            await self.running.stop()
        await self.web.api.close()
        await super().on_stop()
        LIFE.end()

    def _put_together(self, topics: Mapping[str, TopicFacts]) -> Running:
        """All that the settings ask for, not started yet. Raises `SettingsError` where one of them cannot be used."""
        settings, rulebook = self.settings, self.rulebook
        partitions = topics[settings.request_topic].partitions
        self.sizes.update(topics)
        view = View(settings.clock, settings.windows)
        readings = Readings(view, rulebook, settings.max_classes, settings.max_segment_values, settings.most_metrics)
        clock = Clock()
        watch = TopicWatch(settings, topics, self.sizes, self._begin_anew, give_up)
        lane = Lane(
            settings,
            rulebook,
            partitions,
            rejoin=self._rejoin,
            fail=give_up,
            ask_ids=watch.ask_ids,
            sizes=self.sizes,
            clock=clock,
            stores=_stores(settings),
        )
        read = (*settings.topics, *(name for name in (settings.log_topic,) if name and settings.elasticsearch_url))
        lane.stats.expect(read=read, changelogs=(settings.exchanges_topic, settings.panes_topic))
        feed = Feed(view, settings, partitions, lane.stats, clock)
        contact = Contact(
            settings,
            heartbeat_age=lambda: self.consumer._thread.heartbeat_age,
            unanswered=lane.unanswered,
            refusal=self._refusal,
        )
        exporting = Exporting(settings, lane, feed, contact.heartbeat_age, time.monotonic)
        documents, windows = None, None
        if settings.elasticsearch_url is not None:
            # Importing its client is a third of a worker's start.
            from app.worker.elasticsearch.windows import WindowWriter
            from app.worker.elasticsearch.writer import DocumentWriter

            if settings.log_topic:
                documents = DocumentWriter(settings, rulebook, lane.stats, sizes=self.sizes)
            windows = WindowWriter(settings, readings, exporting.exports, lane.now)
        return Running(
            readings=readings,
            lane=lane,
            feed=feed,
            topics=watch,
            exporting=exporting,
            contact=contact,
            monitor_lags=MonitorLags(rulebook),
            intake=Intake(
                settings, partitions, lane.stats, segments=SegmentHeaders(rulebook), sizes=self.sizes, now=clock.now
            )
            if settings.intake_topics
            else None,
            documents=documents,
            windows=windows,
        )

    @property
    def lane(self) -> Lane:
        """Whom the group's assignments and revocations are for: there is a lane before the group is joined."""
        assert self.running is not None
        return self.running.lane

    def _begin_anew(self, topic: str, identity: str) -> None:
        self.lane.begin_anew(topic, identity)

    on_unhandled = staticmethod(on_unhandled)

    def _crash(self, reason: BaseException) -> None:
        """Something of Faust has failed: it would stop the worker with its tracebacks."""
        fail("a part of Faust", reason)

    async def crash(self, reason: BaseException) -> None:
        """The same of what the app itself runs."""
        self._crash(reason)

    def _refusal(self) -> Exception | None:
        error: Exception | None = self.consumer._thread.refusal()
        return error

    def _rejoin(self) -> None:
        self.consumer._thread.rejoin()

    async def _watch(self, running: Running) -> None:
        """Look after all that runs in the background, a few times a second; end the process where a part has failed."""
        retry_at = 0.0
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            if self.should_stop:
                return  # the parts are being stopped
            running.watch()
            self.web.api.watch()
            if self.certificate is not None:
                running.notes.note("TALLY_WEB_CERT_FILE", self.certificate.look())
            member = self.consumer._thread
            if member.fenced:
                give_up(SetupError(another_has_joined(self.settings)))
            for what, error in running.failures():
                fail(what, error)
            if (error := member.failure()) is not None:
                fail("the membership in the group", error)
            if member.refusal() is not None and time.monotonic() >= retry_at:
                retry_at = time.monotonic() + _RETRY_SECONDS
                member.retry()


class Pages(Web):  # type: ignore[misc]
    """Faust's web server with Tally's routes instead of Faust's own."""

    default_blueprints = ()
    debug_blueprints = ()
    optional_blueprints = ()
    production_blueprints = ()

    def __init__(self, app: Worker, **kwargs: Any) -> None:
        super().__init__(app, **kwargs)
        self.api = Api(app.settings, lambda: app.running, app.sizes, SegmentHeaders(app.rulebook))
        self.api.add_routes(self.web_app)
        self._runner = self.api.runner(self.web_app)

    async def start_server(self) -> None:
        """Listen; a port that is taken ends the process with one sentence."""
        try:
            await super().start_server()
        except OSError as error:
            setting = "TALLY_WEB_PORT" if error.errno == errno.EADDRINUSE else "TALLY_WEB_HOST and TALLY_WEB_PORT"
            where = f"{self.app.conf.web_bind}:{self.app.conf.web_port}"
            give_up(SetupError(f"{setting}: cannot listen on {where} ({error.strerror})."))


def _stores(settings: Settings) -> Stores:
    """Where exchanges are kept. Raises `SettingsError` where that cannot be had."""
    if settings.store == "memory":
        return MemoryStores()
    try:
        from app.worker.store.disk import DiskStores
    except ImportError:
        raise SettingsError("TALLY_STORE=rocksdb needs rocksdict: `pip install 'tally[rocksdb]'`.") from None
    assert settings.data_dir is not None, "the settings have been checked"
    return DiskStores(settings, settings.data_dir, settings.store_memory)


def another_has_joined(settings: Settings) -> str:
    """What a worker says whose instance id another has joined by."""
    return (
        f"TALLY_INSTANCE_ID: another worker has joined the group {settings.app_id} as {settings.instance_id}, and has "
        "the partitions of this one now: give each worker an id of its own."
    )


def _credentials(settings: Settings) -> Any:
    """What Faust's own clients need to reach the brokers; the lane's have it from `client_options`."""
    secure = settings.kafka_security_protocol.endswith("SSL")
    context = ssl_context(settings) if secure else None
    if settings.kafka_security_protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=settings.kafka_sasl_username,
            password=settings.kafka_sasl_password,
            mechanism=settings.kafka_sasl_mechanism,
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if secure else None


def build(settings: Settings, rulebook: Rulebook) -> Worker:
    """A worker that is not started yet. Each call gives one of its own."""
    certificate = certificate_of(settings)
    scratch = settings.data_dir or Path(tempfile.gettempdir()) / settings.app_id
    worker = Worker(
        settings.app_id,
        broker=[URL(f"kafka://{server}") for server in settings.kafka_bootstrap_servers.split(",")],
        store="memory://",
        datadir=str(scratch),
        autodiscover=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        table_standby_replicas=settings.standbys,
        broker_credentials=_credentials(settings),
        broker_session_timeout=settings.session_timeout,
        broker_heartbeat_interval=settings.heartbeat_interval,
        broker_rebalance_timeout=max(60.0, settings.session_timeout * 4),
        broker_request_timeout=max(90.0, settings.session_timeout),
        web_bind=settings.web_host,
        web_host=settings.web_host,
        web_port=settings.web_port,
        web_ssl_context=None if certificate is None else certificate.context,
        canonical_url=URL(settings.url),
        TableManager=DeclaredTables,
        PartitionAssignor=Assignor,
    )
    worker.settings = settings
    worker.certificate = certificate
    worker.rulebook = rulebook
    worker.sizes = Sizes()
    worker.client_options = client_options(settings)
    worker.transport = MembershipTransport(worker.conf.broker_consumer, worker)
    for topic in settings.topics:
        worker.topics.add(worker.topic(topic, key_serializer="raw", value_serializer="raw").clone(is_iterator=True))
    for name, purpose in (("exchanges", "what is known of each puid"), ("panes", "counts by model and pane")):
        changelog = worker.topic(
            f"{settings.app_id}-{name}", key_type=bytes, value_type=bytes, internal=True, acks=False
        )
        worker.Table(name, help=purpose, key_type=bytes, value_type=bytes, changelog_topic=changelog)
    return worker

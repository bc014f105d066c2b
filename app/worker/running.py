"""What runs in this worker, from its start to its end: `/ready`, `/metrics` and `/api` ask it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.core.measures.readings import Readings
from app.core.outputs.worker_series import IntakeNumbers, WorkerNumbers
from app.worker.exporting import Exporting
from app.worker.intake.intake import Intake
from app.worker.kafka.contact import Contact
from app.worker.kafka.topics import missing_sentence
from app.worker.kafka.watch import TopicWatch
from app.worker.lane.feed import Feed
from app.worker.lane.lane import Lane
from app.worker.monitors.lags import MonitorLags
from app.worker.troubles import Troubles

if TYPE_CHECKING:  # they bring the client of Elasticsearch, which is a third of a start
    from app.worker.elasticsearch.windows import WindowWriter
    from app.worker.elasticsearch.writer import DocumentWriter


@dataclass(frozen=True, slots=True)
class Running:
    """The parts of a worker. Intake and the writers are None where no setting asks for them."""

    readings: Readings
    lane: Lane
    feed: Feed
    topics: TopicWatch
    exporting: Exporting
    contact: Contact
    monitor_lags: MonitorLags
    intake: Intake | None
    documents: "DocumentWriter | None"
    windows: "WindowWriter | None"
    #: What should be known, and keeps nothing from being counted.
    notes: Troubles = field(default_factory=Troubles)

    async def start(self) -> None:
        """Start all but the feed, which the worker runs as a task of its own."""
        await self.lane.start()
        for part in (self.intake, self.documents, self.windows):
            if part is not None:
                part.start()

    async def stop(self) -> None:
        """Commit what is known and close."""
        self.contact.close()
        for part in (self.intake, self.documents, self.windows):
            if part is not None:
                await part.stop()
        await self.lane.stop()

    @property
    def partitions(self) -> list[int]:
        """The partitions that are loaded here, in their order."""
        return sorted(self.lane.running)

    @property
    def ready(self) -> bool:
        """Whether all that the group has given is loaded, the merged view read to its end, and there is no problem."""
        return self.lane.ready and self.feed.at_end.is_set() and next(self.problems(), None) is None

    def problems(self) -> Iterator[str]:
        """What keeps this worker from counting all that it should: a sentence each, which says what to do."""
        away = self.contact.problem()
        if away is not None:
            yield away
        yield from self.lane.problems()
        yield from self.feed.troubles
        yield from self.topics.troubles

    def watch(self) -> None:
        """Note what has changed; to be called a few times a second."""
        self.exporting.watch()
        self.contact.watch()
        self.notes.note("The clock", self.lane.clock.trouble())
        self.notes.note("TALLY_STANDBYS", self.lane.standbys.trouble)
        missing = sorted(self.intake.missing) if self.intake is not None else ()
        self.notes.note("TALLY_INTAKE_TOPICS", " ".join(map(missing_sentence, missing)) or None)
        others = ", ".join(sorted(set(self.other_rules.values())))
        sentence = f"Other rules than here are in force at {others}: give all workers the same TALLY_CONFIG."
        self.notes.note("TALLY_CONFIG", sentence if others else None)

    def failures(self) -> Iterator[tuple[str, BaseException | None]]:
        """The parts that have ended though nobody stopped them, and by which error."""
        error = self.lane.failure()
        if error is not None:
            yield "the counting lane", error
        for what, part in (
            ("the intake", self.intake),
            ("the document writer", self.documents),
            ("the window writer", self.windows),
        ):
            if part is not None and part.task is not None and part.task.done():
                yield what, None if part.task.cancelled() else part.task.exception()

    @property
    def other_rules(self) -> dict[int, str]:
        """The partitions whose owner counts by other rules than this worker, and where it can be asked."""
        view, rules = self.readings.view, self.readings.rulebook.digest
        return {number: owner.url for number, owner in sorted(view.owners.items()) if owner.rules != rules}

    def numbers(self, dropped: Mapping[str, int]) -> WorkerNumbers:
        """What the worker knows of its own work; of the models that it exports it is told what limits keep back."""
        lane, intake, documents = self.lane, self.intake, self.documents
        parts = list(lane.running.values())
        lag_events, lag_seconds = lane.lag()
        return WorkerNumbers(
            stats=lane.stats,
            dropped=dropped,
            score_failures=dict(self.readings.rulebook.score_failures()),
            documents=documents.numbers() if documents is not None else None,
            intake=IntakeNumbers(intake.events, intake.lag(), intake.stalled()) if intake is not None else None,
            monitor_lag=self.monitor_lags.read(),
            lag_events=lag_events,
            lag_seconds=lag_seconds,
            open_exchanges=sum(part.shard.open_exchanges for part in parts),
            store_bytes=lane.store_bytes(),
            standbys=len(lane.standbys.lags),
            standby_lag=sum(lane.standbys.lags.values()),
            ready=len(parts),
            loading=max(0, len(lane.assigned or ()) - len(parts) - len(lane.upkeep.damaged)),
            failed=len(lane.upkeep.damaged),
            of_topics=lane.partitions,
            other_rules=len(self.other_rules),
            clock_offset=lane.clock.offset,
            recovered_records=lane.recovery.records,
            recovery_seconds=lane.recovery.seconds,
            fetch_age=lane.fetch_age(),
            heartbeat_age=self.contact.heartbeat_age(),
        )

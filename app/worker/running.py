"""What runs in this worker, from its start to its end: `/ready`, `/metrics` and `/api` ask it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from app.core.events import Identity
from app.core.measures.reading import Reading
from app.core.measures.readings import Readings
from app.core.outputs.worker_series import IntakeNumbers, WorkerNumbers
from app.worker.elasticsearch.windows import WindowWriter
from app.worker.elasticsearch.writer import DocumentWriter
from app.worker.exporting import Exporting
from app.worker.intake.intake import Intake
from app.worker.kafka.watch import TopicWatch
from app.worker.lane.feed import Feed
from app.worker.lane.lane import Lane


@dataclass(frozen=True, slots=True)
class Running:
    """The parts of a worker. Intake and the writers are None where no setting asks for them."""

    readings: Readings
    lane: Lane
    feed: Feed
    topics: TopicWatch
    exporting: Exporting
    intake: Intake | None
    documents: DocumentWriter | None
    windows: WindowWriter | None

    async def start(self) -> None:
        """Start all but the feed, which the worker runs as a task of its own."""
        await self.lane.start()
        for part in (self.intake, self.documents, self.windows):
            if part is not None:
                part.start()

    async def stop(self) -> None:
        """Commit what is known and close."""
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
        """Whether all that the group has given is loaded, the merged view has been read to its end, and all is well."""
        return self.lane.ready and self.feed.at_end.is_set() and not any(self.problems())

    def problems(self) -> Iterator[str]:
        """What is wrong now, a sentence each."""
        yield from self.lane.problems()
        yield from self.feed.troubles
        yield from self.topics.troubles

    @property
    def other_rules(self) -> dict[int, str]:
        """The partitions whose owner counts by other rules than this worker, and where it can be asked."""
        view, rules = self.readings.view, self.readings.rulebook.digest
        return {number: owner.url for number, owner in sorted(view.owners.items()) if owner.rules != rules}

    def models(self) -> Iterator[tuple[Identity, Mapping[str, Reading], int]]:
        """All models of the merged view: identity, readings by "total" and window, first seen in seconds."""
        for identity, readings in self.readings.of_models(self.lane.now()):
            yield identity, readings, self.readings.view.first_seen(identity)

    def numbers(self, folded_classes: int) -> WorkerNumbers:
        """What the worker knows of its own work; of the models that it exports it is told."""
        lane, intake, documents = self.lane, self.intake, self.documents
        parts = list(lane.running.values())
        lag_events, lag_seconds = lane.lag()
        return WorkerNumbers(
            stats=lane.stats,
            folded_classes=folded_classes,
            documents=documents.numbers() if documents is not None else None,
            intake=IntakeNumbers(intake.events, intake.lag()) if intake is not None else None,
            lag_events=lag_events,
            lag_seconds=lag_seconds,
            open_exchanges=sum(part.shard.open_exchanges for part in parts),
            ready=len(parts),
            loading=max(0, len(lane.assigned or ()) - len(parts) - len(lane.upkeep.damaged)),
            failed=len(lane.upkeep.damaged),
            other_rules=len(self.other_rules),
            clock_offset=lane.clock.offset,
            recovered_records=lane.recovery.records,
            recovery_seconds=lane.recovery.seconds,
        )

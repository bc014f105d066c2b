"""Prints the figures as one table: what was measured, the goal where there is one, and the ratio to Kafka Streams."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

RATE: Final = "events/s"
ONE: Final = "one worker"
TWO: Final = "two workers"
INTAKE: Final = "intake (decode and re-key)"
INTAKE_AND_JOIN: Final = "intake and join on one worker"
KAFKA_STREAMS: Final = "Kafka Streams, 2 threads"
PLAIN_FAUST: Final = "plain Faust agent"

GOALS: Final = {
    ONE: "≥ 95,000",
    f"{ONE}: CPU": "≤ 9",
    f"{ONE} with inference-log": "≥ 65,000",
    f"{ONE} with inference-log: CPU": "≤ 13",
    f"{TWO} against Kafka Streams": "≥ 2",
    f"{ONE} against plain Faust": "≥ 25",
    "one worker beside a monitor against without it": "≥ 0.9 (a core of its own)",
    "one worker beside a monitor against without it: CPU": "≤ 1.1",
    "recovery": "≥ 350,000",
    "memory of an open exchange: RSS": "≤ 300",
    "memory of an open exchange: allocated by Python": "≤ 300",
    "exchanges on disk against memory": "≥ 0.7",
    "restart with its folder: start of the process to ready": "≤ 10",
    "restart without a folder: rate": "≥ 200,000",
    "event to /metrics, idle: 99th percentile": "≤ 1,000",
    INTAKE: "≥ 100,000",
    "documents against a plain bulk": "≥ 0.8",
    "64 partitions against 8 partitions: CPU": "≤ 1.3",
    "300 models against 1 model: CPU": "≤ 1.2",
    "windows by labels against without windows by labels: CPU": "≤ 1.15",
    "probabilities and two segments against without probabilities and segments: CPU": "≤ 1.35",
    "drift on 10 features: CPU more": "≤ 25",
    "drift on 10 features: state more": "≤ 20",
    "drift on 100 features: CPU more": "≤ 150",
    "drift on 100 features: state more": "≤ 200",
    "text of 20 models of 50 features: CPU": "≤ 200",
    "scrape of 20 models of 10 classes: first": "≤ 100",
    "scrape of 20 models of 10 classes: when all have changed": "≤ 200",
    "scrape of 1,000 models of 10 classes: first": "≤ 1,000",
    "scrape of 1,000 models of 10 classes: when all have changed": "≤ 1,000",
    "scrape of 300 models of 200 classes: first": "≤ 2,000",
    "scrape of 300 models of 200 classes: when all have changed": "≤ 2,000",
    "scrape of 1,000 models of 10 classes: longest wait for /live": "≤ 50",
    "scrape of 300 models of 200 classes: longest wait for /live": "≤ 50",
    "64 posts at once of 340,000 labels: longest wait for /live": "≤ 200",
    "64 posts at once of 250,000 labels: longest wait for /live": "≤ 200",
    "64 posts at once of 1,000 events: longest wait for /live": "≤ 200",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, or the sentence that says why there is none."""

    figure: str
    value: float | str
    unit: str = ""

    @property
    def text(self) -> str:
        if isinstance(self.value, str):
            return self.value
        digits = 0 if self.value >= 1000 or self.value == int(self.value) else 2 if self.value < 10 else 1
        return f"{self.value:,.{digits}f} {self.unit}".rstrip()


def compared(rows: Sequence[Row]) -> list[Row]:
    """The rows, and the two ratios that have goals of their own."""
    return [
        *rows,
        *ratio(rows, f"{TWO} against Kafka Streams", TWO, KAFKA_STREAMS),
        *ratio(rows, f"{ONE} against plain Faust", ONE, PLAIN_FAUST),
    ]


def ratio(rows: Sequence[Row], figure: str, ours: str, peer: str) -> list[Row]:
    above, below = value(rows, ours), value(rows, peer)
    return [Row(figure, above / below, "x")] if above and below else []


def value(rows: Sequence[Row], figure: str) -> float | None:
    """The number of that row; None where it did not run."""
    return next((row.value for row in rows if row.figure == figure and isinstance(row.value, float)), None)


def text(rows: Sequence[Row]) -> str:
    """The whole table. A sentence in place of a value may run past its column: it is the last thing on its line."""
    every = compared(rows)
    peer = value(every, KAFKA_STREAMS)
    lines = [("figure", "value", "goal", "to Kafka Streams")]
    for row in every:
        is_rate = isinstance(row.value, float) and row.unit == RATE and row.figure not in (INTAKE, INTAKE_AND_JOIN)
        against = f"{row.value / peer:.2f}" if isinstance(row.value, float) and is_rate and peer else ""
        lines.append((row.figure, row.text, GOALS.get(row.figure, ""), against))
    sentences = {row.text for row in every if isinstance(row.value, str)}
    widths = [max(len(line[column]) for line in lines if line[column] not in sentences) for column in range(4)]
    return "\n".join(
        f"{figure:{widths[0]}}  {shown}"
        if shown in sentences
        else f"{figure:{widths[0]}}  {shown:>{widths[1]}}  {goal:>{widths[2]}}  {against:>{widths[3]}}".rstrip()
        for figure, shown, goal, against in lines
    )

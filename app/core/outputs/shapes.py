"""The shapes of answers of `/api` that are made elsewhere of many parts: their fields, as OpenAPI describes them.

What a shape leaves open (`dict[str, Any]`) depends on the measures and on the user's rules.
"""

from typing import Any, NotRequired, TypedDict


class Failure(TypedDict):
    """Every error: one sentence, and where an event was refused the reason of the closed list."""

    error: str
    reason: NotRequired[str]


class LegNames(TypedDict):
    """The five names by which series name a model."""

    model_namespace: str
    model_service: str
    predictor: str
    model: str
    model_version: str


class ModelReport(LegNames):
    """A model with its counts and scores, in total and in each window; undefined scores are null."""

    task: str
    first_seen: str
    scored_model: str | None
    shadow: bool
    limits: dict[str, float]
    least_count: int
    notes: list[str]
    exchanges: dict[str, int]
    rows: dict[str, int]
    classes: list[str]
    custom_metrics: list[dict[str, Any]]
    windows: dict[str, dict[str, Any]]


class ModelReports(TypedDict):
    """All models."""

    models: list[ModelReport]
    notes: list[str]


class Comparison(TypedDict):
    """Two legs on the rows that both have answered; differences are the shadow's less the current's."""

    current: LegNames
    shadow: LegNames
    least_count: int
    verdict: str
    sentence: str
    classes: dict[str, dict[str, Any]]
    windows: dict[str, dict[str, Any]]


class VersionShift(TypedDict):
    """The classes that the newest version of a model names (in each window) against those of the one before (in
    total), by the measures of drift; undefined is null.
    """

    before: LegNames
    after: LegNames
    least_count: int
    rows_before: int
    windows: dict[str, dict[str, Any]]


class Comparisons(TypedDict):
    """All comparisons, and the newest two versions of each model that has several."""

    comparisons: list[Comparison]
    versions: list[VersionShift]
    stale: str | None


class ExchangeLeg(LegNames):
    """What one leg was asked and has answered."""

    request_time: str | None
    response_time: str | None
    rows: list[dict[str, Any]]


class ExchangeReport(TypedDict):
    """All that is known of one puid; `row` where it is the id of a row."""

    puid: str
    legs: list[ExchangeLeg]
    label: Any
    reward: float | None
    feedback_time: str | None
    detections: list[dict[str, Any]]
    note: str | None
    stale: str | None
    row: NotRequired[int]


class Document(TypedDict):
    """A document of Elasticsearch, and where it is."""

    index: str
    id: str
    body: dict[str, Any]


class ExchangeDocuments(TypedDict):
    """The documents of one puid."""

    documents: list[Document]


class Example(TypedDict):
    """A row with its label; `time_at` is when it was answered, in seconds since 1970."""

    puid: str
    row: int
    actual: str | float | None
    predicted: str | float | None
    time_at: float | None


class Examples(TypedDict):
    """Rows that show something, the newest first, and what was looked through for them."""

    examples: list[Example]
    source: str
    note: str | None


class PairExample(TypedDict):
    """A row of which only one of two legs was right."""

    puid: str
    row: int
    actual: str | float | None
    current: str | float | None
    shadow: str | float | None
    right: str
    time_at: float | None


class PairExamples(TypedDict):
    """Such rows, the newest first, and what was looked through for them."""

    examples: list[PairExample]
    source: str
    note: str | None


class WorkerPartition(TypedDict):
    """A partition of the canonical topics; what only its owner knows is null at any other worker."""

    number: int
    ready: bool | None
    lag: float | None
    open_exchanges: int | None
    owner: str | None
    here: bool


class Setting(TypedDict):
    """A setting as it would be written; of a secret only that it is set."""

    name: str
    value: str
    default: bool
    meaning: str


class WorkerReport(TypedDict):
    """What a worker knows of itself and of the others."""

    version: str
    url: str
    app_id: str
    started_at: float
    ready: bool
    partitions: list[WorkerPartition]
    workers: list[str]
    events_per_second: float
    settings: list[Setting]
    problems: list[str]
    notes: list[str]
    links: dict[str, str]
    stale: str | None


class CheckReport(TypedDict):
    """What `tally check` says: its lines, and what of them is a problem."""

    fine: bool
    lines: list[str]
    problems: list[str]
    checked_at: float


class LetterLine(TypedDict):
    """A dead letter: why it was put aside, where it came from, and the beginning of its value."""

    id: str
    time_at: float
    reason: str
    detail: str
    topic: str
    kind: str
    preview: str


class Letters(TypedDict):
    """How many dead letters wait, by reason, among the newest, and the newest of them."""

    reasons: dict[str, int]
    letters: list[LetterLine]
    note: str | None
    stale: str | None


class LetterIds(TypedDict):
    """The dead letters that are meant."""

    ids: list[str]


class NotSent(TypedDict):
    """A dead letter that was not sent back, and why."""

    id: str
    why: str


class Resent(TypedDict):
    """What became of letters that were to be sent back."""

    sent: int
    refused: list[NotSent]

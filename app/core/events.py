"""The words for what arrives, for who answered, and for why an event is refused."""

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """What an event says of its exchange."""

    REQUEST = "request"
    RESPONSE = "response"
    FEEDBACK = "feedback"
    OUTLIER = "outlier"
    DRIFT = "drift"


#: The `ce_type` header of each kind. Outlier and drift travel in the response topic.
TYPES: dict[bytes, Kind] = {
    b"io.seldon.serving.inference.request": Kind.REQUEST,
    b"io.seldon.serving.inference.response": Kind.RESPONSE,
    b"io.seldon.serving.feedback": Kind.FEEDBACK,
    b"io.seldon.serving.inference.outlier": Kind.OUTLIER,
    b"io.seldon.serving.inference.drift": Kind.DRIFT,
}
#: The headers that name a leg, in the order of its fields.
LEG_HEADERS = (b"ce_namespace", b"ce_inferenceservicename", b"ce_endpoint", b"ce_modelid")
TYPE_OF = {kind: name.decode() for name, kind in TYPES.items()}


class Reason(StrEnum):
    """Why an event was refused: the closed list that dead letters and `tally_rejected_total` use."""

    NO_KEY = "no-key"
    NO_PUID = "no-puid"
    WRONG_KEY = "wrong-key"
    WRONG_PARTITION = "wrong-partition"
    UNKNOWN_TYPE = "unknown-type"
    BAD_HEADERS = "bad-headers"
    BAD_JSON = "bad-json"
    NOT_FINITE = "not-finite"
    NOT_AN_OBJECT = "not-an-object"
    BAD_PAYLOAD = "bad-payload"
    EMPTY = "empty"
    RAGGED = "ragged"
    BAD_REWARD = "bad-reward"
    BAD_METRIC = "bad-metric"
    LABEL_TOO_LONG = "label-too-long"
    TOO_LARGE = "too-large"
    EXCHANGE_TOO_LARGE = "exchange-too-large"
    TOO_MANY_MODELS = "too-many-models"
    DOCUMENT_REFUSED = "document-refused"
    UNEXPECTED = "unexpected"


#: One line for each reason, as the README's table shows it.
REASONS: dict[Reason, str] = {
    Reason.NO_KEY: "the record has no key; the canonical topics are keyed by puid",
    Reason.NO_PUID: "neither a `ce_requestid` header nor the key nor the record itself names a puid that can be used",
    Reason.WRONG_KEY: "the key is not the puid that the headers name, not even after it was brought to its key",
    Reason.WRONG_PARTITION: "the same for the partition that the key hashes to (murmur2)",
    Reason.UNKNOWN_TYPE: "`ce_type` is missing or none of request, response, feedback",
    Reason.BAD_HEADERS: "a header that names the model is not UTF-8, or is too long",
    Reason.BAD_JSON: "the value is not JSON",
    Reason.NOT_FINITE: "NaN, Infinity or null in the place of a class, a score, a label or a reward",
    Reason.NOT_AN_OBJECT: "the value, or a part that must be an object, is something else",
    Reason.BAD_PAYLOAD: "the payload has none of the forms that Tally reads",
    Reason.EMPTY: "no body, no rows, or a feedback that brings neither reward nor label nor response",
    Reason.RAGGED: "rows of different lengths",
    Reason.BAD_REWARD: "the reward is not a number, or beyond a thousand million",
    Reason.BAD_METRIC: "a custom metric in `meta.metrics` has no name, type, value or tags that Prometheus could show; "
    "all else that the event brings counts",
    Reason.LABEL_TOO_LONG: "a class or label text above `TALLY_MAX_LABEL_LENGTH`",
    Reason.TOO_LARGE: "the value is larger than `TALLY_MAX_BODY`, or than a topic that it must go to takes; the detail "
    "says which, and whether the event counts all the same",
    Reason.EXCHANGE_TOO_LARGE: "the exchange, or its list of classes, would grow beyond 256 kB, or beyond what the "
    "changelog takes; more than 256,000 labels always do",
    Reason.DOCUMENT_REFUSED: "Elasticsearch takes no document made of this joined record; the detail has its reason",
    Reason.UNEXPECTED: "a defect of Tally; the detail is worth reporting",
    Reason.TOO_MANY_MODELS: "a partition already knows `TALLY_MAX_MODELS` models",
}


class RefusedError(Exception):
    """One event cannot be used. It is caught where the batch is read and becomes a `DeadLetter`."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Leg(NamedTuple):
    """Who answered: the four names that every event carries. Version belongs to the response."""

    namespace: str
    service: str
    predictor: str
    model: str

    def __str__(self) -> str:
        return "/".join(self).rstrip("/")


class Identity(NamedTuple):
    """A leg at a version: what series are counted and labelled by."""

    namespace: str
    service: str
    predictor: str
    model: str
    version: str

    @property
    def leg(self) -> Leg:
        """The identity without its version."""
        return Leg(*self[:4])

    def __str__(self) -> str:
        return str(self.leg) + (f"@{self.version}" if self.version else "")


def identity_fields(identity: Identity) -> dict[str, str]:
    """The labels by which series name a model."""
    return {
        "model_namespace": identity.namespace,
        "model_service": identity.service,
        "predictor": identity.predictor,
        "model": identity.model,
        "model_version": identity.version,
    }


NO_LEG = Leg("", "", "", "")


def shown(raw: bytes | None) -> str:
    """Bytes from outside, as a sentence can hold them."""
    return "missing" if raw is None else repr(raw[:60].decode(errors="replace"))

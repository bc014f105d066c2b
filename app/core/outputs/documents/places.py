"""Where documents are: the names of indices, the ids of rows, and what stands at the head of a document."""

import re
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

from app.core.clock import format_time
from app.core.events import Leg

Body = dict[str, Any]
#: Where a document is: its index and its id.
Place = tuple[str, str]

SELDON: Final = "seldon"
KSERVE: Final = "inferenceservice"
#: Elasticsearch's limit for `_id`, in bytes; and for the names of indices, less the suffix of a day.
_LONGEST_ID: Final = 512
_LONGEST_INDEX: Final = 240

_FOREIGN: Final = re.compile(r"[^a-z0-9._-]")


@lru_cache(maxsize=10_000)
def index_name(engine: str, namespace: str, service: str, endpoint: str | None, *, kind: str = "inference") -> str:
    """The index of a predictor's documents; with no `endpoint`, of a detector's.

    Characters that an index cannot have become `_`; a name that is too long ends with its digest.
    """
    words = [f"{kind}-log", engine, namespace or "unknown-namespace", service or "unknown-inferenceservice"]
    if endpoint is not None:
        words.append(endpoint or "unknown-endpoint")
    name = _FOREIGN.sub("_", "-".join(words).lower())
    if len(name) > _LONGEST_INDEX:
        name = f"{name[: _LONGEST_INDEX - 17]}-{blake2b(name.encode(), digest_size=8).hexdigest()}"
    return name


def row_id(puid: str, index: int, count: int) -> str:
    """The id of a row's document."""
    suffix = f"-item-{index}" if count > 1 else ""
    if len(puid) + len(suffix) > _LONGEST_ID // 4 and len(puid.encode()) + len(suffix) > _LONGEST_ID:
        return blake2b(puid.encode(), digest_size=32).hexdigest() + suffix
    return puid + suffix


def day_suffix(time: int) -> str:
    """What the names of daily indices end with: the day of a time in µs, UTC."""
    return "-" + format_time(time)[:10].replace("-", ".")


def head_of(puid: str, leg: Leg, engine: str) -> Body:
    """Whose document it is, in the request logger's words."""
    head: Body = {
        "RequestId": puid,
        "ServingEngine": engine,
        "Ce-Inferenceservicename": leg.service or leg.model or None,
    }
    if leg.predictor:
        head["Ce-Endpoint"] = leg.predictor
    if leg.namespace:
        head["Ce-Namespace"] = leg.namespace
    set_model(head, leg.model)
    return head


def set_model(head: Body, model: str, version: str = "") -> None:
    """Name the model and its version in a head; one without name is not named."""
    for name, word in (("Ce-Modelid", model), ("Ce-Modelversion", version)):
        if word:
            head[name] = word
        else:
            head.pop(name, None)

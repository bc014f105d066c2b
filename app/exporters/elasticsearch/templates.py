"""The index templates of the documents: which fields are searched, and as what."""

import logging
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from app.core.outputs import compared, windows

if TYPE_CHECKING:  # commands that only name the indices do not need the client, which is slow to import
    from elasticsearch import AsyncElasticsearch

log = logging.getLogger(__name__)

#: Of several templates for an index that of the highest priority holds; two of one priority are refused.
PRIORITY: Final = 200
#: Of the templates below. A template of a lower version, or none, is replaced when a worker starts.
TEMPLATE_VERSION: Final = 4

#: Kept, and never read by Elasticsearch: of any shape, with any keys.
_AS_IT_IS: Final = {"type": "object", "enabled": False}
_WORD: Final = {"type": "keyword", "ignore_above": 8000}
_TIME: Final = {"type": "date", "ignore_malformed": True}
_NUMBER: Final = {"type": "double", "ignore_malformed": True}


def _object(**properties: Any) -> dict[str, Any]:
    """An object of which only these fields are searched; `__` in a name stands for a dash."""
    return {
        "type": "object",
        "dynamic": False,
        "properties": {name.replace("__", "-"): mapping for name, mapping in properties.items()},
    }


_STAMPS: Final = {"ce__time": _TIME, "ce__source": _WORD, "ce__modelid": _WORD, "payload": _AS_IT_IS, "meta": _AS_IT_IS}
_MESSAGE: Final = _object(
    **_STAMPS,
    instance=_AS_IT_IS,
    # One field however many columns there are, and every value a keyword: a text in a column of numbers is no conflict.
    elements={"type": "flattened", "ignore_above": 1000, "depth_limit": 300},
    names=_AS_IT_IS,
    dataType=_WORD,
    id=_AS_IT_IS,
    parameters=_AS_IT_IS,
    status=_AS_IT_IS,
    error=_AS_IT_IS,
)
_HEAD: Final = {
    "@timestamp": _TIME,
    **dict.fromkeys(
        (
            "RequestId",
            "ServingEngine",
            "Ce-Inferenceservicename",
            "Ce-Endpoint",
            "Ce-Namespace",
            "Ce-Modelid",
            "Ce-Modelversion",
        ),
        _WORD,
    ),
}
_PREDICTION: Final = {
    **_HEAD,
    "request": _MESSAGE,
    "response": _MESSAGE,
    "feedback": _object(
        **_STAMPS,
        ce__times=_AS_IT_IS,
        ce__others=_AS_IT_IS,
        reward=_NUMBER,
        truth=_AS_IT_IS,
        request=_AS_IT_IS,
        response=_AS_IT_IS,
    ),
    "outlier": _object(
        **_STAMPS,
        data=_object(is_outlier=_NUMBER, instance_score=_NUMBER, feature_score=_AS_IT_IS),
    ),
    "monitors": {"type": "object", "dynamic": True},  # by their names, as `_OF_MONITORS` says
    "verdict": _object(
        predicted=_WORD,
        probability=_NUMBER,
        label=_WORD,
        correct={"type": "boolean"},
        error=_NUMBER,
        reward=_NUMBER,
        delay_seconds=_NUMBER,
        segments={"type": "flattened"},
    ),
}
#: Of each monitor, whatever its name.
_OF_MONITORS: Final = [
    {f"monitors_{name}": {"path_match": f"monitors.*.{name}", "mapping": mapping}}
    for name, mapping in (
        ("value", _NUMBER),
        ("outcome", _WORD),
        ("version", _WORD),
        ("why", _WORD),
        ("ce-time", _TIME),
    )
]
_DRIFT: Final = {
    **_HEAD,
    "drift": _object(
        **_STAMPS,
        data=_object(
            is_drift={"type": "boolean"},
            drift_type=_WORD,
            distance=_NUMBER,
            p_val=_NUMBER,
            threshold=_NUMBER,
            feature_distance=_AS_IT_IS,
            feature_p_val=_AS_IT_IS,
        ),
    ),
}


def index_template(pattern: str, properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An index template of Tally; `more` is in its mappings too. What is in a component template `<name>@custom` holds
    too: shards, lifecycle.
    """
    name = pattern.removesuffix("-*")
    return {
        "index_patterns": [pattern],
        "priority": PRIORITY,
        "version": TEMPLATE_VERSION,
        "composed_of": [f"{name}@custom"],
        "ignore_missing_component_templates": [f"{name}@custom"],
        "template": {
            "settings": {
                "auto_expand_replicas": "0-1",  # a node alone is green
                "gc_deletes": "1h",  # how long a writer that is behind finds that a document has moved
            },
            "mappings": {"dynamic": False, "properties": properties, **more},
        },
        "_meta": {"made_by": "tally"},
    }


TEMPLATES: Final = {
    "inference-log": index_template("inference-log-*", _PREDICTION, dynamic_templates=_OF_MONITORS),
    "drift-log": index_template("drift-log-*", _DRIFT),
}
#: Of the indices of counts.
HISTORY_TEMPLATES: Final = {
    index: index_template(index, **mappings)
    for index, mappings in ((windows.INDEX, windows.MAPPINGS), (compared.INDEX, compared.MAPPINGS))
}


def index_patterns() -> list[str]:
    """The names of all indices that Tally writes to."""
    return [pattern for one in (TEMPLATES | HISTORY_TEMPLATES).values() for pattern in one["index_patterns"]]


class OtherTemplate(NamedTuple):
    """A template of somebody else's that holds for indices of Tally's, at least as much as its own."""

    name: str
    priority: int
    ours: str

    def sentence(self, where: str) -> str:
        """What is wrong and what to do; `where` names Elasticsearch."""
        return (
            f"{where} has an index template {self.name} of priority {self.priority} for indices of {self.ours} too: "
            f"give it a priority below {PRIORITY}, or remove it; with it fields are not searched as Tally means."
        )


async def other_templates(
    client: "AsyncElasticsearch", templates: Mapping[str, Mapping[str, Any]]
) -> list[OtherTemplate]:
    """The templates of others that hold instead of these, or keep them from being put."""
    found = await client.options(ignore_status=404).indices.get_index_template()
    others = []
    for entry in found.body.get("index_templates", ()):
        name, priority = entry["name"], entry["index_template"].get("priority", 0)
        if name not in templates and priority >= PRIORITY:
            theirs = entry["index_template"]
            others += [OtherTemplate(name, priority, own) for own, ours in templates.items() if _holds(theirs, ours)]
    return others


def _holds(template: Mapping[str, Any], ours: Mapping[str, Any]) -> bool:
    """Whether a template holds for any index that one of ours holds for."""
    (own,) = ours["index_patterns"]
    beginning = own.removesuffix("*")
    example = own.replace("*", "seldon-namespace-service-predictor")
    return any(
        fnmatchcase(example, pattern) or (beginning != own and pattern.startswith(beginning))
        for pattern in template["index_patterns"]
    )


async def ensure_templates(client: "AsyncElasticsearch", templates: Mapping[str, Mapping[str, Any]]) -> None:
    """Put the templates that are missing or older; a newer one is another worker's, which knows better."""
    for name, template in templates.items():
        found = await client.options(ignore_status=404).indices.get_index_template(name=name)
        known = [entry["index_template"].get("version", 0) for entry in found.body.get("index_templates", ())]
        if not known or known[0] < template["version"]:
            await client.indices.put_index_template(name=name, body=dict(template))
    for other in await other_templates(client, templates):
        log.warning("%s", other.sentence("Elasticsearch"))

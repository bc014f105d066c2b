"""The manifests that say what stands elsewhere already: `python -m k8s.generated` writes them anew."""

from pathlib import Path
from typing import Any, Final

import yaml

from app.cli.topics import as_data
from app.settings import load_settings

FOLDER: Final = Path(__file__).parent
_CLUSTER: Final = {"strimzi.io/cluster": "kafka"}
_STRIMZI: Final = "kafka.strimzi.io/v1"
#: Strimzi's words, where they are others than those of `tally topics`.
_WORDS: Final = {"transactional-id": "transactionalId", "prefixed": "prefix"}


def files() -> dict[str, str]:
    """The text of each file by its path in this folder."""
    # With documents, so that turning them on needs no new right.
    topics = as_data(load_settings(elasticsearch_url="http://elasticsearch:9200"))
    return {
        "monitoring/prometheus-rule.yaml": _text("k8s/alerts.yaml", [prometheus_rule()]),
        "overlays/strimzi/topics.yaml": _text("the settings", [kafka_topic(topic) for topic in topics["topics"]]),
        "overlays/strimzi/user.yaml": _text("the settings", [kafka_user(topics["acls"])]),
    }


def prometheus_rule() -> dict[str, Any]:
    """The alerts for the Prometheus Operator."""
    rules = yaml.safe_load((FOLDER / "alerts.yaml").read_text())
    metadata = {"name": "tally"}
    return {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "metadata": metadata, "spec": rules}


def kafka_topic(topic: dict[str, Any]) -> dict[str, Any]:
    """A topic for Strimzi's operator, which leaves the replication to the brokers where none is set."""
    spec = {"partitions": topic["partitions"], "config": topic["config"]}
    metadata = {"name": topic["name"], "labels": _CLUSTER}
    return {"apiVersion": _STRIMZI, "kind": "KafkaTopic", "metadata": metadata, "spec": spec}


def kafka_user(acls: list[dict[str, Any]]) -> dict[str, Any]:
    """The user of workers and commands, with all that any of them may do."""
    rights: dict[tuple[str, str, str], list[str]] = {}
    for acl in acls:
        mine = rights.setdefault((acl["resource"], acl["name"], acl["pattern"]), [])
        mine += [one for one in acl["operations"] if one not in mine]
    found = []
    for (kind, name, pattern), operations in rights.items():
        resource = {"type": _WORDS.get(kind, kind)}
        if kind != "cluster":
            resource |= {"name": name, "patternType": _WORDS.get(pattern, pattern)}
        found.append({"resource": resource, "operations": operations})
    spec = {"authentication": {"type": "tls"}, "authorization": {"type": "simple", "acls": found}}
    metadata = {"name": "tally", "labels": _CLUSTER}
    return {"apiVersion": _STRIMZI, "kind": "KafkaUser", "metadata": metadata, "spec": spec}


def _text(source: str, objects: list[dict[str, Any]]) -> str:
    text = yaml.safe_dump_all(objects, sort_keys=False, width=120, allow_unicode=True)
    return f"# Made from {source} by `python -m k8s.generated`: change it there.\n{text}"


if __name__ == "__main__":
    for path, text in files().items():
        (FOLDER / path).write_text(text)

"""Values that some readers of JSON refuse, in a real Elasticsearch: every event counts, and has its document."""

from pathlib import Path

from tests.core.payloads.test_odd_values import BODIES, ODD, of, ways
from tests.live import servers
from tests.live.test_documents import Node, an_event, started, wait_until_written, workers
from tests.live.workers import produce, wait_for

#: Requests that have the value in a row, which is searched in a document's `elements`.
IN_ROWS = (
    '{"instances": [{"x": ODD, "by": "BY"}]}',
    '{"data": {"names": ["a", "b"], "ndarray": [[1, ODD]]}, "by": "BY"}',
    '{"jsonData": ODD, "by": "BY"}',
)


def test_every_odd_value_counts_and_is_documented(
    kafka: servers.Kafka, elasticsearch: servers.Elasticsearch, tmp_path: Path
) -> None:
    node = Node(elasticsearch)
    with workers(tmp_path, kafka.bootstrap, node) as (fleet, name):
        leg = {"namespace": name, "service": "odd", "endpoint": "default"}
        index = f"inference-log-seldon-{name}-odd-default"
        plain = {kind: ways(of(kind, "1"))["ASCII"] for kind in BODIES}
        puids, events = [], []
        for number, odd in enumerate(ODD.values()):
            bodies = [(kind, of(kind, odd)) for kind in BODIES]
            bodies += [("request", body.replace("ODD", odd)) for body in IN_ROWS]
            for place, (kind, text) in enumerate(bodies):
                for way, body in ways(text).items():
                    puid = f"{number}-{place}-{way}".replace(" ", "-")
                    puids.append(puid)
                    for each, usual in plain.items():
                        event = an_event(each, puid, None, leg)
                        events.append(event._replace(value=body if each == kind else usual))
        try:
            worker = started(fleet)
            produce(fleet.settings, events)
            wait_until_written(fleet, worker, len(events))
            assert worker.total("tally_rejected_total") == 0
            right = {"verdict": "correct", "model_namespace": name}
            wait_for("all are right", lambda: worker.total("tally_rows", **right) == len(puids))
            found = node.documents(index)
            assert sorted(number for _, number in found) == sorted(puids)
            assert all({"request", "response", "feedback"} <= document.keys() for document in found.values())
        finally:
            node.remove(index)

"""Tally's join written for Quix Streams: one process, RocksDB state with a changelog."""

import sys
import tempfile
import time
from typing import Any

import orjson
from quixstreams import Application
from quixstreams.context import message_context


def main() -> None:
    bootstrap, requests, responses, feedback, events, _partitions, app_id = sys.argv[1:]
    total = int(events)
    app = Application(
        broker_address=bootstrap,
        consumer_group=app_id,
        auto_offset_reset="earliest",
        commit_interval=2.0,
        loglevel="ERROR",
        state_dir=tempfile.mkdtemp(),
        producer_extra_config={"linger.ms": 20},
        consumer_extra_config={"max.partition.fetch.bytes": 4 << 20},
    )
    counts: dict[tuple[str, int, int, int], int] = {}
    seen = 0
    first = last = 0.0

    def join(value: bytes, _key: bytes, timestamp: int, headers: list[tuple[str, bytes]], state: Any) -> None:
        nonlocal seen, first, last
        first = first or time.perf_counter()
        payload = orjson.loads(value)
        exchange = state.get("exchange") or {}
        was_complete = "predicted" in exchange and "label" in exchange
        exchange["service"] = dict(headers)["ce_inferenceservicename"].decode()
        match message_context().topic:
            case topic if topic == requests:
                exchange["requested"] = timestamp
            case topic if topic == responses:
                row = payload["data"]["ndarray"][0]
                exchange.update(predicted=row.index(max(row)), score=max(row), answered=timestamp)
            case _:
                row = payload["truth"]["data"]["ndarray"][0]
                exchange.update(label=row.index(max(row)), reward=payload["reward"], told=timestamp)
        state.set("exchange", exchange)
        if not was_complete and "predicted" in exchange and "label" in exchange:
            cell = exchange["service"], exchange["answered"] // 60_000, exchange["predicted"], exchange["label"]
            counts[cell] = counts.get(cell, 0) + 1
        seen += 1
        if seen == total:
            last = time.perf_counter()
            app.stop()

    first_topic, *others = (
        app.dataframe(app.topic(name, key_deserializer="bytes", value_deserializer="bytes"))
        for name in (requests, responses, feedback)
    )
    stream = first_topic
    for other in others:
        stream = stream.concat(other)
    stream.update(join, metadata=True, stateful=True)
    app.run()
    print("judged", sum(counts.values()), file=sys.stderr)
    print(f"quix {total / (last - first):.0f}")


if __name__ == "__main__":
    main()

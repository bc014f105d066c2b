"""Tally's join as Faust's documentation shows it: one agent, one Table, an assignment per event."""

import os
import sys
import tempfile
import time
from typing import Any

import faust
import orjson


def main() -> None:
    bootstrap, requests, responses, feedback, events, partitions, app_id = sys.argv[1:]
    total = int(events)
    app = faust.App(
        app_id,
        broker=f"kafka://{bootstrap}",
        store="memory://",
        datadir=tempfile.mkdtemp(),
        consumer_auto_offset_reset="earliest",
        topic_disable_leader=True,
        topic_partitions=int(partitions),
        web_enabled=False,
    )
    channel = app.topic(requests, responses, feedback, key_serializer="raw", value_serializer="raw")
    exchanges = app.Table("exchanges", key_type=bytes, value_type=bytes)
    counts: dict[tuple[str, int, int, int], int] = {}

    async def join(stream: Any) -> None:
        seen = 0
        first = 0.0
        async for event in stream.events():
            first = first or time.perf_counter()
            payload = orjson.loads(event.value)
            known = exchanges.get(event.key)
            exchange = orjson.loads(known) if known else {}
            was_complete = "predicted" in exchange and "label" in exchange
            exchange["service"] = event.headers["ce_inferenceservicename"].decode()
            milliseconds = int(event.message.timestamp * 1000)
            match event.message.topic:
                case topic if topic == requests:
                    exchange["requested"] = milliseconds
                case topic if topic == responses:
                    row = payload["data"]["ndarray"][0]
                    exchange.update(predicted=row.index(max(row)), score=max(row), answered=milliseconds)
                case _:
                    row = payload["truth"]["data"]["ndarray"][0]
                    exchange.update(label=row.index(max(row)), reward=payload["reward"], told=milliseconds)
            exchanges[event.key] = orjson.dumps(exchange)
            if not was_complete and "predicted" in exchange and "label" in exchange:
                cell = exchange["service"], exchange["answered"] // 60_000, exchange["predicted"], exchange["label"]
                counts[cell] = counts.get(cell, 0) + 1
            seen += 1
            if seen == total:
                rate = total / (time.perf_counter() - first)
                print("judged", sum(counts.values()), file=sys.stderr, flush=True)
                print(f"plain-faust {rate:.0f}", flush=True)
                os._exit(0)

    app.agent(channel)(join)
    worker = faust.Worker(app, loglevel="error", quiet=True, redirect_stdouts=False)
    worker.spinner = None  # its control characters would stand before the figure
    worker.execute_from_commandline()


if __name__ == "__main__":
    main()

"""Tally: are my models still right?

    requests  ┐                                          ┌─► dead letters (refused, with the reason)
    responses ├─► lane ─► shard: join by puid ─► verdict ├─► inference-log (joined record of each puid)
    feedback  ┘   (worker)     (core)                    └─► panes: absolute counts ─► merged view ─► /metrics, /, /api

Three layers, checked by import-linter: `core` is pure, `exporters` turn its numbers into text, `worker` touches Kafka.
"""

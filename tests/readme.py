"""The README's tables, made from the code: `python -m tests.readme` writes them, `test_readme.py` checks them."""

from pathlib import Path
from typing import Any

import orjson

from app.cli.plan import DAY, Load, plan, written
from app.core.events import REASONS, Reason
from app.core.outputs.http_series import HTTP
from app.core.outputs.series import COUNTS, OTHERS
from app.core.outputs.worker_series import WORKER
from app.core.payloads.bodies import labels_of, output_of
from app.core.payloads.forms import FORMS, table_of
from app.core.payloads.marks import class_text
from app.core.scores.catalogue import SCORES
from app.settings import Settings

README = Path(__file__).parent.parent / "README.md"


def reasons() -> str:
    rows = [f"| `{reason}` | {REASONS[reason]} |" for reason in Reason]
    return "\n".join(["| reason | meaning |", "|---|---|", *rows])


def settings() -> str:
    rows = []
    for name, field in Settings.model_fields.items():
        default = _default(name, field.default)
        rows.append(f"| `TALLY_{name.upper()}` | {default} | {field.description} |")
    return "\n".join(["| setting | default | meaning |", "|---|---|---|", *rows])


#: Defaults as one would write them.
_WRITTEN = {
    "windows": "5m,1h,24h",
    "session_timeout": "10s",
    "exchange_retention": "7d",
    "window_retention": "25h",
    "scrape_interval": "2s",
    "max_body": "1MiB",
}


def _default(name: str, value: object) -> str:
    if value is None or value == ():
        return "unset"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _WRITTEN.get(name, str(value))


def scores() -> str:
    rows = [f"| `{name}` | {', '.join(tasks)} | {text} |" for name, text, tasks, *_ in SCORES]
    return "\n".join(["| score | of models | meaning |", "|---|---|---|", *rows])


def series() -> str:
    rows = [("series", "type", "labels", "meaning"), ("---", "---", "---", "---")]
    for _, family in COUNTS:
        both = f"`tally_{family.name}`, `tally_window_{family.name}`"
        name = both if family.windows else f"`tally_{family.name}`"
        rows.append((name, family.kind, ", ".join(family.labels), family.help))
    rows += [(f"`{name}`", kind, ", ".join(labels), text) for name, kind, text, labels in OTHERS]
    rows += [(f"`{one.name}`", one.kind, ", ".join(one.labels), f"{one.help} This worker.") for one in WORKER]
    rows += [(f"`{one.name}`", one.kind, ", ".join(one.labels), f"{one.help} This worker.") for one in HTTP]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def forms() -> str:
    rows = [("form", "", "body", "rows", "class", "names"), ("---",) * 6]
    for form in FORMS:
        for what, text in form.examples:
            body = orjson.loads(text)
            table = table_of(body, what)
            names = table.names or (table.rows[0] if isinstance(table.rows[0], dict) else ())
            rows.append((form.name, what, f"`{text}`", str(len(table.rows)), _classes(what, body), ", ".join(names)))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _classes(what: str, body: Any) -> str:
    """What is read of a body as class, as people would write it."""
    if what == "request":
        return ""
    output = output_of(body) if what == "response" else None
    if output is not None and output.no_class:
        return f"none: {output.no_class}"
    marks, names = (labels_of(body), ()) if output is None else (output.marks, output.names)
    texts = [class_text(mark, names) if isinstance(mark, (int, str)) else mark for mark in marks]
    return ", ".join("(left alone)" if text is None else str(text) for text in texts)


def capacity() -> str:
    """What some loads take, with the labels of a week and the copies of a cluster."""
    names = ("events a second", "models", "a worker may use", "partitions", "workers", "memory of each", "Kafka")
    rows: list[tuple[str, ...]] = [(*names, "Elasticsearch a day"), ("---",) * 8]
    for events, models, gibibytes in ((6, 1, 2), (60, 10, 2), (300, 10, 8), (1_500, 100, 16), (15_000, 100, 32)):
        found = plan(Load(events, 7 * DAY, models, worker_memory=gibibytes << 30, documents=True))
        disk = found.events_disk + found.exchanges_disk + found.panes_disk + found.log_disk
        sizes = map(written, (found.memory_a_worker, disk, found.documents_disk_a_day))
        rows.append((f"{events:,}", f"{models}", f"{gibibytes} GiB", f"{found.partitions}", f"{found.workers}", *sizes))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


TABLES = {
    "forms": forms,
    "reasons": reasons,
    "settings": settings,
    "series": series,
    "scores": scores,
    "capacity": capacity,
}


def with_tables(text: str) -> str:
    """The README with its tables as they should be."""
    for name, table in TABLES.items():
        before, _, rest = text.partition(f"<!-- {name} -->")
        _, _, after = rest.partition(f"<!-- /{name} -->")
        text = f"{before}<!-- {name} -->\n{table()}\n<!-- /{name} -->{after}"
    return text


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text()))

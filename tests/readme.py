"""The README's tables, made from the code: `python -m tests.readme` writes them, `test_readme.py` checks them."""

from pathlib import Path

from app.core.events import REASONS, Reason
from app.core.outputs.series import COUNTS, DELAY, FIRST_SEEN, INFO, SCORE, SCORE_SAMPLES, TOTALS
from app.core.outputs.worker_series import WORKER
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


def series() -> str:
    rows = [("series", "type", "labels", "meaning"), ("---", "---", "---", "---")]
    rows += [
        (f"`tally_{family.name}`, `tally_window_{family.name}`", family.kind, ", ".join(family.labels), family.help)
        for family in COUNTS
    ]
    rows += [(f"`tally_{family.name}`", family.kind, ", ".join(family.labels), family.help) for family in TOTALS]
    rows += [(f"`{name}`", "gauge", "score, class, window", text) for name, text in (SCORE, SCORE_SAMPLES)]
    rows.append((f"`{DELAY[0]}`", "histogram", "", DELAY[1]))
    rows += [(f"`{INFO[0]}`", "gauge", "task", INFO[1]), (f"`{FIRST_SEEN[0]}`", "gauge", "", FIRST_SEEN[1])]
    rows += [(f"`{one.name}`", one.kind, ", ".join(one.labels), f"{one.help} This worker.") for one in WORKER]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


TABLES = {"reasons": reasons, "settings": settings, "series": series}


def with_tables(text: str) -> str:
    """The README with its tables as they should be."""
    for name, table in TABLES.items():
        before, _, rest = text.partition(f"<!-- {name} -->")
        _, _, after = rest.partition(f"<!-- /{name} -->")
        text = f"{before}<!-- {name} -->\n{table()}\n<!-- /{name} -->{after}"
    return text


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text()))

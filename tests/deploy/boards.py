"""The dashboards as Grafana reads them: panels, their expressions, and the values that variables may take."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent.parent.parent / "k8s/dashboards"
#: What Grafana puts in the place of its own variables.
OWN: Final = {"__rate_interval": "2m", "__range": "1h"}


@dataclass(frozen=True, slots=True)
class Asked:
    """One expression of a panel."""

    board: str
    panel: str
    expression: str
    legend: str
    unit: str
    is_table: bool


def boards() -> dict[str, dict[str, Any]]:
    """Each dashboard by the name of its file."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def panels(board: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """All panels but the headings of rows."""
    for panel in board["panels"]:
        yield from (one for one in (panel, *panel.get("panels", ())) if one["type"] != "row")


def asked() -> Iterator[Asked]:
    """All expressions of all dashboards."""
    for name, board in boards().items():
        for panel in panels(board):
            for target in panel["targets"]:
                yield Asked(
                    name,
                    panel["title"],
                    target["expr"],
                    target.get("legendFormat", ""),
                    panel["fieldConfig"]["defaults"]["unit"],
                    panel["type"] == "table",
                )


def variables(board: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Of each variable that asks Prometheus: a selector, and the label whose values it offers."""
    found = {}
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            match = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"])
            assert match, variable["query"]
            found[variable["name"]] = (match[1], match[2])
    return found


def filled_in(text: str, values: Mapping[str, str]) -> str:
    """The text with values in the place of variables; all must have one."""
    return re.sub(r"\$([a-z_]\w*)", lambda found: (OWN | values)[found[1]], text)  # type: ignore[operator]

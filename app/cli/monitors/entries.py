"""The lines that are to be pasted into the YAML file."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml


def entry(monitors: Mapping[str, Any], schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The entry of a model, for whichever it is."""
    made: dict[str, Any] = {"match": "*"}
    if monitors:
        made["monitors"] = dict(monitors)
    if schema:
        made["prediction_schema"] = dict(schema)
    return made


def print_entry(comments: Sequence[str], made: Mapping[str, Any]) -> None:
    """Print an entry as a YAML file of its own, below its comments."""
    for comment in comments:
        print(f"# {comment}")
    print(
        yaml.safe_dump({"models": [made]}, sort_keys=False, default_flow_style=None, allow_unicode=True, width=1000),
        end="",
    )

"""What several commands say of models in their tables: names, numbers, and how far something has moved."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from rich.table import Table

from app.cli.screen import table

#: What stands for a number that is undefined.
UNDEFINED: Final = "-"
_DISTANCES: Final = {"psi": "PSI", "js": "Jensen-Shannon", "ks": "KS", "chi2_p": "p (chi-square)", "ks_p": "p (KS)"}


def name_of(labels: Mapping[str, str]) -> str:
    """A model as people write it, with its version."""
    names = "/".join(labels[name] for name in ("model_namespace", "model_service", "predictor", "model"))
    return f"{names}@{labels['model_version']}" if labels["model_version"] else names


def shown(value: float | None, form: str = ".4g") -> str:
    """A number, or what stands for one that is undefined."""
    return UNDEFINED if value is None else format(value, form)


def drift_table(title: str, found: Iterable[Mapping[str, Any]], others: Mapping[str, tuple[str, str]]) -> Table:
    """How far each distribution is from what it is held against. `others` are further columns behind the rows: the name
    of the field, the head of the column and the form.
    """
    rows = table(title, "of", "rows", *(head for head, _ in others.values()), *_DISTANCES.values(), "drifted")
    for one in found:
        rows.add_row(*_drift(one, {name: form for name, (_, form) in others.items()}))
    return rows


def _drift(one: Mapping[str, Any], others: Mapping[str, str]) -> Iterator[str]:
    yield one["feature"]
    yield f"{one['rows']:,}"
    for name, form in others.items():
        yield shown(one.get(name), form)
    for name in _DISTANCES:
        yield shown(one.get(name), ".2g" if name.endswith("_p") else ".3g")
    yield {True: "yes", False: "no", None: "too few rows"}[one.get("drifted")]

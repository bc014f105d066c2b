"""References: how far what was asked, answered and right is from them, and what of it is not as declared; by scipy."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats
from scipy.spatial.distance import jensenshannon

#: Rows below which nothing has drifted.
LEAST = 3


class Known(NamedTuple):
    """A feature, the predictions or the labels of a reference: numbers by the edges of their bins, or categories."""

    name: str
    counts: tuple[int, ...]
    missing: int = 0
    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()

    def bin_of(self, value: Any) -> str | int:
        """The place of a value among the counts, or what else it is."""
        if self.edges:
            number = _number(value)
            if number is None:
                return "missing"
            places = [place for place, edge in enumerate(self.edges) if number <= edge]
            if not places:
                return "above"
            return "below" if places[0] == 0 and number < self.edges[0] else places[0]
        text = category(value)
        if text is None:
            return "missing"
        return self.categories.index(text) if text in self.categories else "unseen"


class Watch(NamedTuple):
    """What a model is compared with, and what its features may be: bounds by name."""

    features: tuple[Known, ...]
    prediction: Known
    label: Known
    bounds: dict[str, tuple[float, float]]

    def rows(self, body: dict[str, Any]) -> list[tuple[Any, ...]]:
        """The features of a request's rows; none where it does not fit."""
        own, names = [one.name for one in self.features], body["data"].get("names") or []
        found = []
        for row in body["data"]["ndarray"]:
            if set(names) & {*own, *self.bounds}:
                of = dict(zip(names, row, strict=True))
            elif len(row) == len(own):
                of = dict(zip(own, row, strict=True))
            else:
                return []
            found.append(tuple(of.get(name) for name in own))
        return found


def category(value: Any) -> str | None:
    """The category that a value is: 1, 1.0, "1" and true are one."""
    number = _number(value)
    if number is not None:
        return str(int(number)) if number.is_integer() else repr(number)
    text = str(value).strip()
    if value is None or text.lower() in ("", "nan"):
        return None
    return {"true": "1", "false": "0"}.get(text.lower(), text)


def _number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError:
        return None


def samples(watch: Watch, facts: Sequence[tuple[Any, ...]]) -> Iterator[tuple[str, float | None, dict[str, str]]]:
    """The series of what some facts say."""
    rows = [what[1] for what in facts if what[0] == "features"]
    tested = []
    for place, known in enumerate(watch.features):
        values = [row[place] for row in rows]
        found = against(known, values)
        if known.name in watch.bounds and values:
            least, most = watch.bounds[known.name]
            invalid = [_is_invalid(value, least, most) for value in values]
            yield "feature_share", sum(invalid) / len(values), {"feature": known.name, "kind": "invalid"}
        yield from _shown(known.name, len(values), found)
        if len(values) >= LEAST:
            tested.append(found)
    invalid_rows = [
        any(_is_invalid(row[place], *watch.bounds[known.name])
            for place, known in enumerate(watch.features) if known.name in watch.bounds)
        for row in rows
    ]  # fmt: skip
    yield "feature_rows", len(rows), {"feature": "(row)"}
    if rows:
        yield "feature_share", sum(invalid_rows) / len(rows), {"feature": "(row)", "kind": "invalid"}
        yield "feature_share", 0.0, {"feature": "(row)", "kind": "missing"}
    for known, kind in ((watch.prediction, "predicted"), (watch.label, "labelled")):
        values = [what[1] for what in facts if what[0] == kind]
        yield from _shown(known.name, len(values), against(known, values))
    share = None
    if tested:
        corrected = stats.false_discovery_control([found["chi2_p"] for found in tested])
        drifted = [p <= 0.01 and found["psi"] > 0.1 for p, found in zip(corrected, tested, strict=True)]
        share = sum(drifted) / len(tested)
    yield "drifted_share", share, {}


def _is_invalid(value: Any, least: float, most: float) -> bool:
    if category(value) is None:
        return False
    number = _number(value)
    return number is None or not least <= number <= most


def _shown(name: str, rows: int, found: dict[str, float]) -> Iterator[tuple[str, float, dict[str, str]]]:
    yield "feature_rows", rows, {"feature": name}
    for what, value in found.items():
        if what in ("missing", "below", "above", "unseen"):
            yield "feature_share", value, {"feature": name, "kind": what}
        else:
            yield "drift", value, {"feature": name, "measure": what}


def against(known: Known, values: Sequence[Any]) -> dict[str, float]:
    """All that is said of values; nothing where there are none."""
    if not values:
        return {}
    live = Counter(map(known.bin_of, values))
    inner: list[str | int] = [*range(len(known.counts))]
    order: list[str | int] = ["missing", "below", *inner, "above"] if known.edges else ["missing", "unseen", *inner]
    reference = dict(zip(inner, known.counts, strict=True)) | {"missing": known.missing}
    bins = [one for one in order if one in inner or reference.get(one) or live[one]]
    p, q = (np.array([counts.get(one, 0) for one in bins], float) for counts in (reference, live))
    smooth_p, smooth_q = ((counts + 1) / (counts.sum() + len(bins)) for counts in (p, q))
    found = {
        "psi": float(((smooth_p - smooth_q) * np.log(smooth_p / smooth_q)).sum()),
        "js": float(jensenshannon(p, q, base=2)),
    }
    both = np.array([p, q])[:, p + q > 0]
    if both.shape[1] > 1:
        found["chi2_p"] = float(stats.chi2_contingency(both, correction=False).pvalue)
    shares = {"missing"} | ({"below", "above"} if known.edges else {"unseen"})
    found |= {one: live[one] / len(values) for one in shares}
    present = slice(1 if "missing" in bins else 0, None)
    if known.edges and q[present].sum():
        cumulated = [np.cumsum(counts[present]) / counts[present].sum() for counts in (p, q)]
        found["ks"] = float(np.abs(cumulated[0] - cumulated[1]).max())
        n, m = p[present].sum(), q[present].sum()
        found["ks_p"] = float(stats.kstwobign.sf(found["ks"] * math.sqrt(n * m / (n + m))))
    return found


#: The one reference of stories.
WATCH = Watch(
    (
        Known("x", (1, 40, 59), missing=3, edges=(1.0, 2.0, 30.0)),
        Known("land", (70, 30), categories=("DE", "FR")),
    ),
    Known("(prediction)", (60, 40, 5), categories=("0", "1", "cat")),
    Known("(label)", (50, 50), missing=1, categories=("0", "1")),
    {"x": (1, 50)},
)
#: Bodies of requests that fit it or do not.
ASKED: tuple[dict[str, Any], ...] = (
    {"data": {"ndarray": [[1, 2]]}},
    {"data": {"ndarray": [[1.5, "DE"]]}},
    {"data": {"ndarray": [["20.5", "FR"], [None, None]]}},
    {"data": {"names": ["land", "other", "x"], "ndarray": [["IT", 0, 99]]}},
    {"data": {"ndarray": [[1, 2, 3]]}},
    {"data": {"names": ["x"], "ndarray": [[-5], ["much"]]}},
    {"data": {"names": ["a", "b"], "ndarray": [[2, ""], [31, " DE"], [2, True]]}},
)

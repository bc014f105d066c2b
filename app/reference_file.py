"""Reference files: boxkite's `histogram.prom`, read and written.

The format is Prometheus's text, as boxkite's `ModelMonitoringService.export_text` writes it (boxkite 0.0.5), one family
a feature:

    feature_<place>_value_baseline             a histogram: buckets `le` up to the greatest number; from there to +Inf
                                               is what was null, NaN or infinite
    feature_<place>_value_baseline_total       a counter: one sample a category, in the label `bin`; "nan" is missing
    inference_value_baseline(_total)           the same of what was predicted

The name of a feature stands in the help alone, after its first colon. Tally adds two families of its own, which boxkite
passes over, since their names do not end with `_baseline`: `label_value_reference(_total)` and
`score_value_reference(_total)`.
"""

import math
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from app.core.drift.distribution import MOST_BINS, Distribution, category_of
from app.core.drift.reference import LABEL, MOST_BINS_TOGETHER, MOST_FEATURES, PREDICTION, SCORE, Reference

#: What the file is called where a folder is named.
FILE_NAME: Final = "histogram.prom"
_LARGEST_BYTES: Final = 32 << 20
_FEATURE: Final = re.compile(r"feature_(\d{1,6})_value_baseline")
_OTHERS: Final = {
    "inference_value_baseline": PREDICTION,
    "score_value_reference": SCORE,
    "label_value_reference": LABEL,
}
_HELP: Final = "Baseline values for feature: "
_HELP_OF: Final = {
    PREDICTION: "Baseline inference values for test set",
    SCORE: "Scores of the reference",
    LABEL: "Labels of the reference",
}


class ReferenceFileError(Exception):
    """The file is no reference; the message goes on from its name, and says what to do."""


def place_of(path: Path) -> Path:
    """The file itself, where its folder is named."""
    return path / FILE_NAME if path.is_dir() else path


def read_reference(path: Path) -> Reference:
    """The reference in a file, or in the `histogram.prom` of a folder. Raises `ReferenceFileError`."""
    try:
        with place_of(path).open("rb") as file:
            raw = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise ReferenceFileError(f" cannot be read ({error.strerror})") from None
    if len(raw) > _LARGEST_BYTES:
        raise ReferenceFileError(f" is larger than {_LARGEST_BYTES >> 20} MiB")
    try:
        return reference_of(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ReferenceFileError(f", line {line} is no UTF-8 text") from None


def reference_of(text: str) -> Reference:
    """The reference that a text is. Raises `ReferenceFileError`."""
    features: dict[int, Distribution] = {}
    from prometheus_client.parser import text_string_to_metric_families  # it brings a web server, for one file

    others: dict[str, Distribution] = {}
    try:
        families = [*text_string_to_metric_families(text)]
    except (ValueError, IndexError, KeyError, AttributeError) as error:
        raise ReferenceFileError(
            f" is no text in Prometheus's format ({' '.join(str(error).split())[:200]}): a reference is what boxkite "
            "writes as histogram.prom, or `tally reference build`"
        ) from None
    for family in families:
        feature = _FEATURE.fullmatch(family.name)
        if feature:
            place = int(feature[1])
            name = family.documentation.partition(":")[2].strip() or str(place)
            if place in features:
                raise ReferenceFileError(f" has {family.name} a second time")
            features[place] = _distribution(family, name)
        elif family.name in _OTHERS:
            what = _OTHERS[family.name]
            if what in others:
                raise ReferenceFileError(f" has {family.name} a second time")
            others[what] = _distribution(family, what)
    if not features and not others:
        raise ReferenceFileError(
            " has no family like feature_0_value_baseline or inference_value_baseline: it is no reference of "
            "boxkite's, which `tally reference build` makes too"
        )
    _check_features(features)
    bins = sum(len(one.counts) for one in (*features.values(), *others.values()))
    if bins > MOST_BINS_TOGETHER:
        raise ReferenceFileError(
            f" has {bins:,} bins together, and at most {MOST_BINS_TOGETHER:,} are watched: keep fewer features or bins"
        )
    return Reference(
        tuple(features[place] for place in sorted(features)),
        others.get(PREDICTION),
        others.get(SCORE),
        others.get(LABEL),
    )


def _check_features(features: dict[int, Distribution]) -> None:
    if len(features) > MOST_FEATURES:
        raise ReferenceFileError(
            f" has {len(features):,} features, and at most {MOST_FEATURES:,} are watched: keep those that matter most"
        )
    gap = next((place for place in range(len(features)) if place not in features), None)
    if gap is not None:
        raise ReferenceFileError(
            f" has no feature_{gap}_value_baseline, but others with higher numbers: each column needs its own, from 0"
        )
    for name, times in Counter(one.name for one in features.values()).items():
        if times > 1:
            raise ReferenceFileError(f" has {times} features named {name!r}: give each column its own name")


def _distribution(family: Any, name: str) -> Distribution:
    what = f" in {family.name} ({name})" if not name.startswith("(") else f" in {family.name}"
    if family.type == "histogram":
        return _of_numbers(family, name, what)
    if family.type == "counter":
        return _of_categories(family, name, what)
    raise ReferenceFileError(f" has the type {family.type}{what}, where a histogram or a counter belongs")


def _of_numbers(family: Any, name: str, what: str) -> Distribution:
    buckets: dict[float, int] = {}
    for sample in family.samples:
        if sample.name == f"{family.name}_bucket":
            try:
                edge = float(sample.labels.get("le", ""))
            except ValueError:
                edge = math.nan
            if math.isnan(edge) or edge == -math.inf:
                raise ReferenceFileError(f" has a bucket without a number as its le{what}")
            if edge in buckets:
                raise ReferenceFileError(f" has the bucket le={edge:g} a second time{what}")
            buckets[edge] = _count(sample.value, what)
    # `_count` is left out where the first edge is negative: the total is that of the bucket to infinity.
    total = buckets.pop(math.inf, None)
    if total is None or not buckets:
        raise ReferenceFileError(f' has no bucket le="+Inf" or none besides{what}')
    if len(buckets) > MOST_BINS:
        raise ReferenceFileError(f" has {len(buckets):,} buckets{what}, and at most {MOST_BINS:,} are watched")
    edges = sorted(buckets)
    counts, before = [], 0
    for rows in (*(buckets[edge] for edge in edges), total):
        if rows < before:
            raise ReferenceFileError(f" has buckets{what} that do not grow: each must count all up to its le")
        counts.append(rows - before)
        before = rows
    *own, missing = counts
    return Distribution(name, "continuous", tuple(edges), (), tuple(own), missing)


def _of_categories(family: Any, name: str, what: str) -> Distribution:
    counts: dict[str, int] = {}
    missing = 0
    for sample in family.samples:
        if sample.name == f"{family.name}_total":
            text = sample.labels.get("bin")
            if text is None:
                raise ReferenceFileError(f" has a sample without the label bin{what}")
            rows = _count(sample.value, what)
            category = category_of(text)
            if category is None:
                missing += rows
            else:
                counts[category] = counts.get(category, 0) + rows
    if not counts and not missing:
        raise ReferenceFileError(f" has no row at all{what}")
    if len(counts) > MOST_BINS:
        raise ReferenceFileError(f" has {len(counts):,} categories{what}, and at most {MOST_BINS:,} are watched")
    return Distribution(name, "categorical", (), tuple(counts), tuple(counts.values()), missing)


def _count(value: float, what: str) -> int:
    if not (math.isfinite(value) and value >= 0 and value == int(value)):
        raise ReferenceFileError(f" has {value:g} in the place of a number of rows{what}")
    return int(value)


# -- writing ----------------------------------------------------------------------------------------------------------


def text_of(reference: Reference) -> str:
    """A reference as the text of a file."""
    lines: list[str] = []
    for place, feature in enumerate(reference.features):
        lines += _family(f"feature_{place}_value_baseline", _HELP + feature.name, feature)
    own = {PREDICTION: reference.prediction, SCORE: reference.score, LABEL: reference.label}
    for family, what in _OTHERS.items():
        distribution = own[what]
        if distribution is not None:
            lines += _family(family, _HELP_OF[what], distribution)
    return "".join(f"{line}\n" for line in lines)


def _family(family: str, help_text: str, distribution: Distribution) -> Iterator[str]:
    continuous = distribution.kind == "continuous"
    name = family if continuous else f"{family}_total"
    yield f"# HELP {name} {_escaped(help_text)}"
    yield f"# TYPE {name} {'histogram' if continuous else 'counter'}"
    if continuous:
        rows = 0
        for edge, count in zip(distribution.edges, distribution.counts, strict=True):
            rows += count
            yield f'{family}_bucket{{le="{edge!r}"}} {float(rows)}'
        yield f'{family}_bucket{{le="+Inf"}} {float(distribution.rows)}'
        return
    counts = [*zip(distribution.categories, distribution.counts, strict=True)]
    if distribution.missing or not counts:
        counts.append(("nan", distribution.missing))
    for category, count in counts:
        escaped = _escaped(category).replace('"', '\\"')
        yield f'{name}{{bin="{escaped}"}} {float(count)}'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def write_reference(path: Path, reference: Reference) -> None:
    """Write a file whole or not at all: a worker may read it at any moment. Raises OSError."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text_of(reference), encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)

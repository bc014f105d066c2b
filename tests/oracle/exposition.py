"""What series must come out: the samples of all models in a story, by name and labels."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

from tests.oracle import drift, versions
from tests.oracle.classes import number_of
from tests.oracle.comparison import compared, ratio
from tests.oracle.estimates import estimates
from tests.oracle.events import Event, is_label
from tests.oracle.exchange import Fact, Identity, facts_of
from tests.oracle.probabilities import probability_scores
from tests.oracle.rules import Leg, Rule, rule_of
from tests.oracle.segments import Slice, shown, treatments

#: (name, labels in the order of their names) → value
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
_Cells = Counter[tuple[str, str]]

BOUNDS: Final = (1, 10, 60, 300, 1800, 3600, 21600, 86400, 259200, 604800, 2592000)
WINDOWS: Final = {"5m": 300, "1h": 3600, "24h": 86400, "7d": 7 * 86400}
RETENTION: Final = 7 * 86400
_IDENTITY: Final = ("model_namespace", "model_service", "predictor", "model", "model_version")


def says_anything(event: Event, rules: tuple[Rule, ...]) -> bool:
    """Whether an event is any part of an exchange: a copy of a reward that names a shadow is none."""
    if event.kind != "feedback" or is_label(event) or event.body.get("response"):
        return True
    return "reward" in event.body and event.leg.predictor not in rule_of(rules, event.leg).shadow


def exchanges(events: Iterable[Event], rules: tuple[Rule, ...]) -> Iterator[list[Event]]:
    """The events of one exchange together: of one puid, and without a gap that is longer than the retention.

    Where there is such a gap the events must come in the order of their records.
    """
    by_puid: dict[str, list[Event]] = {}
    for event in sorted(events, key=lambda event: event.stamp):
        if says_anything(event, rules):
            by_puid.setdefault(event.puid, []).append(event)
    for own in by_puid.values():
        group: list[Event] = []
        for event in own:
            if group and event.stamp // 1_000_000 - group[-1].stamp // 1_000_000 >= RETENTION:
                yield group
                group = []
            group.append(event)
        yield group


def samples_of(events: Iterable[Event], rules: tuple[Rule, ...], now: float) -> Samples:
    """All model series at a moment, in seconds."""
    facts = [fact for group in exchanges(events, rules) for fact in facts_of(group, rules)]
    found: Samples = {}
    models = []
    for who in {fact.who for fact in facts}:
        own = [fact for fact in facts if fact.who == who]
        if all(fact.what in (("part", "feedback"), ("seen",)) for fact in own):
            continue  # no model appears because a feedback names it
        models.append(_Model(who, own, rule_of(rules, Leg(*who[:4])), now))
    for model in models:
        older = [
            one
            for one in models
            if one.who[:4] == model.who[:4]
            and (one.seen, one.who) < (model.seen, model.who)
            and versions.has_rows(one.spans["total"])
        ]
        model.add_to(found, max(older, key=lambda one: (one.seen, one.who), default=None))
    return found


def _in_window(pane: int, seconds: int, now: float) -> bool:
    """The full panes of a window, and the open one: a minute each, for more than 120 of them ten, for a week a day."""
    length = 60 if seconds <= 120 * 60 else 600 if seconds < 7 * 86400 else 86400
    place, last = pane * 60 // length, int(now // length)
    return last - -(-seconds // length) <= place <= last


def _spans(facts: Iterable[Fact], now: float) -> dict[str, list[tuple[Any, ...]]]:
    """What facts say in total and in each window, by either clock."""
    counted = [fact for fact in facts if fact.what[0] not in ("seen", "label")]
    by_labels = [fact._replace(what=fact.what[1:]) for fact in facts if fact.what[0] == "label"]
    found = {"total": [fact.what for fact in counted]}
    for name, seconds in WINDOWS.items():
        found[name] = [fact.what for fact in counted if _in_window(fact.pane, seconds, now)]
        found[f"labels_{name}"] = [fact.what for fact in by_labels if _in_window(fact.pane, seconds, now)]
    return found


class _Model:
    def __init__(self, who: Identity, facts: list[Fact], rule: Rule, now: float) -> None:
        self.who = who
        self.rule = rule
        self.seen = min(fact.pane for fact in facts) * 60
        self.spans = _spans(facts, now)
        self.segments = {
            own: _spans([fact for fact in facts if fact.also & places], now)
            for one in rule.segments
            for own, places in _by_shown(one, {place for fact in facts for place in fact.also})
        }
        total = self.spans["total"]
        self.known = self._known(total)
        self.task = self._task(total)
        self.positive = rule.positive or (rule.classes[1] if len(rule.classes) == 2 else "1")

    def _known(self, total: list[tuple[Any, ...]]) -> list[str]:
        known = set(self.rule.classes)
        for kind, *words in total:
            if kind in ("judged", "unlabelled"):
                known.update(words)
            elif kind == "classes":
                known.update(words[0])
        return sorted(known)

    def _task(self, total: list[tuple[Any, ...]]) -> str:
        """By majority of what has been judged; where nothing has been, of what has been predicted."""
        kinds = Counter(what[0] for what in total)
        if self.rule.task is not None:
            return self.rule.task
        judged, measured = kinds["judged"], kinds["measured"]
        if not judged and not measured:
            judged, measured = kinds["unlabelled"], kinds["unmeasured"]
        if measured > judged:
            return "regression"
        if self.rule.positive is not None:
            return "binary"
        if not self.known:
            return "unknown"
        return "binary" if set(self.known) <= {"0", "1"} else "multiclass"

    # -- samples ------------------------------------------------------------------------------------------------------

    def add_to(self, found: Samples, before: "_Model | None") -> None:
        identity = tuple(zip(_IDENTITY, self.who, strict=True))

        def put(name: str, value: float | None, /, **labels: str) -> None:
            key = name, tuple(sorted((*identity, *((label.strip("_"), text) for label, text in labels.items()))))
            assert key not in found, key
            found[key] = math.nan if value is None else value

        for span, facts in self.spans.items():
            own = {} if span == "total" else {"window": span}
            prefix = "tally_window_" if own else "tally_"
            of_labels = span.startswith("labels_")
            for name, value, labels in self._counts(facts):
                if of_labels and name == "exchanges":
                    continue
                put(prefix + name, value, **labels, **own)
            for name, of_class, score, samples in self._scores(facts, span):
                put("tally_score", score, score=name, class_=of_class, window=span)
                put("tally_score_samples", samples, score=name, class_=of_class, window=span)
            for name, error, count in self._errors(facts):
                put("tally_error", error, error=name, window=span)
                put("tally_error_samples", count, error=name, window=span)
            if self.rule.estimate and not of_labels:
                self._put_estimates(put, facts, span)
            if self.rule.watch is not None and not of_labels:
                for name, found_out, labels in drift.samples(self.rule.watch, facts):
                    put(f"tally_{name}", found_out, **labels, window=span)
            # Rules that ask for estimates compare nothing here: their least count is not that of verdicts.
            shadows = {what[1] for what in self.spans["total"] if what[0] == "pair" and not self.rule.estimate}
            for shadow in shadows:
                together = [what[2:] for what in facts if what[:2] == ("pair", shadow)]
                beside = f"{shadow[2]}/{shadow[3]}" + (f"@{shadow[4]}" if shadow[4] else "")
                for quantity, found_out in compared(together):
                    put("tally_comparison", found_out, shadow=beside, quantity=quantity, window=span)
            self._put_segments(put, span)
        total = self.spans["total"]
        put("tally_mismatched_labels", total.count(("mismatch",)))
        delays = [what[1] for what in total if what[0] == "delay"]
        for bound in BOUNDS:
            within = sum(delay <= bound * 1_000_000 for delay in delays)
            put("tally_feedback_delay_seconds_bucket", within, le=f"{bound}.0")
        put("tally_feedback_delay_seconds_bucket", len(delays), le="+Inf")
        put("tally_feedback_delay_seconds_count", len(delays))
        put("tally_feedback_delay_seconds_sum", sum(delays) / 1e6)
        put("tally_model_info", 1, task=self.task)
        put("tally_least_samples", self.rule.least_count)
        put("tally_model_first_seen_timestamp_seconds", self.seen)
        self._put_seldon(put)
        if before is not None and versions.has_rows(total):
            windows = {name: facts for name, facts in self.spans.items() if not name.startswith("labels_")}
            for name, value, labels in versions.samples(before.spans["total"], windows, self.rule):
                put(f"tally_{name}", value, before=before.who[4], **labels)

    def _put_estimates(self, put: Callable[..., None], facts: list[tuple[Any, ...]], span: str) -> None:
        total, here = ([what[1] for what in of if what[0] == "said"] for of in (self.spans["total"], facts))
        rows, labels, found = estimates(total, here, self.task, self.rule.least_count)
        put("tally_estimate_rows", rows, window=span)
        if span == "total":
            put("tally_estimate_labels", labels)
        for name, value, low, high in found if self.task != "regression" else ():
            for ending, one in (("", value), ("_low", low), ("_high", high)):
                put(f"tally_score_estimate{ending}", one, score=name, class_="", window=span)

    def _cells(self, facts: list[tuple[Any, ...]]) -> _Cells:
        if self.task == "regression":
            return Counter()
        return Counter((what[1], what[2]) for what in facts if what[0] == "judged")

    def _rows(self, facts: list[tuple[Any, ...]]) -> dict[str, int]:
        kinds = Counter(what[0] for what in facts)
        cells = self._cells(facts)
        judged = sum(cells.values())
        correct = sum(rows for (actual, predicted), rows in cells.items() if actual == predicted)
        return {
            "correct": correct,
            "incorrect": judged - correct,
            "measured": kinds["measured"] + kinds["judged"] - judged,
            "unlabelled": kinds["unlabelled"] + kinds["unmeasured"],
            "failed": kinds["failed"],
        }

    def _counts(self, facts: list[tuple[Any, ...]]) -> Iterator[tuple[str, float, dict[str, str]]]:
        for part in ("request", "response", "feedback"):
            yield "exchanges", facts.count(("part", part)), {"part": part}
        for verdict, rows in self._rows(facts).items():
            yield "rows", rows, {"verdict": verdict}
        cells = self._cells(facts)
        for (actual, predicted), rows in cells.items():
            yield "confusion", rows, {"actual": actual, "predicted": predicted}
        for name in self._shown_classes():
            for outcome, rows in zip(("tp", "fp", "fn", "tn"), _outcomes(cells, name or self.positive), strict=True):
                yield "class", rows, {"class_": name, "outcome": outcome}
        points = [what[1] for what in facts if what[0] == "reward"]
        yield "rewards", len(points), {}
        yield "reward_points", sum(points) / 1e9, {}

    def _shown_classes(self) -> list[str]:
        """Binary models have class "" only."""
        return {"binary": [""], "multiclass": self.known}.get(self.task, [])

    def _put_segments(self, put: Callable[..., None], span: str) -> None:
        """Of each value its scores and rows, and how fairly the groups are treated."""
        for (name, value), spans in self.segments.items():
            facts, own = spans[span], {"segment": name, "value": value, "window": span}
            of_whole = [(of, "", found, rows) for of, found, rows in self._errors(facts)]
            for score, of_class, found, samples in (*self._scores(facts, span), *of_whole):
                put("tally_segment_score", found, score=score, class_=of_class, **own)
                put("tally_segment_score_samples", samples, score=score, class_=of_class, **own)
            for verdict, rows in self._rows(facts).items() if not span.startswith("labels_") else ():
                put("tally_segment_rows", rows, verdict=verdict, **own)
        fair = self.rule.fairness
        if fair is None or self.task not in ("binary", "multiclass"):
            return
        groups = {value: spans[span] for (name, value), spans in self.segments.items() if name == fair.attribute}
        for value, measure, found, rows in treatments(fair, fair.positive or self.positive, groups):
            labels = {"attribute": fair.attribute, "value": value, "measure": measure, "window": span}
            put("tally_fairness", found, **labels)
            put("tally_fairness_samples", rows, **labels)

    def _scores(self, facts: list[tuple[Any, ...]], span: str) -> Iterator[tuple[str, str, float | None, int]]:
        """As scikit-learn has them, undefined where a denominator is 0; each with its denominator."""
        points = [what[1] for what in facts if what[0] == "reward"]
        yield "reward_mean", "", ratio(sum(points) / 1e9, len(points)), len(points)
        rows = self._rows(facts)
        answered = sum(rows.values()) - rows["failed"]
        if not span.startswith("labels_"):
            yield "coverage", "", ratio(answered - rows["unlabelled"], answered), answered
        if self.task == "regression":
            yield from self._shares_of_errors(facts)
        if self.task not in ("binary", "multiclass"):
            return
        cells = self._cells(facts)
        judged = sum(cells.values())
        yield "accuracy", "", ratio(rows["correct"], judged), judged
        occurring = sorted({name for cell in cells for name in cell})
        for score, formula in _FORMULAS.items():
            of_class = {name: formula(_outcomes(cells, name)) for name in {*occurring, self.positive}}
            for name in [""] if self.task == "binary" else occurring:
                part, whole = of_class[name or self.positive]
                yield score, name, ratio(part, whole), judged if score == "f1" else whole
            if self.task == "multiclass" and score != "npv":
                yield from self._averages(score, [(name, *of_class[name]) for name in occurring], cells)
        actual, predicted = _margin(cells, 0), _margin(cells, 1)
        recalls = [cells[name, name] / rows for name, rows in actual.items()]
        yield "balanced_accuracy", "", ratio(sum(recalls), len(recalls)), judged
        own, other = (sum((rows / judged) * (1 - rows / judged) for rows in it.values()) for it in (actual, predicted))
        varies = len(actual) > 1 and len(predicted) > 1
        covariance = sum(cells[name, name] / judged - actual[name] * predicted[name] / judged**2 for name in occurring)
        yield "mcc", "", covariance / math.sqrt(own * other) if varies else None, judged
        if self.task == "multiclass":
            chance = sum(actual[name] * predicted[name] for name in occurring)
            agreed = rows["correct"] * judged
            yield "kappa", "", (agreed - chance) / (judged**2 - chance) if judged**2 - chance else None, judged
        chances = [what[1] for what in facts if what[0] == "chances"]
        for name, class_, found, count in probability_scores(chances, self.rule.classes):
            if self.task == "multiclass" or not (class_ or "macro" in name):
                yield name, class_, found, count

    def _averages(
        self, score: str, values: list[tuple[str, int, int]], cells: _Cells
    ) -> Iterator[tuple[str, str, float | None, int]]:
        """Over the classes in which a score is defined: all alike, by their rows, and of all rows together."""
        judged = sum(cells.values())
        defined = [(part / whole, _margin(cells, 0)[name]) for name, part, whole in values if whole]
        yield f"{score}_macro", "", ratio(sum(value for value, _ in defined), len(defined)), judged
        if score != "specificity":
            support = sum(rows for _, rows in defined)
            yield f"{score}_weighted", "", ratio(sum(value * rows for value, rows in defined), support), judged
            right = sum(rows for (actual, predicted), rows in cells.items() if actual == predicted)
            yield f"{score}_micro", "", ratio(right, judged), judged

    @staticmethod
    def _measured(facts: list[tuple[Any, ...]]) -> list[tuple[Any, Any]]:
        """All rows whose prediction and label are numbers."""
        pairs = [what[1:] for what in facts if what[0] == "error"]
        for what in facts:
            numbers = (number_of(what[2]), number_of(what[1])) if what[0] == "judged" else (None, None)
            if None not in numbers:
                pairs.append(numbers)
        return pairs

    def _errors(self, facts: list[tuple[Any, ...]]) -> Iterator[tuple[str, float | None, int]]:
        """The scores that have the unit of the label."""
        if self.task != "regression":
            return
        pairs = self._measured(facts)
        errors = [prediction - label for prediction, label in pairs]
        count, sizes = len(pairs), sorted(map(abs, errors))
        found = {
            "mae": ratio(sum(sizes), count),
            "mse": ratio(math.fsum(error**2 for error in errors), count),
            "bias": ratio(math.fsum(errors), count),
        }
        found["rmse"] = None if found["mse"] is None else math.sqrt(found["mse"])
        for name, percent in (("error_p50", 50), ("error_p90", 90), ("error_p99", 99), ("max_error", 100)):
            found[name] = sizes[max(0, math.ceil(percent * count / 100) - 1)] if count else None
        for name, value in found.items():
            yield name, value, count

    def _shares_of_errors(self, facts: list[tuple[Any, ...]]) -> Iterator[tuple[str, str, float | None, int]]:
        """Those that have none."""
        pairs = self._measured(facts)
        errors = [prediction - label for prediction, label in pairs]
        labels, count = [label for _, label in pairs], len(pairs)
        shares = [abs(error / label) for error, label in zip(errors, labels, strict=True) if label]
        mape = ratio(sum(shares), count) if len(shares) == count else None
        mean = ratio(math.fsum(labels), count) or 0.0
        spread = math.fsum((label - mean) ** 2 for label in labels) if len({*labels}) > 1 else 0.0
        r2 = 1 - math.fsum(error**2 for error in errors) / spread if spread else None
        yield "mape", "", mape, count
        yield "r2", "", r2, count

    def _put_seldon(self, put: Callable[..., None]) -> None:
        total = self.spans["total"]
        _, service, predictor, model, _ = self.who
        pod, deployment = f"{service}-{predictor}-0-{model}", f"{service}-{predictor}"
        points = [what[1] for what in total if what[0] == "reward"]
        if points:
            put("correct_total", sum(points) / 1e9, app=pod)
            put("total_total", len(points), app=pod)
        cells = self._cells(total)
        if not cells:
            return
        if self.task == "binary":
            names = ("true_pos", "false_pos", "false_neg", "true_neg")
            for name, rows in zip(names, _outcomes(cells, self.positive), strict=True):
                put(name, rows, app=pod)
        else:
            for of_class in self.known:
                for name, rows in zip(("TP", "FP", "FN"), _outcomes(cells, of_class), strict=False):
                    put(f"score_{name}", rows, class_=f"class_{of_class}", seldon_app=deployment)


def _by_shown(one: Slice, places: set[tuple[str, str]]) -> Iterator[tuple[tuple[str, str], set[tuple[str, str]]]]:
    """The segment with each value that is shown, and those with the values that are shown so."""
    values = shown(one, [value for name, value in places if name == one.name])
    for own in {*values.values()}:
        yield (one.name, own), {(one.name, value) for value, other in values.items() if other == own}


class _Outcomes(NamedTuple):
    """Rows of one class against the rest."""

    tp: int
    fp: int
    fn: int
    tn: int


#: Outcomes → (part, whole)
_FORMULAS: Final[dict[str, Callable[[_Outcomes], tuple[int, int]]]] = {
    "precision": lambda of: (of.tp, of.tp + of.fp),
    "recall": lambda of: (of.tp, of.tp + of.fn),
    "specificity": lambda of: (of.tn, of.tn + of.fp),
    "npv": lambda of: (of.tn, of.tn + of.fn),
    "f1": lambda of: (2 * of.tp, 2 * of.tp + of.fp + of.fn),
}


def _outcomes(cells: _Cells, name: str) -> _Outcomes:
    tp = cells[name, name]
    fp = sum(rows for (actual, predicted), rows in cells.items() if predicted == name != actual)
    fn = sum(rows for (actual, predicted), rows in cells.items() if actual == name != predicted)
    return _Outcomes(tp, fp, fn, sum(cells.values()) - tp - fp - fn)


def _margin(cells: _Cells, side: int) -> Counter[str]:
    """Rows by their actual class (0), or by the one predicted (1)."""
    rows: Counter[str] = Counter()
    for cell, amount in cells.items():
        rows[cell[side]] += amount
    return rows

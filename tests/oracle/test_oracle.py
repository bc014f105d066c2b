"""Whatever happens in whatever order, every series of every model says what the oracle says."""

import math
import re
from random import Random, SystemRandom

import pytest

from app.core.counts.panes import PaneClock, Window
from app.core.drift.declared import Declared
from app.core.drift.distribution import Distribution, Kind
from app.core.drift.live import Live, Watched
from app.core.drift.reference import Reference
from app.core.limits import Limits
from app.core.outputs.comparisons import compared_with
from app.core.outputs.versions import between, versions_before
from app.core.rules import Fairness, Rules
from app.core.segments import Segment
from app.exporters.prometheus import ModelText
from tests.builders import START, Ledger, Record
from tests.oracle.drift import LEAST, Known
from tests.oracle.events import event_of
from tests.oracle.exposition import WINDOWS, Samples, samples_of
from tests.oracle.rules import Rule
from tests.oracle.segments import SHOWN
from tests.oracle.stories import DAY, Story, a_story
from tests.soak import SOAK

VIEWED = tuple(Window(name, seconds) for name, seconds in WINDOWS.items())
CLOCK = PaneClock.for_windows(VIEWED, 60, 8 * DAY, by_labels=True)
STORIES = 20_000 if SOAK else 600
SHARES = 4
LIMITS = Limits(segment_values=SHOWN)
#: Until then no exchange of a story expires.
_YOUNG = 5.0 * DAY
_ROUGH = {
    *("tally_error", "tally_score", "tally_segment_score", "tally_fairness", "tally_comparison", "tally_drift"),
    "tally_version_drift",
}
_FIRST_SEEN = "tally_model_first_seen_timestamp_seconds"
_SAMPLE = re.compile(r"(\w+)\{(.*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")


def exposed(ledger: Ledger, now: float) -> Samples:
    """The samples in the text that the ledger's models are exported as."""
    readings = ledger.readings()
    text = ModelText(seldon=True, most=10**9, rulebook=readings.rulebook)
    before = versions_before(readings)
    for who, read in readings.of_models(START + now):
        own_pairs = ((pair, both) for pair, both in readings.of_pairs(START + now) if pair.first == who)
        compared = compared_with(own_pairs, readings.rulebook)
        versions = None if who not in before else between(readings, before[who], who, START + now)
        text.put(who, text.block(who, read, readings.view.first_seen(who), compared, versions))
    return parsed(text.text())


def parsed(text: str) -> Samples:
    """The samples of a text of model series."""
    found: Samples = {}
    for line in text.splitlines():
        if not line.startswith("#") and line:
            sample = _SAMPLE.fullmatch(line)
            assert sample is not None, line
            name, labels, value = sample.groups()
            pairs = sorted((label, _ESCAPED.sub(_unescaped, text)) for label, text in _LABEL.findall(labels))
            key = name, tuple(pairs)
            assert key not in found, f"twice: {line}"
            found[key] = float(value)
    return found


def _unescaped(found: re.Match[str]) -> str:
    return {"n": "\n"}.get(found[1], found[1])


def differences(ours: Samples, theirs: Samples, *, exact: bool = True) -> list[str]:
    """Where what is exported differs from what the oracle says. If not `exact` a model may have been seen earlier: by a
    part that has lost since, of which only the earliest pane is remembered; then another one may be the version before.
    """
    found = []
    seen_earlier = {_leg(key) for key in theirs if key[0] == _FIRST_SEEN and ours.get(key) != theirs[key]}
    for key in sorted({*ours, *theirs}):
        own, other = ours.get(key), theirs.get(key)
        if own is None or other is None or not (_is_within(key, ours, other) or _is_same(key, own, other)):
            if not exact and key[0] == _FIRST_SEEN and own is not None and other is not None and own < other:
                continue
            if not exact and key[0].startswith("tally_version_") and _leg(key) in seen_earlier:
                continue
            found.append(f"{key[0]} {dict(key[1])}: {own}, and the oracle says {other}")
    return found


def _leg(key: tuple[str, tuple[tuple[str, str], ...]]) -> tuple[str, ...]:
    """Which model a sample is of, without its version."""
    labels = dict(key[1])
    return tuple(labels[name] for name in ("model_namespace", "model_service", "predictor", "model"))


def _is_within(key: tuple[str, tuple[tuple[str, str], ...]], ours: Samples, other: float) -> bool:
    """Whether a score of binned probabilities is as near to the exact one as it says, or says how near that is."""
    name, labels = key
    score = dict(labels).get("score", "")
    if name not in ("tally_score", "tally_segment_score") or not score.startswith(("roc_auc", "average_precision")):
        return False
    if score.endswith("_error"):
        return ours[key] >= other
    beside = tuple((label, f"{word}_error" if label == "score" else word) for label, word in labels)
    return abs(ours[key] - other) <= ours[name, beside] + 1e-9


def _is_same(key: tuple[str, tuple[tuple[str, str], ...]], own: float, other: float) -> bool:
    """Sizes of errors are those of a sketch; and the oracle adds floats, so that small differences are rough."""
    name, labels = key
    if math.isnan(own) or math.isnan(other):
        return math.isnan(own) and math.isnan(other)
    if {dict(labels).get("error"), dict(labels).get("score")} & {"error_p50", "error_p90", "error_p99", "max_error"}:
        return math.isclose(own, other, rel_tol=1 / 64, abs_tol=1e-12)
    if name.startswith("tally_score_estimate"):  # which the oracle finds by small differences
        return math.isclose(own, other, abs_tol=1e-5)
    rough = 1e-9 if name in _ROUGH else 0.0
    return math.isclose(own, other, rel_tol=1e-12, abs_tol=rough)


def rules_of(rule: Rule) -> Rules:
    """A rule as the core takes it."""
    fields = rule._asdict()
    watch = fields.pop("watch")
    if rule.estimate:
        fields["compare"] = ()
    fields["segments"] = tuple(Segment(*one) for one in rule.segments)
    fields["fairness"] = None if rule.fairness is None else Fairness(*rule.fairness)
    if watch is None:
        return Rules(**fields)
    *features, prediction, label = map(_distribution, (*watch.features, watch.prediction, watch.label))
    declared = tuple(Declared(name, *bounds) for name, bounds in watch.bounds.items())
    reference = Reference(tuple(features), prediction, None, label)
    return Rules(**fields, reference=Watched("", Live(reference, LEAST, declared)))


def _distribution(known: Known) -> Distribution:
    kind: Kind = "continuous" if known.edges else "categorical"
    return Distribution(known.name, kind, known.edges, known.categories, known.counts, known.missing)


def told(story: Story, random: Random | None = None) -> Ledger:
    """The ledger of a story: all at once, or in any order, batches, partitions, and with restarts."""
    rules = tuple(map(rules_of, story.rules))
    records = sorted(story.records, key=lambda record: record.timestamp) if story.in_order else list(story.records)
    if random is None:
        return Ledger(*rules, windows=VIEWED, clock=CLOCK, limits=LIMITS).absorb(*records).cut()
    if not story.in_order:
        random.shuffle(records)
    ledger = Ledger(*rules, windows=VIEWED, partitions=random.choice([1, 2, 3]), clock=CLOCK, limits=LIMITS)
    while records:
        size = random.choice([1, 1, 2, 3, 5, 8])
        batch, records = records[:size], records[size:]
        ledger.absorb(*batch)
        if random.random() < 0.2:
            ledger.settle()
        if random.random() < 0.2:
            for shard in ledger.shards:
                shard.prepare_some()
        if random.random() < 0.6:
            ledger.cut(_clock(story, batch, random))
            if random.random() < 0.25:
                if records:  # an epoch that is lost, and comes again
                    ledger.absorb(*records[:3])
                ledger.restart()
    return ledger.cut()


def _clock(story: Story, batch: list[Record], random: Random) -> float | None:
    """A partition's clock, before which no pane and no exchange is to be seen as gone that will be asked for."""
    if random.random() < 0.4:
        return None
    if story.in_order:
        return batch[-1].timestamp // 1000 - START
    return min(random.choice([0.0, story.now / 2, story.now]), _YOUNG)


def check(seed: int) -> None:
    """One story, at once and in some other way."""
    random = Random(seed)
    story = a_story(random)
    theirs = samples_of(map(event_of, story.records), story.rules, START + story.now)
    for how in (None, random):
        ledger = told(story, how)
        assert not ledger.dead, f"seed {seed}: {ledger.dead}"
        assert not ledger.astray
        found = differences(exposed(ledger, story.now), theirs, exact=how is None)
        assert not found, "\n".join([f"seed {seed}, {'at once' if how is None else 'in another way'}", *found])


@pytest.mark.parametrize("share", range(SHARES))
def test_every_series_says_what_the_oracle_says(share: int) -> None:
    first = SystemRandom().randrange(10**12) if SOAK else 0
    print(f"{STORIES // SHARES} stories from seed {first + share} on, every {SHARES}th")
    for number in range(share, STORIES, SHARES):
        check(first + number)

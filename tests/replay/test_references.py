"""What verify makes of counts by a reference that has been read again since."""

from app.core.counts.panes import PaneClock
from app.core.drift.live import Live, Watched
from app.core.drift.reference import Reference
from app.core.rules import Rules
from app.core.segments import Segment
from app.replay.comparing import Exchanges, cells_of, compare_cells, exchanges_of, outdated, without_drift, words_of
from tests.builders import START, Ledger, Record, a_feedback, a_response, a_shard
from tests.core.join.test_drift import AGE, COUNTRY, WHOLE, asked

STORY: list[Record] = [
    asked([20, "DE"], names=["age", "country"], puid="a"), a_response([0.2, 0.8], puid="a", at=1),
    a_feedback(1, puid="a", at=2), asked([40, "FR"], puid="only asked"),
]  # fmt: skip
LATER: list[Record] = [asked([70, "FR"], puid="b", at=5), a_response([0.2, 0.8], puid="b", at=6)]
SEGMENTS = (Segment("land", "features", "country"),)


def live_and_folded(live: Rules, *, now: Reference, lost: str = "") -> tuple[int, list[str], int]:
    """How many exchanges and cells differ between a worker that has read its reference again, and a fold by `now`."""
    assert live.reference is not None
    ledger = Ledger(live).absorb(*STORY).cut()
    live.reference.live = live.reference.live.with_reference(now)
    ledger.absorb(*LATER).cut()
    folded = Ledger(live)
    (shard,), (state,) = folded.shards, ledger.exchanges
    words = words_of(state)
    shard.numbers.recover(word for word in words if word[0][1:2] != b"t")
    folded.absorb(*(record for record in (*STORY, *LATER) if record.key != lost.encode())).cut()
    theirs = a_shard(live)
    theirs.numbers.recover(iter(words))
    cells, ours = (cells_of(one.panes[0], PaneClock(), START) for one in (ledger, folded))
    references = outdated(cells, ledger.rulebook)
    found = Exchanges(shard, theirs, 0, None, drift=not references).compare(exchanges_of(state))
    if references:
        cells, ours = without_drift(cells), without_drift(ours)
    return found.differing, references, compare_cells(cells, ours, 60)[0]


def rules(reference: Reference = WHOLE, segments: tuple[Segment, ...] = ()) -> Rules:
    return Rules(reference=Watched("", Live(reference, 1)), segments=segments)


OTHER = Reference((AGE._replace(edges=(0.0, 50.0, 65.0)), COUNTRY))


def test_with_one_reference_all_is_compared() -> None:
    for segments in ((), SEGMENTS):
        assert live_and_folded(rules(segments=segments), now=WHOLE) == (0, [], 0)


def test_what_was_counted_by_another_reference_is_left_out_and_named() -> None:
    for segments in ((), SEGMENTS):
        for before in (WHOLE, OTHER, Reference((AGE,))):
            own = rules(before, segments)
            after = OTHER if before is WHOLE else WHOLE
            assert live_and_folded(own, now=after) == (0, [before.digest], 0)


def test_all_else_is_still_compared() -> None:
    differing, references, cells = live_and_folded(rules(), now=OTHER, lost="a")
    assert (differing, references) == (1, [WHOLE.digest])
    assert cells > 5

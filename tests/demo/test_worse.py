"""The sentence that says which model got worse rests on the counts alone."""

import random
from collections.abc import Iterator

import pytest

from app.demo.worse import Look, Looks, worse_of


def looks(*phases: tuple[int, float], each: int = 10, seed: int = 1) -> Iterator[Look]:
    """A look a second, with ten labels each; a phase is so many seconds with this share of right answers."""
    chance = random.Random(seed)
    at, right, judged = 0, 0, 0
    for seconds, share in phases:
        for _ in range(seconds):
            at += 1
            judged += each
            right += sum(chance.random() < share for _ in range(each))
            yield Look(float(at), right, judged)


def test_a_model_that_got_worse_is_found_with_the_moment_and_both_shares() -> None:
    worse = worse_of([*looks((40, 0.95), (30, 0.45))])
    assert worse is not None
    assert 38 <= worse.since <= 43
    assert worse.before == pytest.approx(0.95, abs=0.04)
    assert worse.after == pytest.approx(0.45, abs=0.08)
    assert 270 <= worse.judged <= 320


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("phases", [((90, 0.95),), ((90, 0.5),), ((40, 0.6), (40, 0.9)), ((3, 0.9), (3, 0.1)), ()])
def test_one_that_did_not_or_got_better_or_has_few_labels_is_not(
    phases: tuple[tuple[int, float], ...], seed: int
) -> None:
    assert worse_of([*looks(*phases, seed=seed)]) is None


def test_a_correction_between_two_looks_does_no_harm() -> None:
    seen = [*looks((40, 0.95), (30, 0.95))]
    seen[30] = seen[30]._replace(right=seen[-1].right + 1)
    assert worse_of(seen) is None


def test_models_are_told_apart_and_what_has_not_changed_is_no_look() -> None:
    names = {"model_service": "iris", "predictor": "default"}
    seen = Looks()
    for look in looks((40, 0.95), (30, 0.45)):
        worse = {"model": "current", "rows": {"correct": look.right, "incorrect": look.judged - look.right}}
        same = {"model": "other", "rows": {"correct": look.judged, "incorrect": 0}}
        for _ in range(2):
            seen.add(look.at, {"models": [names | worse, names | same]})
    assert [*seen.worse()] == ["iris/default/current"]
    assert seen.worse()["iris/default/current"].judged >= 270
    assert not Looks().worse()

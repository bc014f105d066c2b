"""The sample of puids that workers are asked for, and what is said of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from app.cli.labels.found import Found, Sample, sentence

puids = st.lists(st.integers(0, 60).map(lambda number: b"p%d" % number), max_size=120)


@given(puids, st.integers(1, 70))
def test_a_sample_is_of_the_least_hashes_and_says_whether_it_is_all(some: list[bytes], most: int) -> None:
    sample = Sample(most)
    for puid in some:
        sample.add(puid)
    least = sorted(set(some), key=xxh3_64_intdigest)[:most]
    assert sorted(sample.puids) == sorted(puid.decode() for puid in least)
    assert sample.whole == (len(set(some)) <= most)


def sample_of(count: int) -> Sample:
    sample = Sample()
    for number in range(count):
        sample.add(b"p%d" % number)
    return sample


@pytest.mark.parametrize(
    ("found", "count", "said"),
    [
        (Found(42, 12, 0), 42, "no prediction is known of 12 of 42 puids"),
        (Found(42, 0, 0), 42, "all 42 puids have a prediction"),
        (
            Found(40, 12, 2),
            42,
            "no prediction is known of 12 of 40 puids; of 2 more the workers have not counted the label yet",
        ),
        (
            Found(1000, 37, 0),
            5000,
            "no prediction is known of 3.7% of the puids (2.7% to 5.1% with 95 % certainty: 37 of a sample of 1000)",
        ),
        (Found(0, 0, 9), 9, "how many found no prediction is not known: the workers have not counted the labels yet"),
        ("no worker answers at x", 9, "how many found no prediction is not known: no worker answers at x"),
    ],
)
def test_what_was_found_is_said_with_its_uncertainty(found: Found | str, count: int, said: str) -> None:
    assert sentence(found, sample_of(count)) == said

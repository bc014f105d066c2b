"""Which series are shown where there may be only so many."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.events import Identity
from app.exporters.sharing import Shares, Sizes, shares


def named(name: str) -> Identity:
    return Identity("", "", "", name, "")


#: By model its series of the whole, of classes, of segments, of cells.
THREE: dict[Identity, Sizes] = {named("a"): (10, 40, 0, 100), named("b"): (10, 0, 0, 0), named("c"): (10, 20, 5, 50)}


@pytest.mark.parametrize(
    ("most", "ranks", "dropped"),
    [
        (245, (4, 4, 4), 0),
        (1000, (4, 4, 4), 0),
        (244, (4, 4, 3), 50),  # the cells of the last model
        (195, (4, 4, 3), 50),
        (194, (3, 3, 3), 150),  # a model has all of its cells or none
        (95, (3, 3, 3), 150),
        (94, (3, 3, 2), 155),  # the segments of the last model
        (90, (3, 3, 2), 155),
        (89, (2, 2, 1), 175),  # the classes of the last model
        (70, (2, 2, 1), 175),
        (69, (1, 1, 1), 215),
        (30, (1, 1, 1), 215),
        (29, (1, 1, 0), 225),  # the last model
        (9, (0, 0, 0), 245),
    ],
)
def test_cells_go_first_then_segments_then_classes_then_models_and_the_last_first(
    most: int, ranks: tuple[int, ...], dropped: int
) -> None:
    found = shares(THREE, most)
    assert tuple(found.ranks[identity] for identity in THREE) == ranks
    assert found.dropped == dropped


@given(st.dictionaries(st.text(max_size=2), st.tuples(*[st.integers(0, 9)] * 4)), st.integers(1, 60), st.randoms())
def test_what_is_shown_fits_and_does_not_depend_on_the_order_of_arrival(
    models: dict[str, tuple[int, int, int, int]], most: int, chance: object
) -> None:
    sizes: dict[Identity, Sizes] = {named(name): of for name, of in models.items()}
    found = shares(sizes, most)
    shown = sum(sum(sizes[identity][:ranks]) for identity, ranks in found.ranks.items())
    assert shown <= most
    assert shown + found.dropped == sum(map(sum, models.values()))
    order = list(sizes)
    chance.shuffle(order)  # type: ignore[attr-defined]
    assert shares({identity: sizes[identity] for identity in order}, most) == found


def sentence(most: int) -> str | None:
    return shares(THREE, most).sentence(most)


def test_a_sentence_says_what_is_left_out_and_what_to_do() -> None:
    assert sentence(245) is None
    to_do = "Raise it if Prometheus can take more, or lower TALLY_MAX_CLASSES, or name fewer TALLY_WINDOWS."
    assert sentence(244) == (
        "50 model series are not exported, beyond TALLY_MAX_SERIES (244): those of cells of confusions (1 model). "
        + to_do
    )
    assert sentence(29) == (
        "225 model series are not exported, beyond TALLY_MAX_SERIES (29): those of cells of confusions (2 models), "
        "segments (1 model), single classes (2 models), whole models (1 model). " + to_do
    )


def test_no_models_need_no_sentence() -> None:
    assert shares({}, 1) == Shares({}, 0, (0, 0, 0, 0))
    assert shares({}, 1).sentence(1) is None

"""Keys of models in paths."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.events import Identity
from app.core.outputs.keys import key_of, parse_key


@pytest.mark.parametrize(
    ("identity", "key"),
    [
        (Identity("ns", "svc", "default", "m", "2"), "ns/svc/default/m@2"),
        (Identity("ns", "svc", "default", "m", ""), "ns/svc/default/m"),
        (Identity("", "", "", "", ""), "///"),
        (Identity("a/b", "c@d", "100%", "é", "x@y"), "a%2Fb/c%40d/100%25/%C3%A9@x%40y"),
    ],
)
def test_a_key_names_a_model(identity: Identity, key: str) -> None:
    assert key_of(identity) == key
    assert parse_key(key) == identity


@given(st.builds(Identity, *[st.text(st.characters(exclude_categories=["Cs"]), max_size=8)] * 5))
def test_every_name_comes_back(identity: Identity) -> None:
    assert parse_key(key_of(identity)) == identity


def test_an_at_sign_that_a_client_has_decoded_is_understood_where_it_can_be() -> None:
    assert parse_key("a@b/c/d/m@x@y") == Identity("a@b", "c", "d", "m", "x@y")


@pytest.mark.parametrize("key", ["", "m", "ns/svc/default", "ns/svc/default/m/x", "@2"])
def test_what_is_no_key(key: str) -> None:
    assert parse_key(key) is None

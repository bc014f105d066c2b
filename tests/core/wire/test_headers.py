"""What a header block means does not depend on the blocks that were read before it."""

from collections import Counter
from typing import Final
from weakref import WeakSet

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.core.events import Reason, RefusedError
from app.core.wire import headers as wire_headers
from app.core.wire.headers import Envelopes
from app.core.wire.records import pack_headers

Headers = list[tuple[str, bytes | None]]
Meaning = dict[bytes, bytes]

READ: Final = (b"ce_type", b"ce_modelid")
NAMES: Final = ("ce_type", "ce_time", "ce_requestid", "ce_id", "x")
#: The lengths differ as those of the names do, so that what is one header's in one event is another's in the next.
VALUES: Final = (None, b"", b"1", b"2", b"11111", b"21111", b"11112")
LENGTH: Final = len(pack_headers([("ce_requestid", b"11111")] * 3))


@st.composite
def of_one_length(draw: st.DrawFn) -> Headers:
    """Up to three headers, of which one takes up what the others leave of the block."""
    headers = draw(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=2))
    name = draw(st.sampled_from(NAMES))
    left = LENGTH - len(pack_headers([*headers, (name, b"")]))
    return draw(st.permutations([*headers, (name, draw(st.sampled_from([b"1", b"2"])) * left)]))


def straight(headers: Headers) -> tuple[Meaning, bytes, bytes]:
    """What headers say, read one after the other: of two with one name the last that has a value is meant."""
    said = {name.encode(): value for name, value in headers if value is not None}
    return (
        {name: value for name, value in said.items() if name in READ},
        said.get(b"ce_time", b""),
        said.get(b"ce_requestid", b""),
    )


def an_event(number: int, model: str = "m") -> Headers:
    return [
        ("ce_id", b"id-%03d" % number),
        ("ce_modelid", model.encode()),
        ("ce_requestid", b"puid-%03d" % number),
        ("ce_time", b"2026-11-21T07:00:00.%03dZ" % number),
        ("x-any-other", b"%03d" % number),
    ]


@pytest.mark.parametrize("most", [2, 4096])
@given(st.lists(of_one_length(), max_size=12))
@example([[("ce_type", b"11111"), ("ce_time", b"1")], [("ce_type", b""), ("ce_requestid", b"1")]])
def test_every_block_means_what_its_own_headers_say(most: int, told: list[Headers]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire_headers, "_MOST", most)
        envelopes = Envelopes(dict, READ)
        for headers in told + told:
            block = pack_headers(headers)
            assert envelopes.open(block) == straight(headers)
            assert Envelopes(dict, READ).open(block) == straight(headers)


def test_what_events_alike_mean_is_worked_out_once() -> None:
    resolved: Counter[bytes] = Counter()

    def resolve(headers: Meaning) -> bytes:
        resolved[headers[b"ce_modelid"]] += 1
        return headers[b"ce_modelid"]

    envelopes = Envelopes(resolve, READ)
    for number in range(100):
        for model in ("m", "n", "longer"):
            meaning, time, puid = envelopes.open(pack_headers(an_event(number, model)))
            assert (meaning, puid) == (model.encode(), b"puid-%03d" % number)
            assert time == b"2026-11-21T07:00:00.%03dZ" % number
    assert resolved == {b"m": 1, b"n": 1, b"longer": 1}


def test_what_is_refused_is_refused_every_time() -> None:
    def resolve(headers: Meaning) -> bytes:
        if headers[b"ce_modelid"] == b"n":
            raise RefusedError(Reason.UNKNOWN_TYPE, "no type")
        return b"fine"

    envelopes = Envelopes(resolve, READ)
    for number in range(3):
        assert envelopes.open(pack_headers(an_event(number, "m")))[0] == b"fine"
        with pytest.raises(RefusedError, match="no type"):
            envelopes.open(pack_headers(an_event(number, "n")))


@given(st.data())
def test_a_broken_block_is_refused_whatever_was_read_before(data: st.DataObject) -> None:
    block = pack_headers(an_event(0))
    envelopes = Envelopes(dict, READ)
    envelopes.open(block)
    cut = data.draw(st.integers(0, len(block) - 1))
    longer = block.replace(b"\x10puid", b"\x7epuid")  # a block of the same length; its puid reaches beyond the end
    assert longer != block
    for broken in (block[:cut], longer):
        with pytest.raises(RefusedError) as refused:
            envelopes.open(broken)
        assert refused.value.reason == Reason.BAD_HEADERS


def test_only_so_many_meanings_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    class Model:
        def __init__(self, headers: Meaning) -> None:
            self.name = headers[b"ce_modelid"].decode()

    kept: WeakSet[Model] = WeakSet()

    def resolve(headers: Meaning) -> Model:
        model = Model(headers)
        kept.add(model)
        return model

    monkeypatch.setattr(wire_headers, "_MOST", 3)
    envelopes = Envelopes(resolve, READ)
    for number in range(20):
        for model in ("a", "bb", f"model-{number}", f"{number}"):
            assert envelopes.open(pack_headers(an_event(number, model)))[0].name == model
            assert len(kept) <= 4  # with that of the block before

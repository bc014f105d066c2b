"""Damaged changelogs: whatever stands in them, a shard takes a state that is whole, or says that it is not.

Ten thousand changelogs and as many feeds of the merged view, each with some records that no shard has written there.
"""

import contextlib
import random
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from app.core.counts.accounts import Account
from app.core.counts.panes import PaneClock
from app.core.counts.view import UnreadableError, View
from app.core.join.cut import Cut
from app.core.join.position import FORMAT, OLDEST, POSITION_KEY, StateError
from tests.builders import START, WINDOWS, Ledger, a_feedback, a_request, a_response, a_shard
from tests.live.seeds import seed

EXAMPLES: Final = 10_000

Changelog = dict[bytes, bytes]
Damage = Callable[[random.Random, Changelog], None]


class Told(Ledger):
    """A ledger that remembers the rows of counts in the order in which it has written them."""

    told: list[tuple[bytes, bytes | None]]

    def _write(self, partition: int, cut: Cut) -> None:
        super()._write(partition, cut)
        self.told = [*getattr(self, "told", []), *cut.panes]


def a_ledger(model: str, puids: int) -> Told:
    """What some epochs have written: several models and classes, corrections, row labels, a feedback that waits."""
    ledger = Told()
    for number in range(puids):
        puid, at = f"{model}-{number}", number * 40.0
        ledger.absorb(
            a_request(puid=puid, model=model, at=at),
            a_response([0.2, 0.7, 0.1], [0.6, 0.2, 0.2], puid=puid, model=model, at=at, version=str(number % 3)),
        )
        if number % 4:
            ledger.absorb(a_feedback([number % 3, 0], reward=number % 2, puid=puid, model=model, at=at + 1))
        if number % 5 == 0:
            ledger.absorb(a_feedback([1, 1], puid=puid, model=model, at=at + 2))
            ledger.absorb(a_feedback(1, puid=f"waits-{number}", model=model, at=at))
        if number % 3 == 0:
            ledger.cut(at)
    ledger.cut(puids * 40.0)
    return ledger


OURS: Final = a_ledger("m", 30)
THEIRS: Final = a_ledger("n", 12)


# -- what is done to a changelog --------------------------------------------------------------------------------------


def a_foreign_record(rng: random.Random, changelog: Changelog) -> None:
    changelog[rng.randbytes(rng.randrange(1, 40))] = rng.randbytes(rng.randrange(60))


def a_foreign_text(rng: random.Random, changelog: Changelog) -> None:
    changelog[rng.choice(TEXTS)] = rng.choice(TEXTS)


def no_number(changelog: Changelog) -> list[bytes]:
    """The keys of values that are more than a number: of that nobody sees whether it is another one."""
    return [key for key, value in changelog.items() if value and not value.isdigit()]


def random_bytes(rng: random.Random, changelog: Changelog) -> None:
    changelog[rng.choice(no_number(changelog))] = rng.randbytes(rng.randrange(60))


def no_value(rng: random.Random, changelog: Changelog) -> None:
    changelog[rng.choice(no_number(changelog))] = rng.choice(NO_VALUES)


def a_value_cut_off(rng: random.Random, changelog: Changelog) -> None:
    key = rng.choice(no_number(changelog))
    changelog[key] = changelog[key][: rng.randrange(len(changelog[key]))]


def a_key_cut_off(rng: random.Random, changelog: Changelog) -> None:
    key = rng.choice([key for key in changelog if len(key) > 1])
    changelog.setdefault(key[: rng.randrange(1, len(key))], changelog[key])


def a_tombstone(rng: random.Random, changelog: Changelog) -> None:
    changelog.pop(rng.choice([*changelog]), None)


def another_version(rng: random.Random, changelog: Changelog) -> None:
    """A mark of another version, and keys that this one does not know."""
    mark = orjson.loads(changelog[POSITION_KEY]) if POSITION_KEY in changelog else {}
    mark["format"] = rng.choice([OLDEST - 1, FORMAT + 1, 0, -1, None, "3", [3]])
    changelog[POSITION_KEY] = orjson.dumps(mark)


def a_key_of_another_version(rng: random.Random, changelog: Changelog) -> None:
    changelog[rng.choice(UNKNOWN_KEYS)] = rng.choice([*changelog.values()])


def of_another_app(rng: random.Random, changelog: Changelog) -> None:
    """Some records that another app has written, under keys that this one does not have."""
    other = THEIRS.exchanges[0] if POSITION_KEY in changelog else THEIRS.panes[0]
    new = [key for key in other if key not in changelog]
    changelog.update((key, other[key]) for key in rng.sample(new, rng.randrange(len(new) + 1)))


def all_gone(rng: random.Random, changelog: Changelog) -> None:
    changelog.clear()


TEXTS: Final = (
    b"", b"\0", b"\0mark2", b"\x91\x05", b"\x97", b"\xc0", b"{}", b"[]", b"0", b"null", b'""', b"[[]]", b"[null]",
    b"[1,2,3,4,5]", b'["owner"]', b'["owner",0]', b'["end",1]', b'["first"]', b'["first",[]]', b'["first",[1,2,3,4,5]]',
    b'["first",["","","","",""]]', b'[["a","b","c","d","e"],"","fine",0]', b'[["a","b","c","d","e"],"","fine",0,""]',
    b'[["a","b","c","d","e"],"","total","0","exchanges"]', b'[["a","b","c","d","e"],"","fine",9e99,""]',
    b'[[["a"],["b"]],"","fine",0,""]', b'{"":{"":1}}', b'{"request":[1,2]}', b'{"exchanges":{"request":1e400}}',
    b'{"exchanges":{"request":"x"}}',
)  # fmt: skip
#: Nothing that a shard writes under any key.
NO_VALUES: Final = (
    b"", b"\0", b"\x91\x05", b"\x97", b"\xc0", b"0", b"null", b'""', b"[[]]", b"[null]", b'{"request":[1,2]}',
    b'{"exchanges":{"request":1e400}}', b'{"exchanges":{"request":"x"}}',
)  # fmt: skip
UNKNOWN_KEYS: Final = (
    b"\0", b"\0z1", b"\0l", b"\0l-1", b"\0lx", b"\0l99999", b"\0b1x", b"\0Mark", b"\0mark\0", b"\0a 1", b"\0l1_0",
    b"\0l+1",
)  # fmt: skip
DAMAGES: Final = (
    a_foreign_record, a_foreign_text, random_bytes, no_value, a_value_cut_off, a_key_cut_off, a_tombstone,
    another_version, a_key_of_another_version, of_another_app, all_gone,
)  # fmt: skip
#: What writes records, and takes none away.
WRITTEN: Final = (
    a_foreign_record, a_foreign_text, random_bytes, no_value, a_value_cut_off, a_key_cut_off, a_key_of_another_version,
)  # fmt: skip


# -- shards -----------------------------------------------------------------------------------------------------------


def test_a_shard_takes_a_whole_state_or_says_that_it_is_not() -> None:
    """Never another state without a word, and no error but the sentence, which says what to do."""
    rng = random.Random(seed(61))
    whole = taken(OURS.exchanges[0], OURS.panes[0])
    refused = 0
    for number in range(EXAMPLES):
        changelogs = dict(OURS.exchanges[0]), dict(OURS.panes[0])
        damage = rng.choice(DAMAGES)
        damaged = changelogs[0 if damage is another_version else rng.randrange(2)]
        for _ in range(rng.choice([1, 1, 2, 3])):
            damage(rng, damaged)
        state = taken(*changelogs)
        if isinstance(state, str):
            refused += 1
            assert "TALLY_APP_ID" in state, (number, damage)
        else:
            assert state == whole, (number, damage, difference(OURS, changelogs))
    assert refused > EXAMPLES * 0.9


def taken(exchanges: Changelog, panes: Changelog) -> Any:
    """All that a shard takes of changelogs, or the sentence by which it refuses them."""
    shard = a_shard()
    try:
        position = shard.recover(exchanges, panes)
    except StateError as error:
        return str(error)
    words, counts = shard.numbers, shard.counts
    tables = words.legs, words.identities, words.accounts, words.atoms, words.classes, words.bundles, words.told_apart
    return position, shard.store, shard.offsets, shard.newest, tables, sorted(counts.cells()), counts.first_seen


def difference(ledger: Ledger, changelogs: tuple[Changelog, Changelog]) -> list[Any]:
    return [
        (key, was.get(key), now.get(key))
        for was, now in zip((ledger.exchanges[0], ledger.panes[0]), changelogs, strict=True)
        for key in was.keys() | now.keys()
        if was.get(key) != now.get(key)
    ]


# -- the merged view --------------------------------------------------------------------------------------------------

FEW: Final = a_ledger("m", 8)


def test_a_view_takes_what_shards_have_written_and_names_the_rest() -> None:
    """It is the same as without the others' records, wherever these lie; of a key that it knows it keeps the value."""
    rng = random.Random(seed(62))
    whole = read(seen(FEW.told, {}))
    for number in range(EXAMPLES):
        strays: dict[int, tuple[bytes, bytes]] = {}  # by the place of the record behind them
        for _ in range(rng.choice([1, 1, 2, 3])):
            changelog = dict(FEW.panes[0])
            rng.choice(WRITTEN)(rng, changelog)
            strays |= {
                rng.randrange(len(FEW.told)): (key, value)
                for key, value in changelog.items()
                if FEW.panes[0].get(key) != value
            }
        assert read(seen(FEW.told, strays)) == whole, (number, strays)


def seen(told: list[tuple[bytes, bytes | None]], strays: Mapping[int, tuple[bytes, bytes]]) -> View:
    """A view that has taken these records, and tried to take the others'."""
    view = View(PaneClock(), WINDOWS)
    for place, record in enumerate(told):
        if place in strays:
            with contextlib.suppress(UnreadableError):
                view.take(0, *strays[place])
        view.take(0, *record)
    return view


def read(view: View) -> Any:
    """What is read of the models that the shards have counted."""
    models = {subject for subject in view.identities() if subject.service == "svc"}
    windows = [view.window(Account(model), window, START + 400) for model in sorted(models) for window in view.windows]
    return windows, [view.total(Account(model)) for model in sorted(models)], [*map(view.first_seen, sorted(models))]

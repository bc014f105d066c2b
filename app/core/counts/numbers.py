"""Numbers for the long words of a partition, so that an exchange keeps a byte where it would keep a text.

Each partition has its own numbers; they are written to the exchanges' changelog, under keys that begin with NUL (no
puid does), in the same transaction as the first exchange that uses them.
"""

from collections.abc import Iterator
from typing import Any, Final

import orjson

from app.core.counts.accounts import Account, parse_subject, subject_words
from app.core.counts.atoms import Atom
from app.core.counts.cells import compact
from app.core.events import NO_LEG, Identity, Leg

_NUL: Final = b"\0"


class Numbers:
    """Nine tables of words: legs, identities, accounts, atoms, bundles of atoms, lists of class names, and the classes,
    the values of segments and the series of custom metrics of each leg that are told apart.

    A bundle is named by a negative number: -1 is the first. An exchange of the common shape keeps one number for all
    that it counts once.
    """

    def __init__(self) -> None:
        self.legs: list[Leg] = [NO_LEG]
        self.identities: list[Identity] = [Identity("", "", "", "", "")]
        self.accounts: list[Account] = []
        self.atoms: list[Atom] = []
        self.classes: list[tuple[str, ...]] = [()]
        self.bundles: list[tuple[int, ...]] = []
        self.told_apart: list[tuple[int, str]] = []  # number of a leg, class
        #: Number of a leg, segment, value; the first is none.
        self.segment_values: list[tuple[int, str, str]] = [(0, "", "")]
        self.metric_series: list[tuple[int, str]] = []  # number of a leg, row
        self._tables: dict[str, list[Any]] = {
            "l": self.legs,
            "i": self.identities,
            "s": self.accounts,
            "a": self.atoms,
            "c": self.classes,
            "b": self.bundles,
            "t": self.told_apart,
            "g": self.segment_values,
            "m": self.metric_series,
        }
        self._numbers: dict[str, dict[Any, int]] = {
            kind: {word: number for number, word in enumerate(table)} for kind, table in self._tables.items()
        }
        self._given = len(self)  # the words that are there from the start, and are not written
        self.unwritten: list[tuple[bytes, bytes]] = []

    def __len__(self) -> int:
        return sum(map(len, self._tables.values()))

    @property
    def written(self) -> int:
        """How many words the changelog holds once `unwritten` is written."""
        return len(self) - self._given

    def leg(self, leg: Leg) -> int:
        """The number of a leg."""
        return self._number("l", leg)

    def identity(self, identity: Identity) -> int:
        """The number of an identity."""
        return self._number("i", identity)

    def account(self, account: Account) -> int:
        """The number of an account."""
        return self._number("s", account)

    def atom(self, atom: Atom) -> int:
        """The number of an atom."""
        return self._number("a", atom)

    def knows_leg(self, leg: Leg) -> bool:
        """Whether a leg has a number."""
        return leg in self._numbers["l"]

    def knows_identity(self, identity: Identity) -> bool:
        """Whether an identity has a number."""
        return identity in self._numbers["i"]

    def knows_class_list(self, classes: tuple[str, ...]) -> bool:
        """Whether a list of class names has a number."""
        return classes in self._numbers["c"]

    def bundle(self, atoms: tuple[int, ...]) -> int:
        """The (negative) number of a bundle of atoms."""
        return -1 - self._number("b", atoms)

    def unbundle(self, number: int) -> tuple[int, ...]:
        """The atoms that a number stands for."""
        return (number,) if number >= 0 else self.bundles[-1 - number]

    def class_list(self, classes: tuple[str, ...]) -> int:
        """The number of a list of class names."""
        return self._number("c", classes)

    def tell_apart(self, leg: int, text: str) -> None:
        """Note a class of a leg, so that it is told apart from now on."""
        self._number("t", (leg, text))

    def tell_metric(self, leg: int, row: str) -> None:
        """Note a series of a leg's custom metrics, so that it is told apart from now on."""
        self._number("m", (leg, row))

    def segment_value(self, leg: int, segment: str, value: str) -> int:
        """The number of a value of a leg's segment, which is told apart from now on."""
        return self._number("g", (leg, segment, value))

    def _number(self, kind: str, word: Any) -> int:
        numbers = self._numbers[kind]
        number = numbers.get(word)
        if number is None:
            number = numbers[word] = len(self._tables[kind])
            self._tables[kind].append(word)
            self.unwritten.append((_key(kind, number), compact(orjson.dumps(_words(kind, word)))))
        return number

    def recover(self, records: Iterator[tuple[bytes, bytes]]) -> None:
        """Take the words from changelog records, in any order."""
        found = sorted((chr(key[1]), int(key[2:]), value) for key, value in records)
        for kind, number, value in found:
            words = orjson.loads(value)
            word = _word(kind, words)
            table = self._tables[kind]
            if number == len(table):
                table.append(word)
                self._numbers[kind][word] = number
            elif number > len(table) or table[number] != word:
                raise ValueError(f"the changelog's word {kind}{number} does not fit: {words}")


def _words(kind: str, word: Any) -> Any:
    return [subject_words(word.subject), word.segment] if kind == "s" else tuple(word)


def _word(kind: str, words: list[Any]) -> Any:
    """The word that stands in the changelog as this list. Raises an error of many kinds where it is none."""
    match kind:
        case "l":
            return Leg(*_all(words, str))
        case "i":
            return Identity(*_all(words, str))
        case "a":
            return Atom(*_all(words, str))
        case "s":
            return Account(parse_subject(words[0]), words[1])
        case "c":
            return _all(words, str)
        case "b":
            return _all(words, int)
        case _:
            leg, *texts = words
            if len(texts) != (2 if kind == "g" else 1):
                raise ValueError("no class, value or series of a leg")
            return *_all([leg], int), *_all(texts, str)


def _all(words: list[Any], of: type) -> tuple[Any, ...]:
    if type(words) is not list or not all(type(word) is of for word in words):
        raise ValueError(f"no list of {of.__name__}")
    return tuple(words)


def _key(kind: str, number: int) -> bytes:
    return _NUL + kind.encode() + str(number).encode()


def is_number_key(key: bytes) -> bool:
    """Whether a changelog key holds a word and its number."""
    return key[:1] == _NUL and key[1:2] in b"lisacbtgm" and key[2:].isdigit()

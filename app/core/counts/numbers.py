"""Numbers for the long words of a partition, so that an exchange keeps a byte where it would keep a text.

Each partition has its own numbers; they are written to the exchanges' changelog, under keys that begin with NUL (no
puid does), in the same transaction as the first exchange that uses them.
"""

from collections.abc import Iterator
from typing import Any, Final

import orjson

from app.core.events import NO_LEG, Identity, Leg
from app.core.measures.verdict import CLASSES, COUNTERS, FAILED, MEASURED, UNMEASURED, Atom

DELAY_BUCKETS: Final = (1, 10, 60, 300, 1800, 3600, 21600, 86400, 259200, 604800, 2592000)  # seconds, then infinity

#: Atoms that every partition knows under the same number. Only ever append.
FIXED_ATOMS: Final = (
    Atom(COUNTERS, "request"),
    Atom(COUNTERS, "response"),
    Atom(COUNTERS, "feedback"),
    FAILED,
    MEASURED,
    UNMEASURED,
    Atom(COUNTERS, "rewards"),
    Atom(COUNTERS, "points"),
    Atom(COUNTERS, "delay_us"),
    Atom(COUNTERS, "mismatched"),
    *(Atom(COUNTERS, f"delay_{bucket}") for bucket in range(len(DELAY_BUCKETS) + 1)),
)
REQUEST, RESPONSE, FEEDBACK, _FAILED, _MEASURED, _UNMEASURED, REWARDS, POINTS, DELAY_US, MISMATCHED, DELAY_0 = range(11)

_MARK = b"\0"


class Names:
    """Five tables of words: legs, identities, atoms, bundles of atoms, and lists of class names.

    A bundle is named by a negative number: -1 is the first. An exchange of the common shape keeps one number for all
    that it counts as.
    """

    def __init__(self) -> None:
        self.legs: list[Leg] = [NO_LEG]
        self.identities: list[Identity] = [Identity("", "", "", "", "")]
        self.atoms: list[Atom] = list(FIXED_ATOMS)
        self.classes: list[tuple[str, ...]] = [()]
        self.bundles: list[tuple[int, ...]] = []
        self._tables: dict[str, list[Any]] = {
            "l": self.legs,
            "i": self.identities,
            "a": self.atoms,
            "c": self.classes,
            "b": self.bundles,
        }
        self._numbers: dict[str, dict[Any, int]] = {
            kind: {word: number for number, word in enumerate(table)} for kind, table in self._tables.items()
        }
        self.unwritten: list[tuple[bytes, bytes]] = []

    def leg(self, leg: Leg) -> int:
        """The number of a leg."""
        return self._number("l", leg)

    def identity(self, identity: Identity) -> int:
        """The number of an identity."""
        return self._number("i", identity)

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

    def class_list_atom(self, number: int) -> int:
        """The atom that counts responses with this list of classes."""
        return self.atom(Atom(CLASSES, orjson.dumps(self.classes[number]).decode()))

    def _number(self, kind: str, word: Any) -> int:
        numbers = self._numbers[kind]
        number = numbers.get(word)
        if number is None:
            number = numbers[word] = len(self._tables[kind])
            self._tables[kind].append(word)
            self.unwritten.append((_key(kind, number), orjson.dumps(tuple(word))))
        return number

    def recover(self, records: Iterator[tuple[bytes, bytes]]) -> None:
        """Take the words from changelog records, in any order."""
        shapes: dict[str, Any] = {"l": Leg, "i": Identity, "a": Atom}
        found = sorted((chr(key[1]), int(key[2:]), value) for key, value in records)
        for kind, number, value in found:
            words = orjson.loads(value)
            word = tuple(words) if kind in "cb" else shapes[kind](*words)
            table = self._tables[kind]
            if number == len(table):
                table.append(word)
                self._numbers[kind][word] = number
            elif number > len(table) or table[number] != word:
                raise ValueError(f"the changelog's word {kind}{number} does not fit: {words}")


def _key(kind: str, number: int) -> bytes:
    return _MARK + kind.encode() + str(number).encode()


def is_name_key(key: bytes) -> bool:
    """Whether a changelog key holds a word."""
    return key[:1] == _MARK and key[1:2] in b"liacb" and len(key) > 2

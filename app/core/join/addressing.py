"""Whom a record is for: what its key must be, and the row that a feedback is about."""

from typing import Final

from app.core.events import Reason, RefusedError, shown
from app.core.letters import AstrayError

#: In the place of a row: of none.
NO_ROW: Final = -1
#: The same of a feedback that is lent to the puid which it may mean (the flag `LENT` of `app.core.join.statements`).
LENT_ROW: Final = -2


def row_of(puid: bytes, key: bytes, *, feedback: bool) -> int:
    """The row that a feedback for `puid-item-N` addresses, under the key of its base puid. All else has none.

    Under its own key such a feedback that was rekeyed has been lent. Raises AstrayError under another key than its own,
    RefusedError where it can have none.
    """
    base, row = of_row(puid) if feedback else (puid, NO_ROW)
    if puid == key:
        return NO_ROW if row == NO_ROW else LENT_ROW
    if row != NO_ROW and base == key:
        return row
    raise _under_another_key(base, puid, key)


def unusable(key: bytes | None, value: bytes | None, largest: int, puid: bytes, *, feedback: bool) -> RefusedError:
    """Why a record's key and value cannot be used; a value has at most `largest` bytes.

    A key that is no puid, like a number of Java's, is another key than its own where the headers name the puid.
    """
    if not key:
        return RefusedError(Reason.NO_KEY, "the record has no key")
    no_puid = key[0] == 0
    if no_puid and (not puid or puid[0] == 0):
        return RefusedError(Reason.NO_PUID, "a puid cannot begin with a NUL byte")
    if value is None:
        return RefusedError(Reason.BAD_JSON, "the record has no value")
    if not no_puid or len(value) > largest:
        return RefusedError(Reason.TOO_LARGE, f"the value has {len(value)} bytes; at most {largest}")
    return _under_another_key(of_row(puid)[0] if feedback else puid, puid, key)


def of_row(puid: bytes) -> tuple[bytes, int]:
    """The base puid and the row that an id like `puid-item-N` may mean; of others all of it and NO_ROW."""
    base, _, number = puid.rpartition(b"-item-")
    names_row = bool(base) and number.isdigit() and len(number) < 8
    return (base, int(number)) if names_row else (puid, NO_ROW)


def _under_another_key(own: bytes, puid: bytes, key: bytes) -> RefusedError:
    sentence = f"the key is {shown(key)}, the puid {shown(puid)}"
    if own == key or own[0] == 0:
        return RefusedError(Reason.WRONG_KEY, sentence)
    return AstrayError(Reason.WRONG_KEY, sentence, own)

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
    base, _, number = puid.rpartition(b"-item-")
    of_row = feedback and bool(base) and number.isdigit() and len(number) < 8
    if puid == key:
        return LENT_ROW if of_row else NO_ROW
    if of_row and base == key:
        return int(number)
    sentence = f"the key is {shown(key)}, the puid {shown(puid)}"
    own = base if of_row else puid
    if own == key or own[0] == 0:
        raise RefusedError(Reason.WRONG_KEY, sentence)
    raise AstrayError(Reason.WRONG_KEY, sentence, own)


def unusable(key: bytes | None, value: bytes | None, largest: int) -> RefusedError:
    """Why a record's key and value cannot be used; a value has at most `largest` bytes."""
    if not key:
        return RefusedError(Reason.NO_KEY, "the record has no key")
    if key[0] == 0:
        return RefusedError(Reason.NO_PUID, "a puid cannot begin with a NUL byte")
    if value is None:
        return RefusedError(Reason.BAD_JSON, "the record has no value")
    return RefusedError(Reason.TOO_LARGE, f"the value has {len(value)} bytes; at most {largest}")

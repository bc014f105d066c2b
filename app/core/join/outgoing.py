"""What a partition sends out beside its state: dead letters, events brought or lent to other keys, joined records."""

from collections.abc import Callable, Iterator
from typing import Final

from app.core.events import Reason
from app.core.join.exchange import Exchange
from app.core.join.joined import Joining, is_feedback
from app.core.letters import Astray, AstrayError, DeadLetter
from app.core.limits import Limits
from app.core.stats import Stats
from app.core.wire.records import Record

#: What a joined record has at least beside the one part of it, and its key.
_ROOM_OF_PART: Final = 400


class Outgoing:
    """All that waits for the next cut. Where nothing is logged, `unlogged` stays empty."""

    def __init__(self, partition: int, joining: Joining, limits: Limits, stats: Stats) -> None:
        self.limits = limits
        self.dead: list[DeadLetter] = []
        self.astray: list[Astray] = []
        self.joined: list[tuple[bytes, bytes]] = []
        self.unlogged: dict[bytes, list[bytes]] = {}  # the parts that are not in a joined record yet
        self._lent: list[Astray] = []  # unless the prediction comes within the epoch
        self._partition = partition
        self._joining = joining
        self._stats = stats

    def next(self) -> "Outgoing":
        """What waits for the cut after this one: nothing yet."""
        return Outgoing(self._partition, self._joining, self.limits, self._stats)

    def __len__(self) -> int:
        return len(self.dead) + len(self.astray) + len(self._lent)

    def refuse(self, topic: str, record: Record, reason: Reason, detail: str) -> None:
        """Put a record aside, with the reason."""
        self.dead.append(DeadLetter(topic, self._partition, record, reason, detail))
        self._stats.rejected[reason] += 1

    # -- to other keys ------------------------------------------------------------------------------------------------

    def bring(self, topic: str, record: Record, astray: AstrayError) -> None:
        """Bring an event to its own key; one that is too large for that is refused."""
        if self._is_movable(record, astray.key):
            self.astray.append(Astray(topic, record, astray.key))
            self._stats.rekeyed += 1
        else:
            most = self.limits.moved_bytes
            sentence = f"{astray.detail}; it is larger than the {most} bytes that can be brought"
            self.refuse(topic, record, astray.reason, sentence)

    def lend(self, topic: str, record: Record, puid: bytes) -> None:
        """Send a copy of a feedback for a row whose prediction is not known to the puid that is named like the row.

        Each counts where its prediction is known: a request id may end as the ids of rows do.
        """
        if self._is_movable(record, puid):
            self._lent.append(Astray(topic, record, puid))

    def lent(self, get: Callable[[bytes], Exchange | None]) -> list[Astray]:
        """The copies to send, but for those whose prediction has come since."""
        keys = {astray.record.key or b"" for astray in self._lent}
        unknown = {key for key in keys if (exchange := get(key)) is None or not exchange.legs}
        return [astray for astray in self._lent if astray.record.key in unknown]

    def _is_movable(self, record: Record, key: bytes) -> bool:
        """Whether a record may be written again under a key: a larger one might not fit a batch of its topic."""
        return len(key) + len(record.value or b"") + len(record.header_block) <= self.limits.moved_bytes

    # -- joined records -----------------------------------------------------------------------------------------------

    def tell(self, topic: str, record: Record, key: bytes, part: bytes) -> None:
        """Keep a part for the joined record. What no record can hold counts, and its document lacks it."""
        parts = self.unlogged.setdefault(key, [])
        if len(part) <= self.limits.joined_bytes - _ROOM_OF_PART:
            parts.append(part)
            return
        detail = (
            f"the event counts, but its document lacks its payload: a joined record would have {len(part)} bytes of "
            f"it, and the topic that TALLY_LOG_TOPIC names takes {self.limits.joined_bytes} (its max.message.bytes)"
        )
        self.refuse(topic, record, Reason.TOO_LARGE, detail)

    def join(self, get: Callable[[bytes], Exchange | None]) -> Iterator[tuple[bytes, Exchange]]:
        """Make the joined records of what was told. Gives the exchanges in which other parts wait than before.

        A feedback without its prediction waits for that.
        """
        for key, told in self.unlogged.items():
            exchange = get(key)
            if exchange is None:  # it has expired since
                continue
            answered = any(state.time for state in exchange.legs)
            parts = told
            if exchange.held or not answered:
                parts = [*exchange.held, *told]
                held = () if answered else tuple(one for one in parts if is_feedback(one))
                if sum(map(len, held)) > self.limits.held_bytes:
                    held = ()
                if held != exchange.held:
                    exchange.held = held
                    yield key, exchange
                if held:
                    parts = [one for one in parts if not is_feedback(one)]
            if parts or (not told and answered):  # what has no room in a record has changed something all the same
                self._log(key, parts, exchange)

    def bury(self, key: bytes, exchange: Exchange, *, waited: bool) -> None:
        """Make the last joined record of an exchange that expires.

        What has waited in vain has no document: the one of its id may be another puid's.
        """
        orphaned = [*exchange.held, *self.unlogged.pop(key, [])]
        if orphaned and not waited:
            self._log(key, orphaned, exchange)

    def _log(self, key: bytes, parts: list[bytes], exchange: Exchange) -> None:
        """Make the joined record of these parts, or several where one would be too large."""
        record = self._joining.record(key, parts, exchange)
        most = self.limits.joined_bytes - len(key)
        if len(record) <= most:
            self.joined.append((key, record))
        else:
            self.joined += [(key, one) for one in self._joining.records(key, parts, exchange, most)]

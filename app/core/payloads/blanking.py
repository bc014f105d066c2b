"""What is left out of a message: which of its values a user keeps back, by name or by the model's schema."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from app.core.payloads.tensors import flat
from app.core.rules import Column


class Redaction(NamedTuple):
    """What a user keeps back: names of keys and columns, dotted paths, and the columns that the model's schema gives
    the messages of this kind.
    """

    entries: frozenset[str]
    columns: tuple[Column, ...] = ()

    def under(self, member: str) -> "Redaction":
        """The same for what stands under a member: the path `data.iban` means a column `iban` there."""
        start = member + "."
        below = {entry[len(start) :] for entry in self.entries if entry.startswith(start)}
        return self._replace(entries=self.entries | below) if below else self

    @property
    def by_place(self) -> bool:
        """Whether the schema says of any column that it is left out: values without names may be it."""
        return any(not self.entries.isdisjoint((column.name, *column.parts)) for column in self.columns)

    def hidden(self, names: Sequence[str], widths: Sequence[int]) -> list[Collection[int]]:
        """Which values are left out of each cell of a row: their places in it.

        Cells have `names` (empty for a cell without one; of another length where they do not fit) and `widths`, the
        number of their values. A schema's column is where its name is, else where it has its place, and where neither
        is known it may be any cell that has no other column's name.
        """
        flat_parts = [part for column in self.columns for part in column.names]
        if len(widths) == len(flat_parts) or sum(widths) != len(flat_parts):
            places = self._hidden_places(names, len(widths))
            return [range(width) if place in places else () for place, width in enumerate(widths)]
        labels: list[str] = []
        whole = self._by_name(names) if len(names) == len(widths) else set()
        for place, width in enumerate(widths):
            labels += [names[place] if width == 1 and len(names) == len(widths) else ""] * width
        places = self._hidden_places(labels, len(labels))
        found: list[Collection[int]] = []
        start = 0
        for place, width in enumerate(widths):
            own = range(width) if place in whole else [at for at in range(width) if start + at in places]
            found.append(own)
            start += width
        return found

    def _by_name(self, names: Sequence[str]) -> set[int]:
        """The places of what is left out by its own name, or by that of a column which is partly left out."""
        meant = {column.name for column in self.columns if not self.entries.isdisjoint(column.parts)}
        return {place for place, name in enumerate(names) if name in self.entries or name in meant}

    def _hidden_places(self, names: Sequence[str], width: int) -> set[int]:
        every = set(range(width))
        if len(names) != width:
            if any(name in self.entries for name in names):
                return every
            names = ()
        places = self._by_name(names)
        parts = [
            (column.name, part, column.name in self.entries or part in self.entries)
            for column in self.columns
            for part in column.names
        ]
        visible = {part for _, part, is_hidden in parts if not is_hidden}
        others = {place for place, name in enumerate(names) if name in visible}
        for place, (column, part, is_hidden) in enumerate(parts):
            if not is_hidden:
                continue
            named = {at for at, name in enumerate(names) if name in (part, column)}
            if not named:
                named = {place} if width == len(parts) and place not in others else every - others
            places |= named
        return places


def blank_rows(rows: Any, names: Sequence[str], redaction: Redaction) -> Any:
    """Rows with null in the place of what is left out; a value that is no list is one row."""
    if type(rows) is list:
        return [blank_row(row, names, redaction) for row in rows]
    return blank_row(rows, names, redaction)


def blank_row(row: Any, names: Sequence[str], redaction: Redaction) -> Any:
    """One row with null in the place of what is left out: a value, a list of cells, or an object of them by name."""
    if type(row) is dict:
        return dict(zip(row, _blank_cells(list(row.values()), tuple(row), redaction), strict=True))
    if type(row) is list:
        return _blank_cells(row, names, redaction)
    return _blank_cells([row], names, redaction)[0]


def _blank_cells(cells: list[Any], names: Sequence[str], redaction: Redaction) -> list[Any]:
    widths = [len(flat(cell)) if type(cell) is list else 1 for cell in cells]
    return [
        blank_cell(cell, width, places)
        for cell, width, places in zip(cells, widths, redaction.hidden(names, widths), strict=True)
    ]


def blank_cell(cell: Any, width: int, places: Collection[int]) -> Any:
    """A cell with null at these places of its values; as a whole where all go, or where they are nested deeper."""
    if not places:
        return cell
    if type(cell) is not list or len(places) == width or len(cell) != width:
        return None
    return [None if place in places else value for place, value in enumerate(cell)]

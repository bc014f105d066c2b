"""Files of labels: CSV with a header, JSON lines, Parquet. They are read in pieces, the columns that are wanted alone.

A file is read twice, first to check it, so it must be a regular one. CSV and JSON lines may be compressed (.gz).
"""

import csv
import gzip
import io
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO

import orjson

from app.cli.ends import InputError
from app.core.events import RefusedError
from app.core.payloads.loosejson import loads

#: The forms by the ends of names.
_FORMS: Final = {
    "csv": "csv",
    "tsv": "csv",
    "txt": "csv",
    "json": "jsonl",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "parquet": "parquet",
    "pq": "parquet",
}
FORMS: Final = tuple(dict.fromkeys(_FORMS.values()))
_DELIMITERS: Final = ",;\t|"
#: Lines that are read at once; the producer has its turn in between.
_PIECE: Final = 2_000
_LONGEST_FIELD: Final = 1 << 20
_SHOWN: Final = 10


class Piece(NamedTuple):
    """Some lines: their numbers, of each wanted column that there is its values, and lines that cannot be read.

    Lines count from 1, in Parquet rows do.
    """

    numbers: Sequence[int]
    columns: Mapping[str, Sequence[Any]]
    bad: list[tuple[int, str]]


class LabelTable(ABC):
    """A file of labels, and its columns."""

    #: Whether all values are texts, of which an empty one says nothing.
    of_texts = False
    #: Whether a column may be there without a name among `columns`: the first lines alone were asked for it.
    sparse = False
    #: How many lines there are; None where only reading tells.
    rows: int | None = None

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self.columns = tuple(columns)

    @abstractmethod
    def pieces(self, wanted: Sequence[str]) -> Iterator[Piece]:
        """The lines, from the first. Raises `InputError` where the file cannot be read on."""


def open_table(file: str, form: str | None, delimiter: str | None, *, option: str = "--format") -> LabelTable:
    """The table in a file. Without a form (which `option` gives) it is that of the name's end. Raises `InputError`."""
    path = Path(file)
    if file == "-":
        raise InputError("--file must name a file: it is read twice, and standard input cannot be.")
    ends = [end[1:].lower() for end in path.suffixes]
    compressed = bool(ends) and ends[-1] == "gz"
    form = form or _FORMS.get((ends[:-1] if compressed else ends)[-1] if ends[compressed:] else "")
    if form is None:
        raise InputError(f"{file} does not say by its name what it is: give {option} {'|'.join(FORMS)}.")
    if delimiter is not None and form != "csv":
        raise InputError(f"--delimiter is for CSV, and {file} is {form}.")
    try:
        if not path.is_file():
            with path.open("rb"):  # says that it is missing, or a folder
                raise InputError(f"{file} is no regular file: it is read twice, so a pipe will not do.")
        if form == "parquet":
            return _Parquet(path)
        if form == "csv":
            return _Csv(path, delimiter, compressed=compressed)
        return _JsonLines(path, compressed=compressed)
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror or error}).") from None


def _open(path: Path, *, compressed: bool) -> Any:
    return gzip.GzipFile(path) if compressed else path.open("rb")


def _open_text(path: Path, *, compressed: bool) -> TextIO:
    """The text of a file without its byte order mark; bytes that are no UTF-8 become half surrogates."""
    return io.TextIOWrapper(
        _open(path, compressed=compressed), encoding="utf-8-sig", errors="surrogateescape", newline=""
    )


class _Csv(LabelTable):
    of_texts = True

    def __init__(self, path: Path, delimiter: str | None, *, compressed: bool) -> None:
        csv.field_size_limit(_LONGEST_FIELD)
        self._compressed = compressed
        if delimiter is not None and (len(delimiter) != 1 or delimiter in '\r\n"'):
            raise InputError(f"--delimiter must be one character, like ; (got {delimiter!r}).")
        with _open_text(path, compressed=compressed) as text:
            header = _header(text, path)
        self._delimiter = delimiter or max(_DELIMITERS, key=header.count)
        columns = next(csv.reader([header], delimiter=self._delimiter), [])
        super().__init__(path, [name.strip() for name in columns])

    def pieces(self, wanted: Sequence[str]) -> Iterator[Piece]:
        places = [self.columns.index(name) for name in wanted]
        width = len(self.columns)
        with _open_text(self.path, compressed=self._compressed) as text:
            reader = csv.reader(text, delimiter=self._delimiter, strict=True)
            try:
                next(reader, None)
                while True:
                    numbers: list[int] = []
                    rows: list[list[str]] = []
                    bad: list[tuple[int, str]] = []
                    number = reader.line_num + 1
                    for row in islice(reader, _PIECE):
                        if len(row) == width:
                            numbers.append(number)
                            rows.append(row)
                        elif row:
                            bad.append((number, f"has {len(row)} fields, and the header has {width}"))
                        number = reader.line_num + 1
                    if not rows and not bad and not _more(reader, number):
                        return
                    columns = list(zip(*rows, strict=True)) if rows else [()] * width
                    yield Piece(numbers, {name: columns[at] for name, at in zip(wanted, places, strict=True)}, bad)
            except (csv.Error, OSError, EOFError) as error:
                raise InputError(f"{self.path} cannot be read on from line {reader.line_num} ({error}).") from None


def _more(reader: Any, number: int) -> bool:
    """Whether a reader that gave nothing has only met empty lines, and goes on."""
    return bool(reader.line_num + 1 > number)


def _header(text: TextIO, path: Path) -> str:
    try:
        for line in text:
            if line.strip():
                return line.rstrip("\r\n")
    except (OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read ({error}).") from None
    raise InputError(f"{path} is empty: a CSV file begins with the names of its columns.")


class _JsonLines(LabelTable):
    sparse = True

    def __init__(self, path: Path, *, compressed: bool) -> None:
        self._compressed = compressed
        names: dict[str, None] = {}
        for piece in self._objects(path):
            for _, one in piece:
                if type(one) is dict:
                    names.update(dict.fromkeys(one))
            break  # what the first lines lack has no default name
        super().__init__(path, list(names))

    def pieces(self, wanted: Sequence[str]) -> Iterator[Piece]:
        for piece in self._objects(self.path):
            numbers, objects, bad = [], [], []
            for number, one in piece:
                if type(one) is dict:
                    numbers.append(number)
                    objects.append(one)
                else:
                    bad.append((number, one if type(one) is str else "is no JSON object"))
            yield Piece(numbers, {name: [one.get(name) for one in objects] for name in wanted}, bad)

    def _objects(self, path: Path) -> Iterator[list[tuple[int, Any]]]:
        """The objects of lines, with their numbers; why it is none where one is not."""
        try:
            with _open(path, compressed=self._compressed) as lines:
                numbered = ((number, line) for number, line in enumerate(lines, 1) if not line.isspace())
                while some := [(number, _object(number, line)) for number, line in islice(numbered, _PIECE)]:
                    yield some
        except (OSError, EOFError) as error:
            raise InputError(f"{path} cannot be read ({error}).") from None


def _object(number: int, line: bytes) -> Any:
    try:
        raw = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        one = loads(raw) if b"NaN" in raw or b"Infinity" in raw else orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        return f"is no JSON ({error.msg}, column {error.colno})"
    except RefusedError as refused:
        return f"is no JSON ({refused.detail})"
    return one if type(one) is dict else None


class _Parquet(LabelTable):
    def __init__(self, path: Path) -> None:
        try:
            from pyarrow import ArrowException
            from pyarrow.parquet import ParquetFile
        except ImportError:
            raise InputError("Parquet needs pyarrow: `pip install 'tally[parquet]'`, or bring CSV.") from None
        self._errors: Any = (ArrowException, OSError)
        self._open = ParquetFile
        try:
            with ParquetFile(path) as file:
                super().__init__(path, file.schema_arrow.names)
                self.rows = file.metadata.num_rows
        except self._errors as error:
            raise InputError(f"{path} is no Parquet file that can be read ({_first_line(error)}).") from None

    def pieces(self, wanted: Sequence[str]) -> Iterator[Piece]:
        number = 1
        try:
            with self._open(self.path) as file:
                for batch in file.iter_batches(_PIECE, columns=list(wanted), use_threads=False):
                    columns = {name: _values(batch.column(name)) for name in wanted}
                    yield Piece(range(number, number + batch.num_rows), columns, [])
                    number += batch.num_rows
        except self._errors as error:
            raise InputError(f"{self.path} cannot be read on from row {number} ({_first_line(error)}).") from None


def _values(column: Any) -> list[Any]:
    """A column as Python's values. Its times are µs: what Python's own times cannot hold is not needed."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        column = column.cast(pa.timestamp("us", kind.tz), safe=False)
    values: list[Any] = column.to_pylist()
    return values


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200].rstrip(".")


def shown_columns(columns: Sequence[str]) -> str:
    """The names of a table's columns, for a sentence."""
    names = [ascii(name)[1:-1] for name in columns[:_SHOWN]]
    return ", ".join(names) + (f" and {len(columns) - _SHOWN} more" if len(columns) > _SHOWN else "")

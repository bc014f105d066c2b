"""Lines of a file, of a compressed file, or of standard input as they come."""

import asyncio
import gzip
import os
import stat
import zlib
from collections.abc import AsyncIterator
from io import FileIO
from types import TracebackType
from typing import Any, Self

import zstandard

from app.cli.ends import InputError

_CHUNK_BYTES = 1 << 18
_LONGEST_LINE_BYTES = 64 << 20


class ReadError(Exception):
    """Reading cannot go on; the message goes on from the file's name."""


class Source:
    """What `file` names: a path, one that ends with `.gz` or `.zst`, or `-` for standard input.

    `size` is its length in bytes, None where it has none (a pipe), and `position` how much of it has been read.
    """

    def __init__(self, file: str, name: str) -> None:
        self.position = 0
        try:
            # Unbuffered: what a pipe has so far is read, and not waited on for more.
            self._raw = FileIO(0 if file == "-" else file, closefd=file != "-")
            status = os.fstat(self._raw.fileno())
        except OSError as error:
            raise InputError(f"{name} cannot be read ({_reason(error)}).") from None
        self.size = status.st_size if stat.S_ISREG(status.st_mode) else None
        self._plain: Any = None
        if file.endswith(".gz"):
            self._plain = gzip.GzipFile(fileobj=self._raw)
        elif file.endswith(".zst"):
            self._plain = zstandard.ZstdDecompressor().stream_reader(self._raw, read_across_frames=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._raw.close()

    async def lines(self) -> AsyncIterator[list[bytes]]:
        """The lines that came together, without their ends. Raises `ReadError`."""
        pieces: list[bytes] = []  # of the line that is not complete yet
        length = 0
        while chunk := await self._chunk():
            first, *others = chunk.split(b"\n")
            pieces.append(first)
            length += len(first)
            if length > _LONGEST_LINE_BYTES:
                raise ReadError(f"has a line of more than {_LONGEST_LINE_BYTES >> 20} MiB")
            if others:
                *whole, rest = others
                yield [b"".join(pieces), *whole]
                pieces, length = [rest], len(rest)
        if length:
            yield [b"".join(pieces)]

    async def _chunk(self) -> bytes:
        try:
            if self._plain is not None:
                chunk: bytes = self._plain.read1(_CHUNK_BYTES)
                self.position = self._raw.tell()
            else:
                await _readable(self._raw.fileno())
                chunk = os.read(self._raw.fileno(), _CHUNK_BYTES)
                self.position += len(chunk)
        except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
            raise ReadError(f"cannot be read ({_reason(error)})") from None
        return chunk


async def _readable(descriptor: int) -> None:
    """Wait until a read gives something, while all else goes on."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    try:
        loop.add_reader(descriptor, ready.set)
    except PermissionError:  # a regular file always does
        return
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)

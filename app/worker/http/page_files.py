"""The files of the page as they are served: each with its type, packed, and with headers that let nothing foreign in.

The page asks nobody but this worker. It is made of plain files: no template puts anything into them.
"""

import gzip
from functools import cache
from hashlib import blake2b
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final, NamedTuple

from aiohttp import web

from app.worker.http.answers import AnswerError

#: Scripts and styles from this worker alone, none within the page; nothing in it is ever read as HTML (trusted types);
#: no other page may frame it. Charts are taken along as `blob:`.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Kept by the browser, and asked for again by its tag: a new version shows at once.
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
}
_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
_INDEX: Final = "index.html"


class PageFile(NamedTuple):
    """One file: its bytes, the same packed by gzip, its type, and a tag that changes with it."""

    content: bytes
    packed: bytes
    kind: str
    tag: str


@cache
def page_files() -> dict[str, PageFile]:
    """All files of the page, by their paths below `page/`, like `scripts/main.js`."""
    return {name: _read(found) for name, found in _found(resources.files("app.worker.http").joinpath("page"), "")}


def _found(folder: Traversable, before: str) -> list[tuple[str, Traversable]]:
    found: list[tuple[str, Traversable]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _found(entry, f"{before}{entry.name}/")
        elif entry.name.rpartition(".")[2] in _TYPES:
            found.append((before + entry.name, entry))
    return found


def _read(file: Traversable) -> PageFile:
    content = file.read_bytes()
    tag = blake2b(content, digest_size=12).hexdigest()
    return PageFile(content, gzip.compress(content, mtime=0), _TYPES[file.name.rpartition(".")[2]], f'"{tag}"')


async def index(request: web.Request) -> web.Response:
    """`GET /`."""
    return _answer(request, page_files()[_INDEX])


async def file(request: web.Request) -> web.Response:
    """`GET /page/{file}`."""
    found = page_files().get(request.match_info["file"])
    if found is None:
        raise AnswerError(404, "The page has no such file; reload it, since the worker may be of another version now.")
    return _answer(request, found)


def _answer(request: web.Request, found: PageFile) -> web.Response:
    headers = _HEADERS | {"ETag": found.tag}
    if request.headers.get("If-None-Match") == found.tag:
        return web.Response(status=304, headers=headers)
    packs = "gzip" in request.headers.get("Accept-Encoding", "")
    body = found.packed if packs else found.content
    packing = {"Content-Encoding": "gzip"} if packs else {}
    return web.Response(body=body, headers={**headers, **packing, "Content-Type": found.kind})

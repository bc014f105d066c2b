"""What a body is packed with, and what it holds then."""

import gzip
import zlib

import pytest

from app.core.events import Reason
from app.worker.http.answers import AnswerError
from app.worker.http.bodies import unpacked
from tests.worker.http.serving import Served, serve

TEXT = b'{"data": {"ndarray": [[0.1, 0.9]]}}'
BARE = zlib.compress(TEXT)[2:-4]


@pytest.mark.parametrize(
    ("packed", "packing"),
    [
        (TEXT, ""),
        (gzip.compress(TEXT, mtime=0), "gzip"),
        (gzip.compress(TEXT, mtime=0), "x-gzip"),
        (gzip.compress(TEXT[:9], mtime=0) + gzip.compress(TEXT[9:], mtime=0), "gzip"),
        (zlib.compress(TEXT), "deflate"),
        (BARE, "deflate"),  # as some senders understand it
    ],
)
def test_what_is_packed_is_unpacked(packed: bytes, packing: str) -> None:
    assert unpacked(packed, packing, len(TEXT)) == TEXT


@pytest.mark.parametrize(
    ("packed", "packing", "words"),
    [
        (TEXT, "gzip", "not gzip"),
        (TEXT, "deflate", "not deflate"),
        (b"", "gzip", "ends too early"),
        (gzip.compress(TEXT, mtime=0)[:-9], "gzip", "ends too early"),
        (gzip.compress(TEXT, mtime=0)[:-1], "gzip", "ends too early"),
        (zlib.compress(TEXT)[:-1], "deflate", "ends too early"),
        (gzip.compress(TEXT, mtime=0)[:-8] + b"checksum", "gzip", "not gzip"),
        (gzip.compress(TEXT, mtime=0) + b"garbage", "gzip", "stands something else"),
        (zlib.compress(TEXT) + b"garbage", "deflate", "stands something else"),
        (BARE + b"garbage", "deflate", "stands something else"),
        (gzip.compress(b"", mtime=0) * 1000, "gzip", "stands something else"),
    ],
)
def test_what_is_not_packed_as_it_says_is_refused(packed: bytes, packing: str, words: str) -> None:
    with pytest.raises(AnswerError) as refused:
        unpacked(packed, packing, 1000)
    assert (refused.value.status, words in refused.value.sentence) == (400, True), refused.value.sentence


@pytest.mark.parametrize("packed", [gzip.compress(b"0" * 10_000_000, mtime=0), gzip.compress(b"0" * 600, mtime=0) * 2])
def test_what_would_become_too_large_is_not_unpacked(packed: bytes) -> None:
    with pytest.raises(AnswerError) as refused:
        unpacked(packed, "gzip", 1000)
    assert (refused.value.status, refused.value.reason) == (413, Reason.TOO_LARGE)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "compress", "*", "\xff", "x" * 5000])
def test_what_is_packed_with_something_unknown_is_refused_before_it_is_read(encoding: str) -> None:
    async def story(served: Served) -> None:
        answer = await served.ask("POST", "/feedback", f"Content-Encoding: {encoding}", body=TEXT)
        assert answer.status == 400
        assert answer.content["error"].endswith("is not known here: send gzip, deflate, or none.")
        assert len(answer.content["error"]) < 150

    serve(story)


@pytest.mark.parametrize("encoding", ["identity", "", " Identity "])
def test_what_is_not_packed_may_say_so(encoding: str) -> None:
    async def story(served: Served) -> None:
        answer = await served.ask("POST", "/feedback", f"Content-Encoding: {encoding}", body=b"{}")
        assert answer.content["reason"] == "no-puid"

    serve(story)

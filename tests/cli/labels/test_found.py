"""The sample of puids that workers are asked for, and what is said of it."""

import asyncio
from collections import Counter

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from app.cli.labels import found
from app.cli.labels.found import Found, Sample, sentence

puids = st.lists(st.integers(0, 60).map(lambda number: b"p%d" % number), max_size=120)


@given(puids, st.integers(1, 70))
def test_a_sample_is_of_the_least_hashes_and_says_whether_it_is_all(some: list[bytes], most: int) -> None:
    sample = Sample(most)
    for puid in some:
        sample.add(puid)
    least = sorted(set(some), key=xxh3_64_intdigest)[:most]
    assert sorted(sample.puids) == sorted(puid.decode() for puid in least)
    assert sample.whole == (len(set(some)) <= most)


def sample_of(count: int) -> Sample:
    sample = Sample()
    for number in range(count):
        sample.add(b"p%d" % number)
    return sample


@pytest.mark.parametrize(
    ("found", "count", "said"),
    [
        (Found(42, 12, 0), 42, "no prediction is known of 12 of 42 puids"),
        (Found(42, 0, 0), 42, "all 42 puids have a prediction"),
        (
            Found(40, 12, 2),
            42,
            "no prediction is known of 12 of 40 puids; of 2 more the workers have not counted the label yet",
        ),
        (
            Found(1000, 37, 0),
            5000,
            "no prediction is known of 3.7% of the puids (2.7% to 5.1% with 95 % certainty: 37 of a sample of 1000)",
        ),
        (Found(0, 0, 9), 9, "how many found no prediction is not known: the workers have not counted the labels yet"),
        ("no worker answers at x", 9, "how many found no prediction is not known: no worker answers at x"),
    ],
)
def test_what_was_found_is_said_with_its_uncertainty(found: Found | str, count: int, said: str) -> None:
    assert sentence(found, sample_of(count)) == said


@pytest.mark.parametrize("trouble", ["being handed over", "cut off"])
def test_who_does_not_answer_for_a_moment_is_asked_again(monkeypatch: pytest.MonkeyPatch, trouble: str) -> None:
    monkeypatch.setattr(found, "_PAUSE_SECONDS", 0.01)
    asked: Counter[str] = Counter()

    async def exchange(request: web.Request) -> web.Response:
        puid = request.match_info["puid"]
        asked[puid] += 1
        if puid == "p-3" and asked[puid] < 3:
            if trouble == "cut off":
                assert request.transport is not None
                request.transport.close()
            return web.json_response({"error": "Partition 1 is being handed over."}, status=503)
        return web.json_response(
            {"feedback_time": "now", "legs": [{"response_time": None if puid == "p-0" else "now"}]}
        )

    async def ask() -> Found | str:
        app = web.Application()
        app.router.add_get("/api/exchanges/{puid}", exchange)
        async with TestServer(app) as server, aiohttp.ClientSession() as session:
            return await found._ask_one(session, str(server.make_url("")).rstrip("/"), [f"p-{at}" for at in range(5)])

    assert asyncio.run(ask()) == Found(asked=5, without=1, uncounted=0)
    assert asked["p-3"] >= 3


def test_where_nobody_answers_that_is_said_at_once() -> None:
    async def ask() -> Found | str:
        async with aiohttp.ClientSession() as session:
            return await found._ask_one(session, "http://127.0.0.1:9", ["p", "q"])

    assert asyncio.run(ask()) == "no worker answers at http://127.0.0.1:9"

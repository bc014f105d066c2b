"""The model series: made anew where something has changed, at most for a tenth of the time, and sent in pieces."""

import asyncio
import gzip
import threading
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from app.core.counts.panes import Window
from app.core.counts.rows import RowKey, row_key
from app.core.events import Identity
from app.core.monitors import AlertWhen, Code, Monitor, MonitorSpec
from app.core.rules import OwnScore, Rules
from app.exporters.packing import Packer
from app.exporters.prometheus import ModelText
from app.own_scores import OwnFunction
from app.worker.http.exposition import Exposition, send
from tests.builders import START, Ledger, Record, a_feedback, a_response
from tests.patience import PATIENCE

WINDOWS = (Window("5m", 300), Window("24h", 86400))
IDENTITY = 'model_namespace="ns",model_service="svc",predictor="default",model="m",'


class Kept:
    """An exposition of a ledger's view, which models it has made anew, and how long each took."""

    def __init__(self, *models: str, most: int = 10**9, patience: float = 60.0, rules: Rules | None = None) -> None:
        self.ledger = Ledger(*([] if rules is None else [rules]), windows=WINDOWS)
        for model in models:
            self.ledger.absorb(a_response(1, model=model, puid=f"of {model}"))
        self.readings = self.ledger.cut().readings()
        self.seconds, self.costs = 0.0, 0.0
        self.exposition = Exposition(
            self.readings,
            seldon=False,
            most=most,
            longest_rest=2.0,
            patience=patience,
            clock=lambda: self.seconds,
        )
        self.made: list[str] = []
        text: Any = self.exposition.text
        text.block = self._block

    def _block(self, identity: Any, *rest: Any) -> Any:
        self.made.append(identity.model)
        self.seconds += self.costs
        return ModelText.block(self.exposition.text, identity, *rest)

    def tell(self, model: str, label: int = 1) -> None:
        """A label comes for a model: its view follows."""
        self.follow(a_feedback(label, model=model, puid=f"of {model}", at=5 - label))

    def follow(self, *records: Record) -> None:
        """Events come: the view follows."""
        before = [dict(changelog) for changelog in self.ledger.panes]
        self.ledger.absorb(*records).cut()
        for number, changelog in enumerate(self.ledger.panes):
            for key, value in changelog.items():
                if before[number].get(key) != value:
                    self.readings.view.take(number, key, value)

    def refresh(self, now: float = 30.0) -> list[str]:
        """The models that are made anew."""
        self.made.clear()
        asyncio.run(self.exposition.refresh(START + now))
        return list(self.made)

    def whole(self, now: float = 30.0) -> str:
        """The text as it is made from nothing."""
        text = ModelText(seldon=False, most=10**9, rulebook=self.readings.rulebook)
        for identity, readings in self.readings.of_models(START + now):
            text.put(identity, text.block(identity, readings, self.readings.view.first_seen(identity)))
        return text.text()


def test_a_threshold_that_has_changed_shows_without_another_event() -> None:
    monitor = Monitor(MonitorSpec("odd", "v1", AlertWhen(">", 0.5)), Code("function", "m:f"))
    kept = Kept("a", rules=Rules(monitors=(monitor,)))
    kept.refresh()
    assert kept.refresh(40.0) == []
    monitor.spec = monitor.spec._replace(when=AlertWhen(">", 0.75))
    assert kept.refresh(41.0) == ["a"]
    assert 'comparison=">"} 0.75\n' in kept.exposition.text.text()


def test_a_comparison_changes_with_either_leg() -> None:
    kept = Kept("a")
    kept.ledger.absorb(a_response(0, model="a", predictor="shadow", puid="of a"), a_feedback(1, puid="of a")).cut()
    kept.readings = kept.exposition._readings = kept.ledger.readings()
    kept.refresh()
    samples = 'model="a",model_version="",shadow="shadow/a",quantity="only_current_right",window="total"} '
    assert samples + "1" in kept.exposition.text.text()
    kept.ledger.absorb(a_response(1, model="a", predictor="shadow", puid="of a", at=9)).cut()
    kept.readings = kept.exposition._readings = kept.ledger.readings()
    kept.refresh(40.0)
    assert samples + "0" in kept.exposition.text.text()


def test_only_what_has_changed_is_made_anew() -> None:
    kept = Kept("a", "b", "c")
    assert kept.refresh() == ["a", "b", "c"]
    assert kept.refresh() == []
    kept.tell("b")
    assert kept.refresh() == ["b"]
    assert kept.exposition.text.text() == kept.whole()
    assert 'verdict="correct"} 1' in kept.exposition.text.text()


@pytest.mark.parametrize(
    ("now", "made"), [(60.0, []), (330.0, []), (400.0, ["a", "b"]), (900.0, ["a", "b"]), (90_000.0, ["a", "b"])]
)
def test_a_window_that_moves_changes_those_of_which_it_loses_something(now: float, made: list[str]) -> None:
    kept = Kept("a", "b")
    kept.refresh()
    assert kept.refresh(now) == made
    assert kept.exposition.text.text() == kept.whole(now)
    assert kept.refresh(now) == []


def test_where_series_are_too_many_the_cells_go_and_come_back_with_room() -> None:
    kept = Kept("a", "b", most=10**9)
    for model in ("a", "b"):
        kept.tell(model)
    kept.refresh()
    whole = kept.exposition.text.text()
    most = whole.count("\n") - whole.count("# ")
    cells = sum(line.startswith(("tally_confusion{", "tally_window_confusion{")) for line in whole.splitlines())
    short = Kept("a", "b", most=most - 1)
    for model in ("a", "b"):
        short.tell(model)
    short.refresh()
    lines = short.exposition.text.text().splitlines()
    assert {line for line in whole.splitlines() if line not in lines} == {
        line for line in whole.splitlines() if "confusion{" in line and 'model="b"' in line
    }
    assert short.exposition.text.dropped_series == cells // 2
    assert "TALLY_MAX_SERIES" in (short.exposition.text.trouble or "")
    for number in range(len(short.ledger.panes)):  # the first of them goes
        for key in [key for key in short.ledger.panes[number] if b'"a"' in key and key.startswith(b"[[")]:
            short.readings.view.apply(number, key, None)
    short.refresh()
    assert (short.exposition.text.dropped_series, short.exposition.text.trouble) == (0, None)
    assert set(short.exposition.text.text().splitlines()) == {
        line for line in whole.splitlines() if 'model="a"' not in line
    }


def test_a_model_with_very_many_cells_is_made_in_a_thread_as_others_are() -> None:
    here = threading.get_ident()
    threads: list[int] = []
    kept = Kept("a", most=10**9)
    text: Any = kept.exposition.text
    block = text.block

    def noted(*told: Any) -> Any:
        threads.append(threading.get_ident())
        return block(*told)

    text.block = noted
    names = [f"class {number}" for number in range(40)]
    rows = {f"confusion={actual}": dict.fromkeys(names, 1) for actual in names}
    key = row_key(RowKey(Identity("", "", "", "large", ""), "", "fine", int(START // 60), ""))
    kept.readings.view.apply(0, key, orjson.dumps(rows))
    kept.refresh()
    assert [thread == here for thread in threads] == [False, True]
    assert kept.exposition.text.text() == kept.whole()


def test_scores_that_are_the_users_own_code_are_made_in_a_thread_and_a_failing_one_is_nan() -> None:
    here = threading.get_ident()
    threads: set[int] = set()

    def fails(confusion: Any) -> float:
        threads.add(threading.get_ident())
        return float(1 / confusion["1", "0"])

    function = OwnFunction("own:fails", fails)
    scores = (OwnScore("share", function, greater_is_better=False),)
    kept = Kept("a", rules=Rules(match="*/a", scores=scores, limits=(("share", "", 0.5),)))
    kept.tell("a")
    kept.refresh()
    assert (here in threads, len(threads)) == (False, 1)
    assert function.failures == 3  # in total and in two windows
    text = kept.exposition.text.text()
    assert 'score="share",class="",window="5m"} NaN\n' in text
    assert 'score="share",class="",bound="upper"} 0.5\n' in text
    assert text == kept.whole()


def test_a_model_of_which_nothing_is_counted_any_more_is_gone() -> None:
    kept = Kept("a", "b")
    kept.refresh()
    for number in range(len(kept.ledger.panes)):
        kept.readings.view.forget(number)
    kept.refresh()
    assert "{" not in kept.exposition.text.text()


def test_after_a_text_that_took_long_there_is_a_rest() -> None:
    kept = Kept("a", "b")
    kept.refresh()
    kept.costs = 0.1
    for model in ("a", "b"):
        kept.tell(model)
    assert kept.refresh() == ["a", "b"]
    kept.tell("a", 0)
    kept.seconds += 1.7
    assert kept.refresh() == []
    kept.seconds += 0.2
    assert kept.refresh() == ["a"]


def test_the_rest_is_never_longer_than_the_time_between_scrapes() -> None:
    kept = Kept("a", "b")
    kept.refresh()
    kept.costs = 10.0
    for model in ("a", "b"):
        kept.tell(model)
    assert kept.refresh() == ["a", "b"]
    kept.tell("a", 0)
    kept.seconds += 1.9
    assert kept.refresh() == []
    kept.seconds += 0.2
    assert kept.refresh() == ["a"]


def test_two_scrapes_at_once_make_one_text() -> None:
    kept = Kept("a", "b")
    kept.costs = 0.1

    async def both() -> None:
        await asyncio.gather(*(kept.exposition.refresh(START + 30.0) for _ in range(2)))

    asyncio.run(both())
    assert kept.made == ["a", "b"]


def test_a_scrape_waits_for_new_models_and_of_the_others_takes_what_there_is_while_the_rest_is_made() -> None:
    models = list("abcdefghi")
    kept = Kept(*models, patience=0.0)
    kept.costs = 0.1

    async def scrapes() -> None:
        await kept.exposition.refresh(START + 30.0)
        assert kept.exposition.text.text() == kept.whole()
        before = kept.exposition.text.text()
        for model in models:
            kept.tell(model)
        kept.seconds += 10
        await kept.exposition.refresh(START + 30.0)
        lines = [set(text.splitlines()) for text in (before, kept.exposition.text.text(), kept.whole())]
        assert {line for line in lines[1] if 'model="i"' in line} <= lines[0], "there was no time for it"
        making = kept.exposition._of_changed
        assert making is not None, "it goes on after the scrape"
        await making
        assert kept.exposition.text.text() == kept.whole() != before

    asyncio.run(scrapes())
    assert kept.made == models * 2


def test_the_text_of_a_new_model_is_there_before_anybody_asks() -> None:
    kept = Kept("a", "b")

    async def begun() -> None:
        kept.exposition.begin(START + 30.0)
        making = kept.exposition._of_new
        assert making is not None
        await making

    async def wait() -> None:
        for _ in range(3):
            await begun()
        assert kept.made == ["a", "b"]
        kept.ledger.absorb(a_response(1, model="c", puid="of c")).cut()
        for number, changelog in enumerate(kept.ledger.panes):
            for key, value in changelog.items():
                kept.readings.view.take(number, key, value)
        for seconds in (0.9, 0.2):
            kept.seconds += seconds
            await begun()
            assert kept.made == ["a", "b"] + ["c"] * (seconds == 0.2)

    asyncio.run(wait())
    assert kept.exposition.text.text() == kept.whole()


def test_a_scrape_waits_for_models_too_that_come_while_others_are_made() -> None:
    kept = Kept("a")
    text: Any = kept.exposition.text
    block = text.block

    def more_come(identity: Any, *rest: Any) -> Any:
        if identity.model == "a":
            kept.follow(a_response(1, model="b", puid="of b"))
        return block(identity, *rest)

    text.block = more_come
    assert kept.refresh() == ["a", "b"]


def test_a_text_that_cannot_be_made_is_said_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    kept = Kept("a")
    text: Any = kept.exposition.text
    block, text.block = text.block, lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        kept.refresh()
    assert [record.message for record in caplog.records] == [
        "the series of the models could not be made (ZeroDivisionError: division by zero)"
    ]
    text.block = block
    assert kept.refresh() == ["a"]


def test_a_scrape_of_a_text_that_is_given_up_ends() -> None:
    kept = Kept("a")

    async def give_up() -> None:
        scrape = asyncio.create_task(kept.exposition.refresh(START + 30.0))
        await asyncio.sleep(0)
        kept.exposition.close()
        await asyncio.wait_for(scrape, PATIENCE)

    asyncio.run(give_up())
    assert kept.made == []


@pytest.mark.parametrize("accepts", ["gzip", "gzip, deflate", "identity"])
@pytest.mark.parametrize("chunks", [[b"one\n", b"two\n"], [b"line\n" * 20_000] * 7, []])
def test_a_text_is_sent_whole_and_packed_for_who_takes_that(accepts: str, chunks: list[bytes]) -> None:
    async def ask() -> tuple[bytes, str | None]:
        async def answer(request: web.Request) -> web.StreamResponse:
            packer = Packer()
            return await send(request, map(packer.pack, chunks))

        server = web.Application()
        server.router.add_get("/metrics", answer)
        headers = {"Accept-Encoding": accepts}
        async with (
            TestClient(TestServer(server), auto_decompress=False) as client,
            client.get("/metrics", headers=headers) as reply,
        ):
            assert reply.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            return await reply.read(), reply.headers.get("Content-Encoding")

    body, encoding = asyncio.run(ask())
    assert encoding == ("gzip" if "gzip" in accepts else None)
    text = gzip.decompress(body) if encoding else body
    assert text == b"".join(chunks)


def test_a_version_is_made_anew_when_the_one_before_it_has_counted_more() -> None:
    kept = Kept("other")
    kept.follow(*(a_response(1, puid=f"{one}-{n}", version=one, at=90.0 * int(one)) for one in "12" for n in "ab"))
    assert kept.refresh(200.0) == ["m", "m", "other"]
    rows = 'model_version="2",before="1",feature="(prediction)",window="total"} '
    assert f"tally_version_rows{{{IDENTITY}{rows}2\n" in kept.exposition.text.text()
    kept.follow(a_response(1, puid="2-c", version="2", at=191))
    assert kept.refresh(210.0) == ["m"]
    assert f"{rows}2\n" in kept.exposition.text.text()
    kept.follow(a_response(1, puid="1-c", version="1", at=192))
    assert kept.refresh(220.0) == ["m", "m"]
    assert f"{rows}3\n" in kept.exposition.text.text()
    kept.follow(a_response(1, puid="0-a", version="0", at=0))  # one that was before all others
    assert kept.refresh(230.0) == ["m", "m"]
    assert 'model_version="1",before="0",' in kept.exposition.text.text()

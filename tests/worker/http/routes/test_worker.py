"""What a worker tells of itself: partitions, settings without secrets, and what is checked beside it."""

import asyncio
import math
import sys
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from app.core.counts.rows import Owner
from app.settings import load_settings
from app.worker.http.rate import Rate
from app.worker.http.routes import worker
from tests.worker.http.routes.scene import Reply, a_worker, ask, error, get

Of = Callable[..., Awaitable[Reply]]
KEPT = "kept-to-itself"


def test_partitions_are_told_with_their_owners() -> None:
    running = a_worker()
    lane: Any = running.lane
    lane.partitions, lane.assigned = 4, {0, 1}
    lane.lags = lambda: {0: 12.0}
    running.readings.view.owners[2] = Owner("http://other:6066", "")
    found = get("/api/worker", running).content
    own = "http://127.0.0.1:6066"
    assert [
        (one["number"], one["ready"], one["lag"], one["open_exchanges"], one["owner"], one["here"])
        for one in found["partitions"]
    ] == [
        (0, True, 12.0, 30, own, True),
        (1, False, None, None, None, False),
        (2, None, None, None, "http://other:6066", False),
        (3, None, None, None, None, False),
    ]
    assert found["workers"] == [own, "http://other:6066"]


def test_a_lag_that_is_not_known_is_null() -> None:
    running = a_worker()
    lane: Any = running.lane
    lane.lags = lambda: {0: math.nan}
    assert get("/api/worker", running).content["partitions"][0]["lag"] is None


def test_settings_are_told_without_secrets() -> None:
    settings = load_settings(
        http_token=KEPT,
        elasticsearch_url="http://127.0.0.1:1",
        elasticsearch_username="reader",
        elasticsearch_password=KEPT,
        kafka_security_protocol="SASL_SSL",
        kafka_sasl_username="tally",
        kafka_sasl_password=KEPT,
    )
    found: list[Reply] = []

    async def story(of: Of, _: Any) -> None:
        assert (await of("/api/worker")).status == 401
        found.append(await of("/api/worker", headers={"Authorization": f"Bearer {KEPT}"}))

    ask(story, a_worker(settings=settings), settings)
    told = found[0].content
    by_name = {one["name"]: one for one in told["settings"]}
    assert KEPT not in str(told)
    assert by_name["TALLY_HTTP_TOKEN"]["value"] == "***"
    assert by_name["TALLY_ELASTICSEARCH_API_KEY"]["value"] == "unset"
    assert (by_name["TALLY_WINDOWS"]["value"], by_name["TALLY_WINDOWS"]["default"]) == ("5m,1h,24h", True)
    assert (by_name["TALLY_EXCHANGE_RETENTION"]["value"], by_name["TALLY_KAFKA_SASL_USERNAME"]["default"]) == (
        "7d",
        False,
    )
    assert all(one["meaning"] for one in told["settings"])


def test_what_is_read_a_second_is_that_of_the_last_while() -> None:
    rate = Rate()
    assert rate.per_second() == 0.0
    for at in range(400):
        rate.note(at / 5, 20 * at)
    assert rate.per_second() == pytest.approx(100.0)
    for at in range(400, 500):
        rate.note(at / 5, 8000)
    assert rate.per_second() == pytest.approx(0.0)


class Process:
    """A check that says what it is told to."""

    def __init__(self, said: bytes, code: int) -> None:
        self._said, self._code = said, code
        self.returncode: int | None = None

    async def communicate(self) -> tuple[bytes, None]:
        await asyncio.sleep(0.01)
        self.returncode = self._code
        return self._said, None


@pytest.mark.parametrize(
    ("said", "code", "fine", "problems"),
    [
        (b"Brokers: x\n\nFine: a worker finds all that it needs.\n", 0, True, []),
        (b"Brokers: x\n\n- Topics are missing.\nNot fine: see above.\n", 2, False, ["Topics are missing."]),
        (b"tally: TALLY_NOW: must be a time.\n\xff\n", 2, False, []),
    ],
)
def test_a_check_runs_beside_the_worker_once_however_many_ask(
    monkeypatch: pytest.MonkeyPatch, said: bytes, code: int, fine: bool, problems: list[str]
) -> None:
    begun: list[tuple[Any, ...]] = []

    async def begin(*command: Any, **options: Any) -> Process:
        assert options["env"]["COLUMNS"] == "200"
        begun.append(command)
        return Process(said, code)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", begin)

    async def story(of: Of, _: Any) -> None:
        replies = await asyncio.gather(*(of("/api/worker/check") for _ in range(3)))
        assert {reply.status for reply in replies} == {200}
        found = replies[0].content
        assert (found["fine"], found["problems"]) == (fine, problems)
        assert found["lines"][0] == said.decode(errors="replace").splitlines()[0]
        assert begun == [(sys.executable, "-m", "app", "check")]

    ask(story, a_worker())


def test_what_was_checked_a_while_ago_is_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []

    async def begin(*_: Any, **__: Any) -> Process:
        begun.append(1)
        return Process(b"Fine.\n", 0)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", begin)
    monkeypatch.setattr(worker, "_CHECKED_SECONDS", -1.0)

    async def story(of: Of, _: Any) -> None:
        await of("/api/worker/check")
        await of("/api/worker/check")
        assert len(begun) == 2

    ask(story, a_worker())


def test_a_check_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []

    async def begin(*_: Any, **__: Any) -> Any:
        async def never() -> None:
            await asyncio.Event().wait()

        async def waited() -> None:
            return None

        return SimpleNamespace(communicate=never, returncode=None, kill=lambda: killed.append(1), wait=waited)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", begin)
    monkeypatch.setattr(worker, "_CHECK_SECONDS", 0.01)
    assert error(get("/api/worker/check")) == (
        503,
        "`tally check` has not ended within 0.01 s: run it where this worker runs.",
    )
    assert killed == [1]

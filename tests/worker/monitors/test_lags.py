"""How far behind monitors are, as their runner tells the worker and the worker shows it."""

import asyncio
import math
import sys
from pathlib import Path
from typing import Final

import pytest

from app.core.monitors import AlertWhen, Code, Monitor, MonitorSpec
from app.core.rules import Rulebook, Rules
from app.settings import load_settings
from app.worker.monitors import supervisor
from app.worker.monitors.lags import MonitorLags, line_of, monitor_names
from app.worker.monitors.supervisor import watch_monitors
from app.worker.troubles import Troubles
from tests.patience import PATIENCE


def rulebook(*names: str) -> Rulebook:
    monitors = tuple(Monitor(MonitorSpec(name, "v1", AlertWhen(">", 0.5)), Code("function", "m:f")) for name in names)
    return Rulebook((Rules("ns/a", monitors=monitors), Rules("ns/b", monitors=monitors)))


class Watch:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.lags = MonitorLags(rulebook("odd", "slow"), lambda: self.now)

    def shown(self) -> dict[str, float | None]:
        return {name: None if math.isnan(lag) else lag for name, lag in self.lags.read().items()}


NOTHING: Final = {"odd": None, "slow": None}


def test_monitors_of_several_models_that_have_one_name_are_one() -> None:
    assert monitor_names(rulebook("odd", "slow")) == ["odd", "slow"]


def test_where_there_are_no_monitors_nothing_is_shown() -> None:
    assert MonitorLags(Rulebook()).read() == {}


def test_what_the_runner_tells_is_shown_and_what_it_does_not_know_is_not_known() -> None:
    watch = Watch()
    assert watch.shown() == NOTHING
    watch.lags.take(line_of({"odd": 3, "slow": math.nan}))
    assert watch.shown() == {"odd": 3, "slow": None}
    watch.lags.take(line_of({"odd": 0, "slow": 7.0, "new": 1}))  # the file has one more since the worker began
    assert watch.shown() == {"odd": 0, "slow": 7, "new": 1}


def test_what_it_told_holds_for_ten_seconds_and_until_it_ends() -> None:
    watch = Watch()
    watch.lags.take(line_of({"odd": 3, "slow": 4}))
    watch.now += 10
    assert watch.shown() == {"odd": 3, "slow": 4}
    watch.now += 0.1
    assert watch.shown() == NOTHING
    watch.lags.take(line_of({"odd": 5, "slow": 6}))
    watch.lags.forget()
    assert watch.shown() == NOTHING


@pytest.mark.parametrize(
    "line", [b"", b"\n", b"Killed\n", b'{"odd": 9', b"9\n", b"[9]\n", b'{"odd": "9"}\n', b'{"odd": true}\n', b"\xff\n"]
)
def test_a_line_of_another_form_changes_nothing(line: bytes) -> None:
    watch = Watch()
    watch.lags.take(line_of({"odd": 3, "slow": 4}))
    watch.lags.take(line)
    assert watch.shown() == {"odd": 3, "slow": 4}


def test_the_worker_knows_what_its_runner_tells_and_nothing_once_that_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = "print('no line of ours'); print('{\"odd\": 3}', flush=True); import sys; sys.stdin.read(1); sys.exit(3)"
    monkeypatch.setattr(supervisor, "_RUNNER", (sys.executable, "-c", told))
    (tmp_path / "tally.yaml").write_text("models: []\n")
    settings = load_settings(config=str(tmp_path / "tally.yaml"), log_topic="log")
    lags, notes = MonitorLags(rulebook("odd")), Troubles()

    async def test() -> None:
        watching = asyncio.create_task(watch_monitors(settings, rulebook("odd"), notes, lags))
        async with asyncio.timeout(PATIENCE):
            for _ in iter(lambda: lags.read() == {"odd": 3}, True):
                await asyncio.sleep(0.01)
        watching.cancel()
        await asyncio.wait([watching])
        assert math.isnan(lags.read()["odd"])

    asyncio.run(test())

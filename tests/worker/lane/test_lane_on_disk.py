"""A lane whose exchanges are on disk: a restart reads what is new, and whatever is there the changelog decides."""

from collections.abc import Callable
from pathlib import Path

import pytest

from app.core.join.store import StoreError
from app.worker.store.database import Database
from app.worker.store.rocks import RocksStore
from tests.builders import a_request
from tests.worker.lane.scene import Scene, play


async def read(scene: Scene, first: int, count: int) -> None:
    """Write some requests, and let the lane make them durable, on the disk too."""
    store_of(scene).most_waiting = 0
    scene.write(*(a_request(puid=f"p{number}") for number in range(first, first + count)))
    await scene.until(lambda: scene.lane.running[0].shard.open_exchanges == first + count and scene.is_quiet())


async def restart(scene: Scene) -> None:
    """Stop the lane, and begin with another one."""
    await scene.lane.stop()
    scene.lane = scene.new_lane()
    await scene.begin(0)


def store_of(scene: Scene) -> RocksStore:
    store = scene.lane.running[0].shard.store
    assert isinstance(store, RocksStore)
    return store


def exchanges(scene: Scene) -> set[bytes]:
    return set(scene.lane.running[0].shard.store)


def test_a_restart_reads_only_what_is_new_in_the_changelog(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def act(scene: Scene) -> None:
        await scene.begin(0)
        assert scene.lane.recovery.records == 0
        await read(scene, 0, 50)
        await restart(scene)
        assert scene.lane.recovery.records < 20  # counts, and no exchange
        assert exchanges(scene) == {b"p%d" % number for number in range(50)}
        await read(scene, 50, 3)
        assert store_of(scene).place > 50

    play(act, folder=tmp_path)
    assert "built anew" not in caplog.text


def test_what_another_worker_has_written_meanwhile_is_read(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        await scene.begin(0)
        await read(scene, 0, 30)
        await scene.lane.stop()
        here, scene.folder = scene.folder, tmp_path / "elsewhere"
        scene.lane = scene.new_lane()
        await scene.begin(0)
        assert scene.lane.recovery.records > 30
        await read(scene, 30, 5)
        await scene.lane.stop()
        scene.folder = here
        scene.lane = scene.new_lane()
        await scene.begin(0)
        assert 5 < scene.lane.recovery.records < 30
        assert len(exchanges(scene)) == 35

    play(act, folder=tmp_path / "here")


def test_who_stands_by_reads_what_commits_and_takes_over_without_reading_it_again(tmp_path: Path) -> None:
    """Also what has gone is gone there, its age too; and what comes while nobody owns the partition is counted then."""

    async def act(scene: Scene) -> None:
        await scene.begin(0)
        await read(scene, 0, 30)
        scene.folder = tmp_path / "there"
        there = scene.new_lane()
        await there.start()
        await there.assign(set(), {0})
        await scene.until(lambda: there.standbys.lags == {0: 0})
        await read(scene, 30, 20)
        await scene.until(lambda: there.standbys.lags == {0: 0})
        await scene.lane.stop()
        scene.write(*(a_request(puid=f"p{number}") for number in range(50, 55)))
        scene.lane = there
        await there.assign({0})
        assert there.standbys.lags == {}
        await scene.until(lambda: there.ready and scene.is_quiet() and len(exchanges(scene)) == 55)
        assert there.recovery.records < 20
        assert len(there.running[0].shard.store.ages.take(9e9, 1000)) == 55

    play(act, folder=tmp_path / "here")


def test_what_goes_wrong_with_a_standby_is_said_tried_again_and_keeps_nobody_from_counting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(scene: Scene) -> None:
        await scene.begin(0)
        await read(scene, 0, 5)
        scene.folder = tmp_path / "there"
        there = scene.new_lane()
        await there.start()
        load = RocksStore.load

        async def fails(*_: object) -> None:
            raise StoreError("the database in /x cannot be written (No space left on device)")

        monkeypatch.setattr(RocksStore, "load", fails)
        await there.assign(set(), {0})
        await scene.until(lambda: there.standbys.trouble is not None)
        assert "TALLY_STANDBYS) of partitions 0 are not kept up to date" in (there.standbys.trouble or "")
        assert "No space left on device" in (there.standbys.trouble or "")
        assert (there.ready, [*there.problems()], there.standbys.lags) == (True, [], {})
        monkeypatch.setattr(RocksStore, "load", load)
        await scene.until(lambda: there.standbys.lags == {0: 0} and there.standbys.trouble is None)
        await there.stop()

    play(act, folder=tmp_path / "here")


def with_an_exchange_too_many(scene: Scene) -> None:
    """As one has that was away for so long that the changelog no longer says what has gone."""
    store = store_of(scene)
    assert store.database.write([(b"long gone", b"?"), (b"\0\1stands", b"[%d,51,0]" % store.place)])


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda scene: setattr(store_of(scene).database, "spoilt", True), ""),
        (
            lambda scene: store_of(scene).database.write([(b"\0\1stands", b"[1000000,50,0]")]),
            "it stands at offset 1000000",
        ),
        (with_an_exchange_too_many, "of its exchanges there are"),
        (lambda scene: store_of(scene).database.write([(b"\0mark", None)]), "no mark that says where they stand"),
    ],
)
def test_a_database_that_does_not_fit_is_built_anew_from_the_changelog(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, harm: Callable[[Scene], object], said: str
) -> None:
    async def act(scene: Scene) -> None:
        await scene.begin(0)
        await read(scene, 0, 50)
        harm(scene)
        await restart(scene)
        assert scene.lane.recovery.records > 50
        assert exchanges(scene) == {b"p%d" % number for number in range(50)}
        await read(scene, 50, 5)
        await restart(scene)
        assert scene.lane.recovery.records < 20

    play(act, folder=tmp_path)
    told = [message for message in caplog.messages if "is built anew from tally-exchanges" in message]
    assert len(told) == bool(said)
    assert all(said in message for message in told)


@pytest.mark.parametrize("method", ["read", "write", "pairs"])
def test_a_store_that_fails_ends_its_unit_and_the_next_one_counts_everything_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Whether it is asked, written or looked through; while it fails nothing is lost, and the sentence names it."""

    async def act(scene: Scene) -> None:
        await scene.begin(0)
        await read(scene, 0, 5)
        works = getattr(Database, method)
        failures = 0

        def fails(self: Database, *args: object) -> object:
            nonlocal failures
            if failures < 3:
                failures += 1
                raise StoreError("the database in /x cannot be used (No space left on device)")
            return works(self, *args)

        monkeypatch.setattr(Database, method, fails)
        scene.write(*(a_request(puid=f"p{number}") for number in range(5, 9)))
        if method == "pairs":
            scene.lane.running[0].expire(9e9)
        await scene.until(lambda: failures > 0)
        await scene.until(lambda: failures == 3 and scene.lane.ready and scene.is_quiet())
        await scene.until(lambda: len(exchanges(scene)) == 9)
        assert scene.lane.running[0].shard.offsets["request"] == 9
        await scene.until(lambda: not [*scene.lane.problems()])
        assert not scene.rejoins

    play(act, folder=tmp_path)

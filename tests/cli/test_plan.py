"""`tally plan`: what a load takes grows as it should, and what is asked wrongly is told in a sentence."""

import json

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from app.cli.plan import DAY, FULL, Load, Plan, events_a_core, plan, written
from app.commands.tally import main

LOADS = st.builds(
    Load,
    events_per_second=st.floats(0.01, 100_000),
    retention=st.floats(60, 30 * DAY),
    models=st.integers(1, 1000),
    event_bytes=st.integers(50, 100_000),
    replication=st.integers(1, 5),
    worker_memory=st.sampled_from([1 << 30, 2 << 30, 16 << 30]),
    documents=st.booleans(),
    on_disk=st.booleans(),
    core_speed=st.floats(0.1, 4),
)
#: Panes take what epochs write, and these are longer with more partitions (`test_plan_of_panes.py`).
DISKS = ("events_disk", "exchanges_disk", "log_disk", "documents_disk_a_day")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["plan", *arguments])


def test_a_week_of_twenty_predictions_a_second() -> None:
    found = plan(Load(events_per_second=60, retention=7 * DAY, documents=True))
    assert found.exchanges == 12_096_000
    assert 5 * 10**9 < found.memory < 7 * 10**9
    assert found.workers == 5
    assert plan(Load(events_per_second=60, retention=7 * DAY, worker_memory=3 << 30)).workers == 4
    assert found.documents_a_day == 1_728_000


@given(LOADS)
def test_workers_hold_and_count_all_of_it_while_one_is_away(load: Load) -> None:
    found = plan(load)
    assert found.memory_a_worker <= load.worker_memory * FULL + 1
    assert load.events_per_second <= (found.workers - 1) * events_a_core(load)
    assert 2 <= found.workers <= found.partitions


@given(LOADS, st.integers(2, 10))
def test_more_takes_more(load: Load, times: int) -> None:
    def changed(**changes: float) -> Plan:
        fields = {name: getattr(load, name) for name in Load.__slots__}
        return plan(Load(**fields | changes))

    less, longer = plan(load), changed(retention=load.retention * times)
    for name in ("memory", *DISKS):
        assert getattr(longer, name) >= getattr(less, name), name
    assert longer.exchanges == pytest.approx(less.exchanges * times, rel=0.01, abs=times)
    slower = changed(core_speed=load.core_speed / times)
    assert slower.workers >= less.workers
    assert slower.loading_seconds * slower.workers == pytest.approx(less.loading_seconds * less.workers * times)
    copied = changed(replication=load.replication * times)
    assert copied.events_disk == pytest.approx(less.events_disk * times, rel=0.01, abs=times)
    assert copied.documents_disk_a_day == less.documents_disk_a_day
    assert changed(worker_memory=load.worker_memory * times).workers <= less.workers


def test_it_is_printed_as_a_table_and_as_json() -> None:
    shown = run("--events-per-second", "60", "--models", "3")
    assert shown.exit_code == 0
    assert "TALLY_PARTITIONS" in shown.output
    assert "12,096,000 open exchanges" in shown.output
    found = json.loads(run("--events-per-second", "60", "--retention", "1d", "--json").output)
    assert found["load"]["retention"] == DAY
    assert found["plan"]["exchanges"] == 1_728_000


def test_a_store_on_disk_takes_disk_in_the_place_of_memory() -> None:
    in_memory, on_disk = (plan(Load(events_per_second=60, retention=7 * DAY, on_disk=each)) for each in (False, True))
    assert (in_memory.store_disk_a_worker, on_disk.exchanges) == (0, in_memory.exchanges)
    assert on_disk.workers < in_memory.workers
    assert on_disk.memory < in_memory.memory / 3
    assert 10**9 < on_disk.store_disk_a_worker * (on_disk.workers - 1) < 2 * 10**9
    shown = run("--events-per-second", "60", "--store", "rocksdb")
    assert "disk of a worker" in shown.output
    assert "disk of a worker" not in run("--events-per-second", "60", "--store", "memory").output


def test_the_store_is_that_of_the_settings_where_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLY_STORE", "rocksdb")
    monkeypatch.setenv("TALLY_DATA_DIR", "/var/lib/tally")
    monkeypatch.setenv("TALLY_STORE_MEMORY", "64MiB")
    found = json.loads(run("--events-per-second", "3", "--json").output)["load"]
    assert (found["on_disk"], found["store_memory"]) == (True, 64 << 20)
    assert json.loads(run("--events-per-second", "3", "--store", "memory", "--json").output)["load"]["on_disk"] is False


def test_the_retention_is_that_of_the_settings_where_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLY_EXCHANGE_RETENTION", "2d")
    assert json.loads(run("--events-per-second", "3", "--json").output)["load"]["retention"] == 2 * DAY


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Missing option '--events-per-second'"),
        (["--events-per-second", "many"], "'many' is not a valid float"),
        (["--events-per-second", "0"], "'--events-per-second'"),
        (["--events-per-second", "-5"], "'--events-per-second'"),
        (["--events-per-second", "nan"], "nan is no number"),
        (["--events-per-second", "1e12"], "'--events-per-second'"),
        (["--retention", "7"], "--retention: must be a duration like 10s, 5m, 1h or 7d (got '7')."),
        (["--retention", "0s"], "--retention: must be more than nothing"),
        (["--retention", "9000d"], "--retention: must be more than nothing and at most 3650d."),
        (["--models", "0"], "'--models'"),
        (["--models", "1.5"], "'--models'"),
        (["--event-bytes", "large"], "--event-bytes: must be a size"),
        (["--event-bytes", "-1"], "--event-bytes: must be a size"),
        (["--replication", "0"], "'--replication'"),
        (["--worker-memory", "2GB"], "--worker-memory: must be a size"),
        (
            ["--worker-memory", "1MiB"],
            "--worker-memory: with 1 model a worker takes 210 MB before it keeps any exchange",
        ),
        (["--store", "disk"], "'--store': 'disk' is not one of 'memory', 'rocksdb'"),
        (["--store"], "Option '--store' requires an argument"),
        (["--megabytes", "1"], "No such option"),
        (["60"], "Got unexpected extra argument"),
    ],
)
def test_what_is_asked_wrongly_is_told_in_a_sentence(arguments: list[str], sentence: str) -> None:
    first = () if "--events-per-second" in arguments or not arguments else ("--events-per-second", "60")
    shown = run(*first, *arguments)
    assert shown.exit_code == 2
    assert sentence in shown.output
    assert len(shown.output.splitlines()) == 1


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 B"), (999, "999 B"), (1234, "1.23 kB"), (5e9, "5 GB"), (38.1e12, "38.1 TB")]
)
def test_bytes_are_written_shortly(number: float, text: str) -> None:
    assert written(number) == text

"""The process of a monitor: whatever the user's code does there, each row has a value or a sentence that says why."""

import asyncio
import hashlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
from sklearn.ensemble import IsolationForest

from app.core.monitors import Code, Columns
from app.worker.monitors import process as module
from app.worker.monitors.process import MonitorProcess
from app.worker.monitors.scorer import Asked, Value, value_of

TWO: Asked = Columns(("a", "b"), [[1.0, 2.0], [3.0, 4.0]]), Columns(("output",), [[10.0], [20.0]])
ONE: Asked = Columns(("a", "b"), [[5.0, 6.0]]), Columns(("output",), [[30.0]])


class Ran:
    """A monitor's process, which is asked as the runner asks it."""

    def __init__(self, folder: Path, code: str, *, memory: int, call: str, timeout: float) -> None:
        path = folder / "own.py"
        path.write_text(code)
        self.process = MonitorProcess("odd", Code("file", str(path), str(folder), call, timeout=timeout, memory=memory))

    def __call__(self, *asked: Asked) -> list[list[Value]]:
        return asyncio.run(self.process.score(asked))


@pytest.fixture
def processes() -> Iterator[list[MonitorProcess]]:
    found: list[MonitorProcess] = []
    yield found
    for process in found:
        process.close()


class Clock:
    """The time by which a process that has failed pauses, set by hand."""

    now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def ran(
    processes: list[MonitorProcess], folder: Path, code: str, *, memory: int = 1 << 30, call: str = "",
    timeout: float = 30.0,
) -> Ran:  # fmt: skip
    found = Ran(folder, code, memory=memory, call=call, timeout=timeout)
    processes.append(found.process)
    return found


def test_hydrospheres_predict_gets_fields_by_name_and_gives_a_value(
    tmp_path: Path, processes: list[MonitorProcess]
) -> None:
    code = (
        "import numpy as np\ndef predict(**kwargs):\n    return {'value': np.float64(kwargs['a'] + kwargs['output'])}\n"
    )
    assert ran(processes, tmp_path, code)(TWO, ONE) == [[11.0, 23.0], [35.0]]


def test_a_predict_that_names_its_fields_gets_those_alone(tmp_path: Path, processes: list[MonitorProcess]) -> None:
    assert ran(processes, tmp_path, "def predict(b):\n    return b\n")(TWO) == [[2.0, 4.0]]


def test_a_score_gets_all_rows_at_once(tmp_path: Path, processes: list[MonitorProcess]) -> None:
    code = "def score(inputs, outputs):\n    return inputs.sum(axis=1) + outputs[:, 0] + 100 * len(inputs)\n"
    assert ran(processes, tmp_path, code)(TWO, ONE) == [[313.0, 327.0], [341.0]]


def test_of_both_the_one_that_is_named_is_called(tmp_path: Path, processes: list[MonitorProcess]) -> None:
    code = "def score(inputs, outputs):\n    return inputs[:, 0]\ndef predict(**fields):\n    return 7\n"
    assert ran(processes, tmp_path, code, call="predict")(ONE) == [[7.0]]


FAILURES: Sequence[tuple[str, str]] = [
    ("def score(inputs, outputs):\n    raise RuntimeError('no')\n", "it failed (RuntimeError: no)"),
    ("def score(inputs, outputs):\n    return [0.0]\n", "it gave 1 values for 2 rows"),
    ("def score(inputs, outputs):\n    return 0.0\n", "it gave one values for 2 rows"),
    ("def score(inputs, outputs):\n    return [float('nan')] * 2\n", "it gave NaN"),
    ("def score(inputs, outputs):\n    return ['a', 'b']\n", "it gave str, and must give a number"),
    ("def predict(**fields):\n    return {'score': 1}\n", "it gave no value"),
    ("def predict(**fields):\n    return fields['c']\n", "it failed (KeyError: 'c')"),
    ("def predict(c):\n    return c\n", "it failed (TypeError: predict() missing 1 required positional argument: 'c')"),
    ("import time\ndef score(inputs, outputs):\n    time.sleep(60)\n", "it took longer than 1 s"),
    ("import os\ndef score(inputs, outputs):\n    os._exit(3)\n", "its process ended (exit code 3)"),
    ("import os\ndef score(inputs, outputs):\n    os.kill(os.getpid(), 9)\n", "its process ended (signal 9)"),
    ("import sys\ndef score(inputs, outputs):\n    sys.exit(4)\n", "its process ended (exit code 4)"),
    ("def score(:\n", "it cannot be loaded (SyntaxError: invalid syntax (own.py, line 1))"),
    ("raise ValueError('not here')\n", "it cannot be loaded (ValueError: not here)"),
    ("x = 1\n", "it cannot be loaded (ValueError: it has neither score(inputs, outputs) nor predict(**fields))"),
]


@pytest.mark.parametrize(("code", "said"), FAILURES, ids=[said for _, said in FAILURES])
def test_whatever_fails_is_said_of_every_row(
    tmp_path: Path, processes: list[MonitorProcess], code: str, said: str
) -> None:
    timeout = 1.0 if "longer" in said else 30.0
    assert ran(processes, tmp_path, code, timeout=timeout)(TWO) == [[said, said]]


def test_what_takes_more_memory_than_it_may_fails(tmp_path: Path, processes: list[MonitorProcess]) -> None:
    code = "def score(inputs, outputs):\n    return [len(bytearray(1 << 28)) for _ in inputs]\n"
    assert ran(processes, tmp_path, code, memory=64 << 20)(ONE) == [["it failed (MemoryError)"]]
    assert ran(processes, tmp_path, code)(ONE) == [[float(1 << 28)]]


def test_one_answer_on_which_the_code_fails_takes_no_other_with_it(
    tmp_path: Path, processes: list[MonitorProcess]
) -> None:
    code = "def score(inputs, outputs):\n    assert 5.0 not in inputs\n    return inputs[:, 0]\n"
    assert ran(processes, tmp_path, code)(TWO, ONE) == [[1.0, 3.0], ["it failed (AssertionError)"]]


def many(rows: int) -> list[Asked]:
    """So many answers of one row, whose first input is the number of the row."""
    return [(Columns(("a",), [[float(row)]]), Columns(("output",), [[0.0]])) for row in range(rows)]


DYING = "import os, time\nimport numpy as np\ndef score(inputs, outputs):\n"


def test_a_row_on_which_the_process_dies_takes_no_other_with_it(
    tmp_path: Path, processes: list[MonitorProcess]
) -> None:
    monitor = ran(processes, tmp_path, DYING + "    if 70.0 in inputs:\n        os._exit(3)\n    return inputs[:, 0]\n")
    expected = [[float(row) if row != 70 else "its process ended (exit code 3)"] for row in range(200)]

    async def both() -> tuple[list[list[Value]], list[list[Value]]]:
        return await monitor.process.score(many(200)), await monitor.process.score([ONE])

    assert asyncio.run(both()) == (expected, [[5.0]])  # the other batch at once
    assert monitor.process.restarts == 3  # the batch, a part of it, the row


def test_of_an_answer_with_many_rows_that_row_alone_fails(tmp_path: Path, processes: list[MonitorProcess]) -> None:
    monitor = ran(processes, tmp_path, DYING + "    if 3.0 in inputs:\n        os._exit(3)\n    return inputs[:, 0]\n")
    assert monitor(TWO, ONE) == [[1.0, "its process ended (exit code 3)"], [5.0]]


def test_a_batch_that_takes_too_long_as_a_whole_is_scored_in_parts(
    tmp_path: Path, processes: list[MonitorProcess]
) -> None:
    code = DYING + "    time.sleep(60 if len(inputs) > 2 else 0)\n    return inputs[:, 0]\n"
    monitor = ran(processes, tmp_path, code, timeout=4.0)
    assert monitor(*many(64)) == [[float(row)] for row in range(64)]
    assert monitor.process.restarts == 1


def test_a_process_that_always_dies_is_soon_given_up(
    tmp_path: Path, processes: list[MonitorProcess], clock: Clock
) -> None:
    monitor = ran(processes, tmp_path, DYING + "    os._exit(3)\n")
    assert monitor(*many(1000)) == [["its process ended (exit code 3)"]] * 1000
    assert monitor.process.restarts == 4
    assert monitor(ONE) == [["its process ended (exit code 3); it is started again within 2 s"]]


def test_a_batch_with_very_many_such_rows_is_given_up_as_well(tmp_path: Path, processes: list[MonitorProcess]) -> None:
    code = DYING + "    if (inputs % 2 == 1).any():\n        os._exit(3)\n    return inputs[:, 0]\n"
    monitor = ran(processes, tmp_path, code)
    values = [value for (value,) in monitor(*many(64))]
    assert monitor.process.restarts == 16
    assert values[:14:2] == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0]
    assert set(values[14:]) == {"its process ended (exit code 3)"}


def test_after_a_failure_it_is_started_again_and_rows_do_not_wait_for_that(
    tmp_path: Path, processes: list[MonitorProcess], clock: Clock
) -> None:
    well = tmp_path / "well"
    code = f"import os\ndef score(inputs, outputs):\n    os.path.exists({str(well)!r}) or os._exit(3)\n"
    code += "    return inputs[:, 0]\n"
    monitor = ran(processes, tmp_path, code)
    assert monitor(ONE) == [["its process ended (exit code 3)"]]
    well.touch()
    assert monitor(ONE) == [["its process ended (exit code 3); it is started again within 2 s"]]
    clock.now += 1.1
    assert monitor(ONE) == [[5.0]]
    assert monitor.process.restarts == 1


def test_a_model_is_scored_over_inputs_and_outputs_and_loaded_only_by_its_digest(
    tmp_path: Path, processes: list[MonitorProcess]
) -> None:
    rows = np.random.default_rng(1).normal(size=(50, 3))
    forest = IsolationForest(n_estimators=5, random_state=1).fit(rows)
    path = tmp_path / "forest.joblib"
    joblib.dump(forest, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    own, other = (MonitorProcess("odd", Code("model", str(path), digest=one)) for one in (digest, "0" * 64))
    processes += [own, other]
    expected = forest.decision_function(np.array([[1.0, 2.0, 10.0], [3.0, 4.0, 20.0]])).tolist()
    assert asyncio.run(own.score([TWO])) == [expected]
    wrong = "it cannot be loaded (ValueError: its file is another than its digest says)"
    assert asyncio.run(other.score([TWO])) == [[wrong, wrong]]


@pytest.mark.parametrize(
    ("given", "value"),
    [
        (1, 1.0),
        (np.float32(0.5), 0.5),
        (np.array([2.0]), 2.0),
        ({"value": 3}, 3.0),
        (True, 1.0),
        (math.inf, math.inf),
        (None, "it gave NoneType, and must give a number"),
        ({"value": None}, "it gave NoneType, and must give a number"),
        ({"value": [1]}, "it gave list, and must give a number"),
        ("1", "it gave str, and must give a number"),
        (np.nan, "it gave NaN"),
    ],
)
def test_a_value_is_a_number_or_a_value_that_holds_one(given: object, value: Value) -> None:
    assert value_of(given) == value

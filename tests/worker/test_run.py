"""A worker as a process: it says the same by whichever command it is started."""

import os
import subprocess
import sys

import pytest

from tests.live.servers import free_port
from tests.patience import PATIENCE


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("app", "worker"), True),
        (("faust", "-A", "app.worker", "worker"), True),
        (("faust", "-A", "app.worker", "-l", "debug", "worker"), True),
        (("faust", "-A", "app.worker", "-l", "error", "worker"), False),
        (("app", "worker", "--log-level", "error"), False),
    ],
)
def test_the_first_line_says_what_starts(command: tuple[str, ...], said: bool) -> None:
    """There is no broker: the first line comes before one is asked."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")}
    environment |= {"TALLY_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "TALLY_WEB_PORT": str(free_port())}
    done = subprocess.run(
        [sys.executable, "-m", *command], env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (" INFO app.worker.life Tally " in done.stderr) == said, done.stderr
    assert "127.0.0.1:1" in done.stderr.splitlines()[-1]
    assert done.returncode == 2

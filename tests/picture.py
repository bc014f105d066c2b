"""Make the README's picture: `python -m tests.picture` writes `tests/picture.png`, a model of the demo on the page.

It starts a Kafka and a worker of its own, and the system's Chromium.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.live import demo_hour, servers
from tests.live.browsing import chromium, visit
from tests.live.workers import Fleet, produce, topic_settings, wait_for

PICTURE: Final = Path(__file__).with_name("picture.png")
_SIZE: Final = (1180, 890)
_VIEW: Final = "#/model/demo/breast-cancer/default/current@1.4"


def main() -> int:
    """Make it. Returns the exit code."""
    with tempfile.TemporaryDirectory() as name, servers.kafka(Path(name), own=True) as kafka:
        folder = Path(name)
        settings = topic_settings(kafka.bootstrap, "picture")
        settings |= {"PARTITIONS": "2", "CONFIG": str(demo_hour.rules(folder))}
        with Fleet(folder, settings) as fleet:
            worker = fleet.start()
            wait_for("the worker is ready", worker.ready)
            events = [*demo_hour.events(time.time())]
            produce(settings, events)
            wait_for("all of it is counted", lambda: demo_hour.is_counted(worker, events))
            with (
                chromium(servers.binary("chromium", package="chromium")) as browser,
                visit(browser, worker.url, _SIZE) as seen,
            ):
                seen.go(_VIEW, until="figure.time canvas")
                seen.page.screenshot(path=PICTURE)
    print(f"{PICTURE}: {PICTURE.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())

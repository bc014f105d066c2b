"""The worker's intake in a process of its own, without lane and web server: `python -m tests.bench.intake_alone`."""

import asyncio
import gc
import logging
import signal

import uvloop

from app.core.stats import Stats
from app.settings import load_settings
from app.worker.intake.intake import Intake
from app.worker.kafka.topics import ensure_topics


async def main() -> None:
    """Run until SIGTERM, with the loop and the collector as in a worker."""
    settings = load_settings()
    topics = await ensure_topics(settings)
    intake = Intake(settings, topics[settings.request_topic].partitions, Stats())
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    gc.disable()
    gc.freeze()
    intake.start()
    while not told.is_set():
        await asyncio.sleep(1)
        gc.collect(1)
    await intake.stop()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    uvloop.run(main())

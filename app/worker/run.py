"""Running a worker as a process."""

import signal
import sys
from functools import cache
from typing import Any, Final

import faust
import mode.loop

from app.models_file import load_rulebook
from app.settings import SettingsError, load_settings
from app.worker.build import Worker, build
from app.worker.ending import EXIT_SETUP, lines_about
from app.worker.kafka.client import SetupError
from app.worker.life import LIFE

#: How long a thread that reads a large body may keep the loop from going on, each time that the loop has waited for
#: anything: 5 ms, as Python has it, would make a tenth of a second of the few steps of one small request.
_SWITCH_SECONDS: Final = 0.0005


#: The level that Faust's own command gives where nobody names one. Then Tally's is meant.
_UNNAMED: Final = (None, "WARN")
_LEVEL: Final = "INFO"


class Process(faust.Worker):  # type: ignore[misc]
    """The process of the worker, by whatever command it is started: it logs as Tally does, and remembers by which
    signal it is ended.
    """

    def __init__(self, app: Worker, *services: Any, loglevel: str | None = None, **options: Any) -> None:
        level = _LEVEL if loglevel in _UNNAMED else str(loglevel).upper()
        options |= {"logging_config": _logging(level), "redirect_stdouts": False}
        super().__init__(app, *services, loglevel=level, **options)
        sys.setswitchinterval(_SWITCH_SECONDS)

    def _schedule_shutdown(self, number: signal.Signals) -> None:
        LIFE.ask_to_end(number)
        super()._schedule_shutdown(number)


@cache
def worker_of_process() -> Worker:
    """The worker of this process, from its environment. Ends the process with one sentence where a setting is wrong."""
    try:
        settings = load_settings()
        worker = build(settings, load_rulebook(settings.config))
    except (SettingsError, SetupError) as error:
        print(lines_about(error), file=sys.stderr)
        raise SystemExit(EXIT_SETUP) from None
    worker.conf.Worker = Process
    return worker


def run_worker(level: str = _LEVEL) -> int:
    """Run the worker until it is told to stop. Returns the exit code."""
    mode.loop.use("uvloop")
    service: Any = Process(worker_of_process(), loglevel=level)
    try:
        service.execute_from_commandline()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def _logging(level: str) -> dict[str, Any]:
    """One line an event, on standard error."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # What matters of these is said by Tally, in one line; the rest is alarm about what is retried, and the
            # tracebacks of what ends the worker with a sentence.
            "aiokafka": {"level": "CRITICAL"},
            "faust": {"level": "CRITICAL"},
            "mode": {"level": "CRITICAL"},
            "app.worker.build": {"level": "CRITICAL"},  # as Faust's services of these files log by themselves
            "app.worker.kafka.membership": {"level": "CRITICAL"},
        },
    }

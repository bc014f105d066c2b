"""The Faust worker. `faust -A app.worker worker` and `tally worker` start the same."""

from typing import Any


def __getattr__(name: str) -> Any:
    """`app`, the worker of this process: built when it is first asked for, so that importing needs no settings."""
    if name != "app":
        raise AttributeError(name)
    from app.worker.run import worker_of_process

    return worker_of_process()

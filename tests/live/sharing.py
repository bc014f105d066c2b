"""One server for all processes of a test run: the one that asks first starts it, and ends it when all have done."""

import contextlib
import fcntl
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path


@contextlib.contextmanager
def shared(folder: Path, name: str, server: AbstractContextManager[str]) -> Iterator[str]:
    """The address of a server that is shared by all who give the same folder and name; `server` starts one and gives
    its address. Whoever started it waits at the end until nobody uses it.
    """
    users, starts, address = (folder / f"{name}.{what}" for what in ("users", "starts", "address"))
    own, is_own = ExitStack(), False
    try:
        with _locked(users, fcntl.LOCK_SH):
            with _locked(starts, fcntl.LOCK_EX):
                if not address.exists():
                    address.write_text(own.enter_context(server))
                    is_own = True
            yield address.read_text()
    finally:
        if is_own:
            with _locked(users, fcntl.LOCK_EX):
                address.unlink()
                own.close()


@contextlib.contextmanager
def _locked(file: Path, how: int) -> Iterator[None]:
    with file.open("a") as lock:
        fcntl.flock(lock, how)
        yield

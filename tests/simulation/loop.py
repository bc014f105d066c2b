"""An event loop that owns the clock, and in which processes live that can be stopped and killed.

All processes share one thread. What becomes ready in a process runs in the order in which it became ready, as in an
event loop of its own; whose turn it is, the seed decides before every callback. So each await of one process is a place
where the others go on, and where it can be killed: nothing of it runs ever again. When nothing is ready anywhere, the
time is that of the next timer: no test waits.

Whose a callback is its context says: a task and all that it starts belong to the process in which it was made.
"""

import asyncio
import contextvars
import heapq
import random
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

_PROCESS: Final[contextvars.ContextVar["Process"]] = contextvars.ContextVar("process")
_MASK: Final = (1 << 64) - 1

RUNNING: Final = "running"
STOPPED: Final = "stopped"
KILLED: Final = "killed"


class StuckError(Exception):
    """Nothing is ready and no timer is set, or the history does not come to an end."""


class Handle:
    """A callback that waits for its turn."""

    __slots__ = ("args", "callback", "context", "process", "time")

    def __init__(
        self,
        process: "Process",
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        context: contextvars.Context,
        time: float = 0.0,
    ) -> None:
        self.process = process
        self.callback: Callable[..., Any] | None = callback
        self.args = args
        self.context = context
        self.time = time

    def cancel(self) -> None:
        """Do not call it."""
        self.callback = None
        self.args = ()

    def cancelled(self) -> bool:
        """Whether it will not be called."""
        return self.callback is None

    def when(self) -> float:
        """The time of a timer."""
        return self.time


class Process:
    """What runs, stops and dies together."""

    def __init__(self, loop: "SimulatedLoop", name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.state = RUNNING
        self.ready: deque[Handle] = deque()
        self.tasks: list[asyncio.Task[Any]] = []
        self.fuse = 0  # how many of its callbacks from now it is killed; 0: it is not
        self._loop = loop

    def __repr__(self) -> str:
        return self.name

    def spawn(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Begin something in this process."""
        context = contextvars.copy_context()
        context.run(_PROCESS.set, self)
        return context.run(self._loop.create_task, work)

    def kill(self) -> None:
        """Nothing of it runs any more, not even what would clean up."""
        self._set(KILLED)

    def stop(self) -> None:
        """Nothing of it runs until it goes on: SIGSTOP."""
        if self.state == RUNNING:
            self._set(STOPPED)

    def go_on(self) -> None:
        """SIGCONT."""
        if self.state == STOPPED:
            self._set(RUNNING)

    def _set(self, state: str) -> None:
        self.state = state
        self._loop.schedule(self)


def current_process() -> Process | None:
    """The process that is running now."""
    return _PROCESS.get(None)


def process_of(context: contextvars.Context) -> Process | None:
    """The process to which a context belongs."""
    return context.get(_PROCESS)


class SimulatedLoop(asyncio.BaseEventLoop):
    """One history's loop. `trace` is a number that any difference between two histories changes."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.rng = rng
        self.steps = 0
        self.trace = 0
        self.complaints: list[dict[str, Any]] = []
        self._now = 0.0
        self._micros = 0
        self._timers: list[tuple[float, int, Handle]] = []
        self._timer_count = 0
        self._processes: list[Process] = []
        self._runnable: list[Process] = []
        self.world = self.process("world")
        self.set_exception_handler(lambda _, context: self.complaints.append(context))

    def process(self, name: str) -> Process:
        """A new process."""
        process = Process(self, name, len(self._processes))
        self._processes.append(process)
        return process

    def tasks(self) -> list[asyncio.Task[Any]]:
        """All tasks that there have been."""
        return [task for process in self._processes for task in process.tasks]

    def note(self, *what: int) -> None:
        """Let the trace depend on something."""
        for number in what:
            self.trace = (self.trace * 1_099_511_628_211 ^ number) & _MASK

    # -- what asyncio asks of a loop ----------------------------------------------------------------------------------

    def time(self) -> float:
        return self._now

    def get_debug(self) -> bool:
        return False

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: contextvars.Context | None = None
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self, name=name or "task", context=context)
        _PROCESS.get(self.world).tasks.append(task)
        return task

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> Handle:
        if context is None:
            context = contextvars.copy_context()
        handle = Handle(context.get(_PROCESS) or self.world, callback, args, context)
        self._make_ready(handle)
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> Handle:
        if context is None:
            context = contextvars.copy_context()
        handle = Handle(context.get(_PROCESS) or self.world, callback, args, context, when)
        self._timer_count += 1
        heapq.heappush(self._timers, (when, self._timer_count, handle))
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> Handle:
        if delay <= 0:
            return self.call_soon(callback, *args, context=context)
        return self.call_at(self._now + delay, callback, *args, context=context)

    # -- turns --------------------------------------------------------------------------------------------------------

    def _make_ready(self, handle: Handle) -> None:
        process = handle.process
        process.ready.append(handle)
        if len(process.ready) == 1 and process.state is RUNNING:
            self._runnable.append(process)

    def schedule(self, process: Process) -> None:
        """Let a process take part, or not, as its state says."""
        if process in self._runnable:
            self._runnable.remove(process)
        if process.state is RUNNING and process.ready:
            self._runnable.append(process)

    def run(self, main: Coroutine[Any, Any, Any], *, most_steps: int) -> Any:
        """Run until this is done, which belongs to the world. Raises StuckError."""
        events._set_running_loop(self)
        try:
            task = self.world.spawn(main)
            while not task.done():
                if not self._runnable:
                    self._pass_time()
                self._step()
                if self.steps > most_steps:
                    raise StuckError(f"no end after {self.steps} steps")
            return task.result()
        finally:
            events._set_running_loop(None)

    def _pass_time(self) -> None:
        """On to the next timer, and to all others of that time."""
        timers = self._timers
        while not self._runnable:
            if not timers:
                raise StuckError("nothing is ready and no timer is set")
            when, _, handle = heapq.heappop(timers)
            if handle.callback is not None:
                self._now = max(self._now, when)
                self._micros = int(self._now * 1e6) << 8
                self._make_ready(handle)
                while timers and timers[0][0] <= self._now:
                    handle = heapq.heappop(timers)[2]
                    if handle.callback is not None:
                        self._make_ready(handle)

    def _step(self) -> None:
        """The next callback of one of the processes."""
        runnable = self._runnable
        count = len(runnable)
        place = int(self.rng.random() * count) if count > 1 else 0
        process = runnable[place]
        handle = process.ready.popleft()
        if not process.ready:
            runnable[place] = runnable[-1]
            runnable.pop()
        callback = handle.callback
        if callback is None:
            return
        self.steps += 1
        self.trace = (self.trace * 1_099_511_628_211 ^ process.number ^ self._micros) & _MASK
        try:
            handle.context.run(callback, *handle.args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - as any event loop: one callback must not end it
            self.call_exception_handler({"message": f"a callback failed: {callback}", "exception": error})
        if process.fuse:
            process.fuse -= 1
            if not process.fuse and process.state is not KILLED:
                process.kill()

    def bury(self) -> None:
        """End all tasks, those of the killed too, so that nothing of a history is left. What they do now is in vain."""
        events._set_running_loop(self)
        try:
            for _ in range(50):
                tasks = [task for task in self.tasks() if not task.done()]
                if not tasks:
                    break
                for task in tasks:
                    task.cancel()
                for process in self._processes:
                    process.state, process.fuse = RUNNING, 0
                    self.schedule(process)
                while self._runnable:
                    self._step()
            else:
                raise StuckError(f"tasks that do not end when they are cancelled: {tasks}")
        finally:
            events._set_running_loop(None)
            self._timers.clear()
            for process in self._processes:
                process.tasks.clear()
            self.close()


def run_virtually(main: Coroutine[Any, Any, Any], seed: int = 0) -> Any:
    """Run something in a loop of its own, whose time passes at once."""
    loop = SimulatedLoop(random.Random(seed))
    try:
        return loop.run(main, most_steps=1_000_000)
    finally:
        loop.bury()

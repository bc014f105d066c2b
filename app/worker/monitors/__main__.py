"""The process of the runner. A worker starts it; it ends when its input closes, so it never outlives the worker."""


async def _run() -> int:
    import asyncio
    import contextlib
    import logging
    import os
    import sys

    from app.models_file import load_rulebook
    from app.settings import load_settings
    from app.worker.monitors.lags import TELL_SECONDS, line_of, monitor_names
    from app.worker.monitors.reloading import Reloading
    from app.worker.monitors.runner import Runner

    log = logging.getLogger("app.worker.monitors")
    loop = asyncio.get_running_loop()
    settings = load_settings()
    assert settings.config is not None
    rulebook = load_rulebook(settings.config)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    runners = {name: Runner(settings, rulebook, name) for name in monitor_names(rulebook)}
    reloading = Reloading(settings.config, rulebook, lambda sentence: log.debug("%s", sentence) if sentence else None)
    watch = loop.create_task(reloading.run())
    for runner in runners.values():
        runner.start()

    async def tell() -> None:
        while True:
            line = line_of({name: runner.lag() for name, runner in runners.items()})
            with contextlib.suppress(BrokenPipeError):  # the worker is gone, so the input closes too
                os.write(sys.stdout.fileno(), line)
            await asyncio.sleep(TELL_SECONDS)

    telling = loop.create_task(tell())
    tasks = [watch, telling, *(runner.task for runner in runners.values() if runner.task is not None)]
    end = loop.create_task(ended.wait())
    await asyncio.wait([end, *tasks], return_when=asyncio.FIRST_COMPLETED)
    failed = any(task.done() for task in tasks)
    await asyncio.gather(*(runner.stop() for runner in runners.values()))
    watch.cancel()
    telling.cancel()
    return 3 if failed else 0


def _main() -> int:
    import asyncio
    import logging
    import signal
    import sys

    logging.basicConfig(stream=sys.stderr, level="INFO", format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("aiokafka").setLevel("CRITICAL")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's is for the worker, which then closes the input
    return asyncio.run(_run())


if __name__ == "__main__":
    raise SystemExit(_main())

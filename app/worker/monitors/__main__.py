"""The process of the runner. A worker starts it; it ends when its input closes, so it never outlives the worker."""


async def _run() -> int:
    import asyncio
    import logging
    import sys

    from app.models_file import load_rulebook
    from app.settings import load_settings
    from app.worker.monitors.reloading import Reloading
    from app.worker.monitors.runner import Runner

    log = logging.getLogger("app.worker.monitors")
    loop = asyncio.get_running_loop()
    settings = load_settings()
    assert settings.config is not None
    rulebook = load_rulebook(settings.config)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    names = dict.fromkeys(monitor.spec.name for entry in rulebook.entries for monitor in entry.monitors)
    runners = [Runner(settings, rulebook, name) for name in names]
    reloading = Reloading(settings.config, rulebook, lambda sentence: log.debug("%s", sentence) if sentence else None)
    watch = loop.create_task(reloading.run())
    for runner in runners:
        runner.start()
    tasks = [watch, *(runner.task for runner in runners if runner.task is not None)]
    end = loop.create_task(ended.wait())
    await asyncio.wait([end, *tasks], return_when=asyncio.FIRST_COMPLETED)
    failed = any(task.done() for task in tasks)
    await asyncio.gather(*(runner.stop() for runner in runners))
    watch.cancel()
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

"""What comments and docstrings name is there: files by their path, modules by their dotted name."""

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parent.parent
FILES = [
    *(ROOT / "app").rglob("*.py"),
    *(ROOT / "tests").rglob("*.py"),
    *(ROOT / name for name in ("Makefile", "Dockerfile", "pyproject.toml", "docker-compose.yml")),
    *(ROOT / "k8s").rglob("*.y*ml"),
]
_PATH = re.compile(r"(?<![\w./-])((?:app|tests|k8s)/[\w./-]*\w)")
_MODULE = re.compile(r"`(app(?:\.\w+)+)`")


def named(pattern: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """Each name and the file that it stands in."""
    for file in FILES:
        for match in pattern.finditer(file.read_text()):
            yield match[1], str(file.relative_to(ROOT))


def exists(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def test_every_path_that_is_named_exists() -> None:
    assert [(path, file) for path, file in named(_PATH) if not (ROOT / path).exists()] == []


def test_every_module_that_is_named_exists() -> None:
    assert [(module, file) for module, file in named(_MODULE) if not exists(module)] == []


def test_names_are_found() -> None:
    assert ("tests/worker/kafka/test_pins.py", "app/worker/kafka/consumer.py") in named(_PATH)
    assert ("app.core.wire.records", "app/worker/kafka/consumer.py") in named(_MODULE)

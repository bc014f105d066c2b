"""The image without Docker: the steps of the Dockerfile, run as they stand below a folder that is then read-only.

Paths of the image are paths below the folder. The base image is the Python of this machine that has its version. Only
pip's `--no-cache-dir` is left out, so that packages are fetched once a machine.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.live.servers import Missing
from tests.patience import PATIENCE

#: The folders of the image that its steps name.
PATHS: Final = re.compile(r"(?<![\w.~/-])/(?=(?:opt|src|tmp|var)\b)")
#: What says something about the image, and does nothing.
SAID: Final = frozenset({"LABEL", "EXPOSE"})
VARIABLE: Final = re.compile(r"\$\{?(\w+)\}?")


class Step(NamedTuple):
    """One instruction of a Dockerfile."""

    word: str
    text: str


def steps(dockerfile: str) -> list[Step]:
    """The instructions of a Dockerfile, each in one line, without comments."""
    lines = [line for line in dockerfile.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    whole = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [Step(word, text.strip()) for word, _, text in (line.partition(" ") for line in whole.splitlines())]


@dataclass
class Image:
    """A read-only tree, and how its program is run. Who runs it is None where only root could be somebody else."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    home: str = "/"
    user: int | None = None
    group: int | None = None
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    check: list[str] = field(default_factory=list)

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run the image's program with arguments, to its end."""
        return self.execute([*self.entrypoint, *arguments], settings)

    def execute(
        self, command: Sequence[str], settings: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run any command in the image, to its end, as its user and with none but its environment."""
        return subprocess.run(
            command,
            **self._process(settings or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=PATIENCE,
        )

    def start(self, settings: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
        """Start the image's program as `docker run` does without arguments."""
        with log.open("ab") as output:
            return subprocess.Popen(
                [*self.entrypoint, *self.command], **self._process(settings), stdout=output, stderr=output
            )

    def _process(self, settings: Mapping[str, str]) -> dict[str, Any]:
        return {
            "env": {"HOME": self.home, "TMPDIR": str(self.root / "tmp"), **self.environment, **settings},
            "cwd": self.home,
            **as_user(self.user, self.group),
        }


def as_user(user: int | None, group: int | None) -> dict[str, Any]:
    """How `subprocess` starts a process as somebody without rights; as whoever runs the tests where they may not."""
    if os.geteuid() != 0:
        return {"umask": 0o022}
    return {"umask": 0o022, "user": user, "group": group, "extra_groups": []}


class Build:
    """A build of a checkout's image below `folder`; each stage is there while it is built."""

    def __init__(self, checkout: Path, folder: Path) -> None:
        self.image = Image(folder / "root")
        self._folder = folder
        self._checkout = checkout
        self._context = folder / "context"
        self._stages: dict[str, Path] = {}
        self._stage = ""
        self._arguments: dict[str, str] = {}

    def run(self) -> Image:
        """Carry out all steps. Raises where one fails, or is not known here."""
        self._copy_context()
        read = steps((self._checkout / "Dockerfile").read_text())
        (self.image.user, self.image.group) = map(int, next(it.text for it in read if it.word == "USER").split(":"))
        for step in read:
            self._take(step)
        return self.image

    def _copy_context(self) -> None:
        """What .dockerignore lets through, which begins by letting nothing through."""
        lines = [line for line in (self._checkout / ".dockerignore").read_text().splitlines() if line[:1] != "#"]
        assert lines[0] == "*"
        ignored = shutil.ignore_patterns(*(line.removeprefix("**/") for line in lines[1:] if line[0] != "!"))
        self._context.mkdir()
        for name in (line.removeprefix("!") for line in lines if line[0] == "!"):
            if (self._checkout / name).is_dir():
                shutil.copytree(self._checkout / name, self._context / name, ignore=ignored)
            else:
                shutil.copy2(self._checkout / name, self._context / name)

    def _take(self, step: Step) -> None:
        text = VARIABLE.sub(lambda found: self._arguments.get(found[1], found[0]), step.text)
        match step.word:
            case "ARG":
                name, _, value = text.partition("=")
                self._arguments[name] = value
            case "FROM":
                self._begin(*text.split(" AS "))
            case "RUN" if text.startswith("useradd "):
                self._add_user(text)
            case "RUN":
                self._run(self._placed(text).replace("--no-cache-dir ", ""))
            case "COPY":
                self._take_copy(text.split())
            case "ENV":
                for each in shlex.split(self._placed(text)):
                    name, _, value = each.partition("=")
                    self.image.environment[name] = value.replace("$PATH", os.defpath)
            case "WORKDIR":
                assert self._placed(text) == self.image.home, "the user's home is where Tally may write"
            case "HEALTHCHECK":
                self.image.check = json.loads(text.partition(" CMD ")[2])
            case "ENTRYPOINT":
                self.image.entrypoint = json.loads(text)
            case "CMD":
                self.image.command = json.loads(text)
            case "USER":
                pass  # read before the first step
            case word if word not in SAID:
                raise ValueError(f"Dockerfile: {word} is not known to tests/live/image.py")

    def _begin(self, base: str, name: str = "") -> None:
        """Begin a stage: put the last one aside."""
        if self.image.root.exists():
            self._stages[self._stage] = self.image.root.rename(self._folder / f"stage-{self._stage}")
        self._stage = name
        self.image.root.mkdir()
        (self.image.root / "tmp").mkdir()
        self._find_python(base)

    def _find_python(self, base: str) -> None:
        """Put the Python of a base image on the path of its steps, as `python`."""
        found = re.match(r"python:(\d+\.\d+)", base)
        assert found, f"the base image {base} is no Python"
        program = self._folder / "base" / "python"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\nexec {python(found[1], self.image.user, self.image.group)} "$@"\n')
        program.chmod(0o755)

    def _add_user(self, text: str) -> None:
        options = text.split()
        assert int(options[options.index("--uid") + 1]) == self.image.user
        home = Path(self._placed(options[options.index("--home-dir") + 1]))
        home.mkdir(parents=True)
        self.image.home = str(home)

    def _take_copy(self, words: list[str]) -> None:
        source = self._context
        if words[0].startswith("--from="):
            source = self._stages[words.pop(0).removeprefix("--from=")]
        *names, place = words
        target = Path(self._placed(place))
        for name in names:
            whole = source / name.lstrip("/")
            self._copy(whole, target / whole.name if place.endswith("/") else target)

    def _copy(self, source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True, copy_function=os.link)
        else:
            os.link(source, target)

    def _run(self, command: str) -> None:
        path = f"{self._folder / 'base'}:{os.environ.get('PATH', os.defpath)}"
        done = subprocess.run(
            ["sh", "-e", "-c", command],
            cwd=self.image.root,
            env={**os.environ, "PATH": path},
            umask=0o022,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"RUN {command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")

    def _placed(self, text: str) -> str:
        """The text with the image's paths below its root."""
        return PATHS.sub(f"{self.image.root}/", text)


def python(version: str, user: int | None, group: int | None) -> str:
    """A Python of that version which the image's user may run."""
    wanted = "import ensurepip, sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != sys.argv[1])"
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        program = str(Path(folder, f"python{version}").resolve())
        try:
            done = subprocess.run(
                [program, "-c", wanted, version], check=False, capture_output=True, cwd="/", **as_user(user, group)
            )
        except OSError:  # there is none, or it is not for everybody
            continue
        if done.returncode == 0:
            return program
    raise Missing(f"there is no python{version} with venv that every user may run: install python{version}-venv")


def make_read_only(root: Path, user: int | None, group: int | None, volumes: Iterator[Path]) -> None:
    """Take everybody's right to write, and let the user write in some folders."""
    for folder, _, names in os.walk(root):
        for path in (Path(folder), *(Path(folder, name) for name in names)):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode & 0o555)
    for volume in volumes:
        volume.chmod(0o755)
        if os.geteuid() == 0 and user is not None and group is not None:
            os.chown(volume, user, group)

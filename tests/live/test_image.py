"""What the Dockerfile makes runs: as a user without rights, in a tree that may only be read."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.checks import project, services
from tests.live import servers
from tests.live.image import Build, Image, Step, make_read_only, steps
from tests.live.story import NOW, expected, traffic
from tests.live.workers import Fleet, Worker, assert_counts, produce, topic_settings, wait_for

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """The image of this checkout, which may be written only where docker-compose.yml lets it."""
    folder = Path(tempfile.mkdtemp(prefix="tally-image-"))
    folder.chmod(0o755)  # whoever runs the image comes through it
    try:
        built = Build(ROOT, folder).run()
        worker = services(ROOT)["worker-1"]
        assert worker["read_only"] is True
        volumes = (built.root / mount.partition(":")[0].lstrip("/") for mount in worker["tmpfs"])
        make_read_only(built.root, built.user, built.group, volumes)
        yield built
    finally:
        for each, _, _ in os.walk(folder):
            Path(each).chmod(0o755)
        shutil.rmtree(folder)


def test_nothing_but_its_volumes_can_be_written(image: Image) -> None:
    volumes = [str(image.root / "tmp"), image.home]
    inside = [word for volume in volumes for word in ("-not", "-path", f"{volume}/*")]
    found = image.execute(["find", str(image.root), "-writable", "-not", "-type", "l", *inside])
    assert sorted(found.stdout.split()) == volumes
    if os.geteuid() == 0:
        assert image.execute(["id", "-u"]).stdout == f"{image.user}\n"


def test_it_has_this_version_and_nothing_of_the_checkout_but_the_package(image: Image) -> None:
    assert image.run("--version").stdout == f"tally {project(ROOT)['version']}\n"
    assert sorted(path.name for path in image.root.iterdir()) == ["opt", "tmp", "var"]


def test_its_worker_counts_and_is_healthy(image: Image, kafka: servers.Kafka, tmp_path: Path) -> None:
    """With exchanges on disk, which is in the volume."""
    events = traffic(500, seed=61, broken=0)
    settings = topic_settings(kafka.bootstrap, f"image-{uuid.uuid4().hex[:8]}")
    settings |= {"NOW": NOW.strftime("%Y-%m-%dT%H:%M:%SZ"), "STORE": "rocksdb"}
    with Fleet(tmp_path, settings) as fleet:
        worker = Worker(settings, tmp_path / "worker-1.log", image.start)
        fleet.workers.append(worker)
        wait_for("ready", worker.ready)
        produce(settings, events)
        assert_counts(fleet, expected(events))
        port = {"TALLY_WEB_PORT": str(worker.port)}
        healthy = image.execute(image.check, port)
        assert (healthy.returncode, healthy.stdout) == (0, "")
        checked = image.run("check", **{f"TALLY_{name}": value for name, value in settings.items()})
        assert checked.returncode == 0, checked.stdout
        assert worker.stop() == 0
        assert image.execute(image.check, port).returncode == 1


def test_the_demo_works_in_it(image: Image) -> None:
    shown = image.run("demo", "--seconds", "1", TALLY_WEB_HOST="127.0.0.1", TALLY_WEB_PORT=str(servers.free_port()))
    assert shown.returncode == 0, shown.stdout
    assert shown.stdout.endswith(": equal.\n")


def test_a_step_that_is_new_is_not_passed_over(tmp_path: Path) -> None:
    for name in (".requirements.lock", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, tmp_path / name)
    (tmp_path / "app").mkdir()
    (tmp_path / "build").mkdir()
    shutil.copy2(ROOT / ".dockerignore", tmp_path / ".dockerignore")
    (tmp_path / "Dockerfile").write_text("ADD a /a\nUSER 1:1\n")
    with pytest.raises(ValueError, match="ADD is not known"):
        Build(tmp_path, tmp_path / "build").run()


def test_a_step_may_take_several_lines() -> None:
    text = '# a comment\nFROM a AS b\n\nRUN one && \\\n    # why\n    two\nCMD ["x"]\n'
    assert steps(text) == [Step("FROM", "a AS b"), Step("RUN", "one && two"), Step("CMD", '["x"]')]

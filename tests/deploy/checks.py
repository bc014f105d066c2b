"""What must hold of the files that deploy Tally: each check is given a checkout, and yields what is wrong with it."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import kubernetes_validate  # type: ignore[import-untyped]  # it publishes no types
import yaml
from packaging.requirements import Requirement

from app.settings import Settings
from tests.live.servers import ELASTICSEARCH_VERSION, KAFKA_VERSION

Check = Callable[[Path], Iterator[str]]
OLDEST_KUBERNETES: Final = "1.31"
#: Built and applied one by one.
KUSTOMIZATIONS: Final = ("k8s", "k8s/monitoring", "k8s/overlays/strimzi", "k8s/overlays/keda", "k8s/overlays/disk")
#: Settings that nobody else may see.
SECRETS: Final = frozenset(
    f"TALLY_{name.upper()}" for name in Settings.model_fields if re.search("password|api_key|token", name)
)


def documents(root: Path, folder: str) -> list[dict[str, Any]]:
    """All objects of the YAML files of a folder, kustomizations and patches aside."""
    files = sorted(set((root / folder).glob("*.yaml")) - {root / folder / "kustomization.yaml"})
    every = [one for file in files for one in yaml.safe_load_all(file.read_text())]
    return [one for one in every if isinstance(one, dict) and "kind" in one]


def services(root: Path) -> dict[str, dict[str, Any]]:
    """The services of docker-compose.yml."""
    compose: dict[str, dict[str, Any]] = yaml.safe_load((root / "docker-compose.yml").read_text())
    return compose["services"]


def pods(objects: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The templates of the pods of all that owns some."""
    for one in objects:
        if one["kind"] in ("StatefulSet", "Job", "CronJob"):
            yield one["spec"].get("jobTemplate", one)["spec"]["template"]


def containers(objects: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The containers of all that owns pods."""
    for pod in pods(objects):
        yield from pod["spec"]["containers"]


def project(root: Path) -> dict[str, Any]:
    """The table `project` of pyproject.toml."""
    toml: dict[str, dict[str, Any]] = tomllib.loads((root / "pyproject.toml").read_text())
    return toml["project"]


def deployment_files(root: Path) -> list[Path]:
    """All that names settings of workers."""
    return [root / "Dockerfile", root / "docker-compose.yml", *sorted((root / "k8s").rglob("*.y*ml"))]


# Checks


def kubernetes_accepts(root: Path) -> Iterator[str]:
    """Each object of Kubernetes itself has the form of the oldest version that is supported, and of the newest."""
    for one in documents(root, "k8s/base"):
        for version in (OLDEST_KUBERNETES, kubernetes_validate.latest_version()):
            try:
                kubernetes_validate.validate(one, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                yield f"{one['kind']} {one['metadata']['name']}, {version}: {error.message}"


def kustomize_builds(root: Path) -> Iterator[str]:
    """Each kustomization is built, and Kubernetes accepts what comes out of it."""
    for folder in KUSTOMIZATIONS:
        command = ["kubectl", "kustomize", str(root / folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            yield f"{folder}: {done.stderr}"
            continue
        for one in yaml.safe_load_all(done.stdout):
            if "." not in one["apiVersion"].partition("/")[0] or one["apiVersion"].endswith("k8s.io/v1"):
                try:
                    kubernetes_validate.validate(one, OLDEST_KUBERNETES, strict=True)
                except kubernetes_validate.ValidationError as error:
                    yield f"{folder}: {one['kind']} {one['metadata']['name']}: {error.message}"


def kustomizations_list_all_files(root: Path) -> Iterator[str]:
    """No file is forgotten."""
    for file in sorted((root / "k8s").rglob("kustomization.yaml")):
        listed = yaml.safe_load(file.read_text())
        named = {*listed.get("resources", ()), *(patch.get("path") for patch in listed.get("patches", ()))}
        named |= {name for each in listed.get("configMapGenerator", ()) for name in each["files"]}
        here = {path.name for ending in ("*.yaml", "*.json") for path in file.parent.glob(ending)} - {file.name}
        if file.parent == root / "k8s":
            here -= {"alerts.yaml"}  # a file of Prometheus
        missing = here - named
        if missing:
            yield f"{file.relative_to(root)} does not list {', '.join(sorted(missing))}"


def compose_accepts(root: Path) -> Iterator[str]:
    """docker-compose.yml has the form that Compose publishes."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, str(root / "docker-compose.yml")], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        yield done.stdout + done.stderr


def settings_exist(root: Path) -> Iterator[str]:
    """Every variable TALLY_… is a setting."""
    known = {f"TALLY_{field.upper()}" for field in Settings.model_fields}
    for file in deployment_files(root):
        for name in sorted(set(re.findall(r"\bTALLY_[A-Z_]+", file.read_text())) - known):
            yield f"{file.relative_to(root)}: there is no setting {name}"


def secrets_are_secret(root: Path) -> Iterator[str]:
    """A secret comes from a Secret; the worker can have each of them, and the Job those of Kafka."""
    objects = documents(root, "k8s/base")
    for folder in ("base", "overlays/strimzi", "overlays/keda", "overlays/disk", "monitoring"):
        for file in sorted((root / "k8s" / folder).glob("*.yaml")):
            for name in sorted(SECRETS):
                if re.search(rf"^\s*(- )?{name}:|name: {name}, value|-e {name}=", file.read_text(), re.MULTILINE):
                    yield f"{file.relative_to(root)}: {name} stands in plain text"
    for one in containers(objects):
        taken = {each["name"] for each in one["env"] if "secretKeyRef" in each.get("valueFrom", {})}
        wanted = SECRETS if one["name"] == "worker" else {name for name in SECRETS if "KAFKA" in name}
        if taken != wanted:
            yield f"{one['name']} takes {sorted(taken)} from Secrets, not {sorted(wanted)}"
        yield from (f"{each['name']} has a value" for each in one["env"] if each["name"] in SECRETS and "value" in each)
    for name, service in services(root).items():
        told = SECRETS & service.get("environment", {}).keys()
        yield from (f"docker-compose.yml: {name} has {secret} in plain text" for secret in sorted(told))
    for secret in sorted(SECRETS):
        if secret in (root / "Dockerfile").read_text():
            yield f"Dockerfile: {secret} would be in the image"


def versions_agree(root: Path) -> Iterator[str]:
    """Images have the same version everywhere, and those of servers that the tests run have the tests'."""
    version = project(root)["version"]
    (image,) = yaml.safe_load((root / "k8s/base/kustomization.yaml").read_text())["images"]
    dockerfile = (root / "Dockerfile").read_text()
    sdk = next(one for one in project(root)["optional-dependencies"]["dev"] if one.startswith("grafana"))
    found = {
        "k8s/base/kustomization.yaml": (image["newTag"], version),
        "Dockerfile": (re.findall(r"^ARG VERSION=(.*)$", dockerfile, re.MULTILINE), [version]),
        "Dockerfile's stages": (re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE), ["${PYTHON}"] * 2),
        "k8s/base": ({one["image"] for one in containers(documents(root, "k8s/base"))}, {image["name"]}),
    }
    wanted = {
        "apache/kafka": KAFKA_VERSION,
        "elasticsearch": ELASTICSEARCH_VERSION,
        "tally": version,
        "grafana/grafana": sdk.partition("!")[2],
    }
    for name, service in services(root).items():
        repository, _, tag = service["image"].partition(":")
        if repository in wanted:
            found[f"docker-compose.yml, {name}"] = (tag, wanted[repository])
        elif not re.fullmatch(r"v\d+\.\d+\.\d+", tag):
            yield f"docker-compose.yml: {name} has no exact version"
    yield from (f"{where}: {one}, not {other}" for where, (one, other) in found.items() if one != other)


def packages_are_locked(root: Path) -> Iterator[str]:
    """What the image needs stands in .requirements.lock, in versions that fit, with hashes, and no host."""
    text = (root / ".requirements.lock").read_text()
    locked = dict(
        re.findall(r"^([\w.-]+)==(\S+) \\\n(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+", text, re.MULTILINE)
    )
    entries = re.findall(r"^([\w.-]+)==", text, re.MULTILINE)
    yield from (f"{name} has no hash" for name in entries if name not in locked)
    if re.search(r"^[^#]*(://|index-url|find-links)", text, re.MULTILINE):
        yield ".requirements.lock names a host"
    extras = project(root)["optional-dependencies"]
    for line in (*project(root)["dependencies"], *extras["demo"], *extras["image"]):
        wanted = Requirement(line)
        version = locked.get(wanted.name)
        if wanted.name != "tally" and (version is None or version not in wanted.specifier):
            yield f".requirements.lock has {wanted.name} {version}, not {wanted.specifier}"


def generated_files_are_current(root: Path) -> Iterator[str]:
    """Else run `python -m k8s.generated`."""
    from k8s.generated import files

    yield from (f"{path} is stale" for path, text in files().items() if (root / "k8s" / path).read_text() != text)


def _is_no_worker(pod: dict[str, Any]) -> bool:
    return bool(pod["spec"]["containers"][0]["name"] != "worker")


def selectors_find_the_workers(root: Path) -> Iterator[str]:
    """Services, the budget, the monitor and the set itself select the workers and not the Job."""
    objects = documents(root, "k8s/base")
    workers, *others = (pod["metadata"]["labels"] for pod in sorted(pods(objects), key=_is_no_worker))
    monitor, *_ = (one for one in documents(root, "k8s/monitoring") if one["kind"] == "PodMonitor")
    for one in (*objects, monitor):
        selector = one["spec"].get("selector") if "spec" in one else None
        if selector:
            selector = selector.get("matchLabels", selector)
            if not selector.items() <= workers.items() or any(selector.items() <= one.items() for one in others):
                yield f"{one['kind']} {one['metadata']['name']} selects {selector}"


def workers_know_the_scrape_interval(root: Path) -> Iterator[str]:
    """Who takes the series over is silent for at least one interval of whatever scrapes."""
    (job,) = yaml.safe_load((root / "k8s/prometheus.yml").read_text())["scrape_configs"]
    for name in ("worker-1", "worker-2"):
        told = services(root)[name]["environment"]["TALLY_SCRAPE_INTERVAL"]
        if told != job["scrape_interval"]:
            yield f"docker-compose.yml: {name} is told {told}, and scraped every {job['scrape_interval']}"
    told = next(
        one["data"]["TALLY_SCRAPE_INTERVAL"]
        for one in documents(root, "k8s/base")
        if "settings" in one["metadata"]["name"]
    )
    monitor = next(one for one in documents(root, "k8s/monitoring") if one["kind"] == "PodMonitor")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    for scraper, interval in (("PodMonitor", endpoint["interval"]), ("prometheus.yml", job["scrape_interval"])):
        if int(told.rstrip("s")) < int(interval.rstrip("s")):
            yield f"config.yaml says {told}, the {scraper} scrapes every {interval}"


def jobs_are_called_tally(root: Path) -> Iterator[str]:
    """Alerts and dashboards ask for job="tally"."""
    (job,) = yaml.safe_load((root / "k8s/prometheus.yml").read_text())["scrape_configs"]
    if job["job_name"] != "tally":
        yield f"prometheus.yml calls it {job['job_name']}"
    monitor = next(one for one in documents(root, "k8s/monitoring") if one["kind"] == "PodMonitor")
    workers = next(one for one in documents(root, "k8s/base") if one["kind"] == "StatefulSet")
    label = workers["spec"]["template"]["metadata"]["labels"].get(monitor["spec"]["jobLabel"])
    if label != "tally":
        yield f"the PodMonitor calls it {label}"


def _tool(*command: str) -> Iterator[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        yield done.stdout + done.stderr


def prometheus_accepts(root: Path) -> Iterator[str]:
    """The configuration, and the rules that it names."""
    yield from _tool("promtool", "check", "config", str(root / "k8s/prometheus.yml"))


def alertmanager_accepts(root: Path) -> Iterator[str]:
    """The routes."""
    yield from _tool("amtool", "check-config", str(root / "k8s/alertmanager.yml"))


#: Programs that a check takes, and where they come from.
TOOLS: Final[Mapping[Check, tuple[str, str]]] = {
    kustomize_builds: ("kubectl", "Kubernetes's command line"),
    prometheus_accepts: ("promtool", "the Debian package prometheus"),
    alertmanager_accepts: ("amtool", "the Debian package prometheus-alertmanager"),
}
CHECKS: Final = (
    kubernetes_accepts, kustomize_builds, kustomizations_list_all_files, compose_accepts, settings_exist,
    secrets_are_secret, versions_agree, packages_are_locked, generated_files_are_current, selectors_find_the_workers,
    workers_know_the_scrape_interval, jobs_are_called_tally, prometheus_accepts, alertmanager_accepts,
)  # fmt: skip

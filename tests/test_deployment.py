"""The files that deploy Tally are valid, agree with each other, and name only settings that exist."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]  # it publishes no types
import pytest
import yaml

ROOT = Path(__file__).parent.parent
KUSTOMIZATION = ROOT / "k8s/kustomization.yaml"
OBJECT_FILES = sorted(set((ROOT / "k8s").glob("*.yaml")) - {KUSTOMIZATION, ROOT / "k8s/alerts.yaml"})
DEPLOYMENT_FILES = [ROOT / "Dockerfile", ROOT / "docker-compose.yml", *sorted((ROOT / "k8s").rglob("*.y*ml"))]
OLDEST_KUBERNETES = "1.31"


def test_every_tally_variable_is_a_setting() -> None:
    from app.settings import Settings

    used = {name for file in DEPLOYMENT_FILES for name in re.findall(r"\bTALLY_[A-Z_]+", file.read_text())}
    assert "TALLY_KAFKA_BOOTSTRAP_SERVERS" in used
    assert used <= {f"TALLY_{field.upper()}" for field in Settings.model_fields}


# Kubernetes


@pytest.mark.parametrize("version", [OLDEST_KUBERNETES, kubernetes_validate.latest_version()])
@pytest.mark.parametrize("file", OBJECT_FILES, ids=lambda file: file.name)
def test_kubernetes_accepts_every_object(file: Path, version: str) -> None:
    objects = list(yaml.safe_load_all(file.read_text()))
    assert objects
    for each in objects:
        kubernetes_validate.validate(each, version, strict=True)


def test_the_kustomization_lists_every_object_file() -> None:
    kustomization = yaml.safe_load(KUSTOMIZATION.read_text())
    assert sorted(kustomization["resources"]) == [file.name for file in OBJECT_FILES]


def test_the_kustomization_tags_the_image_with_the_version() -> None:
    (image,) = yaml.safe_load(KUSTOMIZATION.read_text())["images"]
    assert image["newTag"] == project()["version"]
    assert {image["name"]} == {container(each)["image"] for each in pod_owners()}


def test_probes_ask_what_the_worker_answers() -> None:
    worker = container(the("Deployment"))
    paths = {name: probe["httpGet"]["path"] for name, probe in worker.items() if name.endswith("Probe")}
    assert paths == {"startupProbe": "/live", "livenessProbe": "/live", "readinessProbe": "/ready"}
    assert [(port["name"], port["containerPort"]) for port in worker["ports"]] == [("http", 6066)]


def test_selectors_find_the_workers_and_not_the_job() -> None:
    deployment = the("Deployment")["spec"]
    selectors = [
        deployment["selector"]["matchLabels"],
        the("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        *(service["spec"]["selector"] for service in objects_of("Service")),
    ]
    job_labels = the("Job")["spec"]["template"]["metadata"]["labels"]
    for selector in selectors:
        assert selector.items() <= deployment["template"]["metadata"]["labels"].items()
        assert not selector.items() <= job_labels.items()


def test_pods_take_no_variables_from_services_and_no_rights() -> None:
    """A Service named tally would otherwise set TALLY_PORT and others like it, which read as settings."""
    for each in pod_owners():
        pod, rights = each["spec"]["template"]["spec"], container(each)["securityContext"]
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert rights["readOnlyRootFilesystem"] is True
        assert rights["allowPrivilegeEscalation"] is False


def test_the_worker_reads_the_mounted_models_and_advertises_its_own_pod() -> None:
    worker = container(the("Deployment"))
    variables = {each["name"]: each.get("value") for each in worker["env"]}
    (models,) = (each for each in worker["volumeMounts"] if each["name"] == "models")
    config = {each["metadata"]["name"]: each["data"] for each in objects_of("ConfigMap")}
    directory, _, name = variables["TALLY_CONFIG"].rpartition("/")
    assert directory == models["mountPath"]
    assert yaml.safe_load(config["tally-models"][name]).keys() == {"models"}
    assert variables["TALLY_ADVERTISED_URL"] == "http://$(POD_IP):6066"
    assert list(variables).index("POD_IP") < list(variables).index("TALLY_ADVERTISED_URL"), "only earlier ones expand"


# Compose


def test_compose_accepts_the_file() -> None:
    arguments = ["--builtin-schema", "vendor.compose-spec", str(ROOT / "docker-compose.yml")]
    run([sys.executable, "-m", "check_jsonschema", *arguments])


def test_compose_publishes_on_the_loopback_address_alone() -> None:
    ports = [port for service in services().values() for port in service.get("ports", [])]
    assert len(ports) == len(set(ports)) >= 5
    assert [port for port in ports if not str(port).startswith("127.0.0.1:")] == []


@pytest.mark.parametrize("name", ["worker-1", "worker-2"])
def test_a_compose_worker_starts_after_the_topics_and_advertises_itself(name: str) -> None:
    worker = services()[name]
    assert worker["environment"]["TALLY_ADVERTISED_URL"] == f"http://{name}:6066"
    assert worker["environment"]["TALLY_KAFKA_BOOTSTRAP_SERVERS"] == "kafka:9092"
    assert worker["depends_on"] == {
        "kafka": {"condition": "service_healthy"},
        "topics": {"condition": "service_completed_successfully"},
    }
    assert "healthcheck" in services()["kafka"]
    assert services()["topics"]["command"] == container(the("Job"))["args"] == ["topics", "--create"]


# Prometheus


def test_prometheus_finds_every_worker_by_one_name() -> None:
    (job,) = scrape_jobs()
    (lookup,) = job["dns_sd_configs"]
    (name,) = lookup["names"]
    (headless,) = (each for each in objects_of("Service") if each["spec"].get("clusterIP") == "None")
    aliases = [services()[worker]["networks"]["default"]["aliases"] for worker in ("worker-1", "worker-2")]
    assert headless["metadata"]["name"] == name
    assert aliases == [[name], [name]]
    assert lookup["port"] == 6066


def test_workers_know_the_scrape_interval() -> None:
    (job,) = scrape_jobs()
    (settings,) = (each["data"] for each in objects_of("ConfigMap") if "TALLY_SCRAPE_INTERVAL" in each["data"])
    told = [services()[worker]["environment"]["TALLY_SCRAPE_INTERVAL"] for worker in ("worker-1", "worker-2")]
    assert {*told, settings["TALLY_SCRAPE_INTERVAL"]} == {job["scrape_interval"]}


def test_promtool_accepts_the_scrape_configuration() -> None:
    if shutil.which("promtool") is None:
        missing = "promtool is not on PATH: install the Debian package prometheus"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    run(["promtool", "check", "config", str(ROOT / "k8s/prometheus.yml")])


# The image


def test_the_image_runs_a_worker_without_rights() -> None:
    image = dockerfile()
    (entrypoint,) = json.loads(image["ENTRYPOINT"][0])
    assert [entrypoint, *json.loads(image["CMD"][0])] == ["tally", *container(the("Deployment"))["args"]]
    assert entrypoint in project()["scripts"]
    assert image["USER"] == ["10001:10001"]
    assert image["EXPOSE"] == ["6066"]
    assert "TALLY_WEB_HOST=0.0.0.0" in image["ENV"][0].split()


def test_the_image_gets_what_it_copies_and_nothing_else() -> None:
    copied = [source for line in dockerfile()["COPY"] for source in line.split()[:-1]]
    ignore = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert [source for source in copied if not (ROOT / source).exists()] == []
    assert ignore[0] == "*"
    assert {line[1:] for line in ignore if line.startswith("!")} == set(copied)


@pytest.mark.parametrize(("status", "is_healthy"), [(200, True), (503, False)])
def test_the_health_check_believes_live(status: int, is_healthy: bool) -> None:
    (_, command) = dockerfile()["HEALTHCHECK"][0].split(" CMD ")
    (_, *arguments) = json.loads(command)
    with server_of_live(status) as port:
        environment = os.environ | {"TALLY_WEB_PORT": str(port), "http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
        done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, check=False)
    assert (done.returncode == 0) is is_healthy


# Helpers


def objects_of(kind: str) -> list[dict[str, Any]]:
    every = [each for file in OBJECT_FILES for each in yaml.safe_load_all(file.read_text())]
    return [each for each in every if each["kind"] == kind]


def the(kind: str) -> dict[str, Any]:
    (only,) = objects_of(kind)
    return only


def pod_owners() -> list[dict[str, Any]]:
    return [the("Deployment"), the("Job")]


def container(owner: dict[str, Any]) -> dict[str, Any]:
    (only,) = owner["spec"]["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def services() -> dict[str, dict[str, Any]]:
    compose: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return compose["services"]


def scrape_jobs() -> list[dict[str, Any]]:
    scrape: dict[str, list[dict[str, Any]]] = yaml.safe_load((ROOT / "k8s/prometheus.yml").read_text())
    return scrape["scrape_configs"]


def project() -> dict[str, Any]:
    toml: dict[str, dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return toml["project"]


def dockerfile() -> dict[str, list[str]]:
    """Return the arguments of each instruction, in order, with continued lines joined."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    instructions: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, arguments = line.split(maxsplit=1)
            instructions.setdefault(name, []).append(arguments)
    return instructions


@contextmanager
def server_of_live(status: int) -> Iterator[int]:
    """Answer /live with the status, and anything else with 404, on the port that it yields."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/live" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

"""The files that deploy Tally are valid, agree with each other, and name only what there is; and mistakes are found."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.checks import (
    CHECKS,
    TOOLS,
    Check,
    alertmanager_accepts,
    compose_accepts,
    containers,
    documents,
    generated_files_are_current,
    jobs_are_called_tally,
    kubernetes_accepts,
    kustomizations_list_all_files,
    kustomize_builds,
    packages_are_locked,
    pods,
    project,
    prometheus_accepts,
    secrets_are_secret,
    selectors_find_the_workers,
    services,
    settings_exist,
    versions_agree,
    workers_know_the_scrape_interval,
)
from tests.deploy.promtool import ROOT

WORKERS = ("worker-1", "worker-2")


def demand(check: Check) -> None:
    """Skip a check whose program is missing; in CI fail, unless it is kubectl, which no Debian package brings."""
    program, source = TOOLS.get(check, ("python3", ""))
    if shutil.which(program) is None:
        missing = f"{program} is not on PATH: install {source}"
        if os.environ.get("CI") == "true" and program != "kubectl":
            pytest.fail(missing)
        pytest.skip(missing)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_all_is_as_it_must_be(check: Check) -> None:
    demand(check)
    assert list(check(ROOT)) == []


@pytest.mark.parametrize(
    ("check", "file", "right", "wrong"),
    [
        (kubernetes_accepts, "k8s/base/worker.yaml", "replicas: 2", "replica: 2"),
        (kubernetes_accepts, "k8s/base/network.yaml", "policyTypes", "policyType"),
        (kustomize_builds, "k8s/base/kustomization.yaml", "worker.yaml", "workers.yaml"),
        (kustomize_builds, "k8s/overlays/strimzi/certificates.yaml", "value: kafka", "value: models"),
        (kustomize_builds, "k8s/overlays/disk/kustomization.yaml", "$patch: delete", "$patch: remove"),
        (settings_exist, "k8s/overlays/disk/kustomization.yaml", "TALLY_STORE_MEMORY", "TALLY_STORE_BYTES"),
        (kustomizations_list_all_files, "k8s/base/kustomization.yaml", "  - network.yaml\n", ""),
        (kustomizations_list_all_files, "k8s/dashboards/kustomization.yaml", "binary.json", "overview.json"),
        (compose_accepts, "docker-compose.yml", "depends_on", "depend_on"),
        (settings_exist, "k8s/base/config.yaml", "TALLY_SCRAPE_INTERVAL:", "TALLY_SCRAPING_INTERVAL:"),
        (settings_exist, "docker-compose.yml", "TALLY_CONFIG:", "TALLY_RULES:"),
        (secrets_are_secret, "k8s/base/config.yaml", "  TALLY_SCRAPE", "  TALLY_HTTP_TOKEN: a\n  TALLY_SCRAPE"),
        (secrets_are_secret, "k8s/base/worker.yaml", "- name: TALLY_HTTP_TOKEN", "- name: TALLY_LOG_TOPIC"),
        (secrets_are_secret, "docker-compose.yml", "    TALLY_CONFIG:", "    TALLY_HTTP_TOKEN: a\n    TALLY_CONFIG:"),
        (versions_agree, "docker-compose.yml", "tally:0.1.0", "tally:0.1.1"),
        (versions_agree, "docker-compose.yml", "apache/kafka:4.1.0", "apache/kafka:4.0.0"),
        (versions_agree, "docker-compose.yml", "prom/prometheus:v3.5.0", "prom/prometheus:latest"),
        (versions_agree, "k8s/base/kustomization.yaml", "newTag: 0.1.0", "newTag: 0.2.0"),
        (versions_agree, "k8s/base/topics.yaml", "image: tally", "image: tally:1"),
        (versions_agree, "Dockerfile", "ARG VERSION=0.1.0", "ARG VERSION=0.2.0"),
        (packages_are_locked, ".requirements.lock", "aiokafka==0.14.0", "aiokafka==0.13.0"),
        (packages_are_locked, ".requirements.lock", "--hash=sha256:", "--hash=sha1:"),
        (generated_files_are_current, "k8s/monitoring/prometheus-rule.yaml", "for: 5m", "for: 6m"),
        (generated_files_are_current, "k8s/overlays/strimzi/user.yaml", "- Write", "- Read"),
        (selectors_find_the_workers, "k8s/base/worker.yaml", "component: worker}", "component: work}"),
        (selectors_find_the_workers, "k8s/monitoring/pod-monitor.yaml", "name: tally,", "name: other,"),
        (workers_know_the_scrape_interval, "k8s/monitoring/pod-monitor.yaml", "interval: 10s", "interval: 30s"),
        (workers_know_the_scrape_interval, "k8s/prometheus.yml", "scrape_interval: 2s", "scrape_interval: 5s"),
        (jobs_are_called_tally, "k8s/prometheus.yml", "job_name: tally", "job_name: workers"),
        (jobs_are_called_tally, "k8s/monitoring/pod-monitor.yaml", "kubernetes.io/name #", "kubernetes.io/component #"),
        (prometheus_accepts, "k8s/prometheus.yml", "rule_files", "rules_files"),
        (prometheus_accepts, "k8s/alerts.yaml", "group_left ()", "group_leave ()"),
        (alertmanager_accepts, "k8s/alertmanager.yml", "receiver: page", "receiver: nobody"),
    ],
)  # fmt: skip
def test_a_mistake_is_found(check: Check, file: str, right: str, wrong: str, tmp_path: Path) -> None:
    demand(check)
    for name in ("Dockerfile", "docker-compose.yml", "pyproject.toml", ".requirements.lock"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "k8s", tmp_path / "k8s")
    text = (tmp_path / file).read_text()
    assert right in text
    (tmp_path / file).write_text(text.replace(right, wrong))
    assert list(check(tmp_path)) != []


def test_every_check_is_tried_with_a_mistake() -> None:
    (mark,) = (mark for mark in test_a_mistake_is_found.pytestmark if mark.name == "parametrize")  # type: ignore[attr-defined]
    assert {row[0] for row in mark.args[1]} == set(CHECKS)


# Kubernetes


def test_probes_ask_what_the_worker_answers() -> None:
    worker = container(the("StatefulSet"))
    paths = {name: probe["httpGet"]["path"] for name, probe in worker.items() if name.endswith("Probe")}
    assert paths == {"startupProbe": "/live", "livenessProbe": "/live", "readinessProbe": "/ready"}
    assert [(port["name"], port["containerPort"]) for port in worker["ports"]] == [("http", 6066)]


def test_pods_take_no_variables_from_services_and_no_rights() -> None:
    """A Service named tally would otherwise set TALLY_PORT and others like it, which read as settings."""
    for template in pods(documents(ROOT, "k8s/base")):
        pod = template["spec"]
        (rights,) = (each["securityContext"] for each in pod["containers"])
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert rights["readOnlyRootFilesystem"] is True
        assert rights["allowPrivilegeEscalation"] is False


def test_the_worker_reads_the_mounted_models_and_advertises_its_own_pod() -> None:
    worker = container(the("StatefulSet"))
    variables = {each["name"]: each.get("value") for each in worker["env"]}
    (models,) = (each for each in worker["volumeMounts"] if each["name"] == "models")
    config = {each["metadata"]["name"]: each["data"] for each in objects_of("ConfigMap")}
    directory, _, name = str(variables["TALLY_CONFIG"]).rpartition("/")
    assert directory == models["mountPath"]
    assert yaml.safe_load(config["tally-models"][name]).keys() == {"models"}
    headless = the("StatefulSet")["spec"]["serviceName"]
    assert variables["TALLY_ADVERTISED_URL"] == f"http://$(POD_NAME).{headless}:6066"
    assert list(variables).index("POD_NAME") < list(variables).index("TALLY_ADVERTISED_URL"), "only earlier ones expand"


def test_events_reach_workers_that_are_not_ready_and_people_those_that_are() -> None:
    found = {one["metadata"]["name"]: one["spec"] for one in objects_of("Service")}
    assert {name for name, spec in found.items() if spec.get("publishNotReadyAddresses")} == {
        "tally-intake",
        "tally-workers",
    }
    assert [name for name, spec in found.items() if spec.get("clusterIP") == "None"] == ["tally-workers"]
    assert the("StatefulSet")["spec"]["serviceName"] == "tally-workers"


def test_the_policy_lets_the_ports_through() -> None:
    policy = the("NetworkPolicy")["spec"]
    (inside,) = policy["ingress"]
    assert [port["port"] for port in inside["ports"]] == ["http"]
    allowed = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    assert allowed == {53, 9092, 9200, 6066}


def test_argo_and_flux_make_the_job_anew() -> None:
    annotations = the("Job")["metadata"]["annotations"]
    assert annotations["argocd.argoproj.io/hook-delete-policy"] == "BeforeHookCreation"
    assert annotations["kustomize.toolkit.fluxcd.io/force"] == "enabled"


def test_keda_scales_what_there_is_up_to_the_partitions() -> None:
    from app.settings import load_settings

    (scaled,) = documents(ROOT, "k8s/overlays/keda")
    settings = load_settings()
    assert scaled["spec"]["scaleTargetRef"]["name"] == the("StatefulSet")["metadata"]["name"]
    assert scaled["spec"]["maxReplicaCount"] == settings.partitions
    triggers = [trigger["metadata"] for trigger in scaled["spec"]["triggers"]]
    assert tuple(trigger["topic"] for trigger in triggers) == settings.topics
    assert {trigger["consumerGroup"] for trigger in triggers} == {settings.app_id}


# Compose


def test_compose_publishes_on_the_loopback_address_alone() -> None:
    ports = [port for service in services(ROOT).values() for port in service.get("ports", [])]
    assert len(ports) == len(set(ports)) >= 7
    assert [port for port in ports if not str(port).startswith("127.0.0.1:")] == []


@pytest.mark.parametrize("name", WORKERS)
def test_a_compose_worker_starts_after_the_topics_and_advertises_itself(name: str) -> None:
    worker = services(ROOT)[name]
    assert worker["environment"]["TALLY_ADVERTISED_URL"] == f"http://{name}:6066"
    assert worker["environment"]["TALLY_KAFKA_BOOTSTRAP_SERVERS"] == "kafka:9092"
    assert worker["depends_on"] == {
        "kafka": {"condition": "service_healthy"},
        "topics": {"condition": "service_completed_successfully"},
    }
    assert services(ROOT)["topics"]["command"] == container(the("Job"))["args"] == ["topics", "--create"]


def test_every_compose_service_has_limits_and_says_how_it_is() -> None:
    for name, service in services(ROOT).items():
        assert service["mem_limit"], name
        assert service["restart"], name
        is_tally = service["image"].startswith("tally:")
        assert is_tally or "test" in service["healthcheck"], name
        assert not is_tally or service["read_only"], name
    assert [name for name, service in services(ROOT).items() if "build" in service] == ["worker-1"]


def test_the_traffic_of_the_demo_is_on_by_default() -> None:
    assert "COMPOSE_PROFILES=demo" in (ROOT / ".env").read_text().splitlines()
    assert {name: service["profiles"] for name, service in services(ROOT).items() if "profiles" in service} == {
        "traffic": ["demo"]
    }


def test_what_compose_mounts_is_there() -> None:
    mounts = [volume.split(":")[0] for one in services(ROOT).values() for volume in one.get("volumes", [])]
    files = [mount for mount in mounts if mount.startswith("./")]
    assert len(files) >= 5
    assert [file for file in files if not (ROOT / file).exists()] == []
    named: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["volumes"]
    assert set(mounts) - set(files) == set(named)


def test_grafana_is_given_prometheus_and_the_dashboards() -> None:
    (source,) = yaml.safe_load((ROOT / "k8s/grafana/datasources/prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((ROOT / "k8s/grafana/dashboards/tally.yml").read_text())["providers"]
    assert f"./k8s/dashboards:{provider['options']['path']}:ro" in services(ROOT)["grafana"]["volumes"]
    home = services(ROOT)["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (ROOT / "k8s/dashboards" / Path(home).name).exists()


# Prometheus


def test_prometheus_finds_every_worker_by_one_name() -> None:
    (job,) = yaml.safe_load((ROOT / "k8s/prometheus.yml").read_text())["scrape_configs"]
    (lookup,) = job["dns_sd_configs"]
    (name,) = lookup["names"]
    aliases = [services(ROOT)[worker]["networks"]["default"]["aliases"] for worker in WORKERS]
    assert the("StatefulSet")["spec"]["serviceName"] == name
    assert aliases == [[name], [name]]
    assert lookup["port"] == 6066


# The image


def test_the_image_runs_a_worker_without_rights() -> None:
    image = dockerfile()
    (entrypoint,) = json.loads(image["ENTRYPOINT"][0])
    assert [entrypoint, *json.loads(image["CMD"][0])] == ["tally", *container(the("StatefulSet"))["args"]]
    assert entrypoint in project(ROOT)["scripts"]
    assert image["USER"] == ["10001:10001"]
    assert image["EXPOSE"] == ["6066"]
    assert "TALLY_WEB_HOST=0.0.0.0" in image["ENV"][0].split()


def test_the_image_gets_what_it_copies_and_nothing_else() -> None:
    lines = [line for line in dockerfile()["COPY"] if not line.startswith("--from=build ")]
    copied = [source for line in lines for source in line.split()[:-1]]
    ignore = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert [source for source in copied if not (ROOT / source).exists()] == []
    assert ignore[0] == "*"
    assert {line[1:] for line in ignore if line.startswith("!")} == set(copied)


def test_the_image_installs_what_is_locked_before_it_copies_tally() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert text.index("--require-hashes") < text.index("COPY app")
    assert text.count("pip install") == 2
    assert text.count("--no-deps") == 2


def test_the_licence_is_that_which_is_said() -> None:
    assert project(ROOT)["license"] == "Apache-2.0"
    assert "Apache License\n                           Version 2.0" in (ROOT / "LICENSE").read_text()
    assert 'licenses="Apache-2.0"' in (ROOT / "Dockerfile").read_text()


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
    return [one for one in documents(ROOT, "k8s/base") if one["kind"] == kind]


def the(kind: str) -> dict[str, Any]:
    (only,) = objects_of(kind)
    return only


def container(owner: dict[str, Any]) -> dict[str, Any]:
    (only,) = containers([owner])
    return only


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

"""Brokers that ask by SCRAM and by certificates and allow what `tally topics` lists; Elasticsearch, the page by TLS."""

import contextlib
import socket
import ssl
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from confluent_kafka.admin import (
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from tests.certificates import PASSWORD, Certificates
from tests.live import servers
from tests.live.servers import Elasticsearch
from tests.live.standing import tally
from tests.live.story import expected, traffic
from tests.live.test_cli import RESOURCES, _allow
from tests.live.test_documents import Node, assert_documents, brute_force, renamed
from tests.live.test_exactness import COMMON
from tests.live.test_intake import canonical, create, in_milliseconds, send
from tests.live.workers import Fleet, assert_counts, produce, topic_settings, wait_for
from tests.patience import PATIENCE

USERS = ("worker", "sender", "operator")
#: Whatever is secret in these settings holds this.
SECRET = "s3cr3t-"  # noqa: S105 - no real one


class Secured(NamedTuple):
    """A broker free to all at its own address, its address for SCRAM, and that for certificates."""

    open: str
    scram: str
    mutual: str


@pytest.fixture(scope="module")
def secured(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    port, controller, scram, mutual = (servers.free_port() for _ in range(4))
    host = servers.HOST
    addresses = f"PLAINTEXT://{host}:{port},SCRAM://{host}:{scram},MUTUAL://{host}:{mutual}"
    login = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    overrides = {
        "listeners": f"{addresses},CONTROLLER://{host}:{controller}",
        "advertised.listeners": addresses,
        "controller.quorum.voters": f"1@{host}:{controller}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SCRAM:SASL_SSL,MUTUAL:SSL",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.scram.scram-sha-512.sasl.jaas.config": login,
        "listener.name.mutual.ssl.client.auth": "required",
        "listener.name.mutual.ssl.truststore.type": "PEM",
        "listener.name.mutual.ssl.truststore.location": str(certificates.ca),
        "listener.name.mutual.ssl.principal.mapping.rules": "RULE:^CN=good$/worker/",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(certificates.good),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    with servers.kafka(tmp_path_factory.mktemp("secured"), port=port, own=True, overrides=overrides) as server:
        try:
            socket.create_connection((host, scram), timeout=5).close()
        except OSError:
            pytest.skip("the broker runs in a container, which publishes one port, and this needs three")
        admin = AdminClient({"bootstrap.servers": server.bootstrap})
        how = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        asked = [UserScramCredentialUpsertion(user, how, f"{SECRET}{user}".encode()) for user in USERS]
        for done in admin.alter_user_scram_credentials(asked).values():
            done.result(30)
        yield Secured(server.bootstrap, f"{host}:{scram}", f"{host}:{mutual}")


def by_scram(secured: Secured, certificates: Certificates, user: str) -> dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP_SERVERS": secured.scram,
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "KAFKA_SASL_USERNAME": user,
        "KAFKA_SASL_PASSWORD": f"{SECRET}{user}",
        "KAFKA_SSL_CAFILE": str(certificates.ca),
    }


def by_certificate(secured: Secured, certificates: Certificates) -> dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP_SERVERS": secured.mutual,
        "KAFKA_SECURITY_PROTOCOL": "SSL",
        "KAFKA_SSL_CAFILE": str(certificates.ca),
        "KAFKA_SSL_CERTFILE": str(certificates.certificate),
        "KAFKA_SSL_KEYFILE": str(certificates.locked),
        "KAFKA_SSL_KEY_PASSWORD": PASSWORD,
    }


def status(url: str, certificates: Certificates, token: str | None = None) -> int:
    """What an answer of the page's port begins with."""
    trust = ssl.create_default_context(cafile=certificates.ca)
    asked = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})  # noqa: S310 - as made here
    with contextlib.suppress(urllib.error.HTTPError):
        return int(urllib.request.urlopen(asked, timeout=PATIENCE, context=trust).status)  # noqa: S310 - as made above
    return 401


def test_workers_with_just_the_rights_that_are_listed_count_right_and_tell_no_secret(
    secured: Secured, secure_elasticsearch: Elasticsearch, certificates: Certificates, tmp_path: Path
) -> None:
    """One comes by SCRAM, the other by a certificate; commands by SCRAM; documents go by TLS, with a password."""
    node = Node(secure_elasticsearch)
    name = f"secured{uuid.uuid4().hex[:8]}"
    chain = tmp_path / "chain.pem"
    chain.write_bytes(certificates.good.read_bytes() + certificates.ca.read_bytes())
    plain = topic_settings(secured.open, name) | COMMON | {"PARTITIONS": "2", "INTAKE_TOPICS": f"{name}-source"}
    plain |= {"WEB_CERT_FILE": str(chain), "HTTP_TOKEN": f"{SECRET}token", "LOG_TOPIC": f"{name}-log"}
    plain |= node.settings | {"ELASTICSEARCH_USERNAME": "elastic", "ELASTICSEARCH_PASSWORD": node.password}
    events = [in_milliseconds(event) for event in renamed(traffic(150, seed=71, broken=0), name)]
    _allow(secured.open, yaml.safe_load(tally(plain, "topics", "--yaml").stdout)["acls"])
    scram = plain | by_scram(secured, certificates, "worker")
    assert (done := tally(scram, "topics", "--create")).returncode == 0, done.stderr
    create(secured.open, f"{name}-source", 1)
    with Fleet(tmp_path, plain) as fleet:
        first = fleet.start(**by_scram(secured, certificates, "worker"))
        second = fleet.start(**by_certificate(secured, certificates))
        wait_for("each has one", lambda: all(it.ready() and it.readiness()[1] for it in (first, second)))
        half = len(events) // 2
        produce(plain, events[:half])
        send(secured.open, f"{name}-source", map(canonical, events[half:]))
        assert_counts(fleet, expected(events))
        assert_documents(node, f"inference-log-seldon-{name}-*", brute_force(events, name), PATIENCE)
        assert status(f"{first.url}/metrics", certificates) == 200
        assert [status(f"{first.url}/api/models", certificates, token) for token in (None, f"{SECRET}token")] == [
            401,
            200,
        ]
        told = [tally(scram, *words) for words in (("check",), ("topics",), ("verify",))]
        assert [it.returncode for it in told] == [0] * 3, [it.stdout + it.stderr for it in told]
        sent = tally(plain | by_scram(secured, certificates, "sender"), "feedback", "p", "--label", "1")
        listed = tally(plain | by_scram(secured, certificates, "operator"), "dead-letters", "list")
        assert (sent.returncode, listed.returncode) == (0, 0), sent.stderr + listed.stderr
        wrong = tally(scram | {"KAFKA_SASL_PASSWORD": f"{SECRET}wrong"}, "check")
        assert wrong.returncode == 2
        texts = [it.stdout.decode() + it.stderr.decode() for it in (*told, sent, listed, wrong)]
        texts += [first.log.read_text(), second.log.read_text(), first.get("/metrics")]
        assert not any(secret in text for text in texts for secret in (SECRET, PASSWORD, node.password))


@pytest.mark.parametrize("kind", ["topic", "transactional-id", "group"])
def test_a_right_that_is_missing_is_named(
    secured: Secured, certificates: Certificates, tmp_path: Path, kind: str
) -> None:
    """The topic of the counts, all transactional ids, or the group."""
    name = f"missing-{uuid.uuid4().hex[:8]}"
    plain = topic_settings(secured.open, name) | COMMON | {"PARTITIONS": "2"}
    rights = yaml.safe_load(tally(plain, "topics", "--yaml").stdout)["acls"]
    _allow(secured.open, rights)
    scram = plain | by_scram(secured, certificates, "worker")
    assert tally(scram, "topics", "--create").returncode == 0
    what = {"topic": f"{name}-panes", "transactional-id": f"{name}-", "group": name}[kind]
    gone = AclBindingFilter(
        RESOURCES[kind], what, ResourcePatternType.ANY, "User:worker", None, AclOperation.ANY, AclPermissionType.ANY
    )
    admin = AdminClient({"bootstrap.servers": secured.open})
    for done in admin.delete_acls([gone]).values():
        assert done.result(10)
    with Fleet(tmp_path, scram) as fleet:
        worker = fleet.start()
        wait_for(
            "it says which",
            lambda: any(what in line and "`tally topics` lists the ACLs" in line for line in lines(worker.log)),
        )
        assert "Traceback" not in worker.log.read_text()
        assert not worker.ready()


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines()

"""Every setting has a default that works on a laptop; a wrong one stops the start with a sentence that names it."""

import os
from typing import Any

import pytest

from app.core.counts.panes import Window
from app.setting_values import parse_duration, parse_size
from app.settings import Settings, SettingsError, load_settings


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine has set must not reach a test."""
    for name in os.environ:
        if name.upper().startswith("TALLY_"):
            monkeypatch.delenv(name)


def from_environment(monkeypatch: pytest.MonkeyPatch, **changes: str) -> Settings:
    for name, value in changes.items():
        monkeypatch.setenv(f"TALLY_{name}", value)
    return load_settings()


DEFAULTS: dict[str, Any] = {
    "kafka_bootstrap_servers": "127.0.0.1:9092",
    "kafka_security_protocol": "PLAINTEXT",
    "kafka_sasl_username": None,
    "kafka_sasl_password": None,
    "kafka_ssl_cafile": None,
    "app_id": "tally",
    "web_host": "127.0.0.1",
    "web_port": 6066,
    "advertised_url": None,
    "request_topic": "inference-requests",
    "response_topic": "inference-responses",
    "feedback_topic": "inference-feedback",
    "intake_topics": (),
    "log_topic": None,
    "partitions": 8,
    "replication": -1,
    "start": "earliest",
    "session_timeout": 10,
    "instance_id": None,
    "epoch_ms": 200,
    "pane_seconds": 60,
    "windows": (Window("5m", 300), Window("1h", 3600), Window("24h", 86400)),
    "exchange_retention": 7 * 86400,
    "window_retention": 25 * 3600,
    "data_dir": None,
    "store": "memory",
    "store_memory": 256 << 20,
    "standbys": 0,
    "max_body": 1 << 20,
    "max_classes": 200,
    "max_segment_values": 50,
    "max_metrics": 50,
    "max_metric_series": 50,
    "max_series": 5_000_000,
    "http_token": None,
    "seldon_series": True,
    "boxkite_series": False,
    "scrape_interval": 2,
    "now": None,
    "config": None,
}


NUMBERS = ("WEB_PORT", "PARTITIONS", "EPOCH_MS", "PANE_SECONDS", "MAX_CLASSES", "MAX_MODELS", "MAX_LABEL_LENGTH")
DURATIONS = ("SESSION_TIMEOUT", "EXCHANGE_RETENTION", "WINDOW_RETENTION", "SCRAPE_INTERVAL", "WINDOWS")


@pytest.mark.parametrize("name", DEFAULTS)
def test_the_defaults(name: str) -> None:
    assert getattr(load_settings(), name) == DEFAULTS[name]


def test_every_setting_has_one_line_of_meaning() -> None:
    assert all(field.description for field in Settings.model_fields.values())


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("KAFKA_BOOTSTRAP_SERVERS", "a:9092,b:9092", "a:9092,b:9092"),
        ("KAFKA_BOOTSTRAP_SERVERS", "a:9092, [::1]:9093", "a:9092,[::1]:9093"),
        ("KAFKA_SECURITY_PROTOCOL", "SSL", "SSL"),
        ("WEB_HOST", "::", "::"),
        ("ADVERTISED_URL", "https://tally.example/worker-0", "https://tally.example/worker-0"),
        ("ELASTICSEARCH_URL", "http://a:9200, https://b", "http://a:9200,https://b"),
        ("PARTITIONS", "64", 64),
        ("REPLICATION", "3", 3),
        ("START", "latest", "latest"),
        ("START", "2026-11-21T07:00:00Z", 1_795_244_400.0),
        ("SESSION_TIMEOUT", "1m", 60),
        ("INSTANCE_ID", "tally-0", "tally-0"),
        ("EXCHANGE_RETENTION", "90d", 90 * 86400),
        ("SCRAPE_INTERVAL", "500ms", 0.5),
        ("WINDOWS", "10m, 2h", (Window("10m", 600), Window("2h", 7200))),
        ("MAX_BODY", "64KiB", 1 << 16),
        ("MAX_BODY", "300000", 300_000),
        ("MAX_SERIES", "1000", 1000),
        ("MAX_SEGMENT_VALUES", "1000", 1000),
        ("MAX_METRICS", "0", 0),
        ("MAX_METRICS", "1000", 1000),
        ("MAX_METRIC_SERIES", "1", 1),
        ("SELDON_SERIES", "false", False),
        ("BOXKITE_SERIES", "true", True),
        ("NOW", "2026-11-21T07:00:00.5Z", 1_795_244_400.5),
        ("NOW", "2026-11-21T08:00:00+01:00", 1_795_244_400.0),
        ("HTTP_TOKEN", "secret", "secret"),
        ("INTAKE_TOPICS", "seldon", ("seldon",)),
        ("INTAKE_TOPICS", " a.b , c-d_E, a.b", ("a.b", "c-d_E")),
        ("INTAKE_TOPICS", r"seldon\..*\.(in|out)puts,x{1,3},y", (r"seldon\..*\.(in|out)puts", "x{1,3}", "y")),
        ("INTAKE_TOPICS", "inference-.*", ("inference-.*",)),
        ("INTAKE_TOPICS", "", ()),
    ],
)
def test_a_setting_from_the_environment(monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: Any) -> None:
    assert getattr(from_environment(monkeypatch, **{name: text}), name.lower()) == value


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("TALLY_PARTITION", "TALLY_PARTITIONS"),
        ("TALLY_PORT", "TALLY_WEB_PORT"),
        ("TALLY_WEBB_PORT", "TALLY_WEB_PORT"),
        ("TALLY_KAFKA_SSL_KEY_FILE", "TALLY_KAFKA_SSL_KEYFILE"),
        ("TALLY_ELASTISEARCH_URL", "TALLY_ELASTICSEARCH_URL"),
        ("TALLY_KAFKA_BOOTSTRAP_SERVER", "TALLY_KAFKA_BOOTSTRAP_SERVERS"),
        ("tally_windows_retention", "TALLY_WINDOW_RETENTION"),
    ],
)
def test_a_misspelt_setting_is_told(monkeypatch: pytest.MonkeyPatch, name: str, meant: str) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value) == f"{name} is no setting: {meant} may be meant."


def test_a_name_that_is_like_no_setting_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLY_XYZ", "")
    with pytest.raises(SettingsError, match=r"^TALLY_XYZ is no setting: `tally check` lists them; unset it\.$"):
        load_settings()


@pytest.mark.parametrize("service", ["TALLY", "TALLY_WORKERS", "TALLY_2"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SERVICE_HOST", "10.96.0.7"),
        ("SERVICE_PORT", "6066"),
        ("SERVICE_PORT_HTTP", "6066"),
        ("SERVICE_PORT_HTTP_METRICS", "6066"),
        ("PORT", "tcp://10.96.0.7:6066"),
        ("PORT_6066_TCP", "tcp://10.96.0.7:6066"),
        ("PORT_6066_TCP_PROTO", "tcp"),
        ("PORT_6066_TCP_PORT", "6066"),
        ("PORT_6066_TCP_ADDR", "10.96.0.7"),
    ],
)
def test_what_kubernetes_sets_for_a_service_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, service: str, name: str, value: str
) -> None:
    monkeypatch.setenv(f"{service}_{name}", value)
    load_settings()


def test_what_the_tests_set_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLY_TEST_BROKER", "127.0.0.1:9092")
    load_settings()


def test_all_that_is_wrong_is_told_at_once_each_in_its_own_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLY_PARTITION", "4")
    with pytest.raises(SettingsError) as caught:
        from_environment(monkeypatch, WEB_PORT="http", PANE_SECONDS="0")
    names = [sentence.split()[0].rstrip(":") for sentence in str(caught.value).splitlines()]
    assert names == ["TALLY_PARTITION", "TALLY_WEB_PORT", "TALLY_PANE_SECONDS"]
    monkeypatch.delenv("TALLY_PARTITION")
    for name in ("WEB_PORT", "PANE_SECONDS"):
        monkeypatch.delenv(f"TALLY_{name}")
    with pytest.raises(SettingsError) as caught:
        from_environment(monkeypatch, WINDOWS="90s,125m", ELASTICSEARCH_USERNAME="me", KAFKA_SASL_USERNAME="me")
    assert len(str(caught.value).splitlines()) == 4


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(
            (f"{name.upper()}", text)
            for name in Settings.model_fields
            if name != "intake_topics"
            for text in ("", " \t")
        ),
        *((name.upper(), "a\nb") for name in Settings.model_fields),
        *((name.upper(), "\udcff") for name in Settings.model_fields),
        *((name, text) for name in NUMBERS for text in ("-1", "1e3", "nan", "0x10", "9" * 5000, "1 2", "\u0665")),
        *((name, text) for name in DURATIONS for text in ("10", "-1s", "nan", "s", "1e3s", "9" * 400 + "d", "\u0665s")),
        *(
            (name, text)
            for name in ("START", "NOW")
            for text in ("1969-12-31T00:00:00Z", "0001-01-01", "9" * 20, "24:00")
        ),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka:"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka:0"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka:65536"),
        ("KAFKA_BOOTSTRAP_SERVERS", "http://kafka:9092"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092,"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092;kafka:9093"),
        ("KAFKA_SECURITY_PROTOCOL", "ssl"),
        ("WEB_HOST", "http://0.0.0.0"),
        ("WEB_HOST", "0.0.0.0/24"),
        ("ADVERTISED_URL", "worker-0:6066"),
        ("ADVERTISED_URL", "ftp://worker-0"),
        ("ADVERTISED_URL", "http://"),
        ("ADVERTISED_URL", "http://worker-0:70000"),
        ("ADVERTISED_URL", "http://me:secret@worker-0"),
        ("ELASTICSEARCH_URL", "elasticsearch:9200"),
        ("ELASTICSEARCH_URL", "http://one:9200,two:9200"),
        ("ELASTICSEARCH_URL", "http://one:99999"),
        ("ELASTICSEARCH_DAILY", "2"),
        ("HTTP_TOKEN", " sesame"),
        ("START", "2999-01-01T00:00:00Z"),
        ("REPLICATION", "32768"),
        ("EXCHANGE_RETENTION", "3651d"),
        ("SCRAPE_INTERVAL", "2h"),
        ("MAX_BODY", "1025MiB"),
        ("MAX_BODY", "1e3"),
        ("WINDOWS", "90.5s"),
        ("REQUEST_TOPIC", ".."),
        ("INSTANCE_ID", ".."),
        ("INSTANCE_ID", "tally 0"),
        ("INSTANCE_ID", "tally/0"),
        ("INSTANCE_ID", "größe"),
        ("INSTANCE_ID", "a" * 250),
        ("LOG_TOPIC", "inference-requests"),
        ("LOG_TOPIC", "tally-panes"),
        ("FEEDBACK_TOPIC", "tally-dead-letters"),
        ("REQUEST_TOPIC", "größe"),
        ("INTAKE_TOPICS", ".."),
        ("INTAKE_TOPICS", "a{99999999999}"),
        ("DATA_DIR", __file__),
        ("STORE", "disk"),
        ("STORE", "rocksdb"),
        ("STORE", ""),
        ("STANDBYS", "-1"),
        ("STANDBYS", "4"),
        ("STANDBYS", "1.5"),
        ("STANDBYS", "yes"),
        ("STANDBYS", "1"),  # with exchanges in memory
        ("STORE_MEMORY", "3MiB"),
        ("STORE_MEMORY", "1TiB"),
        ("STORE_MEMORY", "-1"),
        ("STORE_MEMORY", "1048577MiB"),
        ("KAFKA_SECURITY_PROTOCOL", "TLS"),
        ("KAFKA_SASL_MECHANISM", "GSSAPI"),
        ("APP_ID", "my app"),
        ("APP_ID", ""),
        ("WEB_PORT", "http"),
        ("WEB_PORT", "65536"),
        ("WEB_PORT", "0"),
        ("PARTITIONS", "0"),
        ("PARTITIONS", "many"),
        ("REPLICATION", "-2"),
        ("REPLICATION", "0"),
        ("START", "yesterday"),
        ("SESSION_TIMEOUT", "10"),
        ("SESSION_TIMEOUT", "0s"),
        ("SESSION_TIMEOUT", "1h"),
        ("EPOCH_MS", "1"),
        ("EPOCH_MS", "200ms"),
        ("PANE_SECONDS", "0"),
        ("PANE_SECONDS", "7201"),
        ("WINDOWS", ""),
        ("WINDOWS", "5m,"),
        ("WINDOWS", "5 minutes"),
        ("WINDOWS", "5m,5m"),
        ("WINDOWS", "90s"),
        ("WINDOWS", "125m"),
        ("WINDOWS", "26h"),
        ("WINDOWS", "7d"),
        ("WINDOWS", "169h"),
        ("WINDOWS", "0s"),
        ("WINDOWS", "500ms"),
        ("EXCHANGE_RETENTION", "week"),
        ("EXCHANGE_RETENTION", "0s"),
        ("WINDOW_RETENTION", "25"),
        ("MAX_BODY", "1MB"),
        ("MAX_BODY", "-1"),
        ("MAX_BODY", "0"),
        ("MAX_CLASSES", "1"),
        ("MAX_SEGMENT_VALUES", "0"),
        ("MAX_SEGMENT_VALUES", "1001"),
        ("MAX_SEGMENT_VALUES", "10.5"),
        ("MAX_METRICS", "-1"),
        ("MAX_METRICS", "1001"),
        ("MAX_METRICS", "many"),
        ("MAX_METRICS", ""),
        ("MAX_METRIC_SERIES", "0"),
        ("MAX_METRIC_SERIES", "1001"),
        ("MAX_METRIC_SERIES", "1.5"),
        ("MAX_METRIC_SERIES", "all"),
        ("MAX_SEGMENT_VALUES", "all"),
        ("MAX_SEGMENT_VALUES", ""),
        ("MAX_SERIES", "0"),
        ("MAX_SERIES", "-1"),
        ("MAX_SERIES", "many"),
        ("MAX_SERIES", "1e6"),
        ("MAX_SERIES", ""),
        ("MAX_MODELS", "0"),
        ("MAX_LABEL_LENGTH", "0"),
        ("SELDON_SERIES", "perhaps"),
        ("BOXKITE_SERIES", "boxkite"),
        ("SCRAPE_INTERVAL", "-1s"),
        ("NOW", "noon"),
        ("REQUEST_TOPIC", "inference-feedback"),
        ("REQUEST_TOPIC", ""),
        ("REQUEST_TOPIC", "my topic"),
        ("INTAKE_TOPICS", ","),
        ("INTAKE_TOPICS", "seldon,"),
        ("INTAKE_TOPICS", "seldon other"),
        ("INTAKE_TOPICS", "a" * 250),
        ("INTAKE_TOPICS", "seldon,mod(el"),
        ("INTAKE_TOPICS", "*"),
        ("INTAKE_TOPICS", "seldon,inference-requests"),
        ("INTAKE_TOPICS", "tally-panes"),
        ("INTAKE_TOPICS", "tally-dead-letters"),
    ],
)
def test_a_wrong_setting_is_named_in_one_sentence(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    with pytest.raises(SettingsError) as error:
        from_environment(monkeypatch, **{name: text})
    sentence = str(error.value)
    assert f"TALLY_{name}" in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert "pydantic" not in sentence.lower()
    assert len(sentence) < 400


@pytest.mark.parametrize("name", ["my-requests", "responses", "feedback", "one-exchanges", "one-panes", "joined"])
def test_what_tally_writes_is_not_taken_in_whatever_it_is_called(name: str) -> None:
    own = {"request_topic": "my-requests", "response_topic": "responses", "feedback_topic": "feedback"}
    with pytest.raises(SettingsError, match=f"^TALLY_INTAKE_TOPICS must not name {name}: "):
        load_settings(app_id="one", log_topic="joined", intake_topics=("seldon", name), **own)
    assert load_settings(intake_topics=("seldon", name)).intake_topics == ("seldon", name)


def test_sasl_needs_a_user_and_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"TALLY_KAFKA_SASL_USERNAME.*TALLY_KAFKA_SASL_PASSWORD"):
        from_environment(monkeypatch, KAFKA_SECURITY_PROTOCOL="SASL_SSL", KAFKA_SASL_USERNAME="me")
    settings = from_environment(monkeypatch, KAFKA_SASL_PASSWORD="s3cret")  # noqa: S106 - no real one
    assert settings.kafka_sasl_password == "s3cret"  # noqa: S105


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"KAFKA_SASL_PASSWORD": "x"},
            (
                "TALLY_KAFKA_SASL_PASSWORD is for a user, and TALLY_KAFKA_SECURITY_PROTOCOL=PLAINTEXT sends none: "
                "set SASL_SSL, or SASL_PLAINTEXT where brokers have no TLS."
            ),
        ),
        (
            {"KAFKA_SASL_USERNAME": "me", "KAFKA_SASL_MECHANISM": "PLAIN", "KAFKA_SECURITY_PROTOCOL": "SSL"},
            (
                "TALLY_KAFKA_SASL_MECHANISM, TALLY_KAFKA_SASL_USERNAME are for a user, and "
                "TALLY_KAFKA_SECURITY_PROTOCOL=SSL sends none: set SASL_SSL."
            ),
        ),
        (
            {"KAFKA_SSL_CAFILE": "ca.pem"},
            "TALLY_KAFKA_SSL_CAFILE is for TLS, and TALLY_KAFKA_SECURITY_PROTOCOL=PLAINTEXT does without: set SSL.",
        ),
        (
            {
                "KAFKA_SSL_CERTFILE": "me.pem",
                "KAFKA_SASL_USERNAME": "me",
                "KAFKA_SASL_PASSWORD": "x",
                "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            },
            (
                "TALLY_KAFKA_SSL_CERTFILE is for TLS, and TALLY_KAFKA_SECURITY_PROTOCOL=SASL_PLAINTEXT does without: "
                "set SASL_SSL."
            ),
        ),
        (
            {"KAFKA_SSL_KEYFILE": "me.key", "KAFKA_SECURITY_PROTOCOL": "SSL"},
            "TALLY_KAFKA_SSL_KEYFILE needs TALLY_KAFKA_SSL_CERTFILE, the certificate that the key is of.",
        ),
        (
            {"KAFKA_SSL_KEY_PASSWORD": "x", "KAFKA_SECURITY_PROTOCOL": "SSL"},
            "TALLY_KAFKA_SSL_KEY_PASSWORD needs TALLY_KAFKA_SSL_CERTFILE, the certificate that the key is of.",
        ),
    ],
)
def test_what_is_set_of_users_and_tls_fits_the_protocol(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], sentence: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        from_environment(monkeypatch, **settings)
    assert str(caught.value) == sentence


def test_no_secret_is_ever_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {"KAFKA_SASL_PASSWORD": "p4ssw0rd", "HTTP_TOKEN": "t0k3n"}
    protocol = {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}
    settings = from_environment(monkeypatch, KAFKA_SASL_USERNAME="me", **protocol, **secrets)
    for wrong in ({"WEB_PORT": "x"}, {"WEB_PORT": "1", "WINDOWS": "90s"}, {"HTTP_TOKEN": " t0k3n"}):
        with pytest.raises(SettingsError) as error:
            from_environment(monkeypatch, **wrong)
        assert not any(secret in str(error.value) for secret in secrets.values())
    assert not any(secret in text for secret in secrets.values() for text in (repr(settings), str(settings)))
    with pytest.raises(SettingsError) as error:
        load_settings(http_token=["t0k3n"], kafka_sasl_password=7)
    assert "t0k3n" not in str(error.value)


def test_what_follows_from_the_settings() -> None:
    settings = load_settings(app_id="shop", web_port=7000, exchange_retention=60.0, pane_seconds=30)
    assert settings.topics == ("inference-requests", "inference-responses", "inference-feedback")
    assert (settings.exchanges_topic, settings.panes_topic) == ("shop-exchanges", "shop-panes")
    assert settings.dead_letters_topic == "shop-dead-letters"
    assert settings.intake_group == "shop-intake"
    assert settings.url == "http://127.0.0.1:7000"
    assert load_settings(advertised_url="http://worker-0:6066/").url == "http://worker-0:6066"
    assert load_settings(web_host="::1").url == "http://[::1]:6066"
    assert settings.limits.retention_seconds == 60
    assert (settings.clock.pane_seconds, settings.clock.retention_seconds) == (30, 25 * 3600)


@pytest.mark.parametrize(("session", "seconds"), [("1s", 0.1), ("10s", 1.0), ("45s", 1.0), ("5m", 1.0)])
def test_members_hear_of_a_rebalance_within_a_second_however_long_a_session_is(session: str, seconds: float) -> None:
    assert load_settings(session_timeout=session).heartbeat_interval == seconds


@pytest.mark.parametrize(
    ("text", "seconds"), [("200ms", 0.2), ("1.5s", 1.5), ("5m", 300), ("1h", 3600), ("7d", 604800)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(("text", "size"), [("5", 5), ("5B", 5), ("2KiB", 2048), ("1MiB", 1 << 20), ("2GiB", 2 << 30)])
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size

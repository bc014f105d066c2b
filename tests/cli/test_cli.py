"""The command line without a broker: help, what is refused and in which words, and what needs no broker."""

import asyncio
import json
import os
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from app.cli.ends import sentence_of
from app.cli.feedback import read_value
from app.cli.lines import Source
from app.cli.send import Event, LineError, read_line
from app.commands.tally import main
from app.settings import Settings, load_settings
from app.worker.kafka import topics
from app.worker.kafka.client import SetupError
from app.worker.kafka.metadata import TopicFacts

COMMANDS = ("check", "feedback", "send", "topics", "worker")
#: Nobody listens on this port.
AWAY = {"TALLY_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("TALLY_"):
            monkeypatch.delenv(name)


def tally(*arguments: str | Path, **environment: str) -> Result:
    return CliRunner().invoke(main, [str(word) for word in arguments], env=AWAY | environment, prog_name="tally")


def assert_sentence(result: Result, pattern: str) -> None:
    """One sentence on standard error, nothing on standard output, exit code 2."""
    assert re.fullmatch(f"tally: {pattern}\n", result.stderr), result.output
    assert (result.stdout, result.exit_code) == ("", 2)


# -- help -------------------------------------------------------------------------------------------------------------


def test_help_names_every_command_and_exit_code() -> None:
    text = tally("--help").stdout
    assert tuple(main.commands) == tuple(
        name for name in main.commands if re.search(rf"^  {name} ", text, re.MULTILINE)
    )
    assert set(COMMANDS) <= set(main.commands)
    assert re.findall(r"^    (\d)  ", text, re.MULTILINE) == ["0", "1", "2", "3"]


def test_the_version_is_told_without_any_setting() -> None:
    result = tally("--version", TALLY_PARTITIONS="many")
    assert (result.stdout, result.exit_code) == (f"tally {metadata.version('tally')}\n", 0)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_has_an_example_that_can_be_typed(command: str) -> None:
    text = tally(command, "--help").stdout
    example = re.search(rf"Examples?:.*?(tally {command}[^\n]*?)(  |\n|&&|$)", text, re.DOTALL)
    assert example
    words = [word for word in example[1].split()[2:] if word != "-"]
    known = {option for parameter in main.commands[command].params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known


# -- what is wrong is told in one sentence ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [("check",), ("topics",), ("topics", "--create"), ("topics", "--yaml"), ("send", "-"), ("feedback", "p")],
)
def test_a_wrong_setting_is_named(arguments: tuple[str, ...]) -> None:
    assert_sentence(tally(*arguments, TALLY_PARTITIONS="many"), r"TALLY_PARTITIONS: .*\(got 'many'\)\.")


@pytest.mark.parametrize("arguments", [("topics", "--create"), ("feedback", "p", "--label", "1"), ("send", "FILE")])
def test_a_broker_that_is_away_is_named(arguments: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text('{"topic": "inference-requests", "key": "a", "payload": "b"}\n')
    result = tally(*(file if word == "FILE" else word for word in arguments))
    assert_sentence(result, r"No Kafka broker answers at 127\.0\.0\.1:1: .*")


def test_an_address_that_is_none_is_named() -> None:
    result = tally("topics", "--create", TALLY_KAFKA_BOOTSTRAP_SERVERS="localhost:kafka")
    assert_sentence(result, r"TALLY_KAFKA_BOOTSTRAP_SERVERS: must be .* \(got 'localhost:kafka'\)\.")


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    assert_sentence(
        tally("send", tmp_path / "none.jsonl"), r".*none\.jsonl cannot be read \(No such file or directory\)\."
    )
    assert_sentence(tally("send", tmp_path), r".* cannot be read \(Is a directory\)\.")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), 'Send a "label".*'),
        (("--label", "1", "--null-label"), "Give --label or --null-label, not both."),
        (("--reward", "1", "--null-reward"), "Give --reward or --null-reward, not both."),
        (("--row", "1", "--label", "1", "--label", "2"), "With --row give one --label: .*"),
        (("--reward", "good"), "the reward is 'good'; it must be a number up to 1e9"),
        (("--label", "1", "--time", "noon"), '"time" must be a time like .*'),
        (("--label", "x" * 201), ".*200.*"),
        (("--label", "\udcff"), "What is given must be UTF-8."),
    ],
)
def test_a_feedback_that_says_nothing_useful_is_refused(arguments: tuple[str, ...], sentence: str) -> None:
    assert_sentence(tally("feedback", "p", *arguments), sentence)


def test_a_row_is_named_once() -> None:
    assert_sentence(tally("feedback", "p-item-3", "--row", "1", "--label", "1"), "p-item-3 names a row already: .*")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("chekc",), "No such command 'chekc'"),
        (("--wrong",), "No such option: --wrong"),
        (("worker", "--log-level", "loud"), "Invalid value for '--log-level'"),
        (("worker", "--log-level"), "Option '--log-level' requires an argument"),
        (("worker", "x"), "Got unexpected extra argument (x)"),
        (("check", "--yaml"), "No such option: --yaml"),
        (("topics", "--creat"), "No such option: --creat"),
        (("topics", "x"), "Got unexpected extra argument (x)"),
        *(
            (("demo", "--seconds", text), "Invalid value for '--seconds'")
            for text in ("0", "-1", "nan", "x", "", "1e400")
        ),
        (("send",), "Missing argument 'FILE'"),
        (("send", "a", "b"), "Got unexpected extra argument (b)"),
        (("send", "--topic"), "Option '--topic' requires an argument"),
        *((("feedback", "p", "--row", text), "Invalid value for '--row'") for text in ("-1", "x", "1.5", "9" * 30)),
        (("feedback", "p", "--label"), "Option '--label' requires an argument"),
        *((("tail", "-n", text), "Invalid value for '-n'") for text in ("0", "x", "1e3", "", "9" * 30)),
        *((("dead-letters", "list", "-n", text), "Invalid value for '-n'") for text in ("0", "x", "9" * 30)),
        (("dead-letters", "lst"), "No such command 'lst'"),
        (("import",), "Missing option '--from-elasticsearch'"),
    ],
)
def test_what_is_wrong_of_the_command_line_is_one_sentence(arguments: tuple[str, ...], said: str) -> None:
    assert_sentence(tally(*arguments), rf"{re.escape(said)}.*: see `tally[ a-z-]* --help`\.")


@pytest.mark.parametrize("arguments", [(), ("dead-letters",)])
def test_who_gives_no_command_is_shown_all_of_them(arguments: tuple[str, ...]) -> None:
    assert "Commands:" in tally(*arguments).output


def test_a_bug_is_no_sentence() -> None:
    assert sentence_of(ValueError("a bug")) is None


# -- lines of a file --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (
            b'{"topic":"t","partition":3,"offset":9,"ts":5,"headers":["a","b","a",null],"key":"k","payload":"{\\"x\\":1,\\u00e9}"}',
            Event("t", b"k", '{"x":1,é}'.encode(), [("a", b"b"), ("a", None)], 5),
        ),
        (b'{"key":null,"payload":"p"}', Event("other", None, b"p", [], None)),
        (b'{"key":"","payload":null,"headers":null,"ts":null}', Event("other", b"", None, [], None)),
        (b' {"payload": ""}\r', Event("other", None, b"", [], None)),
        # kcat writes the bytes of a record as they are.
        (b'{"key":"\xff","payload":"\xc3\xa9\xfe\\n","headers":["a","\xfd"]}',
         Event("other", b"\xff", b"\xc3\xa9\xfe\n", [("a", b"\xfd")], None)),
    ],
)  # fmt: skip
def test_a_line_is_an_event(line: bytes, event: Event) -> None:
    assert read_line(line, "other") == event


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", r"is no JSON \(.*\)"),
        (b'{"payload":"\xff', r"is no JSON \(and no UTF-8\)"),
        (b"[]", "is no JSON object"),
        (b'{"payload":"p"}', 'has no "topic": give one with --topic'),
        (b'{"topic":"a b","payload":"p"}', 'has a "topic" that is no name of a topic'),
        (b'{"topic":7,"payload":"p"}', 'has a "topic" that is no name of a topic'),
        (b'{"topic":"t","key":"k"}', 'has no "payload".*'),
        (b'{"topic":"t","key":null,"payload":null}', 'has neither a "key" nor a "payload"'),
        (b'{"topic":"t","key":1,"payload":"p"}', 'has a "key" that is neither a text nor null'),
        (b'{"topic":"t","payload":{"a":1}}', 'has a "payload" that is neither a text nor null'),
        (b'{"topic":"t","payload":"p","ts":"1"}', 'has a "ts" .*'),
        (b'{"topic":"t","payload":"p","ts":-1}', 'has a "ts" .*'),
        (b'{"topic":"t","payload":"p","ts":true}', 'has a "ts" .*'),
        (b'{"topic":"t","payload":"p","headers":["a"]}', 'has "headers" .*'),
        (b'{"topic":"t","payload":"p","headers":["a",1]}', 'has "headers" .*'),
        (b'{"topic":"t","payload":"p","headers":{"a":["b"]}}', 'has "headers" .*'),
    ],
)
def test_a_line_that_is_no_event_says_why(line: bytes, reason: str) -> None:
    with pytest.raises(LineError) as refused:
        read_line(line, None)
    assert re.fullmatch(reason, str(refused.value))


def test_lines_are_those_of_the_file_however_it_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"one\n\ntwo two\r\nthree" * 5
    file = tmp_path / "lines"
    file.write_bytes(content)

    async def lines() -> list[bytes]:
        with Source(str(file), "lines") as source:
            assert source.size == len(content)
            found = [line async for some in source.lines() for line in some]
            assert source.position == len(content)
            return found

    for size in (1, 2, 3, 7, 1000):
        monkeypatch.setattr("app.cli.lines._CHUNK_BYTES", size)
        assert asyncio.run(lines()) == content.split(b"\n")


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("4.0", 4.0), ("-1", -1), ("true", True), ("false", False), ("cat", "cat"), ("null", "null"), ("", ""),
     ("[1]", "[1]"), ('"1"', '"1"'), ("NaN", "NaN"), ("1e400", "1e400"), ("True", "True"), ("01", "01")],
)  # fmt: skip
def test_a_label_is_the_value_that_it_says(text: str, value: Any) -> None:
    found = read_value(text)
    assert (found, type(found)) == (value, type(value))


# -- topics -----------------------------------------------------------------------------------------------------------


def test_yaml_says_all_without_a_broker() -> None:
    content = yaml.safe_load(
        tally(
            "topics", "--yaml", TALLY_APP_ID="one", TALLY_PARTITIONS="3", TALLY_REPLICATION="2", TALLY_LOG_TOPIC="log"
        ).stdout
    )
    assert [topic["name"] for topic in content["topics"]] == [
        "inference-requests", "inference-responses", "inference-feedback",
        "one-exchanges", "one-panes", "one-dead-letters", "log",
    ]  # fmt: skip
    assert {(topic["partitions"], topic["replication"]) for topic in content["topics"]} == {(3, 2)}
    policies = {topic["name"]: topic["config"].get("cleanup.policy") for topic in content["topics"]}
    assert {name for name, policy in policies.items() if policy == "compact"} == {"one-exchanges", "one-panes"}
    assert content["group"] == "one"
    assert content["transactional_ids"] == ["one-0", "one-1", "one-2", "one-dead-letters"]
    worker = [acl for acl in content["acls"] if acl["role"] == "worker"]
    assert {acl["name"] for acl in worker if acl["resource"] == "topic"} == set(policies)
    rights = {(acl["resource"], acl["name"]): acl["operations"] for acl in worker}
    assert rights["group", "one"] == ["Describe", "Read"]
    assert rights["transactional-id", "one-"] == ["Describe", "Write"]
    canonical = rights["topic", "inference-requests"]
    assert canonical == ["Describe", "Read", "Write", "DescribeConfigs"]  # what is astray is brought home
    assert "Read" not in rights["topic", "one-dead-letters"]
    operator = {
        (acl["resource"], acl["name"]): acl["operations"] for acl in content["acls"] if acl["role"] == "operator"
    }
    assert operator["topic", "one-dead-letters"] == ["Describe", "Read", "Write", "Delete"]
    assert operator["topic", "log"] == ["Describe", "Read", "Write"]
    assert operator["topic", "inference-feedback"] == ["Describe", "Read", "Write"]
    assert operator["transactional-id", "one-dead-letters"] == ["Describe", "Write"]


def test_topics_shows_what_there_must_be_where_no_broker_answers() -> None:
    result = tally("topics", TALLY_APP_ID="one", TALLY_PARTITIONS="1")
    assert re.search(r"^one-exchanges +1 +not known +cleanup\.policy=compact +changelog", result.stdout, re.MULTILINE)
    assert re.search(r"^Transactional ids: +one-0$", result.stdout, re.MULTILINE)
    assert "No Kafka broker answers" in result.stdout
    assert result.exit_code == 0


class Brokers:
    """An admin client that gives its answers in turn, the last one for ever."""

    def __init__(self, *leaders: list[int]) -> None:
        self.answers = list(leaders)
        self.asked = 0

    async def _send_request(self, request: Any) -> "Brokers":
        self.asked += 1
        return self

    def to_object(self) -> dict[str, Any]:
        leaders = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return {
            "brokers": [],
            "topics": [
                {
                    "topic": "new",
                    "error_code": 0 if leaders else 3,
                    "partitions": [{"leader": leader} for leader in leaders],
                }
            ],
        }


def test_new_topics_are_waited_for_until_every_partition_has_a_leader() -> None:
    brokers = Brokers([], [-1, -1], [1, -1], [1, 2])
    asyncio.run(topics._await_leaders(brokers, ["new"]))
    assert brokers.asked == 4


@pytest.mark.parametrize(
    ("topic", "config", "said"),
    [
        ("x-panes", {"cleanup.policy": "delete"}, "x-panes .* has cleanup.policy=delete and must have compact"),
        ("x-panes", {"cleanup.policy": "compact,delete"}, "has cleanup.policy=compact,delete and must have compact"),
        ("inference-requests", {"cleanup.policy": "compact"}, "inference-requests .* must have delete"),
        ("x-exchanges", {"max.message.bytes": "9000"}, "takes max.message.bytes=9000 bytes and must take 16384"),
        ("x-exchanges", {}, None),  # the brokers do not tell
        ("x-exchanges", {"cleanup.policy": "compact", "max.message.bytes": "60000"}, None),
    ],
)
def test_a_topic_that_loses_state_or_takes_too_little_is_named_with_the_way_out(
    topic: str, config: dict[str, str], said: str | None
) -> None:
    settings = load_settings(app_id="x")
    found = {topic: TopicFacts(4, "id", config)}
    problems = list(topics.topic_problems(topics.topics_of(settings), found))
    assert len(problems) == (said is not None)
    if said is not None:
        assert re.search(said, problems[0])
        assert f"kafka-configs --alter --topic {topic} --add-config" in problems[0]


def test_a_topic_that_keeps_events_for_less_than_labels_may_take_is_noted() -> None:
    settings = load_settings(app_id="x")
    found = {"inference-feedback": TopicFacts(4, "id", {"retention.ms": "3600000"})}
    (note,) = topics.topic_notes(topics.topics_of(settings), found, settings)
    assert "inference-feedback keeps events for 1 h" in note
    found = {"inference-feedback": TopicFacts(4, "id", {"retention.ms": "-1"})}
    assert not list(topics.topic_notes(topics.topics_of(settings), found, settings))


def test_another_partition_count_than_that_of_the_topics_is_noted_where_it_is_set() -> None:
    found = {"inference-requests": TopicFacts(8, "id")}
    settings = load_settings(app_id="x", partitions=4)
    (note,) = topics.topic_notes(topics.topics_of(settings), found, settings)
    assert "TALLY_PARTITIONS is 4 and the topics have 8" in note
    assert not list(topics.topic_notes(topics.topics_of(settings), found, load_settings(app_id="x")))


def test_new_topics_are_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "_LEADER_SECONDS", 0.2)
    with pytest.raises(SetupError, match="Topic new was created, but not all of its partitions had a leader"):
        asyncio.run(topics._await_leaders(Brokers([1, -1]), ["new"]))


# -- check ------------------------------------------------------------------------------------------------------------


def test_check_shows_every_setting_and_where_it_comes_from_but_no_secret(tmp_path: Path) -> None:
    rules = tmp_path / "models.yaml"
    rules.write_text(json.dumps({"models": [{"match": "*", "task": "binary", "reference": {"first": 5000}}]}))
    result = tally(
        "check",
        TALLY_SESSION_TIMEOUT="90s",
        TALLY_EXCHANGE_RETENTION="48h",
        TALLY_NOW="2026-11-21T07:00:00Z",
        TALLY_WINDOWS="5m,1h",
        TALLY_HTTP_TOKEN="sesame",  # noqa: S106
        TALLY_ELASTICSEARCH_API_KEY="sesame",
        TALLY_CONFIG=str(rules),
    )
    rows = {row[0]: row[1:] for line in result.stdout.splitlines() if (row := line.split())}
    assert {f"TALLY_{name.upper()}" for name in Settings.model_fields} <= set(rows)
    assert rows["TALLY_SESSION_TIMEOUT"] == ["90s", "environment"]
    assert rows["TALLY_EXCHANGE_RETENTION"] == ["2d", "environment"]
    assert rows["TALLY_WINDOW_RETENTION"] == ["25h", "default"]
    assert rows["TALLY_NOW"] == ["2026-11-21T07:00:00Z", "environment"]
    assert rows["TALLY_WINDOWS"] == ["5m,1h", "environment"]
    assert rows["TALLY_SELDON_SERIES"] == ["true", "default"]
    assert rows["TALLY_DATA_DIR"] == ["unset", "default"]
    assert rows["TALLY_HTTP_TOKEN"] == rows["TALLY_ELASTICSEARCH_API_KEY"] == ["set", "environment"]
    assert "sesame" not in result.output
    assert re.search(r"^Rules: .*models\.yaml, 1 entry for models, digest [0-9a-f]+$", result.stdout, re.MULTILINE)
    assert "         *: the first 5,000 rows of each version are its reference; /api/models" in result.stdout


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"models: [", "line 1 is no YAML"),
        (b"\xff\xfe\xfd", "is no UTF-8"),
        (b"modles: []", "modles: "),
        (None, "cannot be read"),
    ],
)
def test_check_tells_all_that_is_wrong_and_ends_with_the_verdict(
    tmp_path: Path, content: bytes | None, sentence: str
) -> None:
    rules = tmp_path / "models.yaml"
    if content is not None:
        rules.write_bytes(content)
    result = tally("check", TALLY_CONFIG=str(rules))
    *_, first, second, verdict = result.stdout.splitlines()
    assert first.startswith(f"- TALLY_CONFIG: {rules}")
    assert sentence in first
    assert second.startswith("- No Kafka broker answers at 127.0.0.1:1")
    assert verdict == "Not fine: see above."
    assert (result.stderr, result.exit_code) == ("", 2)

"""What `tally check` says of groups and of workers. What Kafka and the workers say is what a test says."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError, NotCoordinatorForGroupError

from app.cli import groups
from app.cli.groups import Group, more_partitions, sentence_of, standstill, unread_partitions
from app.cli.workers import Said, problems_of
from app.settings import load_settings


def a_group(**changes: Any) -> Group:
    """A group of two members, which have read all of two topics."""
    given = frozenset(TopicPartition(topic, number) for topic in ("asked", "told") for number in range(2))
    fields: dict[str, Any] = {"name": "g", "state": "Stable", "members": 2, "given": given, "committed": {}}
    return Group(**fields | {"lag": {"asked": 0, "told": 0}} | changes)


BEHIND = {"asked": 2, "told": 1}
NOBODY = "1 event waits for the intake (g) and no worker reads them: start one with these settings."
STUCK = "3 events wait for the intake (g), and its 2 members committed nothing in 6 s: the log of the workers says why."


@pytest.mark.parametrize(
    ("group", "said"),
    [
        ("not known (X)", "not known (X)"),
        (a_group(state="Dead", members=0, lag=None), "not there yet: no worker has run"),
        (a_group(lag=None), "Stable, 2 members; it has committed nothing yet"),
        (a_group(members=1, lag=BEHIND), "Stable, 1 member; 3 events behind (asked 2, told 1)"),
    ],
)
def test_what_a_group_is_doing(group: Group | str, said: str) -> None:
    assert sentence_of(group) == said


@pytest.mark.parametrize("error", [GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError])
def test_brokers_that_make_room_for_their_first_group_are_asked_again(
    error: type[KafkaError], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: Iterator[KafkaError | Group] = iter([error(), a_group()])

    async def find(*_: object) -> Group:
        answer = next(answers)
        if isinstance(answer, KafkaError):
            raise answer
        return answer

    monkeypatch.setattr(groups, "_find", find)
    admin: Any = None  # nothing is asked of it here
    assert asyncio.run(groups.find_group(admin, load_settings(), "g", {})) == a_group()


@pytest.mark.parametrize(
    ("group", "moves", "said"),
    [
        (a_group(), True, None),
        (a_group(lag=BEHIND), True, None),
        (a_group(lag=None, members=0), False, None),
        (a_group(lag={"asked": 1}, members=0), True, NOBODY),
        (a_group(lag=BEHIND), False, STUCK),
    ],
)
def test_who_is_behind_and_gets_nowhere_is_told(group: Group, moves: bool, said: str | None) -> None:
    assert list(standstill(group, "the intake", moves=moves)) == ([said] if said else [])


@pytest.mark.parametrize(
    ("group", "partitions", "unread"),
    [
        (a_group(), {"asked": 2, "told": 2}, []),
        (a_group(), {"asked": 4, "told": 2}, ["Topic asked: no worker of g reads the partitions 2, 3. If"]),
        (a_group(given=frozenset()), {"asked": 1, "told": 1}, ["Topic asked: ", "Topic told: "]),
        (a_group(members=0), {"asked": 4}, []),
        (a_group(state="PreparingRebalance"), {"asked": 4}, []),
    ],
)
def test_partitions_that_no_member_has_are_told(group: Group, partitions: dict[str, int], unread: list[str]) -> None:
    said = list(unread_partitions(group, partitions))
    assert [sentence.startswith(beginning) for sentence, beginning in zip(said, unread, strict=True)] == [True] * len(
        unread
    )


@pytest.mark.parametrize(
    ("counted", "partitions", "said"),
    [
        ({0, 1}, 2, None),
        ({0, 1}, 4, "was written with 2 partitions and the topics have 4"),
        (set(), 4, None),  # the first start
        ({0, 3}, 4, None),  # a first start that is not over yet
    ],
)
def test_a_state_of_fewer_partitions_is_told(counted: set[int], partitions: int, said: str | None) -> None:
    group = a_group(counted=frozenset(counted))
    found = list(more_partitions(load_settings(app_id="x"), group, {"x-exchanges": partitions, "x-panes": partitions}))
    assert len(found) == (said is not None)
    assert said is None or said in found[0]


def test_the_problems_of_workers_have_their_addresses() -> None:
    said = [Said("http://a", ["One.", "Two."]), Said("http://b", []), Said("http://c", None)]
    assert problems_of(said) == ["Worker http://a: One.", "Worker http://a: Two."]

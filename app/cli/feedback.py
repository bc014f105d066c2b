"""`tally feedback`: one feedback from the command line, straight to its topic; or those of a file."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from aiokafka.errors import KafkaError

from app.cli.client import require_topic, run
from app.cli.ends import InputError
from app.cli.labels.sending import Options, feedback_file
from app.cli.labels.statements import COLUMNS, LEG
from app.core.dialects.plain import Event, base_puid, canonical_feedback
from app.settings import Settings, load_settings
from app.worker.kafka.client import unreachable
from app.worker.kafka.writing import open_producer

_UNSAID = object()
#: Options that are of one feedback and of a file alike.
_OF_BOTH = ("time", *LEG)


def dispatch(
    puid: str | None,
    *,
    labels: Sequence[str],
    reward: str | None,
    null_label: bool,
    null_reward: bool,
    row: int | None,
    file: str | None,
    others: Mapping[str, Any],
) -> None:
    """Send one feedback, or those of a file. `others` are all other options by name, None or empty where not given."""
    shared = {name: others[name] for name in _OF_BOTH}
    of_file = {name: value for name, value in others.items() if name not in _OF_BOTH}
    if file is None:
        for name, value in of_file.items():
            if value:
                raise InputError(f"--{_option(name)} is for a file: give --file too.")
        if puid is None:
            raise InputError("Give the puid of a prediction, or --file with the labels of many.")
        feedback(
            puid,
            labels=labels,
            reward=reward,
            null_label=null_label,
            null_reward=null_reward,
            row=row,
            others=shared,
        )
        return
    of_one = {
        "a puid": puid is not None,
        "--label": bool(labels),
        "--reward": reward is not None,
        "--row": row is not None,
        "--null-label": null_label,
        "--null-reward": null_reward,
    }
    for word, given in of_one.items():
        if given:
            raise InputError(f"Give --file or {word}, not both: a file says it in its columns.")
    _check_texts([file, *(text for text in shared.values() if text is not None)])
    columns = {what: name for what in (*COLUMNS, *LEG) if (name := of_file[f"{what}_column"]) is not None}
    feedback_file(
        Options(
            file,
            of_file["form"],
            of_file["delimiter"],
            columns,
            {name: shared[name] for name in LEG if shared[name]},
            shared["time"],
            of_file["empty"],
            dry_run=of_file["dry_run"],
            skip_bad=of_file["skip_bad"],
            ask=not of_file["no_wait"],
        )
    )


def _option(name: str) -> str:
    return "format" if name == "form" else name.replace("_", "-")


def feedback(
    puid: str,
    *,
    labels: Sequence[str],
    reward: str | None,
    null_label: bool,
    null_reward: bool,
    row: int | None,
    others: Mapping[str, str | None],
) -> None:
    """Send the feedback and say where it went. `others` are further members of the plain form, None where not given."""
    settings = load_settings()
    _check_texts([puid, *labels, *(text for text in others.values() if text is not None)])
    body: dict[str, Any] = {"puid": _row_id(puid, row, labels)}
    body |= {name: value for name, value in others.items() if value is not None}
    label = _label(labels, null_label=null_label)
    if label is not _UNSAID:
        body["label"] = label
    if reward is not None and null_reward:
        raise InputError("Give --reward or --null-reward, not both.")
    if reward is not None or null_reward:
        body["reward"] = None if reward is None else read_value(reward)
    event = canonical_feedback(body, _now(settings), settings.max_label_length)
    partition, offset = run(_produce(settings, event))
    print(f"sent feedback for {body['puid']} to {settings.feedback_topic}, partition {partition}, offset {offset}")


def read_value(text: str) -> Any:
    """The number, true or false that a text says as JSON; else the text itself."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return value if type(value) in (int, float, bool) else text


def _check_texts(texts: Sequence[str]) -> None:
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:  # bytes of a command line that are no UTF-8 arrive as half surrogates
        raise InputError("What is given must be UTF-8.") from None


def _label(labels: Sequence[str], *, null_label: bool) -> Any:
    if labels and null_label:
        raise InputError("Give --label or --null-label, not both.")
    if null_label:
        return None
    if not labels:
        return _UNSAID
    values = [read_value(label) for label in labels]
    return values if len(values) > 1 else values[0]


def _row_id(puid: str, row: int | None, labels: Sequence[str]) -> str:
    if row is None:
        return puid
    if base_puid(puid) != puid:
        raise InputError(f"{puid} names a row already: leave --row out.")
    if len(labels) > 1:
        raise InputError("With --row give one --label: several are one a row.")
    return f"{puid}-item-{row}"


def _now(settings: Settings) -> datetime:
    return datetime.now(UTC) if settings.now is None else datetime.fromtimestamp(settings.now, UTC)


async def _produce(settings: Settings, event: Event) -> tuple[int, int]:
    await require_topic(settings, settings.feedback_topic)
    async with open_producer(settings) as producer:
        try:
            async with asyncio.timeout(30):
                sent = await producer.send_and_wait(
                    settings.feedback_topic, key=event.key, value=event.value, headers=list(event.headers)
                )
        except (KafkaError, OSError, TimeoutError) as error:
            raise unreachable(settings, error) from None
    return sent.partition, sent.offset

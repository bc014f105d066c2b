"""`tally check`: settings, rules, brokers, topics and the groups on one screen, with a verdict at its end."""

from collections.abc import Mapping, Sequence

from aiokafka.admin import AIOKafkaAdminClient
from rich.console import Console

from app.cli.client import run
from app.cli.documents import older_sentence, problem_of_elasticsearch
from app.cli.groups import (
    Group,
    empty_changelogs,
    find_group,
    gets_on,
    more_partitions,
    sentence_of,
    standstill,
    unread_partitions,
)
from app.cli.letters.reasons import refused_sentence
from app.cli.screen import counted, screen, table
from app.cli.workers import ask_workers, problems_of
from app.exporters.elasticsearch.templates import index_patterns
from app.models_file import load_rulebook
from app.setting_values import shown_value
from app.settings import Settings, SettingsError, load_settings
from app.worker.kafka.client import SetupError
from app.worker.kafka.topics import (
    admin_client,
    describe_cluster,
    find_sources,
    missing_sentence,
    missing_sources,
    topic_notes,
    topic_problems,
    topics_of,
)


def check() -> bool:
    """Print the screen. Returns whether a worker can start and find all that it needs."""
    settings = load_settings()
    console = screen()
    problems = []
    monitors: list[str] = []
    _print_settings(console, settings)
    try:
        monitors = _print_rules(console, settings)
    except SettingsError as error:
        problems += str(error).splitlines()
    try:
        problems += run(_check_kafka(console, settings, monitors))
    except SetupError as error:
        problems += str(error).splitlines()
    if settings.elasticsearch_url is not None:
        problems += _check_elasticsearch(console, settings)
    console.print()
    for problem in problems:
        console.print(f"- {problem}", soft_wrap=True)
    console.print("Not fine: see above." if problems else "Fine: a worker finds all that it needs.", soft_wrap=True)
    return not problems


def _check_elasticsearch(console: Console, settings: Settings) -> list[str]:
    try:
        said = run(problem_of_elasticsearch(settings))
    except SettingsError as error:
        said = str(error)
    if said is None:
        console.print(f"Elasticsearch at {settings.elasticsearch_url} answers.", soft_wrap=True)
        console.print(f"Indices: {', '.join(index_patterns())}", soft_wrap=True)
    return [] if said is None else [said]


def _print_settings(console: Console, settings: Settings) -> None:
    rows = table("Settings", "name", "value", "from")
    for name, field in Settings.model_fields.items():
        source = "environment" if name in settings.model_fields_set else "default"
        rows.add_row(f"TALLY_{name.upper()}", shown_value(getattr(settings, name), field), source)
    console.print(rows)


def _print_rules(console: Console, settings: Settings) -> list[str]:
    """Print what the YAML file is. Returns the names of its monitors. Raises SettingsError."""
    if settings.config is None:
        return []
    rulebook = load_rulebook(settings.config)
    entries = f"{len(rulebook.entries)} entr{'y' if len(rulebook.entries) == 1 else 'ies'} for models"
    console.print(f"Rules:   {settings.config}, {entries}, digest {rulebook.digest}", soft_wrap=True)
    for entry in rulebook.entries:
        if entry.reference is not None and entry.reference.first:
            rows = f"the first {entry.reference.first:,} rows of each version are its reference"
            console.print(f"         {entry.match}: {rows}; /api/models says how many have come", soft_wrap=True)
    return [*dict.fromkeys(monitor.spec.name for entry in rulebook.entries for monitor in entry.monitors)]


async def _check_kafka(console: Console, settings: Settings, monitors: Sequence[str]) -> list[str]:
    """Print what Kafka says, and return the sentences of what is not as it must be."""
    wanted = topics_of(settings)
    problems = []
    async with admin_client(settings) as admin:
        cluster = await describe_cluster(admin, [topic.name for topic in wanted])
        console.print(f"Brokers: {', '.join(cluster.brokers)}", soft_wrap=True)
        rows = table("Topics", "name", "partitions", "purpose")
        for topic in wanted:
            count = cluster.partitions.get(topic.name)
            rows.add_row(topic.name, "missing" if count is None else str(count), topic.purpose)
        console.print(rows)
        missing = [topic.name for topic in wanted if topic.name not in cluster.partitions]
        if missing:
            problems.append(
                f"Topics are missing ({', '.join(missing)}): run `tally topics --create`, or let a worker create them."
            )
        problems += topic_problems(wanted, cluster.topics)
        for note in topic_notes(wanted, cluster.topics, settings):
            console.print(f"Note:    {note}", soft_wrap=True)
        counts = {topic: cluster.partitions[topic] for topic in settings.topics if topic in cluster.partitions}
        group = await find_group(admin, settings, settings.app_id, counts)
        console.print(f"Group:   {settings.app_id}, {sentence_of(group)}", soft_wrap=True)
        if isinstance(group, Group):
            problems += unread_partitions(group, counts)
            names = (settings.exchanges_topic, settings.panes_topic)
            changelogs = {name: cluster.partitions[name] for name in names if name in cluster.partitions}
            problems += more_partitions(settings, group, changelogs)
            problems += await empty_changelogs(settings, group, changelogs)
        letters = cluster.partitions.get(settings.dead_letters_topic)
        if letters is not None:
            console.print(f"Refused: {await refused_sentence(settings, letters)}", soft_wrap=True)
        if settings.intake_topics:
            sources = await find_sources(admin, settings)
            console.print(f"Intake:  {_sources_sentence(sources)}", soft_wrap=True)
            for name in missing_sources(settings, sources):
                console.print(f"Note:    {missing_sentence(name)}", soft_wrap=True)
            problems += await _check_reader(console, admin, settings, "the intake", settings.intake_group, sources)
        if settings.elasticsearch_url is not None and settings.log_topic in cluster.partitions:
            joined = {settings.log_topic: cluster.partitions[settings.log_topic]}
            console.print(f"Joined:  {settings.log_topic}, for the documents in Elasticsearch", soft_wrap=True)
            name = settings.documents_group
            problems += await _check_reader(console, admin, settings, "the document writer", name, joined)
            if settings.request_topic in cluster.partitions:
                older = await older_sentence(settings, cluster.partitions)
                if older is not None:
                    console.print(f"Note:    {older}", soft_wrap=True)
        if monitors and settings.log_topic in cluster.partitions:
            console.print(f"Scored:  {settings.log_topic}, by monitors", soft_wrap=True)
            scored = {settings.log_topic: cluster.partitions[settings.log_topic]}
            for name in monitors:
                group_of = settings.monitors_group(name)
                problems += await _check_reader(console, admin, settings, f"the monitor {name}", group_of, scored)
        panes = cluster.partitions.get(settings.panes_topic)
        if isinstance(group, Group) and not group.members:
            console.print("Worker:  none runs: start one with `tally worker`", soft_wrap=True)
        elif isinstance(group, Group) and panes is not None:
            said = await ask_workers(settings, panes, group.addresses)
            for worker in said:
                what = "does not answer from here" if worker.problems is None else "answers"
                console.print(f"Worker:  {worker.url} {what}", soft_wrap=True)
            problems += problems_of(said)
    return problems


async def _check_reader(
    console: Console,
    admin: AIOKafkaAdminClient,
    settings: Settings,
    role: str,
    name: str,
    partitions: Mapping[str, int],
) -> list[str]:
    """Print what a group that reads topics for the workers is doing; the sentences of what is wrong with it."""
    group = await find_group(admin, settings, name, partitions)
    console.print(f"         {name}, {sentence_of(group)}", soft_wrap=True)
    if isinstance(group, str):
        return []
    watched = bool(group.members and group.behind)
    moves = not watched or await gets_on(admin, settings, group, partitions)
    return list(standstill(group, role, moves=moves))


def _sources_sentence(sources: Mapping[str, int]) -> str:
    """What the intake reads."""
    found = ", ".join(f"{topic} ({counted(count, 'partition')})" for topic, count in sources.items())
    return f"reads {found or 'no topic so far'}"

"""`tally topics`: everything that Kafka must have and must allow, as a table, as YAML, or created."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from app.cli.client import run
from app.cli.screen import counted, screen, table
from app.exporters.elasticsearch.templates import index_patterns
from app.settings import Settings, load_settings
from app.worker.kafka.client import SetupError
from app.worker.kafka.metadata import TopicFacts
from app.worker.kafka.topics import (
    Cluster,
    acls_of,
    admin_client,
    check_topics,
    describe_cluster,
    ensure_topics,
    find_sources,
    letters_transactional_id,
    missing_sentence,
    missing_sources,
    topics_of,
    transactional_ids,
)


def create() -> None:
    """Create the topics that are missing, check the others, and say which are which."""
    settings = load_settings()
    before = run(_look(settings)).topics
    found = run(ensure_topics(settings))
    for topic in topics_of(settings):
        partitions = counted(found[topic.name].partitions, "partition")
        print(f"{'exists ' if topic.name in before else 'created'} {topic.name}, {partitions}")
    sources = run(_sources(settings))
    for name, count in sources.items():
        print(f"source  {name}, {counted(count, 'partition')}")
    for name in missing_sources(settings, sources):
        print(f"missing {name}: {missing_sentence(name)}")


def print_yaml() -> None:
    """Print all of it as YAML, without asking a broker."""
    print(yaml.safe_dump(as_data(load_settings()), sort_keys=False, allow_unicode=True), end="")


def as_data(settings: Settings) -> dict[str, Any]:
    """Topics, groups, transactional ids and ACLs as plain data, with the partition count that they are created with."""
    return {
        "topics": [
            {
                "name": topic.name,
                "purpose": topic.purpose,
                "partitions": settings.partitions,
                "replication": settings.replication,
                "config": dict(topic.config),
            }
            for topic in topics_of(settings)
        ],
        "group": settings.app_id,
        **(
            {"intake": {"group": settings.intake_group, "topics": list(settings.intake_topics)}}
            if settings.intake_topics
            else {}
        ),
        "transactional_ids": [*transactional_ids(settings, settings.partitions), letters_transactional_id(settings)],
        "acls": [
            {
                "role": acl.role,
                "resource": acl.resource,
                "name": acl.name,
                "pattern": acl.pattern,
                "operations": list(acl.operations),
                **({"operations_to_create": list(acl.operations_to_create)} if acl.operations_to_create else {}),
            }
            for acl in acls_of(settings)
        ],
    }


def show() -> None:
    """Print tables of all of it; where the broker answers, with what exists."""
    settings = load_settings()
    console = screen()
    wanted = topics_of(settings)
    found: Mapping[str, TopicFacts] | None = None
    partitions, notes = settings.partitions, []
    try:
        found = run(_look(settings)).topics
        partitions = check_topics(wanted, found, settings)
    except SetupError as error:
        notes.append(str(error))

    topics = table("Topics", "name", "partitions", "exists", "settings where created", "purpose")
    for topic in wanted:
        facts = found.get(topic.name) if found is not None else None
        exists = "not known" if found is None else "no" if facts is None else "yes"
        config = "\n".join(f"{name}={value}" for name, value in topic.config.items())
        topics.add_row(
            topic.name, str(facts.partitions if facts is not None else partitions), exists, config, topic.purpose
        )
    console.print(topics)
    console.print()

    replication = "the brokers' default" if settings.replication == -1 else settings.replication
    ids = transactional_ids(settings, partitions)
    console.print(f"Replication where created: {replication}", soft_wrap=True)
    console.print(f"Consumer group:            {settings.app_id}", soft_wrap=True)
    if settings.intake_topics:
        console.print(f"Intake's group:            {settings.intake_group}", soft_wrap=True)
        console.print(f"Intake's sources:          {', '.join(settings.intake_topics)}", soft_wrap=True)
        if found is not None:
            sources = run(_sources(settings))
            there = ", ".join(f"{name} ({counted(count, 'partition')})" for name, count in sources.items())
            console.print(f"  of which there are:      {there or 'none'}", soft_wrap=True)
            notes += [missing_sentence(name) for name in missing_sources(settings, sources)]
    if settings.elasticsearch_url and settings.log_topic:
        console.print(f"Document writer's group:   {settings.documents_group}", soft_wrap=True)
    if settings.config and settings.log_topic:
        console.print(f"Groups of monitors:        {settings.monitors_group('NAME')}", soft_wrap=True)
    if settings.elasticsearch_url:
        console.print(f"Indices of Elasticsearch:  {', '.join(index_patterns())}", soft_wrap=True)
    ids_of_workers = f"{ids[0]}" + (f" to {ids[-1]}" if len(ids) > 1 else "")
    console.print(f"Transactional ids:         {ids_of_workers}", soft_wrap=True)
    console.print(f"Of `tally dead-letters`:   {letters_transactional_id(settings)}", soft_wrap=True)
    console.print()

    acls = table("ACLs", "role", "resource", "name", "operations", "and to create it")
    for acl in acls_of(settings):
        name = acl.name + ("* (prefixed)" if acl.pattern == "prefixed" else "")
        acls.add_row(acl.role, acl.resource, name, _listed(acl.operations), _listed(acl.operations_to_create))
    console.print(acls)
    console.print("The sender is whoever runs `tally send` or `tally feedback`, or else writes the canonical topics.")
    console.print("The operator is whoever runs `tally dead-letters`.")
    missing = [topic.name for topic in wanted if found is not None and topic.name not in found]
    if missing:
        notes.append(f"{counted(len(missing), 'topic')} of {len(wanted)} missing: run `tally topics --create`.")
    for note in notes:
        console.print(note, soft_wrap=True)


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words)


async def _look(settings: Settings) -> Cluster:
    async with admin_client(settings) as admin:
        return await describe_cluster(admin, [topic.name for topic in topics_of(settings)])


async def _sources(settings: Settings) -> dict[str, int]:
    if not settings.intake_topics:
        return {}
    async with admin_client(settings) as admin:
        return await find_sources(admin, settings)

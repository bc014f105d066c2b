"""Commands to run workers, and to see whether all is as it must be."""

import sys

import click

from app.commands.options import number, required_number


@click.command(
    short_help="Run a worker.",
    epilog="Example: TALLY_KAFKA_BOOTSTRAP_SERVERS=kafka:9092 tally worker --log-level warning",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    default="info",
    show_default=True,
    help="The least that is logged.",
)
def worker(log_level: str) -> None:
    """Run a worker (the same as `faust -A app.worker worker`)."""
    from app.worker.run import run_worker

    sys.exit(run_worker(log_level.upper()))


@click.command(
    short_help="Show or create the topics, and list the rights needed.",
    epilog="""\b
Examples:
  tally topics                     what there must be, and what there is
  tally topics --create            as a user who may create topics
  tally topics --yaml              to feed a tool; no broker is asked
""",
)
@click.option("--create", "action", flag_value="create", help="Create what is missing and check the rest.")
@click.option("--yaml", "action", flag_value="yaml", help="Print all of it as YAML.")
def topics(action: str | None) -> None:
    """Show the topics, the group, the transactional ids and the ACLs that Tally needs.

    The sources of TALLY_INTAKE_TOPICS are read, and never created: they belong to whoever writes them.
    """
    from app.cli import topics as run

    {None: run.show, "create": run.create, "yaml": run.print_yaml}[action]()


@click.command(
    short_help="Say how many workers, how much memory and disk a load takes.",
    epilog="""\b
Examples:
  tally plan --events-per-second 60
  tally plan --events-per-second 30000 --retention 2d --models 200 --event-bytes 2KiB --documents --json
  tally plan --events-per-second 600 --store rocksdb --worker-memory 1GiB
""",
)
@click.option(
    "--events-per-second",
    type=click.FloatRange(0.001, 1e9, clamp=False),
    required=True,
    metavar="N",
    callback=required_number,
    help="Requests, responses and feedback together: three make a labelled prediction.",
)
@click.option(
    "--retention", metavar="TIME", help="How long a label may take, like 7d; TALLY_EXCHANGE_RETENTION if unset."
)
@click.option("--models", type=click.IntRange(1, 1_000_000), default=1, show_default=True, help="Legs that answer.")
@click.option("--event-bytes", default="300", show_default=True, metavar="SIZE", help="Payload of an event.")
@click.option("--replication", type=click.IntRange(1, 10), default=3, show_default=True, help="Copies of each topic.")
@click.option("--worker-memory", default="2048MiB", show_default=True, metavar="SIZE", help="What a worker may use.")
@click.option("--documents", is_flag=True, help="With documents in Elasticsearch.")
@click.option(
    "--store", type=click.Choice(["memory", "rocksdb"]), help="Where exchanges are kept; TALLY_STORE if unset."
)
@click.option(
    "--core-speed",
    type=click.FloatRange(0.01, 100),
    default=1.0,
    show_default=True,
    help="How fast your cores are beside those that were measured, which count 83,000 events a second.",
)
@click.option(
    "--labels-after",
    default="1h",
    show_default=True,
    metavar="TIME",
    help="How long labels take on average: late ones are written to panes of long ago.",
)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def plan(
    events_per_second: float,
    *,
    retention: str | None,
    models: int,
    event_bytes: str,
    replication: int,
    worker_memory: str,
    documents: bool,
    store: str | None,
    core_speed: float,
    labels_after: str,
    as_json: bool,
) -> None:
    """Say what a load takes: partitions, workers, memory, and disk in Kafka and Elasticsearch.

    It is reckoned from what was measured, and no broker is asked. Where labels come late, or never, most takes as
    much: what counts is how long an exchange is kept. Only the panes' changelog grows with how late they are.
    """
    from app.cli import plan as run

    load = run.load_of(
        events_per_second,
        retention=retention,
        models=models,
        event_bytes=event_bytes,
        replication=replication,
        worker_memory=worker_memory,
        documents=documents,
        store=store,
        core_speed=core_speed,
        labels_after=labels_after,
    )
    run.show(load, as_json=as_json)


@click.command(
    short_help="Show settings, brokers and topics, with a verdict.",
    epilog="""\b
Example:
  TALLY_CONFIG=models.yaml tally check && tally worker

\b
Exit codes:
  0  a worker can start and finds all that it needs; what is noted or has been refused is no fault
  2  something is not as it must be: a setting, a broker, a topic, a group that stands still, a worker, Elasticsearch
""",
)
def check() -> None:
    """Show on one screen whether all is as it must be, and what to start or to mend where it is not.

    Settings, rules, brokers and topics; what each group has yet to read; what was refused, by reason; sources that do
    not exist; the workers, and what they say is wrong; Elasticsearch, and requests that are older than its documents.
    Nothing is changed by looking.
    """
    from app.cli.check import check as run
    from app.cli.ends import EXIT_WRONG

    sys.exit(0 if run() else EXIT_WRONG)


@click.command(
    short_help="Watch Tally at work on sample traffic.",
    epilog="""\b
Examples:
  tally demo                       with a broker of its own, in memory
  TALLY_KAFKA_BOOTSTRAP_SERVERS=kafka:9092 tally demo
                                   with a real one, and two workers to kill
  TALLY_KAFKA_BOOTSTRAP_SERVERS=kafka:9092 tally demo --only-traffic
                                   for workers that run already
""",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.001, 1e9, clamp=False),
    metavar="N",
    callback=number,
    help="End after N seconds of traffic.",
)
@click.option("--only-traffic", is_flag=True, help="Send the traffic alone, to workers that run already.")
def demo(seconds: float | None, *, only_traffic: bool) -> None:
    """Run broker, worker and sample traffic on this machine, and show the numbers until Ctrl-C.

    Nothing else is needed and nothing is left behind. Where TALLY_KAFKA_BOOTSTRAP_SERVERS names a broker, that one is
    used, with an application id and topics of the demo's own, which are deleted at the end.
    """
    if only_traffic:
        from app.demo.feeding import send_traffic

        sys.exit(send_traffic(seconds))
    from app.demo.run import run_demo

    sys.exit(run_demo(seconds))

"""What the worker uses of pinned libraries beyond their public interface: a version that differs fails here first."""

import inspect
import re
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import pytest
from aiohttp.web import AppRunner, RequestHandler
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection, AIOKafkaProtocol, create_conn
from aiokafka.consumer.fetcher import Fetcher, FetchResult, PartitionRecords
from aiokafka.consumer.group_coordinator import CoordinatorGroupRebalance, GroupCoordinator
from aiokafka.producer.message_accumulator import MessageAccumulator
from aiokafka.producer.sender import Sender
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchPy
from faust.assignor.partition_assignor import PartitionAssignor
from faust.tables.manager import TableManager
from faust.transport.drivers import aiokafka as driver
from faust.web.drivers.aiohttp import Web

import app

PINNED = {"faust-streaming": "0.15.3", "aiokafka": "0.14.0", "mode-streaming": "0.7.1"}


@pytest.mark.parametrize(("name", "pin"), PINNED.items())
def test_versions_are_the_pinned_ones(name: str, pin: str) -> None:
    assert version(name) == pin


def test_the_parser_is_the_compiled_one() -> None:
    """The Python parser is correct and six times slower."""
    assert DefaultRecordBatch is not _DefaultRecordBatchPy


@pytest.mark.parametrize(
    ("function", "names"),
    [
        # app/worker/kafka/consumer.py binds these names to other classes.
        (Fetcher._proc_fetch_request, {"PartitionRecords", "MemoryRecords", "time", "timestamp"}),
        (AIOKafkaConsumer.start, {"Fetcher"}),
        # … replaces this method, and reads these attributes.
        (PartitionRecords._unpack_records, {"_consumer_record", "has_next", "next_batch"}),
        (FetchResult.getall, {"check_assignment", "has_more"}),
        (Fetcher.fetched_records, {"_records", "_notify", "_wait_consume_future", "_create_fetch_waiter"}),
        (Fetcher.__init__, {"_records"}),  # what is fetched ahead is put aside on its way there
        (Fetcher._get_actions_per_node, {"_records", "position"}),
        (Fetcher._fetch_requests_routine, {"_records", "clear"}),
        (FetchResult._update_position, {"consumed_to", "state_value"}),
        (AIOKafkaConsumer.getmany, {"check_errors"}),
        (GroupCoordinator.__init__, {"_heartbeat_task", "_coordination_task"}),  # ended where the brokers are away
        (Fetcher.close, {"_fetch_task", "_pending_tasks"}),
        (GroupCoordinator.fetch_committed_offsets, {"_do_fetch_commit_offsets"}),  # with what was noted
        # app/worker/kafka/client.py: a request that creates no topic.
        (AIOKafkaClient._metadata_update, {"MetadataRequest"}),
        (AIOKafkaClient._md_synchronizer, {"_metadata_update"}),
        # … connections that know when they are gone.
        (AIOKafkaClient.bootstrap, {"create_conn"}),
        (AIOKafkaClient._get_conn, {"create_conn"}),
        (create_conn, {"AIOKafkaConnection"}),
        (AIOKafkaConnection.send, {"_writer", "write"}),
        # … and connections that are cut where they do not end.
        (AIOKafkaClient.close, {"_conns", "_sync_task", "gather"}),
        (AIOKafkaConnection.close, {"_writer", "_closed_fut"}),
        (AIOKafkaProtocol.connection_lost, {"_closed_fut", "cancelled"}),
        (AIOKafkaConsumer.stop, {"_client", "close"}),
        (AIOKafkaAdminClient.close, {"_client", "close"}),
        (AIOKafkaConsumer.__init__, {"_client"}),
        (AIOKafkaProducer.__init__, {"client"}),
        (AIOKafkaAdminClient.__init__, {"_client"}),
        # app/worker/kafka/reaching.py: whether the other side has answered as a Kafka broker.
        (AIOKafkaConnection._do_version_lookup, {"_versions"}),
        # app/worker/kafka/producer.py: what ends a producer that the brokers no longer answer.
        (Sender.close, {"_sender_task"}),
        # app/worker/http/publisher.py: what ends a producer that the brokers no longer answer.
        (AIOKafkaProducer.stop, {"_message_accumulator", "_sender"}),
        (MessageAccumulator.fail_all, {"_batches"}),
        # app/worker/kafka/membership.py: the recorded heartbeat, the ended fetcher, the asked rejoin.
        (GroupCoordinator._heartbeat_routine, {"_do_heartbeat"}),
        (GroupCoordinator.need_rejoin, {"_rejoin_needed_fut"}),
        (GroupCoordinator.check_errors, {"_pending_exception", "_coordination_task"}),
        (GroupCoordinator._push_error_to_user, {"_pending_exception", "_error_consumed_fut"}),
        (PartitionAssignor.on_assignment, {"_decompress", "user_data", "url"}),
        # app/worker/kafka/instance.py: the heartbeats that bring an instance id, and what joins by it.
        (GroupCoordinator._do_heartbeat, {"HeartbeatRequest", "_send_req"}),
        (GroupCoordinator._maybe_leave_group, {"_group_instance_id"}),  # who has one does not leave
        (CoordinatorGroupRebalance.perform_group_join, {"_group_instance_id", "_send_req"}),
        (CoordinatorGroupRebalance._send_sync_group_request, {"_send_req"}),
        (driver.AIOKafkaConsumerThread._create_consumer, {"_create_worker_consumer"}),
        (driver.Consumer._new_consumer_thread, {"AIOKafkaConsumerThread"}),
        (TableManager._update_channels, {"_tables_finalized", "_tables_registered"}),
        (Web.on_start, {"init_server"}),
        # app/worker/build.py: the port in the place of aiohttp's own server.
        (Web.start_server, {"_runner", "_create_site"}),
        # app/worker/http/port.py: what a connection waits for, and what has been parsed.
        (RequestHandler.data_received, {"_request_count", "_messages", "_waiter"}),
        (RequestHandler.start, {"_waiter", "_messages"}),
        (AppRunner.setup, {"_make_server"}),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_functions_use_the_names_that_are_bound(function: object, names: set[str]) -> None:
    code = function.__code__  # type: ignore[attr-defined]
    inner = [constant.co_names for constant in code.co_consts if inspect.iscode(constant)]
    assert names <= set(code.co_names).union(*inner)


def test_every_client_is_prepared() -> None:
    """Of aiokafka's own accord they create what they ask for, where the brokers allow it, and may end late."""
    opened, told = Counter[str](), Counter[str]()
    for path in Path(app.__file__).parent.rglob("*.py"):
        text = path.read_text()
        opened[str(path)] = len(re.findall(r"= (?:AIOKafka(?:Consumer|Producer|AdminClient)|Member)\(", text))
        opened[str(path)] += len(re.findall(r"class \w+\(AIOKafka(?:Consumer|Producer)\)", text))
        told[str(path)] = text.count("prepare_client(") - text.count("def prepare_client(")
    assert +opened == +told
    assert opened.total() == 6


def test_faust_never_starts_its_fetcher_without_its_recovery() -> None:
    """Only table recovery starts Faust's fetcher, and app/worker/kafka/membership.py starts no recovery."""
    assert "recovery.start" in inspect.getsource(TableManager.on_start)
    assert "_fetcher" not in inspect.getsource(driver.Consumer)

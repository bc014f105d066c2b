"""A member of a group that is known by an id of its own, and so comes back to its partitions (KIP-345).

aiokafka joins by such an id. But its heartbeats are of a version that does not bring it: a member whose id another has
joined by is told that it is unknown, joins again, and so puts the other out, which does the same, for ever. With the id
brokers answer that it is another's. The formats are those of Kafka's `HeartbeatRequest.json` and
`HeartbeatResponse.json`, version 3.
"""

from typing import Any, Final

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.types import Int16, Int32, Schema, String

#: What brokers answer who is not the newest with its id. aiokafka knows no such error.
FENCED_INSTANCE_ID: Final = 82

_VERSION: Final = 3


class _Answer(Response):  # type: ignore[misc]
    API_KEY = HeartbeatRequest.API_KEY
    API_VERSION = _VERSION
    SCHEMA = Schema(("throttle_time_ms", Int32), ("error_code", Int16))


class _Heartbeat(RequestStruct):  # type: ignore[misc]
    API_KEY = HeartbeatRequest.API_KEY
    API_VERSION = _VERSION
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(
        ("group", String("utf-8")),
        ("generation_id", Int32),
        ("member_id", String("utf-8")),
        ("group_instance_id", String("utf-8")),
    )


class InstanceHeartbeat(Request[_Heartbeat]):  # type: ignore[misc]
    """A heartbeat of aiokafka's that brings an instance id, too."""

    API_KEY = HeartbeatRequest.API_KEY

    def __init__(self, heartbeat: HeartbeatRequest, instance_id: str) -> None:
        self._values = (heartbeat._group, heartbeat._generation_id, heartbeat._member_id, instance_id)

    def build(self, request_struct_class: type[_Heartbeat]) -> _Heartbeat:
        """The request as it is written."""
        return request_struct_class(*self._values)


class Instance:
    """Stands between a coordinator of aiokafka's and its broker; `fenced` once another has joined by the same id."""

    def __init__(self, coordinator: Any, instance_id: str) -> None:
        self.fenced = False
        self._instance_id = instance_id
        self._send = coordinator._send_req
        coordinator._send_req = self._send_and_look

    async def _send_and_look(self, request: Any) -> Any:
        if type(request) is HeartbeatRequest:
            request = InstanceHeartbeat(request, self._instance_id)
        answer = await self._send(request)
        # Of JoinGroup, SyncGroup and Heartbeat; others have no error of their own.
        if getattr(answer, "error_code", 0) == FENCED_INSTANCE_ID:
            self.fenced = True
        return answer

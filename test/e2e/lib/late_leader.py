"""A broker that learns late that it leads a partition: it refuses what comes first, and takes what comes next."""

import struct

from .between import PRODUCE, Between, Line, send_frame

NOT_LEADER = 6
UNKNOWN_SERVER_ERROR = -1
FLEXIBLE = 9  # the version of Produce from which on lengths are varints and structs have tags


def _refusal(request: bytes, topic: str, error: int) -> bytes:
    """What a broker answers that does not take messages of partition 0 of the topic."""
    _, version, correlation = struct.unpack(">hhi", request[:8])
    name = topic.encode()
    assert len(name) < 127 and version <= 12
    partition = struct.pack(">ihqqq", 0, error, -1, -1, -1)
    if version >= FLEXIBLE:
        partition += b"\1\0\0"  # no errors of records, no message, no tags
        topics = b"\2" + bytes([len(name) + 1]) + name + b"\2" + partition + b"\0"
        return struct.pack(">i", correlation) + b"\0" + topics + struct.pack(">i", 0) + b"\0"
    if version >= 8:
        partition += struct.pack(">ih", 0, -1)
    topics = struct.pack(">ih", 1, len(name)) + name + struct.pack(">i", 1) + partition
    return struct.pack(">i", correlation) + topics + struct.pack(">i", 0)


class _Line(Line):
    first: bytes | None = None

    def lead_there(self, request: bytes) -> None:
        if struct.unpack(">h", request[:2])[0] == PRODUCE and self.leader._topic.encode() in request:
            if self.leader.fails:
                self._refuse(request, UNKNOWN_SERVER_ERROR)
                return
            self.leader._requests += 1
            if self.leader._requests == 1:
                self.first = request
                return
            if self.leader._requests == 2:
                assert self.first is not None, "both come by one connection"
                self._refuse(self.first, NOT_LEADER)
        super().lead_there(request)

    def _refuse(self, request: bytes, error: int) -> None:
        send_frame(self.client, _refusal(request, self.leader._topic, error))
        self.leader.refused += 1


class LateLeader(Between):
    """
    The first request to produce for the topic does not arrive: once the second is here the first is refused, and
    everything from the second on is the broker's. One that fails refuses all, and does not say why.
    """

    line = _Line

    def __init__(self, ports: str, topic: str, fails: bool = False):
        self.refused = 0
        self.fails = fails
        self._topic = topic
        self._requests = 0
        super().__init__(ports)

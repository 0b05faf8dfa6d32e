"""A broker that learns late that it leads a partition: it refuses what comes first, and takes what comes next."""

import contextlib
import socket
import struct
import threading

PRODUCE = 0
NOT_LEADER = 6
UNKNOWN_SERVER_ERROR = -1
FLEXIBLE = 9  # the version of Produce from which on lengths are varints and structs have tags


def _receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise ConnectionError
        data += more
    return data


def receive_frame(connection: socket.socket) -> bytes:
    return _receive(connection, struct.unpack(">i", _receive(connection, 4))[0])


def send_frame(connection: socket.socket, frame: bytes) -> None:
    connection.sendall(struct.pack(">i", len(frame)) + frame)


def end_connection(connection: socket.socket) -> None:
    """Also for who waits for it in another thread."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


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


class LateLeader:
    """
    Leads from one port to another, as a Wire does. The first request to produce for the topic does not arrive:
    once the second is here the first is refused, and everything from the second on is the broker's. One that fails
    refuses all, and does not say why.
    """

    def __init__(self, ports: str, topic: str, fails: bool = False):
        port, self._target = (int(each) for each in ports.split(":"))
        self.address = f"127.0.0.1:{port}"
        self.refused = 0
        self.fails = fails
        self._topic = topic
        self._requests = 0
        self._listener = socket.create_server(("127.0.0.1", port))
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            broker = socket.create_connection(("127.0.0.1", self._target))
            self._connections += [client, broker]
            line = _Line(self, client, broker)
            threading.Thread(target=line.lead_there, daemon=True).start()
            threading.Thread(target=line.lead_back, daemon=True).start()

    def destroy(self) -> None:
        for each in [self._listener, *self._connections]:
            end_connection(each)


class _Line:
    """One connection."""

    def __init__(self, leader: LateLeader, client: socket.socket, broker: socket.socket):
        self.leader, self.client, self.broker = leader, client, broker
        self.first: bytes | None = None

    def lead_there(self) -> None:
        try:
            while True:
                frame = receive_frame(self.client)
                if struct.unpack(">h", frame[:2])[0] == PRODUCE and self.leader._topic.encode() in frame:
                    if self.leader.fails:
                        send_frame(self.client, _refusal(frame, self.leader._topic, UNKNOWN_SERVER_ERROR))
                        self.leader.refused += 1
                        continue
                    self.leader._requests += 1
                    if self.leader._requests == 1:
                        self.first = frame
                        continue
                    if self.leader._requests == 2:
                        assert self.first is not None, "both come by one connection"
                        send_frame(self.client, _refusal(self.first, self.leader._topic, NOT_LEADER))
                        self.leader.refused += 1
                send_frame(self.broker, frame)
        except (OSError, ConnectionError):
            self._close()

    def lead_back(self) -> None:
        try:
            while True:
                send_frame(self.client, receive_frame(self.broker))
        except (OSError, ConnectionError):
            self._close()

    def _close(self) -> None:
        for each in (self.client, self.broker):
            end_connection(each)

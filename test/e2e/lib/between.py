"""Who stands between a client and a broker, and sees each request and each answer."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

PRODUCE = 0  # the kind of a request


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


class Between:
    """Leads from one port to another, as a Wire does; what happens on a connection is its line's affair."""

    line: type["Line"]

    def __init__(self, ports: str):
        port, self._target = (int(each) for each in ports.split(":"))
        self.address = f"127.0.0.1:{port}"
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
            line = self.line(self, client, broker)
            for source, lead in ((client, line.lead_there), (broker, line.lead_back)):
                threading.Thread(target=line.run, args=(source, lead), daemon=True).start()

    def destroy(self) -> None:
        for each in [self._listener, *self._connections]:
            end_connection(each)


class Line:
    """One connection. A line of its own takes requests, or answers, in its own way."""

    def __init__(self, leader: Any, client: socket.socket, broker: socket.socket):
        self.leader, self.client, self.broker = leader, client, broker

    def run(self, source: socket.socket, lead: Callable[[bytes], None]) -> None:
        """Until one of the two ends it."""
        try:
            while True:
                lead(receive_frame(source))
        except (OSError, ConnectionError):
            self.close()

    def lead_there(self, request: bytes) -> None:
        send_frame(self.broker, request)

    def lead_back(self, answer: bytes) -> None:
        send_frame(self.client, answer)

    def close(self) -> None:
        for each in (self.client, self.broker):
            end_connection(each)

"""A broker whose answer is lost with the connection, when another request by that has been refused."""

import socket
import struct
import threading
import time

from lib.late_leader import PRODUCE, end_connection, receive_frame, send_frame

HEARD = 0.2  # seconds in which a client has understood what it was answered


class LostAnswer:
    """
    Leads from one port to another, as a Wire does. The first requests to produce for the two topics arrive together;
    of one the answer is lost, and the connection ends when that to the other one is there.
    """

    def __init__(self, ports: str, lost: str, answered: str):
        port, self._target = (int(each) for each in ports.split(":"))
        self.address = f"127.0.0.1:{port}"
        self.lost = 0
        self.names = lost.encode(), answered.encode()
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

    def __init__(self, leader: LostAnswer, client: socket.socket, broker: socket.socket):
        self.leader, self.client, self.broker = leader, client, broker
        self.requests: dict[int, bytes] = {}  # by the place of their topic

    def _hold(self, frame: bytes) -> bool:
        """Keeps the first request for each of the topics until both are there."""
        if self.leader.lost or struct.unpack(">h", frame[:2])[0] != PRODUCE:
            return False
        for place, name in enumerate(self.leader.names):
            if name in frame and place not in self.requests:
                self.requests[place] = frame
                return True
        return False

    def lead_there(self) -> None:
        try:
            while True:
                frame = receive_frame(self.client)
                if not self._hold(frame):
                    send_frame(self.broker, frame)
                elif len(self.requests) == 2:
                    self.leader.lost = 1
                    for place in (0, 1):
                        send_frame(self.broker, self.requests[place])
        except (OSError, ConnectionError):
            self._close()

    def lead_back(self) -> None:
        try:
            while True:
                frame = receive_frame(self.broker)
                # An answer begins with the number that its request has behind its kind and version.
                places = [place for place, request in list(self.requests.items()) if frame[:4] == request[4:8]]
                if places == [0]:
                    continue
                send_frame(self.client, frame)
                if places == [1]:
                    time.sleep(HEARD)
                    self._close()
        except (OSError, ConnectionError):
            self._close()

    def _close(self) -> None:
        for each in (self.client, self.broker):
            end_connection(each)

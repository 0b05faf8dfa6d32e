"""A broker whose answer is lost with the connection, when another request by that has been refused."""

import struct
import time
from typing import Any

from .between import PRODUCE, Between, Line, send_frame

HEARD = 0.2  # seconds in which a client has understood what it was answered


class _Line(Line):
    def __init__(self, *ends: Any):
        super().__init__(*ends)
        self.requests: dict[int, bytes] = {}  # by the place of their topic

    def _hold(self, request: bytes) -> bool:
        """Keeps the first request for each of the topics until both are there."""
        if self.leader.lost or struct.unpack(">h", request[:2])[0] != PRODUCE:
            return False
        for place, name in enumerate(self.leader.names):
            if name in request and place not in self.requests:
                self.requests[place] = request
                return True
        return False

    def lead_there(self, request: bytes) -> None:
        if not self._hold(request):
            super().lead_there(request)
        elif len(self.requests) == 2:
            self.leader.lost = 1
            for place in (0, 1):
                send_frame(self.broker, self.requests[place])

    def lead_back(self, answer: bytes) -> None:
        # An answer begins with the number that its request has behind its kind and version.
        places = [place for place, request in list(self.requests.items()) if answer[:4] == request[4:8]]
        if places == [0]:
            return
        super().lead_back(answer)
        if places == [1]:
            time.sleep(HEARD)
            self.close()


class LostAnswer(Between):
    """
    The first requests to produce for the two topics arrive together; of one the answer is lost, and the connection
    ends when that to the other one is there.
    """

    line = _Line

    def __init__(self, ports: str, lost: str, answered: str):
        self.lost = 0
        self.names = lost.encode(), answered.encode()
        super().__init__(ports)

"""A broker that is far away: everything to and from it comes later, by as much as a test says."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from .kafka import Broker, free_ports


class FarBroker:
    """A broker that tells everybody the address of a wire that takes its time (delay.c)."""

    def __init__(self, **properties: Any):
        (port,) = free_ports(1)
        self.address = f"127.0.0.1:{port}"
        self.folder = Path(tempfile.mkdtemp(prefix="djk-wire-"))
        self.wire: subprocess.Popen | None = None
        self.broker = Broker(advertised_listeners=f"PLAINTEXT://{self.address}", **properties)
        program = self.folder / "delay"
        source = Path(__file__).with_name("delay.c")
        subprocess.run([os.environ.get("CC", "cc"), "-O2", "-pthread", "-o", program, source], check=True)
        self.wire = subprocess.Popen(
            ["setpriv", "--pdeathsig=KILL", program, str(port), self.broker.address.rsplit(":", 1)[1]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.set_round_trip(0)  # it listens once it answers

    def start(self) -> "FarBroker":
        self.broker.start()
        return self

    def set_round_trip(self, milliseconds: float) -> None:
        """What a question and its answer take together, beside what they take anyway."""
        assert self.wire is not None and self.wire.stdin is not None and self.wire.stdout is not None
        self.wire.stdin.write(f"{milliseconds / 2}\n")
        self.wire.stdin.flush()
        assert self.wire.stdout.readline(), "the wire is broken"

    def destroy(self) -> None:
        if self.wire is not None:
            self.wire.kill()
            self.wire.wait()
        self.broker.destroy()
        shutil.rmtree(self.folder, ignore_errors=True)

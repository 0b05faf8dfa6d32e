"""A wire to a broker: everything to and from it comes later, by as much as a test says."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path


class Wire:
    """
    Leads from one port to another (delay.c). All processes of pytest share the two, so one has the wire at a
    time.
    """

    def __init__(self, ports: str):
        port, target = ports.split(":")
        self.address = f"127.0.0.1:{port}"
        self.folder = Path(tempfile.mkdtemp(prefix="djk-wire-"))
        program = self.folder / "delay"
        source = Path(__file__).with_name("delay.c")
        subprocess.run([os.environ.get("CC", "cc"), "-O2", "-pthread", "-o", program, source], check=True)
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig=KILL", program, port, target],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.set_round_trip(0)  # it listens once it answers

    def set_round_trip(self, milliseconds: float) -> None:
        """What a question and its answer take together, beside what they take anyway."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{milliseconds / 2}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline(), "the wire is broken"

    def destroy(self) -> None:
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

"""What /proc says about a process."""

import os
import signal
import subprocess
from pathlib import Path

from .wait import wait_until

TICKS = os.sysconf("SC_CLK_TCK")


def alive(pid: int) -> bool:
    """True while the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def title(pid: int) -> str:
    """What a process of PostgreSQL calls itself; "" if it is gone."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0 ").decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return line.removeprefix("postgres:").strip()


def private_kb(pid: int) -> int:
    """The most that a process has had for itself."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return int(lines["VmHWM"].split()[0]) - int(lines["RssShmem"].split()[0])


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def status(path: Path) -> dict[str, str]:
    pairs = (line.split(":", 1) for line in path.read_text().splitlines())
    return {name: value.strip() for name, value in pairs}


def private_memory(pid: int) -> int:
    """RssAnon in bytes: what this process alone has in memory."""
    return int(status(Path(f"/proc/{pid}/status"))["RssAnon"].split()[0]) * 1024


def highest_memory(pid: int) -> int:
    """VmHWM in bytes: the most that this process has ever had in memory, shared memory that it has used included."""
    return int(status(Path(f"/proc/{pid}/status"))["VmHWM"].split()[0]) * 1024


def blocked_signals(pid: int) -> dict[int, int]:
    """Thread id → the mask SigBlk, for each thread but the main one."""
    tasks = [task for task in Path(f"/proc/{pid}/task").iterdir() if int(task.name) != pid]
    return {int(task.name): int(status(task / "status")["SigBlk"], 16) for task in tasks}


def stop_and_wait(pid: int) -> None:
    """Stops a process as SIGSTOP does, and waits until each of its threads stands still."""
    os.kill(pid, signal.SIGSTOP)

    def stopped() -> bool:
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return all((task / "stat").read_text().rsplit(")", 1)[1].split()[0] in "TZX" for task in tasks)

    wait_until(stopped, message=f"all threads of {pid} have stopped", interval=0.01)


def kill_and_wait(pid: int, with_signal: int = signal.SIGKILL) -> None:
    """Ends a process that is not a child of ours; it may be gone already."""
    try:
        os.kill(pid, with_signal)
    except ProcessLookupError:
        return
    wait_until(lambda: not alive(pid), message=f"process {pid} is gone")


def start_process(command: list[str], log: Path, death_signal: str = "KILL", **options) -> subprocess.Popen:
    """Starts a server that ends with us even where we are killed; its output goes to the log."""
    with log.open("ab") as output:
        return subprocess.Popen(
            ["setpriv", f"--pdeathsig={death_signal}", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **options,
        )


def stop_process(process: subprocess.Popen, with_signal: int, timeout: float) -> None:
    """Asks a server to leave and sees to it that it has left."""
    if process.poll() is None:
        process.send_signal(with_signal)
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise AssertionError(f"process {process.pid} did not leave within {timeout:g} s") from None

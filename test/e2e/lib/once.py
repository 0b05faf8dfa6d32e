"""Folders of servers; and what is made once for all processes of pytest: a JVM or initdb takes a second each time."""

import atexit
import contextlib
import fcntl
import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

FOLDER = "DJK_TEST_SHARED"


def server_folder(prefix: str) -> Path:
    """A new folder, in memory where scripts/test says so: to make a file costs a tenth there."""
    return Path(tempfile.mkdtemp(prefix=prefix, dir=os.environ.get("DJK_TEST_DATA")))


@functools.cache
def shared_folder() -> Path:
    """The folder of all processes of pytest; without one it is this process's own."""
    if FOLDER in os.environ:
        return Path(os.environ[FOLDER])
    folder = server_folder("djk-shared-")
    os.environ[FOLDER] = str(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """One process at a time; one that is killed holds nothing."""
    with (shared_folder() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def made_once(name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first who wants it makes."""
    folder = shared_folder() / name
    with locked(name):
        if not folder.exists():
            unfinished = folder.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            make(unfinished)
            unfinished.rename(folder)
    return folder

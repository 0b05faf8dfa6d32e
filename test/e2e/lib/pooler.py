"""pgbouncer in transaction mode before a server of ours, reached by a socket in its own folder."""

import functools
import os
import re
import shutil
import signal
import subprocess
from typing import Any

import psycopg

from . import process
from .once import server_folder
from .postgres import PORT as SERVER_PORT
from .postgres import Database
from .wait import wait_until

PORT = 6432  # of a socket: it needs not be free

# The first that knows prepared statements in transaction mode and lets them be closed, as psycopg wants it.
PREPARES = (1, 22)


@functools.cache
def find_program() -> str:
    """Debian puts it where an ordinary user's PATH does not lead."""
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert found is not None, "there is no pgbouncer; scripts/install-deps test installs it"
    return found


@functools.cache
def find_version() -> tuple[int, ...]:
    said = subprocess.run([find_program(), "--version"], check=True, capture_output=True, text=True).stdout
    numbers = re.search(r"(\d+)\.(\d+)", said)
    assert numbers is not None, said
    return tuple(map(int, numbers.groups()))


class Pooler:
    """All clients of a database share its few connections, from transaction to transaction."""

    def __init__(self, db: Database, pool_size: int = 1):
        self.db = db
        self.folder = server_folder("djk-pool-")
        self.prepares = find_version() >= PREPARES
        self._connections: list[psycopg.Connection] = []
        settings = {
            "unix_socket_dir": self.folder,
            "listen_port": PORT,
            "auth_type": "trust",
            "auth_file": self.folder / "users",
            "pool_mode": "transaction",
            "default_pool_size": pool_size,
        }
        if self.prepares:
            settings["max_prepared_statements"] = 20
        lines = ["[databases]", f"{db.name} = host={db.cluster.folder} port={SERVER_PORT}", "[pgbouncer]"]
        lines += [f"{name} = {value}" for name, value in settings.items()]
        (self.folder / "ini").write_text("\n".join(lines) + "\n")
        (self.folder / "users").write_text(f'"{db.owner}" ""\n')
        self.log = self.folder / "log"
        self.process = process.start_process([find_program(), "--quiet", self.folder / "ini"], self.log)
        wait_until(self._answers, message=lambda: f"pgbouncer is up; it said:\n{self.log.read_text()}")

    def _answers(self) -> bool:
        assert self.process.poll() is None, f"pgbouncer did not start:\n{self.log.read_text()}"
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def connect(self, **options: Any) -> psycopg.Connection:
        """A client of its own, closed with the pooler."""
        prepare = {"prepare_threshold": 1 if self.prepares else None}
        made = psycopg.connect(
            host=str(self.folder),
            port=PORT,
            dbname=self.db.name,
            user=self.db.owner,
            autocommit=True,
            **(prepare | options),
        )
        self._connections.append(made)
        return made

    def destroy(self) -> None:
        for connection in self._connections:
            connection.close()
        try:
            process.stop_process(self.process, signal.SIGTERM, 10)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

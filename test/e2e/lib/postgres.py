"""A PostgreSQL server of our own: made by initdb, reached by a socket in its own folder."""

import functools
import os
import select
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import psycopg

from . import process
from .once import made_once, server_folder
from .wait import wait_until

BINDIR = Path(os.environ.get("DJK_BINDIR", "/usr/lib/postgresql/15/bin"))

# The same with assertions, and the functions of test/src, in djkafka's library.
TEST_BINDIR = Path(os.environ.get("DJK_TEST_BINDIR", BINDIR))

# A socket needs no free port, and its name must be short.
PORT = 5432

SETTINGS = {
    "listen_addresses": "",
    "port": PORT,
    "fsync": "off",
    "max_connections": 60,
    "max_worker_processes": 60,
    "shared_preload_libraries": "djkafka",
    "log_line_prefix": "%m [%p] %b %d ",
    "log_min_messages": "info",
    "autovacuum_naptime": "10s",
    # Tables that were never analyzed look large enough to compile for, which takes a second a statement.
    "jit": "off",
}

CRASH_MARKS = ("was terminated by signal", "PANIC:", "TRAP:", "terminating any other active server processes")


def make_empty_cluster(bindir: Path, folder: Path) -> None:
    subprocess.run(
        [bindir / "initdb", "--pgdata", folder / "data", "--username=postgres", "--auth=trust"]
        + ["--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"],
        check=True,
        stdout=subprocess.DEVNULL,
    )


class Cluster:
    """One server.  Its superuser is "postgres"; everybody is trusted."""

    def __init__(self, bindir: Path = TEST_BINDIR, **settings: Any):
        self.bindir = bindir
        self.folder = server_folder("djk-pg-")
        self.data = self.folder / "data"
        self.logfile = self.folder / "log"
        self.logfile.touch()
        self.process: subprocess.Popen | None = None
        self.databases: list[str] = []
        self._kept: psycopg.Connection | None = None
        shutil.copytree(made_once("postgres", functools.partial(make_empty_cluster, bindir)) / "data", self.data)
        self.port = settings.get("port", PORT)
        self.configure(**(SETTINGS | {"unix_socket_directories": self.folder} | settings))

    # -- the server's life

    def configure(self, **settings: Any) -> None:
        """Writes settings; names of an extension's settings have "__" where SQL has a dot."""
        with (self.data / "postgresql.conf").open("a") as conf:
            for name, value in settings.items():
                quoted = str(value).replace("'", "''")
                conf.write(f"{name.replace('__', '.')} = '{quoted}'\n")

    def start(self) -> "Cluster":
        self.process = process.start_process([self.bindir / "postgres", "-D", self.data], self.logfile, "QUIT")
        wait_until(self._answers, message=lambda: f"server is up; its log ends:\n{self.log()[-3000:]}")
        return self

    def _answers(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            raise AssertionError(f"the server did not start:\n{self.log()[-3000:]}")
        try:
            self.connect("postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, with_signal: int = signal.SIGINT, timeout: float = 30) -> None:
        """A fast shutdown, which ends by itself or fails the test."""
        if self.process is not None:
            stopped, self.process = self.process, None
            process.stop_process(stopped, with_signal, timeout)

    def restart(self) -> None:
        self.stop()
        self.start()

    def kill(self) -> None:
        """kill -9 of the postmaster; returns when all its children have noticed."""
        assert self.process is not None
        process.stop_and_wait(self.process.pid)  # it starts no child while they are listed
        orphans = process.children(self.process.pid)
        self.process.kill()
        self.process.wait()
        self.process = None
        wait_until(lambda: not any(map(process.alive, orphans)), message="children of a killed postmaster are gone")

    def destroy(self) -> None:
        if self._kept is not None:
            self._kept.close()
        try:
            self.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def reload(self) -> None:
        self.query("SELECT pg_reload_conf()")

    # -- the log

    def log(self, since: int = 0) -> str:
        with self.logfile.open("rb") as log:
            log.seek(since)
            return log.read().decode(errors="replace")

    def log_size(self) -> int:
        return self.logfile.stat().st_size

    def crashes(self, since: int = 0) -> list[str]:
        """Lines that say that a process of the server crashed."""
        return [line for line in self.log(since).splitlines() if any(mark in line for mark in CRASH_MARKS)]

    # -- SQL

    def connect(self, dbname: str, user: str = "postgres", **options: Any) -> psycopg.Connection:
        return psycopg.connect(
            host=str(self.folder), port=self.port, dbname=dbname, user=user, autocommit=True, **options
        )

    def query(self, query: str, *parameters: Any) -> list[tuple]:
        """Runs a statement as the superuser in the database postgres, whose connection is kept while it lasts."""
        if self._kept is None or self._kept.closed or has_ended(self._kept):
            self._kept = self.connect("postgres")
        cursor = self._kept.execute(query, parameters or None)
        return cursor.fetchall() if cursor.description else []

    # -- databases that djkafka works in

    def list_database(self, name: str) -> None:
        self._set_databases([*self.databases, name])

    def unlist_database(self, name: str) -> None:
        if name in self.databases:
            self._set_databases([other for other in self.databases if other != name])

    def _set_databases(self, names: list[str]) -> None:
        self.databases = names
        self.configure(djkafka__databases=",".join(names))
        self.reload()


def has_ended(connection: psycopg.Connection) -> bool:
    """Whether the server has closed a connection on which nothing is asked; nothing else comes there by itself."""
    return bool(select.select([connection.fileno()], [], [], 0)[0])


def answers(connection: psycopg.Connection) -> bool:
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


class Database:
    """A database with an owner of its own who is no superuser, as a Django project has it."""

    def __init__(self, cluster: Cluster, name: str, listed: bool = True, encoding: str = "UTF8"):
        self.cluster = cluster
        self.name = name
        self.owner = f"{name}_owner"
        self._connections: dict[str, psycopg.Connection] = {}
        self._make(encoding)
        if listed:
            cluster.list_database(name)

    def _make(self, encoding: str) -> None:
        self.cluster.query(f"CREATE ROLE {self.owner} LOGIN")
        locale = "C.UTF-8" if encoding == "UTF8" else "C"
        self._copy("template0", f"ENCODING {encoding} LOCALE '{locale}'")

    def _copy(self, template: str, options: str = "") -> None:
        """STRATEGY file_copy takes a quarter of what going by the WAL takes."""
        self.cluster.query(
            f"CREATE DATABASE {self.name} OWNER {self.owner} {options} TEMPLATE {template} STRATEGY file_copy"
        )

    def destroy(self) -> None:
        self.disconnect()
        self.cluster.unlist_database(self.name)
        busy = "SELECT pid, backend_type FROM pg_stat_activity WHERE datname = %s"
        wait_until(
            lambda: not self.cluster.query(busy, self.name),
            message=lambda: f"nobody is in {self.name}: {self.cluster.query(busy, self.name)}",
        )
        self.cluster.query(f"DROP DATABASE {self.name}")
        self._drop_owner()

    def _drop_owner(self) -> None:
        self.cluster.query(f"DROP ROLE {self.owner}")

    def connect(self, user: str | None = None, **options: Any) -> psycopg.Connection:
        """A new connection, which is the caller's to close."""
        return self.cluster.connect(self.name, user or self.owner, **options)

    def disconnect(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._connections = {}

    def kill_process(self, pid: int) -> None:
        """kill -9 of one of the server's processes: it restarts itself, and answers again."""
        kept = self.connect()
        process.kill_and_wait(pid)
        wait_until(lambda: not answers(kept), 60, "the server restarts itself")
        kept.close()
        self.disconnect()

        def is_back() -> bool:
            try:
                return answers(self.connection(self.owner))
            except psycopg.OperationalError:
                return False

        wait_until(is_back, 60, lambda: f"the server is back; its log ends:\n{self.cluster.log()[-3000:]}")

    def connection(self, user: str) -> psycopg.Connection:
        """The kept connection of a user, made again where the server closed it."""
        kept = self._connections.get(user)
        if kept is None or kept.closed:
            kept = self._connections[user] = self.connect(user)
        return kept

    def query(self, query: str, *parameters: Any, user: str | None = None) -> list[tuple]:
        """Runs one statement, as the owner by default; the rows, if it has any."""
        cursor = self.connection(user or self.owner).execute(query, parameters or None)
        return cursor.fetchall() if cursor.description else []

    def value(self, query: str, *parameters: Any, user: str | None = None) -> Any:
        """The one value of a statement that has one row, or None where it has no row."""
        rows = self.query(query, *parameters, user=user)
        return rows[0][0] if rows else None

    def record(self, query: str, *parameters: Any, user: str | None = None) -> dict[str, Any]:
        """The one row of a statement by column names."""
        cursor = self.connection(user or self.owner).execute(query, parameters or None)
        row = cursor.fetchone()
        assert row is not None and cursor.description, f"no row: {query}"
        return dict(zip((column.name for column in cursor.description), row))

    def workers(self, kind: str = "djkafka") -> dict[int, str]:
        """Process id → backend type, of djkafka's processes in this database."""
        rows = self.cluster.query(
            "SELECT pid, backend_type FROM pg_stat_activity WHERE datname = %s AND backend_type LIKE %s",
            self.name,
            f"{kind}%",
        )
        return dict(rows)


# What a test may have made of a role, which the next one must not find.
ROLE = """
    SELECT r::text,
           (SELECT array_agg(m::text ORDER BY m) FROM pg_auth_members m WHERE r.oid IN (m.roleid, m.member, m.grantor)),
           (SELECT array_agg(s::text ORDER BY s) FROM pg_db_role_setting s WHERE s.setrole = r.oid),
           (SELECT array_agg(d::text ORDER BY d) FROM pg_shdepend d
             WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = r.oid)
      FROM pg_authid r WHERE r.rolname = %s
"""


class Model:
    """A database with the extension in a server, made by its owner, for others to be copied from.

    A copy has the same owner, whose rights on the extension are in the copy; CREATE EXTENSION takes most of the
    time of making a database.
    """

    def __init__(self, cluster: Cluster, name: str):
        self.cluster = cluster
        self.database = Database(cluster, name, listed=False)
        self.database.query("CREATE EXTENSION djkafka")
        self.database.disconnect()
        self.role = self._role()

    def _role(self) -> list[tuple]:
        return self.cluster.query(ROLE, self.database.owner)

    def is_as_made(self) -> bool:
        return self._role() == self.role


class Copy(Database):
    """A database with the extension, made in a tenth of the time."""

    def __init__(self, model: Model, name: str):
        self.model = model
        super().__init__(model.cluster, name)

    def _make(self, encoding: str) -> None:
        self.owner = self.model.database.owner
        self._copy(self.model.database.name)
        with self.connect("postgres") as connection:
            connection.execute(
                "UPDATE djkafka_home SET home = gen_random_uuid(),"
                " database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )

    def _drop_owner(self) -> None:
        """The owner is the model's, which makes it again if the test has altered its role."""

"""Copies of a database, of each kind that there is."""

import copy
import shutil
import subprocess
from pathlib import Path

from .postgres import BINDIR, PORT, Cluster, Database


def database_of(cluster: Cluster, name: str, owner: str) -> Database:
    """A database that is there."""
    made = Database.__new__(Database)
    made.cluster, made.name, made.owner, made._connections = cluster, name, owner, {}
    return made


def clone(db: Database, name: str) -> Database:
    """CREATE DATABASE … TEMPLATE, for which the original's workers make room; the clone is not listed."""
    db.disconnect()
    db.cluster.query(f"CREATE DATABASE {name} TEMPLATE {db.name} OWNER {db.owner}")
    return database_of(db.cluster, name, db.owner)


def drop_clone(db: Database) -> None:
    """But not its owner, who is its original's."""
    db.disconnect()
    db.cluster.unlist_database(db.name)
    db.cluster.query(f"DROP DATABASE {db.name}")


def tool(name: str, db: Database, *arguments: str, given: bytes = b"") -> bytes:
    command = [str(BINDIR / name), "-h", str(db.cluster.folder), "-p", str(PORT), "-U", db.owner, *arguments]
    done = subprocess.run(command, input=given, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def restore(db: Database, into: Database) -> None:
    """pg_dump | psql, by the databases' owners."""
    dump = tool("pg_dump", db, db.name).replace(db.owner.encode(), into.owner.encode())
    tool("psql", into, "-qX", "-v", "ON_ERROR_STOP=1", "-d", into.name, given=dump)


def restore_by_jobs(db: Database, into: Database, folder: Path) -> None:
    """pg_restore -j, by one owner of both; what came before that which it is of is restored behind it."""
    archive = folder / "dump"
    archive.write_bytes(tool("pg_dump", db, "-Fc", db.name))
    tables = [f"--table=djkafka_{name}" for name in ("route", "offset", "parked")]
    for options in (["--jobs=4"], ["--data-only", *tables]):
        command = [str(BINDIR / "pg_restore"), "-h", str(db.cluster.folder), "-p", str(PORT), "-U", db.owner]
        subprocess.run([*command, "-d", into.name, *options, str(archive)], capture_output=True)


def back_up(cluster: Cluster, into: Cluster, *options: str) -> None:
    """Puts a base backup in the place of a server that runs already; it is not started."""
    into.stop()
    shutil.rmtree(into.data)
    command = [into.bindir / "pg_basebackup", "-h", cluster.folder, "-U", "postgres", "-c", "fast", *options]
    subprocess.run([*command, "-D", into.data], check=True)
    into.configure(unix_socket_directories=into.folder)


def make_standby(standby: Cluster, primary: Cluster) -> None:
    back_up(primary, standby, "-R")
    standby.start()


def copy_of(db: Database, cluster: Cluster) -> Database:
    """The same database on a server that is a copy of its own."""
    other = copy.copy(db)
    other.cluster, other._connections = cluster, {}
    return other

"""A real Debezium reads a PostgreSQL table, and ours becomes the same, however it is told to write."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lib.djkafka import assert_audit, dead_letters, wait_value
from lib.kafka import Client, free_ports, java
from lib.once import server_folder
from lib.postgres import Cluster, Database
from lib.process import start_process, stop_process

JARS = Path(os.environ["DJK_WORK"]) / "debezium" / "libs"
SOURCE = """CREATE TABLE t (id int PRIMARY KEY, d date, t time, t3 time(3), ts timestamp, ts3 timestamp(3), tz timestamptz,
    iv interval, a numeric(12,2), n numeric, b bit(10), flag boolean, vb bytea, j jsonb, da date[], na numeric(5,1)[],
    f double precision, r real, s smallint, l bigint, u uuid, i inet, name text, c char(3), vc varchar(20), big text, ja jsonb[])"""
# Without a schema a decimal says nothing of its scale, nor a bit string what it is.
PLAIN = {"decimal.handling.mode": "string", "interval.handling.mode": "string", "column.exclude.list": "public.t.b,public.t.na"}
# Times in milliseconds; dates are days all the same, and intervals microseconds.
CONNECT = PLAIN | {"time.precision.mode": "connect", "interval.handling.mode": "numeric"}
FLAT = {
    "transforms": "flat",
    "transforms.flat.type": "io.debezium.transforms.ExtractNewRecordState",
    "transforms.flat.delete.tombstone.handling.mode": "rewrite-with-tombstone",
}
BEFORE = [
    """INSERT INTO t VALUES (1, '2025-12-01', '12:30:45.123456', '12:30:45.123', '2025-12-01 00:00:00.123456', '2025-12-01 00:00:00.123',
    '2025-12-01 00:00:00.123456+02', '73:30', 123.45, 0.00001, '1010000001', true, '\\x00ff10', '{"a": [1, null]}', '{2025-12-01,NULL}',
    '{12.3,-0.1}', 0.1, 0.1, -32768, 9223372036854775807, '0e37df36-f698-11e6-8dd4-cb9ced3df976', '10.0.0.0/8', 'Zoë', 'ab', 'x', 'x')""",
    "INSERT INTO t (id) VALUES (2)",
    "INSERT INTO t (id, ts, ts3, tz) VALUES (3, 'infinity', '-infinity', 'infinity'), (9, '-infinity', 'infinity', '-infinity')",
    """INSERT INTO t (id, t, j, ja) VALUES (10, '24:00', 'null', ARRAY['[1]', '[2, 3]', 'null', NULL, '{"a": "b\\"c"}']::jsonb[]), (11, NULL, NULL, '{}')""",
]
# What Debezium cannot tell of a value that is out of line: it sends the placeholder.
LONG = "(SELECT string_agg(md5(n::text), '') FROM generate_series(1, 1000) n)"
CHANGES = [
    f"INSERT INTO t (id, big, name) VALUES (4, {LONG}, 'four')",
    "UPDATE t SET name = 'still long' WHERE id = 4",
    "UPDATE t SET d = '1969-12-31', ts = '1969-12-31 23:59:59.999999', a = -0.01, name = NULL WHERE id = 1",
    "DELETE FROM t WHERE id = 2",
    "INSERT INTO t (id, name) VALUES (5, 'five'), (6, 'six')",
    "UPDATE t SET id = 7 WHERE id = 5",
    "UPDATE t SET id = 8, name = 'eight' WHERE id = 6",
]


class Debezium:
    """Connectors in a process of Kafka Connect, one for each way to write."""

    def __init__(self, kafka: Client, source: Cluster, name: str):
        self.kafka, self.source, self.name = kafka, source, name
        self.folder = server_folder("djk-debezium-")
        (self.folder / "plugins").mkdir()
        plugin = self.folder / "plugins" / "debezium"
        plugin.mkdir()
        for jar in JARS.iterdir():
            (plugin / jar.name).symlink_to(jar)
        self.files: list[Path] = []
        self.process: subprocess.Popen | None = None
        self.log = self.folder / "log"

    def write(self, file: str, lines: dict[str, Any]) -> Path:
        path = self.folder / file
        path.write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
        return path

    def add(self, way: str, with_schemas: bool, options: dict[str, str]) -> str:
        """The topic that this connector writes."""
        converters = {f"{part}.converter": "org.apache.kafka.connect.json.JsonConverter" for part in ("key", "value")}
        schemas = {f"{part}.converter.schemas.enable": str(with_schemas).lower() for part in ("key", "value")}
        prefix = f"{self.name}_{way}"
        connector = {
            "name": way,
            "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
            "database.hostname": "127.0.0.1",
            "database.port": self.source.port,
            "database.user": "postgres",
            "database.password": "none",
            "database.dbname": "postgres",
            "topic.prefix": prefix,
            "plugin.name": "pgoutput",
            "slot.name": way,
            "publication.name": way,
            "publication.autocreate.mode": "filtered",
            "table.include.list": "public.t",
            "interval.handling.mode": "numeric",
            "heartbeat.interval.ms": 500,
            "topic.creation.default.replication.factor": 1,
            "topic.creation.default.partitions": 1,
        }
        self.files.append(self.write(f"{way}.properties", connector | converters | schemas | options))
        return f"{prefix}.public.t"

    def start(self) -> None:
        (port,) = free_ports(1)
        worker = self.write(
            "worker.properties",
            {
                "bootstrap.servers": self.kafka.address,
                "key.converter": "org.apache.kafka.connect.json.JsonConverter",
                "value.converter": "org.apache.kafka.connect.json.JsonConverter",
                "offset.storage.file.filename": self.folder / "offsets",
                "offset.flush.interval.ms": 1000,
                "plugin.path": self.folder / "plugins",
                "listeners": f"http://127.0.0.1:{port}",
            },
        )
        command = java("512m", "org.apache.kafka.connect.cli.ConnectStandalone", worker, *self.files)
        self.process = start_process(command, self.log)

    def stop(self) -> None:
        if self.process is not None:
            stop_process(self.process, signal.SIGKILL, 10)
        print(self.log.read_text()[-3000:])


@pytest.fixture
def source(own_cluster: Callable[..., Cluster]) -> Cluster:
    (port,) = free_ports(1)
    cluster = own_cluster(wal_level="logical", listen_addresses="127.0.0.1", port=port)
    for statement in [SOURCE, *BEFORE]:
        cluster.query(statement)
    return cluster


@pytest.fixture
def debezium(kafka: Client, source: Cluster, unique: Callable[[str], str]) -> Iterator[Debezium]:
    assert JARS.exists(), "Debezium is not there: scripts/fetch-test-deps peers"
    made = Debezium(kafka, source, unique("dbz"))
    yield made
    made.stop()


def rows(ask: Callable[[str], list[tuple]], table: str, without: str) -> list[tuple]:
    return ask(f"SELECT to_jsonb(x) - '{{{without}}}'::text[], j IS NULL, ja::text FROM {table} x ORDER BY id")


@pytest.mark.long
@pytest.mark.timeout(600)
def test_tables_are_the_same(db: Database, source: Cluster, debezium: Debezium) -> None:
    """Snapshot, then changes, deletions and changes of the key; enveloped and flat, with schemas and without."""
    ways = {
        "envelope": ("debezium", debezium.add("envelope", True, {}), ""),
        "flat": ("debezium_flat", debezium.add("flat", True, FLAT), ""),
        "plain": ("debezium", debezium.add("plain", False, PLAIN), "b,na"),
        "plain_flat": ("debezium_flat", debezium.add("plain_flat", False, PLAIN | FLAT), "b,na"),
        "connect": ("debezium", debezium.add("connect", False, CONNECT), "b,na,t,ts"),
    }
    debezium.start()
    for way, (form, topic, _) in ways.items():
        db.query(SOURCE.replace("TABLE t ", f"TABLE {way} "))
        unit = "ms" if way == "connect" else None
        db.query("SELECT djkafka_subscribe(%s, %s, format => %s, operation => 'mirror', time_unit => %s)", topic, way, form, unit)
    for way in ways:
        wait_value(db, f"SELECT count(*) FROM {way}", 6, timeout=120)
    for statement in CHANGES:
        source.query(statement)
    for way in ways:
        wait_value(db, f"SELECT array_agg(id ORDER BY id) FROM {way}", [1, 3, 4, 7, 8, 9, 10, 11], timeout=120)
        wait_value(db, f"SELECT name FROM {way} WHERE id = 8", "eight")
    for way, (_, topic, without) in ways.items():
        assert dead_letters(db, topic) == {}
        assert rows(db.query, way, without) == rows(source.query, "t", without), way
    assert_audit(db)

"""How fast a topic becomes rows, beside COPY of the same rows in the same run.

    make bench                          or: scripts/bench --messages 1000000 --rounds 3

The workload: JSON objects of seven fields, lz4, one partition, into a table with a bigint
primary key; a server with default settings (but for djkafka's), a real Kafka. A round loads
the same rows several times into an empty table: by COPY from a file of rows that are already
split into columns, which is the limit, then by a consumer from the moment that it is resumed,
and by another one from a topic that has them in Avro, whose schema is known.
"""

import argparse
import io
import json
import random
import statistics
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import fastavro

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "test" / "e2e"))

from lib.djkafka import assert_audit, positions, status, wait_state  # noqa: E402
from lib.kafka import Broker, Client, Record  # noqa: E402
from lib.postgres import Cluster, Database  # noqa: E402
from lib.wait import wait_until  # noqa: E402

TABLE = (
    "CREATE TABLE orders (id bigint PRIMARY KEY, customer text NOT NULL, email text NOT NULL, status text NOT NULL,"
    " amount numeric(12, 2) NOT NULL, quantity int NOT NULL, created_at timestamptz NOT NULL)"
)
MESSAGE = (
    '{"id":%d,"customer":"customer-%d","email":"c%d@example.com","status":"%s",'
    '"amount":"%d.%02d","quantity":%d,"created_at":"%s"}'
)
STATES = ("new", "paid", "shipped", "cancelled")

SCHEMA = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "customer", "type": "string"},
        {"name": "email", "type": "string"},
        {"name": "status", "type": "string"},
        {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
        {"name": "quantity", "type": "int"},
        {"name": "created_at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ],
}
# As a registry's serializers begin a message of the schema with this id; nobody answers at the address.
PREFIX = b"\x00\x00\x00\x00\x01"
REGISTRY = "http://127.0.0.1:1"


def messages(count: int) -> Iterator[Record]:
    chance = random.Random(42)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(count):
        moment = start + timedelta(seconds=chance.randrange(31_536_000))
        value = MESSAGE % (
            number,
            chance.randrange(200_000),
            chance.randrange(1_000_000),
            chance.choice(STATES),
            chance.randrange(1000),
            chance.randrange(100),
            chance.randrange(1, 10),
            moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
        yield Record(value, str(number))


def in_avro(records: Iterator[Record]) -> Iterator[Record]:
    schema = fastavro.parse_schema(SCHEMA)
    for record in records:
        row = json.loads(record.value)
        row |= {"amount": Decimal(row["amount"]), "created_at": datetime.fromisoformat(row["created_at"])}
        value = io.BytesIO(PREFIX)
        value.seek(len(PREFIX))
        fastavro.schemaless_writer(value, schema, row)
        yield Record(value.getvalue(), record.key)


def empty(db: Database) -> None:
    """The same start for both: an empty table, nothing left to write."""
    db.query("TRUNCATE orders")
    db.query("VACUUM orders")
    db.cluster.query("CHECKPOINT")


def run_copy(db: Database, file: Path) -> float:
    empty(db)
    start = time.monotonic()
    db.query(f"COPY orders FROM '{file}'", user="postgres")
    return time.monotonic() - start


def run_consumer(db: Database, consumer: str, count: int, operation: str) -> float:
    """The consumer and its topic have one name."""
    empty(db)
    db.query("UPDATE djkafka_route SET operation = %s", operation)
    if positions(db, consumer, consumer):
        db.query("SELECT djkafka_seek(%s, %s, 'earliest')", consumer, consumer)
    start = time.monotonic()
    db.query("SELECT djkafka_resume(%s)", consumer)
    wait_until(
        lambda: positions(db, consumer, consumer).get(0) == count and status(db, consumer)["state"] == "running",
        timeout=300,
        message=lambda: f"all is applied: {positions(db, consumer, consumer)}",
        interval=0.01,
    )
    seconds = time.monotonic() - start
    assert db.value("SELECT count(*) FROM orders") == count
    assert_audit(db)
    db.query("SELECT djkafka_pause(%s)", consumer)
    wait_state(db, "paused", consumer)
    return seconds


def measure(db: Database, count: int, rounds: int) -> None:
    file = db.cluster.folder / "orders.copy"
    consumed = {"insert": ("orders", "insert"), "mirror": ("orders", "mirror"), "Avro": ("avro", "insert")}
    seconds: dict[str, list[float]] = {kind: [] for kind in ("COPY", *consumed)}
    run_consumer(db, "avro", count, "insert")  # warm the caches
    run_consumer(db, "orders", count, "insert")  # … and give the rows for COPY
    db.query(f"COPY orders TO '{file}'", user="postgres")
    for _ in range(rounds):
        seconds["COPY"].append(run_copy(db, file))
        for kind, (consumer, operation) in consumed.items():
            seconds[kind].append(run_consumer(db, consumer, count, operation))
    limit = statistics.median(seconds["COPY"])
    print(f"{count} messages, median of {rounds} rounds")
    for kind in seconds:
        median = statistics.median(seconds[kind])
        print(f"{kind:8} {count / median:10,.0f} rows/s   {limit / median:.2f} x COPY")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    broker = Broker(heap="1g").start()
    cluster = Cluster(djkafka__bootstrap_servers=broker.address, djkafka__registry_url=REGISTRY, fsync="on")
    try:
        cluster.start()
        client = Client(broker.address)
        client.produce(client.create_topic("orders"), messages(options.messages))
        client.produce(client.create_topic("avro"), in_avro(messages(options.messages)))
        db = Database(cluster, "bench")
        db.query("CREATE EXTENSION djkafka")
        db.query(TABLE)
        for consumer, form in (("orders", "json"), ("avro", "avro")):
            db.query("SELECT djkafka_create_consumer(%s, enabled => false)", consumer)
            db.query("SELECT djkafka_subscribe(%s, 'orders', operation => 'insert', format => %s, consumer => %s)", consumer, form, consumer)
        db.query(
            'INSERT INTO djkafka_schema (registry, schema_id, type, schema, "references", is_encrypted)'
            " VALUES (%s, 1, 'AVRO', %s, '{}', false)",
            REGISTRY,
            json.dumps(SCHEMA),
            user="postgres",
        )
        measure(db, options.messages, options.rounds)
    finally:
        cluster.destroy()
        broker.destroy()


if __name__ == "__main__":
    main()

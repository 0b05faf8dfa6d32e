"""How fast a topic becomes rows, beside COPY of the same rows in the same run.

    make bench                          or: scripts/bench --messages 1000000 --rounds 3

The workload: JSON objects of seven fields, lz4, one partition, into a table with a bigint
primary key; a server with default settings (but for djkafka's), a real Kafka. A round loads
the same rows twice into an empty table: by COPY from a file of rows that are already split
into columns, which is the limit, then by a consumer from the moment that it is resumed.
"""

import argparse
import random
import statistics
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "test" / "e2e"))

from lib.djkafka import assert_audit, positions, wait_state  # noqa: E402
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


def run_consumer(db: Database, topic: str, count: int, operation: str) -> float:
    empty(db)
    db.query("UPDATE djkafka_route SET operation = %s", operation)
    if positions(db, topic):
        db.query("SELECT djkafka_seek('default', %s, 'earliest')", topic)
    start = time.monotonic()
    db.query("SELECT djkafka_resume('default')")
    wait_until(
        lambda: positions(db, topic).get(0) == count and db.value("SELECT state FROM djkafka_status") == "running",
        timeout=300,
        message=lambda: f"all is applied: {positions(db, topic)}",
        interval=0.01,
    )
    seconds = time.monotonic() - start
    assert db.value("SELECT count(*) FROM orders") == count
    assert_audit(db, count)
    db.query("SELECT djkafka_pause('default')")
    wait_state(db, "paused")
    return seconds


def measure(db: Database, topic: str, count: int, rounds: int) -> None:
    file = db.cluster.folder / "orders.copy"
    kinds = ("COPY", "insert", "mirror")
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    run_consumer(db, topic, count, "insert")  # warms the caches, and gives the rows for COPY
    db.query(f"COPY orders TO '{file}'", user="postgres")
    for _ in range(rounds):
        seconds["COPY"].append(run_copy(db, file))
        for operation in ("insert", "mirror"):
            seconds[operation].append(run_consumer(db, topic, count, operation))
    limit = statistics.median(seconds["COPY"])
    print(f"{count} messages, median of {rounds} rounds")
    for kind in kinds:
        median = statistics.median(seconds[kind])
        print(f"{kind:8} {count / median:10,.0f} rows/s   {limit / median:.2f} x COPY")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    broker = Broker(heap="1g").start()
    cluster = Cluster(djkafka__bootstrap_servers=broker.address, fsync="on")
    try:
        cluster.start()
        client = Client(broker.address)
        topic = client.create_topic("orders")
        client.produce(topic, messages(options.messages))
        db = Database(cluster, "bench")
        db.query("CREATE EXTENSION djkafka")
        db.query(TABLE)
        db.query("SELECT djkafka_create_consumer('default', enabled => false)")
        db.query("SELECT djkafka_subscribe('orders', 'orders', operation => 'insert')")
        measure(db, topic, options.messages, options.rounds)
    finally:
        cluster.destroy()
        broker.destroy()


if __name__ == "__main__":
    main()

"""How fast messages enter the outbox and leave it, each beside its limit in the same run.

    make bench                          or: scripts/bench produce --messages 1000000 --rounds 3

The workload is that of insert.py: JSON objects of seven fields, lz4, one partition, a server with default
settings (but for djkafka's), a real Kafka. A round, after a CHECKPOINT each:

plain       INSERT … SELECT of the messages into a table like the outbox's: its columns, its index, ids
            from a sequence
produce     djkafka_produce of the same messages by one statement, while nothing is sent
bare        bare_producer.c, a program that sends them by librdkafka alone, out of memory
drain       the outbox, from the moment that its worker is started to the last message's confirmation
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "test" / "e2e"))

from insert import messages  # noqa: E402
from lib.kafka import Broker, Client  # noqa: E402
from lib.postgres import Cluster, Database  # noqa: E402
from lib.wait import wait_until  # noqa: E402

TOPIC = "orders"
LZ4 = '{"compression.type": "lz4"}'

# id, txid, message_time, partition, topic, server, key, value, headers: what a message's row has.
PLAIN = (
    "INSERT INTO plain SELECT nextval('plain_id'), pg_current_xact_id(), clock_timestamp(), NULL, %s, NULL,"
    " convert_to(key, 'UTF8'), convert_to(value, 'UTF8'), NULL FROM message"
)
PRODUCE = "SELECT count(djkafka_produce(%s, value, key => key)) FROM message"


def timed(run: Callable[[], object]) -> float:
    start = time.monotonic()
    run()
    return time.monotonic() - start


def compile_bare(folder: Path) -> Path:
    source = Path(__file__).with_name("bare_producer.c")
    program = folder / "bare_producer"
    subprocess.run([os.environ.get("CC", "cc"), "-O2", "-o", program, source, "-lrdkafka"], check=True)
    return program


def fill(db: Database, file: Path, count: int) -> None:
    """The same messages as a table and as a file."""
    db.query("CREATE TABLE message (key text, value text)")
    rows = [(str(record.key), str(record.value)) for record in messages(count)]
    with file.open("w") as out:
        out.writelines(f"{key}\t{value}\n" for key, value in rows)
    db.query(f"COPY message FROM '{file}'", user="postgres")
    db.query("CREATE TABLE plain (LIKE djkafka_outbox_0)")
    db.query("CREATE INDEX ON plain (id)")
    db.query("CREATE SEQUENCE plain_id")
    db.query("VACUUM ANALYZE message")


def run_plain(db: Database) -> float:
    db.query("TRUNCATE plain")
    db.cluster.query("CHECKPOINT")
    return timed(lambda: db.query(PLAIN, TOPIC))


def run_produce(db: Database) -> float:
    db.query("UPDATE djkafka_outbox_server SET enabled = false")
    wait_until(lambda: not db.workers("djkafka outbox"), message="the outbox's worker has left")
    db.cluster.query("CHECKPOINT")
    return timed(lambda: db.query(PRODUCE, TOPIC))


def run_drain(db: Database, client: Client, count: int) -> float:
    before = db.value("SELECT sent FROM djkafka_outbox_server")
    end = client.end_offsets(TOPIC)[0]
    db.cluster.query("CHECKPOINT")

    def drain() -> None:
        db.query("UPDATE djkafka_outbox_server SET enabled = true")
        wait_until(
            lambda: db.value("SELECT sent FROM djkafka_outbox_server") == before + count,
            timeout=120,
            message=lambda: f"all is sent: {db.query('SELECT * FROM djkafka_outbox_server')}",
            interval=0.01,
        )

    seconds = timed(drain)
    # A transaction's end takes an offset too.
    assert client.end_offsets(TOPIC)[0] >= end + count
    return seconds


def run_bare(program: Path, client: Client, file: Path) -> float:
    return float(subprocess.check_output([program, client.address, TOPIC, file]))


def report(count: int, seconds: dict[str, list[float]]) -> None:
    median = {kind: statistics.median(times) for kind, times in seconds.items()}
    for kind, limit in (("plain", "plain"), ("produce", "plain"), ("bare", "bare"), ("drain", "bare")):
        ratio = median[limit] / median[kind]
        print(f"{kind:8} {count / median[kind]:10,.0f} messages/s   {ratio:.2f} x {limit}")


def measure(db: Database, client: Client, folder: Path, count: int, rounds: int) -> None:
    file = folder / "messages"
    program = compile_bare(folder)
    fill(db, file, count)
    # The server has its row, so that its worker can be told to wait.
    db.query("SELECT djkafka_produce(%s, 'first')", TOPIC)
    assert db.value("SELECT djkafka_flush('60 s')")
    kinds: dict[str, Callable[[], float]] = {
        "plain": lambda: run_plain(db),
        "produce": lambda: run_produce(db),
        "bare": lambda: run_bare(program, client, file),
        "drain": lambda: run_drain(db, client, count),
    }
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    # One round more to warm up: the caches are full, WAL segments are there.
    for number in range(rounds + 1):
        for kind, run in kinds.items():
            took = run()
            if number > 0:
                seconds[kind].append(took)
    print(f"{count} messages, {db.value('SHOW djkafka.delivery')}, median of {rounds} rounds")
    report(count, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--delivery", choices=("at_least_once", "exactly_once"), default="at_least_once")
    options = parser.parse_args()

    broker = Broker(heap="1g").start()
    cluster = Cluster(
        djkafka__bootstrap_servers=broker.address,
        djkafka__properties=LZ4,
        djkafka__delivery=options.delivery,
        fsync="on",
    )
    folder = cluster.folder / "bench"
    folder.mkdir()
    try:
        cluster.start()
        client = Client(broker.address)
        client.create_topic(TOPIC)
        db = Database(cluster, "bench")
        db.query("CREATE EXTENSION djkafka")
        measure(db, client, folder, options.messages, options.rounds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        cluster.destroy()
        broker.destroy()


if __name__ == "__main__":
    main()

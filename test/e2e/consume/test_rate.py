"""
What a round trip costs: a topic of an ordinary producer's batches, read near and far, beside kcat in the
same run.

Three figures are told for each distance. What the worker's way to librdkafka gives, without a worker, is
compared with kcat, the best of each. A consumer into a table is bound by writing rows, and one whose filter refuses all of
them by reading JSON: both are far below what kcat reads, which throws away what it gets. So these have to
be as fast as kcat only where fetching is their limit, which is where the worker waits for messages.
"""

import random
import statistics
import subprocess
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from lib.djkafka import explain, positions, to_json, wait_state, wait_value, workers
from lib.kafka import Client, Record, send
from lib.outbox import make_server
from lib.postgres import TEST_BINDIR, Cluster, Database
from lib.process import cpu_seconds
from lib.wait import wait_until
from lib.wire import Wire

MESSAGES = 1_000_000
ROUNDS = 4
ROUND_TRIPS = (0, 0.5, 2)
ENOUGH = 0.8  # of what kcat reads
BUSY = 0.3  # a worker that waits no longer than this part of the time is not held up by fetching

# linger.ms and batch.size of the Java client.
ORDINARY = {"batch_size": 16384}

TABLE = (
    "CREATE TABLE orders (id bigint PRIMARY KEY, customer text NOT NULL, email text NOT NULL, status text NOT NULL,"
    " amount numeric(12, 2) NOT NULL, quantity int NOT NULL, created_at timestamptz NOT NULL)"
)

REFUSE = "value ->> 'id' = 'none'"

SHARE = 1024 * 1024

WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'djkafka consumer' AND wait_event_type = 'Extension'
"""

FUNCTIONS = """
CREATE FUNCTION open(int, text, text, text, text, int, text[], text[], int) RETURNS void
    AS 'djkafka', 'djkafka_test_kafka_open' LANGUAGE C;
CREATE FUNCTION assign(int, text, text, int[], bigint) RETURNS void
    AS 'djkafka', 'djkafka_test_kafka_assign' LANGUAGE C;
CREATE FUNCTION drain(int, bigint, int, int) RETURNS text
    AS 'djkafka', 'djkafka_test_kafka_drain' LANGUAGE C;
CREATE FUNCTION close(int, int, bool) RETURNS int
    AS 'djkafka', 'djkafka_test_kafka_close' LANGUAGE C;
"""


class Run(NamedTuple):
    rate: float
    waited: float = 0.0  # part of the time
    cpu: float = 0.0  # seconds a message


def orders(count: int) -> Iterator[Record]:
    chance = random.Random(42)
    for number in range(count):
        yield Record(
            to_json(
                id=number,
                customer=f"customer-{chance.randrange(200_000)}",
                email=f"c{chance.randrange(1_000_000)}@example.com",
                status="new",
                amount=f"{chance.randrange(1000)}.{chance.randrange(10, 100)}",
                quantity=chance.randrange(1, 10),
                created_at="2026-11-09T03:31:48Z",
            ),
            str(number),
        )


def read_with_kcat(address: str, topic: str, count: int) -> Run:
    start = time.monotonic()
    command = ["kcat", "-q", "-C", "-b", address, "-t", topic, "-o", "beginning", "-c", str(count)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return Run(count / (time.monotonic() - start))


def read_as_a_worker_does(cluster: Cluster, address: str, topic: str, count: int) -> Run:
    """What is polled is thrown away; a session of its own each time, as the library is then."""
    with cluster.connect("postgres") as connection:
        start = time.monotonic()
        connection.execute("SELECT open(0, %s, NULL, NULL, NULL, 32768, '{}', '{}', %s)", (address, SHARE))
        connection.execute("SELECT assign(0, 'assign', %s, '{0}', 0)", (topic,))
        connection.execute("SELECT drain(0, %s, 5000, 0)", (count,))
        seconds = time.monotonic() - start
        connection.execute("SELECT close(0, 5000, false)")
    return Run(count / seconds)


def prepare(db: Database, wire: Wire, topic: str) -> None:
    server = make_server(db, wire.address, "at_least_once")
    db.query(TABLE)
    db.query("SELECT djkafka_create_consumer('default', server => %s, enabled => false)", server)
    db.query("SELECT djkafka_subscribe(%s, 'orders', operation => 'insert')", topic)


def consume(db: Database, topic: str, count: int, filter_: str | None) -> Run:
    """From the first message applied to the last one."""
    db.query("TRUNCATE orders")
    db.query("UPDATE djkafka_route SET filter = %s", filter_)
    if positions(db, topic):
        db.query("SELECT djkafka_seek('default', %s, 'earliest')", topic)
    db.query("SELECT djkafka_resume('default')")
    wait_until(lambda: (positions(db, topic).get(0) or 0) > 0, message=lambda: explain(db), interval=0.005)
    start, first, looks, waits = time.monotonic(), positions(db, topic)[0] or 0, 0, 0

    def is_done() -> bool:
        nonlocal looks, waits
        looks += 1
        waits += db.value(WAITING)
        return positions(db, topic)[0] == count

    wait_until(is_done, 120, lambda: f"all is read: {explain(db)}", interval=0.01)
    rate = (count - first) / (time.monotonic() - start)
    cpu = cpu_seconds(workers(db)[1])
    db.query("SELECT djkafka_pause('default')")
    wait_state(db, "paused")
    wait_value(db, "SELECT count(*) FROM orders", count if filter_ is None else 0)
    return Run(rate, waits / looks, cpu / count)


def best(runs: list[Run]) -> Run:
    return max(runs, key=lambda run: run.rate)


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.timeout(900)
@pytest.mark.parametrize("compression", ["none", "lz4"])
def test_rate_beside_kcat(
    db: Database, own_cluster, kafka: Client, wire: Wire, topic: str, record_property, compression: str
) -> None:
    send(kafka.producer(compression_type=compression, **ORDINARY), topic, orders(MESSAGES))
    bare = own_cluster(bindir=TEST_BINDIR)
    bare.query(FUNCTIONS)
    prepare(db, wire, topic)
    consume(db, topic, MESSAGES, None)  # warms the caches

    kinds = {
        "kcat": lambda: read_with_kcat(wire.address, topic, MESSAGES),
        "library": lambda: read_as_a_worker_does(bare, wire.address, topic, MESSAGES),
        "refuse": lambda: consume(db, topic, MESSAGES, REFUSE),
        "insert": lambda: consume(db, topic, MESSAGES, None),
    }
    told: dict[float, dict[str, Run]] = {}
    for round_trip in ROUND_TRIPS:
        wire.set_round_trip(round_trip)
        consume(db, topic, MESSAGES, REFUSE)  # and now the worker knows what share is right
        runs: dict[str, list[Run]] = {kind: [] for kind in kinds}
        for _ in range(ROUNDS):
            for kind, run in kinds.items():
                runs[kind].append(run())
        told[round_trip] = {kind: best(runs[kind]) for kind in kinds}
        for kind, (rate, waited, cpu) in told[round_trip].items():
            ratio = rate / told[round_trip]["kcat"].rate
            print(
                f"{compression}, {round_trip} ms, {kind}: {rate:,.0f}/s, {ratio:.2f} of kcat,"
                f" waits {waited:.0%}, {cpu * 1e6:.1f} us of CPU",
                flush=True,
            )
            record_property(f"{kind}_of_kcat_{round_trip}", ratio)
    for round_trip, runs_ in told.items():
        enough = ENOUGH * runs_["kcat"].rate
        assert runs_["library"].rate > enough
        for kind in ("refuse", "insert"):
            assert runs_[kind].rate > enough or runs_[kind].waited < BUSY, f"{kind} at {round_trip} ms: {runs_[kind]}"


def test_rate_far_away(db: Database, kafka: Client, wire: Wire, topic: str) -> None:
    """
    In short: a tenth of kcat's rate is what a worker has that reads JSON and does not know yet how far it is.
    With a batch of the producer's for each round trip it is a fiftieth.
    """
    count = 100_000
    send(kafka.producer(compression_type="none", **ORDINARY), topic, orders(count))
    prepare(db, wire, topic)
    wire.set_round_trip(2)
    rates: dict[str, list[float]] = {"kcat": [], "djkafka": []}
    for _ in range(3):
        rates["kcat"].append(read_with_kcat(wire.address, topic, count).rate)
        rates["djkafka"].append(consume(db, topic, count, REFUSE).rate)
    print(", ".join(f"{kind}: {[f'{rate:,.0f}/s' for rate in each]}" for kind, each in rates.items()))
    assert max(rates["djkafka"]) > 0.1 * statistics.median(rates["kcat"])

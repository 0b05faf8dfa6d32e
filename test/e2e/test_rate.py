"""
What a round trip costs: a topic of an ordinary producer's batches, read near and far, beside kcat in the
same run.

Three figures are told for each distance. What the worker's way to librdkafka gives, without a worker, is
compared with kcat. A consumer into a table is bound by writing rows, and one whose filter refuses all of
them by reading JSON: both are far below what kcat reads, which throws away what it gets. So of these it is
asked that they are as fast far away as they are near, and that the worker does not wait for messages.
"""

import random
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from lib.djkafka import explain, positions, to_json, wait_state, workers
from lib.kafka import Client, Record, send
from lib.postgres import TEST_BINDIR, Database
from lib.process import cpu_seconds
from lib.wait import wait_until
from lib.wire import FarBroker

MESSAGES = 1_000_000
ROUNDS = 3
ROUND_TRIPS = (0, 0.5, 2)
TOPIC = "orders"

TABLE = (
    "CREATE TABLE orders (id bigint PRIMARY KEY, customer text NOT NULL, email text NOT NULL, status text NOT NULL,"
    " amount numeric(12, 2) NOT NULL, quantity int NOT NULL, created_at timestamptz NOT NULL)"
)

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'djkafka consumer' AND wait_event_type = 'Extension'"

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


def orders() -> Iterator[Record]:
    chance = random.Random(42)
    for number in range(MESSAGES):
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


def read_with_kcat(address: str) -> float:
    start = time.monotonic()
    command = ["kcat", "-q", "-C", "-b", address, "-t", TOPIC, "-o", "beginning", "-c", str(MESSAGES)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - start


def read_as_a_worker_does(db: Database, address: str, share: int) -> float:
    """What is polled is thrown away; a session of its own each time, as the library is then."""
    with db.cluster.connect("postgres") as connection:
        start = time.monotonic()
        connection.execute("SELECT open(0, %s, NULL, NULL, NULL, 32768, '{}', '{}', %s)", (address, share))
        connection.execute("SELECT assign(0, 'assign', %s, '{0}', 0)", (TOPIC,))
        connection.execute("SELECT drain(0, %s, 5000, 0)", (MESSAGES,))
        seconds = time.monotonic() - start
        connection.execute("SELECT close(0, 5000, false)")
    return seconds


def consume(db: Database, filter_: str | None, told: list[str]) -> float:
    """From the first message applied to the last one."""
    db.query("TRUNCATE orders")
    db.query("UPDATE djkafka_route SET filter = %s", filter_)
    if positions(db, TOPIC):
        db.query("SELECT djkafka_seek('default', %s, 'earliest')", TOPIC)
    db.query("SELECT djkafka_resume('default')")
    wait_until(lambda: (positions(db, TOPIC).get(0) or 0) > 0, message=lambda: explain(db), interval=0.005)
    start, first, looks, waits = time.monotonic(), positions(db, TOPIC)[0], 0, 0

    def is_done() -> bool:
        nonlocal looks, waits
        looks += 1
        waits += db.value(WAITING)
        return positions(db, TOPIC)[0] == MESSAGES

    wait_until(is_done, 120, lambda: f"all is read: {explain(db)}", interval=0.01)
    seconds = time.monotonic() - start
    cpu = cpu_seconds(workers(db)[1])
    db.query("SELECT djkafka_pause('default')")
    wait_state(db, "paused")
    told.append(f"{cpu / MESSAGES * 1e6:.1f} us of CPU, waits for messages {100 * waits // looks} %")
    return seconds * MESSAGES / (MESSAGES - first)


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.timeout(900)
def test_rate_beside_kcat(far_broker: FarBroker, own_cluster, record_property) -> None:
    address = far_broker.address
    client = Client(address)
    client.create_topic(TOPIC)
    # linger.ms and batch.size of the Java client, no compression: what nobody has tuned
    send(client.producer(compression_type="none", batch_size=16384), TOPIC, orders())
    cluster = own_cluster(bindir=TEST_BINDIR, djkafka__bootstrap_servers=address)
    cluster.query(FUNCTIONS)
    db = Database(cluster, "orders")
    db.query("CREATE EXTENSION djkafka")
    db.query(TABLE)
    db.query("SELECT djkafka_create_consumer('default', enabled => false)")
    db.query("SELECT djkafka_subscribe(%s, 'orders', operation => 'insert')", TOPIC)
    told: list[str] = []
    consume(db, None, told)  # warms the caches; from now on the worker knows how many partitions there are

    kinds: dict[str, Callable[[], float]] = {
        "kcat": lambda: read_with_kcat(address),
        "library": lambda: read_as_a_worker_does(db, address, 1024 * 1024),
        "refuse": lambda: consume(db, "value ->> 'id' = 'none'", told),
        "insert": lambda: consume(db, None, told),
    }
    rates: dict[tuple[str, float], float] = {}
    for round_trip in ROUND_TRIPS:
        far_broker.set_round_trip(round_trip)
        seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(ROUNDS):
            for kind, run in kinds.items():
                told.clear()
                seconds[kind].append(run())
                print(f"{round_trip} ms, {kind}: {MESSAGES / seconds[kind][-1]:,.0f}/s {' '.join(told)}", flush=True)
        for kind in kinds:
            rates[kind, round_trip] = MESSAGES / statistics.median(seconds[kind])
        for kind in kinds:
            ratio = rates[kind, round_trip] / rates["kcat", round_trip]
            print(f"{round_trip} ms, {kind}: {rates[kind, round_trip]:,.0f}/s, {ratio:.2f} of kcat")
            record_property(f"{kind}_of_kcat_{round_trip}", ratio)
    for round_trip in ROUND_TRIPS:
        assert rates["library", round_trip] > 0.8 * rates["kcat", round_trip]
        for kind in ("refuse", "insert"):
            least = min(0.8 * rates["kcat", round_trip], 0.8 * rates[kind, 0])
            assert rates[kind, round_trip] > least, f"{kind} is slower at {round_trip} ms"

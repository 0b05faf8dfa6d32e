"""What the outbox costs: nothing while it is idle, milliseconds for a message, no space for what is sent."""

import statistics
import time

import psycopg
import pytest
from lib.kafka import Client
from lib.outbox import Tail, explain_outbox, make_server, outbox_server, outbox_worker, read_topic, wait_sent
from lib.postgres import Database
from lib.process import cpu_seconds
from lib.wait import wait_until

IDLE_SECONDS = 5.0
IDLE_CPU_LIMIT = 0.01  # of one core
PROBES = 200
LATENCY_LIMIT = 0.010
MODES = ("at_least_once", "exactly_once")


@pytest.mark.parametrize("mode", MODES)
def test_idle(db: Database, kafka: Client, topic: str, mode: str) -> None:
    server = make_server(db, kafka.address, mode)
    db.query("SELECT djkafka_produce(%s, 'x', server => %s)", topic, server)
    wait_sent(db)
    pid = outbox_worker(db, server)["pid"]
    held = (
        "SELECT backend_xmin, backend_xid, xact_start FROM pg_stat_activity WHERE pid = %s"
        " AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL OR xact_start IS NOT NULL)"
    )
    wait_until(lambda: not db.cluster.query(held, pid), message="the last transaction is over")
    before, start = cpu_seconds(pid), time.monotonic()
    while time.monotonic() - start < IDLE_SECONDS:
        assert not db.cluster.query(held, pid), "a snapshot is held while idle"
        time.sleep(0.1)
    used = (cpu_seconds(pid) - before) / (time.monotonic() - start)
    print(f"{mode}, idle: {100 * used:.2f} % of a core")
    assert used < IDLE_CPU_LIMIT
    assert outbox_worker(db, server)["pid"] == pid, "the worker was restarted meanwhile"


@pytest.mark.parametrize("mode", MODES)
def test_latency(db: Database, kafka: Client, topic: str, mode: str) -> None:
    """From the commit to an independent consumer that reads what is committed."""
    server = make_server(db, kafka.address, mode)
    connection = db.connect()
    seconds = []
    with Tail(kafka, topic) as tail:
        for number in range(-10, PROBES):
            with connection.transaction():
                produce = "SELECT djkafka_produce(%s, %s, server => %s)"
                connection.execute(produce, (topic, number, server), prepare=True)
                start = time.perf_counter()
            tail.wait(str(number))
            if number >= 0:
                seconds.append(time.perf_counter() - start)
    connection.close()
    p50, p99 = statistics.median(seconds), statistics.quantiles(seconds, n=100)[98]
    print(f"{mode}, commit to consumer: p50 {1000 * p50:.2f} ms, p99 {1000 * p99:.2f} ms")
    assert mode == "exactly_once" or p50 < LATENCY_LIMIT


@pytest.mark.parametrize("mode", MODES)
def test_only_the_outbox_is_woken(db: Database, kafka: Client, topic: str, mode: str) -> None:
    """Neither by whoever produces, nor by the worker's own updates of its row."""
    server = make_server(db, kafka.address, mode)
    turn = "SELECT state_change FROM pg_stat_activity WHERE datname = %s AND backend_type = 'djkafka supervisor'"
    turns = set()
    for number in range(20):
        db.query("SELECT djkafka_produce(%s, %s, server => %s)", topic, number, server)
        wait_sent(db)
        if number >= 5:
            time.sleep(0.1)
            turns.update(db.cluster.query(turn, db.name))
    assert len(turns) <= 2, "the supervisor looks now and then, and not with each batch"


# -- no bloat

MANY = 10_000_000
TURNS = 20
SIZES = (
    "SELECT c.relname, pg_total_relation_size(c.oid) FROM pg_class c"
    " WHERE c.relname LIKE 'djkafka\\_outbox\\_%%' AND c.relkind = 'r' ORDER BY 1"
)
POSITION = 500_000  # what the versions of the worker's one row may leave behind, however much is sent


def sizes(db: Database) -> dict[str, int]:
    return dict(db.query(SIZES, user="postgres"))


def produce_in_parts(connection: psycopg.Connection, topic: str, server: str, count: int, part: int = 50_000) -> None:
    for first in range(0, count, part):
        connection.execute(
            "SELECT count(djkafka_produce(%s, '{\"id\": ' || i || ', \"status\": \"paid\", \"amount\": \"12.50\"}',"
            " key => i, server => %s)) FROM generate_series(%s::int, %s) i",
            (topic, server, first + 1, min(count, first + part)),
        )


class Outbox:
    """A database of its own that produces to a topic of its own."""

    def __init__(self, db: Database, topic: str, address: str, mode: str) -> None:
        self.db = db
        self.topic = topic
        self.server = make_server(db, address, mode)
        self.start = sizes(db)
        db.query("SELECT djkafka_produce(%s, 'x', server => %s)", topic, self.server)
        wait_sent(db)

    def pour(self, count: int) -> float:
        """Messages a second through tables that fill up while they are emptied."""
        connection = self.db.connect()
        before = outbox_server(self.db, self.server)["sent"]
        start = time.monotonic()
        produce_in_parts(connection, self.topic, self.server, count)
        wait_until(
            lambda: outbox_server(self.db, self.server)["sent"] >= before + count,
            1200,
            lambda: f"all is sent\n{explain_outbox(self.db)}",
            interval=0.05,
        )
        took = time.monotonic() - start
        connection.close()
        return count / took

    def is_small(self) -> bool:
        now = sizes(self.db)
        grown = now.pop("djkafka_outbox_server") - self.start["djkafka_outbox_server"]
        return grown <= POSITION and all(size <= self.start[name] for name, size in now.items())

    def wait_small(self) -> None:
        wait_until(
            self.is_small,
            150,
            lambda: f"as small as before: {self.start}, now {sizes(self.db)}\n{explain_outbox(self.db)}",
            interval=0.5,
        )


def hold_snapshot(db: Database) -> psycopg.Connection:
    holder = db.connect()
    holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    holder.execute("SELECT 1")
    return holder


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("mode", MODES)
def test_no_bloat(own_cluster, own_broker, unique, mode: str) -> None:
    """
    Two servers take turns, one of them under a snapshot that is held all the while: what the machine does besides
    meets both.  Dead rows heap up, if they do, so the second half of the turns is what counts.
    """
    broker = own_broker(log_segment_bytes=64_000_000, log_retention_bytes=256_000_000, log_retention_check_interval_ms=5000)
    client = Client(broker.address)
    outboxes = []
    for name in ("free", "held"):
        db = Database(own_cluster(max_wal_size="4GB"), unique("db"))
        db.query("CREATE EXTENSION djkafka")
        outboxes.append(Outbox(db, client.create_topic(name, 3), broker.address, mode))
    free, held = outboxes
    holder = hold_snapshot(held.db)
    rates = []
    for turn in range(TURNS):
        pair = [free, held] if turn % 2 == 0 else [held, free]
        rate = {outbox.topic: outbox.pour(MANY // TURNS // 2) for outbox in pair}
        rates.append((rate["free"], rate["held"]))
    peak = sum(sizes(held.db).values())
    holder.close()
    ratios = [with_snapshot / without for without, with_snapshot in rates]
    print(f"{mode}: {statistics.median(rate for rate, _ in rates):.0f} messages/s,", end=" ")
    print(f"{statistics.median(rate for _, rate in rates):.0f} under a held snapshot", flush=True)
    print("ratios", *(f"{ratio:.2f}" for ratio in ratios), flush=True)
    print(f"sizes at first {sum(held.start.values())}, under the snapshot {peak}", flush=True)
    free.wait_small()
    held.wait_small()
    slowed = statistics.median(ratios[TURNS // 2 :])
    assert slowed > 0.8, f"a held snapshot slows sending to {slowed:.2f} of what it is without: {rates}"


@pytest.mark.timeout(400)
def test_little_bloat(db: Database, kafka: Client, topic: str) -> None:
    outbox = Outbox(db, topic, kafka.address, "at_least_once")
    outbox.pour(100_000)
    holder = hold_snapshot(db)
    outbox.pour(100_000)
    holder.close()
    outbox.pour(100_000)
    outbox.wait_small()
    assert len(read_topic(kafka, topic)) == 300_001

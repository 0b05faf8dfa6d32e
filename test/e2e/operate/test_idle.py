"""An idle consumer costs nothing, and a message is a row within milliseconds."""

import statistics
import time

from lib.djkafka import to_json, wait_caught_up, wait_count, wait_state
from lib.kafka import Client, Record, send
from lib.postgres import Database
from lib.process import children, cpu_seconds

IDLE_SECONDS = 5.0
IDLE_CPU_LIMIT = 0.02  # of one core, all processes of djkafka together
LATENCY_PROBES = 200
LATENCY_LIMIT = 0.010


def djkafka_processes(db: Database) -> list[int]:
    rows = db.cluster.query("SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'djkafka%%'")
    return [pid for (pid,) in rows]


def test_idle(own_cluster, kafka: Client, topic: str, unique, record_property) -> None:
    cluster = own_cluster(djkafka__bootstrap_servers=kafka.address)
    db = Database(cluster, unique("db"))
    db.query("CREATE EXTENSION djkafka")
    db.query("CREATE TABLE log (id bigint)")
    db.query("SELECT djkafka_subscribe(%s, 'log', operation => 'insert')", topic)
    kafka.produce(topic, [Record(to_json(id=1))])
    wait_count(db, "log", 1)
    wait_state(db, "running")

    pids = djkafka_processes(db)
    assert len(pids) >= 3, "launcher, supervisor and worker"
    held = "SELECT backend_type FROM pg_stat_activity WHERE pid = ANY(%s) AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL OR xact_start IS NOT NULL)"
    before = sum(map(cpu_seconds, pids))
    start = time.monotonic()
    holders = []
    while time.monotonic() - start < IDLE_SECONDS:
        holders += cluster.query(held, pids)
        time.sleep(0.1)
    used = (sum(map(cpu_seconds, pids)) - before) / (time.monotonic() - start)
    print(f"idle: {100 * used:.2f} % of a core, {len(pids)} processes")
    record_property("idle_cpu", used)
    assert used < IDLE_CPU_LIMIT
    # The supervisor may look at its catalogs now and then; nobody holds on to a snapshot.
    assert len(holders) <= 2, f"a snapshot was held while idle: {holders}"
    assert set(pids) <= set(children(cluster.process.pid)), "nothing was restarted meanwhile"


def test_latency(db: Database, kafka: Client, topic: str, record_property) -> None:
    db.query("CREATE TABLE log (id bigint PRIMARY KEY)")
    db.query("SELECT djkafka_subscribe(%s, 'log', operation => 'insert')", topic)
    producer = kafka.producer(linger_ms=0)
    send(producer, topic, [Record(to_json(id=-1))])
    wait_count(db, "log", 1)

    connection = db.connect()
    seconds = []
    for number in range(LATENCY_PROBES):
        start = time.perf_counter()
        producer.produce(topic, to_json(id=number))
        while not connection.execute("SELECT 1 FROM log WHERE id = %s", (number,), prepare=True).fetchone():
            producer.poll(0)
            assert time.perf_counter() - start < 10, f"message {number} did not arrive"
        seconds.append(time.perf_counter() - start)
    connection.close()
    producer.flush()
    wait_caught_up(db, kafka, topic)
    p50, p99 = statistics.median(seconds), statistics.quantiles(seconds, n=100)[98]
    print(f"produce to visible row: p50 {1000 * p50:.2f} ms, p99 {1000 * p99:.2f} ms")
    record_property("latency_p50_ms", 1000 * p50)
    assert p50 < LATENCY_LIMIT

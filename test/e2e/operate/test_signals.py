"""No thread of the Kafka library takes a signal that is meant for PostgreSQL."""

import signal

from lib.djkafka import to_json, wait_count, wait_state
from lib.kafka import Client, Record
from lib.postgres import Database
from lib.process import blocked_signals
from lib.wait import wait_until

SIGNALS = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGURG", "SIGPIPE")


def assert_threads_block_signals(pid: int, what: str) -> None:
    masks = blocked_signals(pid)
    assert masks, f"{what} has no thread of the library: nothing was tested"
    for thread, mask in masks.items():
        open_ = [name for name in SIGNALS if not mask >> (getattr(signal, name) - 1) & 1]
        assert not open_, f"thread {thread} of {what} takes {open_}"


def test_threads_block_signals(own_cluster, kafka: Client, topic: str, unique) -> None:
    cluster = own_cluster(
        djkafka__bootstrap_servers=kafka.address, djkafka__embedded_broker="on"
    )
    db = Database(cluster, unique("db"))
    db.query("CREATE EXTENSION djkafka")
    db.query("CREATE TABLE log (id bigint)")
    db.query("SELECT djkafka_create_consumer('two', workers => 2)")
    db.query("SELECT djkafka_subscribe(%s, 'log', operation => 'insert', consumer => 'two')", topic)
    kafka.produce(topic, [Record(to_json(id=1))])
    wait_count(db, "log", 1)
    wait_state(db, "running", "two")

    query = "SELECT pid, backend_type FROM pg_stat_activity WHERE backend_type LIKE 'djkafka%%'"
    wait_until(lambda: len(cluster.query(query)) >= 5, message=lambda: f"five processes: {cluster.query(query)}")
    threaded = [row for row in cluster.query(query) if "consumer" in row[1] or "broker" in row[1]]
    assert len(threaded) >= 3, f"two consumer workers and the embedded broker: {threaded}"
    for pid, what in threaded:
        assert_threads_block_signals(pid, what)
    for pid, what in cluster.query(query):
        if (pid, what) not in threaded:
            assert not blocked_signals(pid), f"{what} has threads"

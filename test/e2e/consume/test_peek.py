"""djkafka_peek and djkafka_topics look at Kafka and touch nothing; what they wait for can be interrupted."""

import signal
import time

import psycopg
import pytest

from lib.kafka import Client, Record
from lib.postgres import Database
from lib.process import stop_and_wait
from lib.wait import wait_until
from lib.wire import Wire

PEEK = "SELECT partition, \"offset\", convert_from(key, 'utf8'), convert_from(value, 'utf8') FROM djkafka_peek("


def produced(kafka: Client, name: str, partitions: int, each: int) -> str:
    topic = kafka.create_topic(name, partitions=partitions)
    kafka.produce(topic, [Record(f"v{n}", key=f"k{n}", partition=n % partitions) for n in range(partitions * each)])
    return topic


def test_topics(db: Database, kafka: Client, unique) -> None:
    topic = produced(kafka, unique("topic"), 3, 4)
    empty = kafka.create_topic(unique("empty"), partitions=2)
    rows = db.query("SELECT topic, partition, low, high FROM djkafka_topics() WHERE topic IN (%s, %s) ORDER BY 1, 2", topic, empty)
    assert sorted(rows) == sorted([(topic, p, 0, 4) for p in range(3)] + [(empty, p, 0, 0) for p in range(2)])
    assert db.query("SELECT * FROM djkafka_topics(topic_name => %s)", empty) == [(empty, 0, 0, 0), (empty, 1, 0, 0)]


def test_ranges(db: Database, kafka: Client, unique) -> None:
    topic = produced(kafka, unique("topic"), 2, 50)
    assert len(db.query(PEEK + "%s)", topic)) == 10
    assert len(db.query(PEEK + "%s, max_messages => 1000)", topic)) == 100
    assert db.query(PEEK + "%s, 3, partition => 1)", topic) == [(1, n, f"k{2 * n + 1}", f"v{2 * n + 1}") for n in range(3)]
    assert [row[1] for row in db.query(PEEK + "%s, 10, 0, '47')", topic)] == [47, 48, 49]
    assert sorted(row[:2] for row in db.query(PEEK + "%s, start_at => '-1')", topic)) == [(0, 49), (1, 49)]
    assert db.query(PEEK + "%s, start_at => '5000')", topic) == []
    assert len(db.query(PEEK + "%s, start_at => 'yesterday', max_messages => 1000)", topic)) == 100
    assert db.query(PEEK + "%s, start_at => 'tomorrow')", topic) == []
    assert db.query(PEEK + "%s, max_messages => 0)", topic) == []


def test_any_bytes(db: Database, kafka: Client, topic: str) -> None:
    headers = [("a", b"\x00\xff"), ("a", None), ("b", b"")]
    kafka.produce(topic, [Record(b"\x00\xfe", key=b"\xff\x00", headers=headers), Record(None, key=b"k"), Record(b"", key=None)])
    rows = db.query("SELECT key, value, \"timestamp\" IS NOT NULL FROM djkafka_peek(%s)", topic)
    assert [tuple(x if x is None else bytes(x) if not isinstance(x, bool) else x for x in row) for row in rows] == [
        (b"\xff\x00", b"\x00\xfe", True), (b"k", None, True), (None, b"", True)]
    names = db.query("SELECT (h).name, (h).value FROM djkafka_peek(%s, 1), unnest(headers) AS h", topic)
    assert [(name, value if value is None else bytes(value)) for name, value in names] == headers


def test_transactions(db: Database, kafka: Client, topic: str, unique) -> None:
    """What was aborted is not shown, and the markers at the end do not make it wait."""
    producer = kafka.producer(transactional_id=unique("tx"), delivery_timeout_ms=30_000)
    producer.init_transactions()
    for commit in (True, False):
        producer.begin_transaction()
        producer.produce(topic, f"commit {commit}")
        producer.flush()
        producer.commit_transaction() if commit else producer.abort_transaction()
    # Kafka writes the markers after it has answered: two messages, two markers.
    wait_until(lambda: db.value("SELECT high FROM djkafka_topics(topic_name => %s)", topic) == 4, message="markers are written")
    start = time.monotonic()
    assert db.query("SELECT convert_from(value, 'utf8') FROM djkafka_peek(%s)", topic) == [("commit True",)]
    assert time.monotonic() - start < 5


def test_latest_waits(db: Database, kafka: Client, topic: str) -> None:
    kafka.produce(topic, [Record("old")])
    start = time.monotonic()
    assert db.query(PEEK + "%s, start_at => 'latest', timeout => '1 s')", topic) == []
    assert 0.9 < time.monotonic() - start < 4


def test_interrupts(db: Database, wire: Wire) -> None:
    """A broker that hangs holds up neither a cancel nor the timeout, and the session goes on."""
    db.query(f"CREATE SERVER hanging FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers '{wire.address}')", user="postgres")
    db.query("GRANT USAGE ON FOREIGN SERVER hanging TO PUBLIC", user="postgres")
    db.query("SELECT * FROM djkafka_topics('hanging')")
    process = wire.process
    stop_and_wait(process.pid)
    try:
        start = time.monotonic()
        with pytest.raises(psycopg.Error) as error:
            db.query("SELECT * FROM djkafka_topics('hanging', timeout => '1 s')")
        assert error.value.sqlstate == "08KF1"
        assert time.monotonic() - start < 5

        with db.connect() as connection:
            connection.execute("SET statement_timeout = '500 ms'")
            start = time.monotonic()
            with pytest.raises(psycopg.errors.QueryCanceled):
                connection.execute("SELECT * FROM djkafka_topics('hanging', timeout => '30 s')")
            assert time.monotonic() - start < 5
    finally:
        process.send_signal(signal.SIGCONT)
    assert db.value("SELECT count(*) >= 0 FROM djkafka_topics('hanging')")

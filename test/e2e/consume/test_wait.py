"""djkafka_wait: a session sees what a consumer has applied, as soon as it has, and sleeps until then."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import psycopg
import pytest
from lib.djkafka import to_json, wait_count, wait_state, wait_value, workers
from lib.kafka import Client, Record
from lib.postgres import Cluster, Database
from lib.process import cpu_seconds
from lib.wait import stays_true, wait_until

# The status of a session that waits.
ASLEEP = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND query ~ '^SELECT djkafka_wait' AND wait_event_type = 'Extension'"


class Waiting:
    """A session of its own that waits."""

    def __init__(self, db: Database, pool: ThreadPoolExecutor, *arguments: object):
        self.db = db
        self.connection = db.connect()
        self.warnings: list[str] = []
        self.connection.add_notice_handler(lambda notice: self.warnings.append(f"{notice.message_primary}"))
        self.pid = self.connection.info.backend_pid
        self.answer: Future = pool.submit(self._wait, arguments)

    def _wait(self, arguments: tuple) -> tuple[bool, float]:
        started = time.monotonic()
        given = ", ".join(["%s"] * len(arguments))
        with self.connection:
            (answer,) = self.connection.execute(f"SELECT djkafka_wait({given})", arguments).fetchone()
        return answer, time.monotonic() - started


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(40) as made:
        yield made


@pytest.fixture
def start(db: Database, pool: ThreadPoolExecutor) -> Callable[..., Waiting]:
    """Begins to wait; returns when the session sleeps."""

    def begin(*arguments: object) -> Waiting:
        asleep = db.cluster.query(ASLEEP, db.name)[0][0]
        waiting = Waiting(db, pool, *arguments)
        wait_until(
            lambda: waiting.answer.done() or db.cluster.query(ASLEEP, db.name)[0][0] > asleep,
            message="the session sleeps",
            interval=0.01,
        )
        return waiting

    return begin


@pytest.fixture
def table(db: Database, topic: str) -> Database:
    db.query("CREATE TABLE t (id bigint PRIMARY KEY)")
    db.query("SELECT djkafka_subscribe(%s, 't')", topic)
    return db


def good(*ids: int) -> list[Record]:
    return [Record(to_json(id=n), partition=0) for n in ids]


def test_read_your_writes(own_cluster: Callable[..., Cluster], kafka: Client, topic: str, unique: Callable[[str], str]) -> None:
    """What was produced here is applied there when the wait is over, and it takes no more than that takes."""
    cluster = own_cluster(djkafka__bootstrap_servers=kafka.address, djkafka__delivery_retention="1h")
    db = Database(cluster, unique("db"))
    db.query("CREATE EXTENSION djkafka")
    db.query("CREATE TABLE t (id bigint PRIMARY KEY)")
    db.query("SELECT djkafka_subscribe(%s, 't')", topic)
    writer, reader = db.connect(), db.connect()
    took = []
    for number in range(50):
        (message,) = writer.execute("SELECT djkafka_produce(%s, %s::text)", (topic, to_json(id=number))).fetchone()
        assert writer.execute("SELECT djkafka_flush()").fetchone() == (True,)
        at = writer.execute("SELECT partition, \"offset\" FROM djkafka_delivery(%s)", (message,)).fetchone()
        started = time.monotonic()
        with reader.transaction():
            assert reader.execute("SELECT djkafka_wait('default', %s, %s, %s)", (topic, *at)).fetchone() == (True,)
            took.append(time.monotonic() - started)
            assert reader.execute("SELECT count(*) FROM t WHERE id = %s", (number,)).fetchone() == (1,)
    writer.close()
    reader.close()
    print(f"wait: median {1000 * sorted(took)[25]:.1f} ms, longest of 49 {1000 * max(took[1:]):.1f} ms")
    assert sorted(took)[25] < 0.1


def test_many(table: Database, kafka: Client, topic: str, start: Callable[..., Waiting]) -> None:
    """Each of many sessions wakes for its message, and not before."""
    kafka.produce(topic, good(0))
    wait_count(table, "t", 1)
    all_of_them = [start("default", topic, 0, offset, "60 s") for offset in range(1, 31)]
    kafka.produce(topic, good(*range(1, 16)))
    assert [waiting.answer.result(10)[0] for waiting in all_of_them[:15]] == [True] * 15
    stays_true(lambda: not any(waiting.answer.done() for waiting in all_of_them[15:]), 0.5, "it has not been applied")
    kafka.produce(topic, good(*range(16, 31)))
    assert [waiting.answer.result(10)[0] for waiting in all_of_them[15:]] == [True] * 15


def test_idle(table: Database, kafka: Client, topic: str, start: Callable[..., Waiting], record_property) -> None:
    """Sessions that wait cost nothing."""
    wait_state(table, "running")
    sleeping = [start("default", topic, 0, 0, "60 s") for _ in range(5)]
    before = sum(cpu_seconds(waiting.pid) for waiting in sleeping)
    begun = time.monotonic()
    stays_true(lambda: not any(waiting.answer.done() for waiting in sleeping), 3, "nothing has come")
    used = (sum(cpu_seconds(waiting.pid) for waiting in sleeping) - before) / (time.monotonic() - begun)
    record_property("waiting_cpu", used)
    assert used < 0.005
    kafka.produce(topic, good(0))
    assert all(waiting.answer.result(10)[0] for waiting in sleeping)


def test_timeout(table: Database, topic: str, start: Callable[..., Waiting]) -> None:
    """It is kept, also where the consumer is paused."""
    for _ in range(2):
        answer, took = start("default", topic, 0, 5, "700 ms").answer.result(10)
        assert not answer
        assert 0.7 <= took < 3
        table.query("SELECT djkafka_pause('default')")


def test_what_is_not_there_yet(db: Database, kafka: Client, unique: Callable[[str], str], start: Callable[..., Waiting]) -> None:
    """The topic, and so its partitions' rows, may come while somebody waits."""
    topic = unique("later")
    db.query("CREATE TABLE t (id bigint PRIMARY KEY)")
    db.query("SELECT djkafka_subscribe(%s, 't')", topic)
    waiting = start("default", topic, 0, 2, "60 s")
    kafka.create_topic(topic)
    kafka.produce(topic, good(0, 1, 2))
    assert waiting.answer.result(60)[0]


def test_worker_is_ended(table: Database, kafka: Client, topic: str, start: Callable[..., Waiting]) -> None:
    """Whoever reads the partition then wakes those who wait."""
    kafka.produce(topic, good(0))
    wait_count(table, "t", 1)
    waiting = start("default", topic, 0, 1, "60 s")
    table.query("SELECT pg_terminate_backend(%s)", workers(table)[1], user="postgres")
    kafka.produce(topic, good(1))
    assert waiting.answer.result(60)[0]


@pytest.mark.parametrize("end", ["pg_terminate_backend", "pg_cancel_backend"])
def test_session_is_ended(table: Database, kafka: Client, topic: str, start: Callable[..., Waiting], end: str) -> None:
    """It ends at once, and others that wait are not disturbed."""
    kafka.produce(topic, good(0))
    wait_count(table, "t", 1)
    waiting, other = (start("default", topic, 0, 1, "60 s") for _ in range(2))
    table.query(f"SELECT {end}(%s)", waiting.pid, user="postgres")
    with pytest.raises(psycopg.Error):
        waiting.answer.result(5)
    kafka.produce(topic, good(1))
    assert other.answer.result(10)[0]


def test_consumer_is_dropped(table: Database, topic: str, start: Callable[..., Waiting]) -> None:
    """That is an error of the wait, and not its end by the clock; so it is where the route goes."""
    wait_state(table, "running")
    waiting = start("default", topic, 0, 1, "60 s")
    table.query("SELECT djkafka_unsubscribe(%s)", topic)
    with pytest.raises(psycopg.Error, match="has no route") as gone:
        waiting.answer.result(5)
    assert gone.value.sqlstate == "42704"
    table.query("SELECT djkafka_subscribe(%s, 't')", topic)
    waiting = start("default", topic, 0, 1, "60 s")
    table.query("SELECT djkafka_drop_consumer('default')")
    with pytest.raises(psycopg.Error, match="was dropped") as gone:
        waiting.answer.result(5)
    assert gone.value.sqlstate == "42704"


def test_what_is_not_applied(table: Database, kafka: Client, topic: str, start: Callable[..., Waiting]) -> None:
    """A dead letter, and what was skipped, end it at once with a warning; so does what was before the beginning."""
    kafka.produce(topic, good(0))
    wait_count(table, "t", 1)
    table.query("SELECT djkafka_skip('default', %s, 0, 2)", topic)
    wait_state(table, "running")
    dead, skipped, filtered = (start("default", topic, 0, offset, "60 s") for offset in (1, 2, 3))
    kafka.produce(topic, [Record("{"), *good(2), Record(None, '{"id": 9}')])
    for waiting, said in ((dead, "it is dead letter"), (skipped, "was skipped by djkafka_skip")):
        assert not waiting.answer.result(10)[0]
        assert len(waiting.warnings) == 1 and said in waiting.warnings[0], waiting.warnings
    letter = table.value("SELECT id FROM djkafka_dead_letter")
    assert dead.warnings[0].endswith(f"dead letter {letter}")
    assert filtered.answer.result(10)[0] and not filtered.warnings
    # Applied again it is there; and what is read again after a seek is applied, whatever it was before.
    table.query("UPDATE djkafka_dead_letter SET value = '{\"id\": 1}'")
    assert table.value("SELECT result FROM djkafka_replay(ARRAY[%s::bigint])", letter) == "applied"
    assert table.value("SELECT djkafka_wait('default', %s, 0, 1)", topic)
    table.query("SELECT djkafka_seek('default', %s, '2')", topic)
    assert table.value("SELECT djkafka_wait('default', %s, 0, 2)", topic)
    before = start("default", topic, 0, 1)
    assert not before.answer.result(10)[0]
    assert "is before the first" in before.warnings[0]


def test_what_is_of_another_count(db: Database, kafka: Client, topic: str, start: Callable[..., Waiting]) -> None:
    """Dead letters count that were written since the partition was sought, be it in one transaction; no others."""
    db.query("CREATE TABLE parent (id bigint PRIMARY KEY)")
    db.query("CREATE TABLE t (id bigint PRIMARY KEY, up bigint REFERENCES parent)")
    db.query("SELECT djkafka_create_consumer('c', enabled => false)")
    db.query("SELECT djkafka_subscribe(%s, 't', consumer => 'c', parent_timeout => '1 h')", topic)
    kafka.produce(topic, [Record("{"), Record(to_json(id=1, up=1))])
    run = "SELECT dead, parked FROM djkafka_run('c', until => 'eof')"
    assert db.query(run) == [(1, 1)]
    letter = start("c", topic, 0, 0)
    assert not letter.answer.result(10)[0] and "dead letter" in letter.warnings[0]
    assert not start("c", topic, 0, 1, "0 s").answer.result(10)[0]
    # What waits is given up, and of the count before.
    db.query("INSERT INTO parent VALUES (1)")
    with db.connect() as connection, connection.transaction():
        connection.execute("SELECT djkafka_seek('c', %s, 'earliest')", (topic,))
        assert connection.execute(run).fetchall() == [(1, 0)]
    assert db.query('SELECT "offset" FROM djkafka_dead_letter ORDER BY id') == [(0,), (1,), (0,)]
    again = start("c", topic, 0, 0)
    assert not again.answer.result(10)[0] and "dead letter 3" in again.warnings[0], again.warnings
    assert start("c", topic, 0, 1).answer.result(10)[0]


def test_what_waits(db: Database, kafka: Client, topic: str, start: Callable[..., Waiting]) -> None:
    """A message that waits for its parent is not applied before that, though the position is past it."""
    db.query("CREATE TABLE parent (id bigint PRIMARY KEY)")
    db.query("CREATE TABLE t (id bigint PRIMARY KEY, up bigint REFERENCES parent)")
    db.query("SELECT djkafka_subscribe(%s, 't', parent_timeout => '1 h')", topic)
    kafka.produce(topic, [Record(to_json(id=n, up=n), partition=0) for n in (1, 2)])
    wait_value(db, "SELECT parked FROM djkafka_status", 2)
    first, second = (start("default", topic, 0, offset, "60 s") for offset in (0, 1))
    stays_true(lambda: not first.answer.done() and not second.answer.done(), 1.5, "they wait still")
    db.query("INSERT INTO parent VALUES (1)")
    assert first.answer.result(10)[0]
    assert db.value("SELECT count(*) FROM t") == 1
    db.query("SELECT djkafka_skip('default', %s, 0, 1)", topic)
    assert not second.answer.result(10)[0]
    assert "was skipped" in second.warnings[0]


def test_by_run(db: Database, kafka: Client, topic: str, start: Callable[..., Waiting]) -> None:
    """djkafka_run's messages are applied when its transaction is."""
    db.query("CREATE TABLE t (id bigint PRIMARY KEY)")
    db.query("SELECT djkafka_create_consumer('c', enabled => false)")
    db.query("SELECT djkafka_subscribe(%s, 't', consumer => 'c')", topic)
    kafka.produce(topic, good(1))
    waiting = start("c", topic, 0, 0, "60 s")
    with db.connect() as connection, connection.transaction():
        connection.execute("SELECT djkafka_run('c', until => 'eof')")
        stays_true(lambda: not waiting.answer.done(), 0.5, "it is not committed")
    assert waiting.answer.result(5)[0]

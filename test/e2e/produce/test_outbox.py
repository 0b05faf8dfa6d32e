"""From djkafka_produce to Kafka: what commits arrives, in order, and nothing else does."""

import contextlib
import random
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from lib import process
from lib.chance import choose_seed
from lib.djkafka import wait_value
from lib.kafka import Client
from lib.outbox import (
    Tail,
    make_server,
    outbox_worker,
    read_topic,
    sequences,
    values,
    wait_sent,
)
from lib.postgres import BINDIR, PORT, Database
from lib.wait import wait_until

MODES = ("at_least_once", "exactly_once")


@pytest.fixture(params=MODES)
def server(request: pytest.FixtureRequest, db: Database, kafka: Client) -> str:
    """A server in each mode of delivery."""
    return make_server(db, kafka.address, request.param)


@pytest.fixture
def prepared_db(own_cluster: Callable, kafka: Client, unique: Callable[[str], str]) -> Database:
    """A database where transactions can be prepared."""
    cluster = own_cluster(djkafka__bootstrap_servers=kafka.address, max_prepared_transactions=10)
    db = Database(cluster, unique("db"))
    db.query("CREATE EXTENSION djkafka")
    return db


# -- what commits, and nothing else


def test_what_commits(db: Database, kafka: Client, topic: str, server: str) -> None:
    produce = "SELECT djkafka_produce(%s, %s, key => 'k', server => %s)"
    connection = db.connect()

    def send(value: str | None) -> None:
        connection.execute(produce, (topic, value, server))

    send("alone")
    with connection.transaction(force_rollback=True):
        send("rolled back")
    with connection.transaction():
        send("a")
        with connection.transaction(force_rollback=True):
            send("in a savepoint that is rolled back")
            with connection.transaction():
                send("in one inside of that")
        with connection.transaction():
            send("b")
            with connection.transaction(force_rollback=True):
                send("deeper")
            with connection.transaction():
                send("c")
        send("d")
    with pytest.raises(psycopg.errors.DivisionByZero), connection.transaction():
        send("before an error")
        connection.execute("SELECT 1 / 0")
    with connection.transaction(), connection.transaction(force_rollback=True):
        send("a transaction whose only message is rolled back")
    with connection.transaction():
        with connection.transaction(force_rollback=True):
            send("first in a savepoint")
        send("e")
        send(None)
    gone = db.connect()
    gone.execute("BEGIN")
    gone.execute(produce, (topic, "of a session that goes away", server))
    gone.close()
    send("last")
    wait_sent(db)
    assert values(read_topic(kafka, topic)) == ["alone", "a", "b", "c", "d", "e", None, "last"]
    connection.close()


def test_bytes(db: Database, kafka: Client, topic: str, server: str) -> None:
    connection = db.connect()
    everything = bytes(range(256))
    headers = '[["a", "1"], ["a", "2"], ["none", null], ["bin", {"base64": "AP8="}]]'
    connection.execute(
        "SELECT djkafka_produce(%s, %b, key => %b, headers => %s, at_time => '2020-01-02 03:04:05.678+00', server => %s)",
        (topic, everything, everything[::-1], headers, server),
    )
    connection.execute("SELECT djkafka_produce(%s, '', key => '', server => %s)", (topic, server))
    connection.execute("SELECT djkafka_produce(%s, NULL, server => %s)", (topic, server))
    connection.execute("SELECT djkafka_produce(%s, repeat('ä', 400000), server => %s)", (topic, server))
    connection.close()
    wait_sent(db)
    first, empty, null, long = read_topic(kafka, topic)
    assert (first.key(), first.value()) == (everything[::-1], everything)
    assert first.headers() == [("a", b"1"), ("a", b"2"), ("none", None), ("bin", b"\x00\xff")]
    assert first.timestamp()[1] == 1_577_934_245_678
    assert (empty.key(), empty.value(), empty.headers()) == (b"", b"", None)
    assert (null.key(), null.value()) == (None, None)
    assert long.value().decode() == "ä" * 400_000


# -- many sessions


class Sessions:
    """Sessions that produce at the same time for keys that they share.

    A key's row is locked before its message is produced and counts the messages,
    so the transactions of a key are ordered, and what is rolled back takes its
    number back: Kafka must hold 1, 2, 3, … of each key up to what the row says.
    """

    def __init__(self, db: Database, topic: str, server: str, keys: int, seed: int):
        self.db, self.topic, self.server, self.keys, self.seed = db, topic, server, keys, seed
        self.failures: list[str] = []
        self.calls = 0
        db.query("CREATE TABLE counter (key int PRIMARY KEY, n int NOT NULL DEFAULT 0) WITH (fillfactor = 20)")
        db.query("INSERT INTO counter SELECT generate_series(1, %s)", keys)

    def run(self, sessions: int, messages: int) -> None:
        threads = [threading.Thread(target=self._session, args=(number, messages)) for number in range(sessions)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not self.failures, self.failures[:3]

    def _session(self, number: int, messages: int) -> None:
        try:
            with self.db.connect() as connection:
                self._send(connection, random.Random(self.seed * 1000 + number), messages)
        except Exception as error:  # a thread's failure is told by run()
            self.failures.append(f"session {number}: {error!r}")

    def _send(self, connection: psycopg.Connection, chance: random.Random, messages: int) -> None:
        while messages > 0:
            # in the order of keys, so that two sessions seldom wait for each other
            keys = sorted(chance.sample(range(1, self.keys + 1), min(messages, chance.choice([1, 1, 2, 5]))))
            try:
                with connection.transaction(force_rollback=chance.random() < 0.2):
                    for key in keys:
                        with connection.transaction(force_rollback=chance.random() < 0.2):
                            self._produce(connection, key)
            except psycopg.errors.DeadlockDetected:
                # Who waits for a row waits for a transaction, its savepoints that are gone included.
                pass
            messages -= len(keys)
            self.calls += len(keys)

    def _produce(self, connection: psycopg.Connection, key: int) -> None:
        bump = "UPDATE counter SET n = n + 1 WHERE key = %s RETURNING n"
        (number,) = connection.execute(bump, (key,)).fetchone()  # type: ignore[misc]
        connection.execute(
            "SELECT djkafka_produce(%s, %s, key => %s, server => %s)", (self.topic, number, key, self.server)
        )

    def check(self, kafka: Client) -> None:
        wait_sent(self.db, timeout=120)
        found = sequences(read_topic(kafka, self.topic))
        counts = dict(self.db.query("SELECT key::text, n FROM counter WHERE n > 0"))
        assert found.keys() == counts.keys()
        for key, count in counts.items():
            assert found[key] == list(range(1, count + 1)), f"key {key}: {count} messages, Kafka has {found[key][:50]}"
        print(f"{self.calls} calls, {sum(counts.values())} committed")
        assert sum(counts.values()) < self.calls, "nothing was rolled back"


def test_concurrent_sessions(db: Database, kafka: Client, unique, server: str) -> None:
    sessions = Sessions(db, kafka.create_topic(unique("many"), 3), server, keys=50, seed=choose_seed())
    sessions.run(20, 200)
    sessions.check(kafka)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("mode", MODES)
def test_hundred_sessions(own_cluster, kafka: Client, unique, mode: str) -> None:
    cluster = own_cluster(djkafka__bootstrap_servers=kafka.address, max_connections=130)
    db = Database(cluster, unique("db"))
    db.query("CREATE EXTENSION djkafka")
    topic = kafka.create_topic(unique("many"), 3)
    sessions = Sessions(db, topic, make_server(db, kafka.address, mode), keys=50, seed=choose_seed())
    sessions.run(100, 1000)
    sessions.check(kafka)


# -- waking


def test_prepared_transaction(prepared_db: Database, kafka: Client, topic: str) -> None:
    db = prepared_db
    db.query("SELECT djkafka_produce(%s, 'before')", topic)
    wait_sent(db)
    for name in ("one", "two", "three"):
        with db.connect() as connection:
            connection.execute("BEGIN")
            connection.execute("SELECT djkafka_produce(%s, %s)", (topic, name))
            connection.execute(f"PREPARE TRANSACTION '{name}'")
    db.query("SELECT djkafka_produce(%s, 'beside')", topic)
    wait_value(db, "SELECT count(*) FROM djkafka_outbox", 0)
    assert values(read_topic(kafka, topic)) == ["before", "beside"]

    db.query("ROLLBACK PREPARED 'two'")
    with Tail(kafka, topic) as tail:
        db.query("SELECT djkafka_produce(%s, 'probe')", topic)
        tail.wait("probe")
        start = time.monotonic()
        db.query("COMMIT PREPARED 'one'")
        tail.wait("one")
        took = time.monotonic() - start
    print(f"COMMIT PREPARED to the consumer: {1000 * took:.0f} ms")
    assert took < 1, "it is the commit that wakes, not the look once a minute"

    # a restart of the server: prepared transactions stay
    wait_sent(db)
    db.disconnect()
    db.cluster.restart()
    outbox_worker(db)
    db.query("COMMIT PREPARED 'three'")
    wait_sent(db)
    assert values(read_topic(kafka, topic)) == ["before", "beside", "probe", "one", "three"]


def test_row_made_again(db: Database, kafka: Client, topic: str, server: str, unique) -> None:
    produce = "SELECT djkafka_produce(%s, %s, server => %s)"

    def deleted() -> bool:
        try:
            db.query("DELETE FROM djkafka_outbox_server", user="postgres")
        except psycopg.errors.ObjectNotInPrerequisiteState:
            return False
        return True

    # The row that is made again is not behind what has ended since this began.
    holder = db.connect()
    holder.execute("BEGIN")
    holder.execute("SELECT pg_current_xact_id()")
    db.query(produce, topic, "before", server)
    connection = db.connect()
    with connection.transaction():
        connection.execute(produce, (topic, "open", server))
        with pytest.raises(psycopg.errors.LockNotAvailable):
            db.query("SET lock_timeout = '500ms'; DELETE FROM djkafka_outbox_server", user="postgres")
    wait_until(deleted, message="nothing waits for the row")
    assert not db.query("SELECT id FROM djkafka_outbox")
    connection.execute(produce, (topic, "after", server))
    connection.close()
    wait_sent(db)
    holder.close()
    assert values(read_topic(kafka, topic)) == ["before", "open", "after"]
    db.query(produce, unique("no-such-topic"), "held", server)
    wait_value(db, "SELECT count(*) FROM djkafka_outbox_held", 1)
    wait_value(db, "SELECT count(*) FROM djkafka_outbox WHERE state = 'pending'", 0)
    assert not deleted()
    db.query("TRUNCATE djkafka_outbox_held", user="postgres")
    assert deleted()


@pytest.mark.parametrize("back", ["SELECT setval('djkafka_outbox_id_seq', 3)", "ALTER SEQUENCE djkafka_outbox_id_seq RESTART"])
def test_sequence_set_back(db: Database, kafka: Client, topic: str, server: str, back: str) -> None:
    produce = "SELECT djkafka_produce(%s, %s, key => 'k', server => %s)"
    for i in range(20):
        db.query(produce, topic, str(i), server)
    wait_sent(db)
    db.query(back, user="postgres")
    for i in range(20, 23):
        db.query(produce, topic, str(i), server)
    assert db.value("SELECT djkafka_flush('30 s')")
    wait_sent(db)
    # Also that of a transaction which was open when the worker noticed.
    connection = db.connect()
    with connection.transaction():
        db.query(back, user="postgres")
        connection.execute(produce, (topic, "23", server))
        db.query(produce, topic, "beside", server)
        assert db.value("SELECT djkafka_flush('30 s')")
    connection.close()
    wait_sent(db)
    assert db.value(produce, topic, "24", server) > 20
    wait_sent(db)
    assert values(read_topic(kafka, topic)) == [str(i) for i in range(23)] + ["beside", "23", "24"]


def switches(pid: int) -> int:
    """How often the main thread has gone to sleep."""
    return int(process.status(Path(f"/proc/{pid}/task/{pid}/status"))["voluntary_ctxt_switches"])


def test_one_wake_for_a_transaction(db: Database, kafka: Client, topic: str) -> None:
    # The worker of the settings has nothing to do with what is produced for the
    # other server, but is woken with it: so its wakes can be told from its work.
    make_server(db, kafka.address, "at_least_once", "other")
    db.query("SELECT djkafka_produce(%s, 'x', server => 'other')", topic)
    db.query("SELECT djkafka_produce(%s, 'x')", topic)
    wait_sent(db)
    db.query("UPDATE djkafka_outbox_server SET enabled = false WHERE server = 'other'")
    pid = outbox_worker(db)["pid"]
    # It tidies up five seconds after its last batch.
    wait_until(lambda: settled(pid, 6.0), message="the worker waits")

    before = switches(pid)
    connection = db.connect()
    with connection.transaction():
        connection.execute(
            "DO $$ BEGIN FOR i IN 1 .. 100000 LOOP"
            f" PERFORM djkafka_produce('{topic}', 'v', server => 'other'); END LOOP; END $$"
        )
        assert switches(pid) == before, "a call wakes the worker"
    wait_until(lambda: switches(pid) > before, message="the commit wakes the worker")
    wait_until(lambda: settled(pid, 0.5), message="the worker waits")
    woken = switches(pid) - before
    print(f"100000 calls: the worker went to sleep {woken} times")
    assert woken < 20
    with connection.transaction():
        connection.execute("SELECT 1")
    assert switches(pid) == before + woken, "a transaction without messages wakes nobody"
    connection.close()
    db.query("UPDATE djkafka_outbox_server SET enabled = true WHERE server = 'other'")
    wait_sent(db)
    assert len(read_topic(kafka, topic)) == 100_002


def settled(pid: int, seconds: float) -> bool:
    """True once the process has slept for so long without waking up."""
    before = switches(pid)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if switches(pid) != before:
            return False
        time.sleep(0.02)
    return True


# -- nobody waits


@pytest.fixture
def impatient(prepared_db: Database, kafka: Client, topic: str) -> Iterator[Callable[[int], None]]:
    """Produces so many messages of 4 kB in transactions that may wait for nothing, and numbers them."""
    prepared_db.query("SELECT djkafka_produce(%s, '0')", topic)
    connection = prepared_db.connect()
    connection.execute("SET lock_timeout = '500ms'")
    connection.execute("SET statement_timeout = '10s'")
    connection.execute("CREATE SEQUENCE numbers")
    # what does not compress fills the tables
    filler = (
        "CREATE TABLE filler AS SELECT string_agg(md5(i::text), '') AS text FROM generate_series(1, 128) i"
    )
    connection.execute(filler)

    def produce(count: int) -> None:
        while count > 0:
            connection.execute(
                "SELECT djkafka_produce(%s, nextval('numbers') || ' ' || text)"
                " FROM filler, generate_series(1, %s)",
                (topic, min(count, 1000)),
            )
            count -= 1000

    yield produce
    connection.close()


def big_numbers(kafka: Client, topic: str) -> list[int]:
    return [int(message.value().split(b" ")[0]) for message in read_topic(kafka, topic)]


def outbox_blocks(db: Database) -> list[int]:
    """Size of each of the three tables."""
    return [
        db.value(f"SELECT pg_table_size('djkafka_outbox_{number}') / 8192", user="postgres") for number in range(3)
    ]


LARGE = 32 * 1024 * 1024 // 8192


def test_open_transactions_hold_up_nobody(prepared_db: Database, kafka: Client, topic: str, impatient) -> None:
    """A writer, a prepared transaction and a pg_dump, all open while the tables are to be rotated."""
    db = prepared_db
    impatient(1000)
    writer, late, dump = db.connect(), db.connect(), db.connect("postgres")
    writer.execute("BEGIN")
    writer.execute("SELECT djkafka_produce(%s, '-1 of a writer')", (topic,))
    with db.connect() as preparing:
        preparing.execute("BEGIN")
        preparing.execute("SELECT djkafka_produce(%s, '-2 prepared')", (topic,))
        preparing.execute("PREPARE TRANSACTION 'open'")
    late.execute("BEGIN")
    low = late.execute("SELECT djkafka_produce(%s, '-3 with a low id')", (topic,)).fetchone()[0]

    # the table of the open ones stays, and the other two take turns
    impatient(30_000)
    wait_value(db, "SELECT count(*) FROM djkafka_outbox", 0)
    assert db.value("SELECT last_value FROM djkafka_outbox_id_seq", user="postgres") > low + 20_000
    assert big_numbers(kafka, topic) == list(range(31_001))
    wait_until(
        lambda: sum(sorted(outbox_blocks(db))[:2]) < LARGE,
        message=lambda: f"the two that nobody keeps are truncated: {outbox_blocks(db)}",
        timeout=90,  # who looks at a table at that moment keeps it for a minute
    )
    late.execute("COMMIT")
    wait_until(lambda: big_numbers(kafka, topic)[31_001:] == [-3], message="what committed late is sent")

    # all of them locked: the current table grows, and sending goes on
    dump.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    dump.execute("LOCK djkafka_outbox_0, djkafka_outbox_1, djkafka_outbox_2 IN ACCESS SHARE MODE")
    dump.execute("SELECT count(*) FROM djkafka_outbox_0")
    impatient(30_000)
    wait_value(db, "SELECT count(*) FROM djkafka_outbox", 0)
    assert len(big_numbers(kafka, topic)) == 61_002
    assert sum(outbox_blocks(db)) > 3 * LARGE, f"a table that is locked was truncated: {outbox_blocks(db)}"

    dump.execute("COMMIT")
    writer.execute("COMMIT")
    db.query("COMMIT PREPARED 'open'")
    impatient(10)
    wait_sent(db)
    found = big_numbers(kafka, topic)
    assert sorted(found) == list(range(-3, 61_011)), "nothing is lost and nothing doubled"
    assert [number for number in found if number >= 0] == list(range(61_011))
    for connection in (writer, late, dump):
        connection.close()


def test_backlog_is_read_once(own_cluster, kafka: Client, topic: str, unique) -> None:
    """
    What has been sent of a large table is not read again, neither with each look whether it can be truncated nor
    with the first look behind it.
    """
    count = 1_000_000
    # large enough that a scan begins at the beginning, and not where the last one ended
    db = Database(own_cluster(djkafka__bootstrap_servers=kafka.address, shared_buffers="1GB"), unique("db"))
    db.query("CREATE EXTENSION djkafka")
    db.query("SELECT djkafka_produce(%s, 'first')", topic)
    wait_sent(db)
    db.query("UPDATE djkafka_outbox_server SET enabled = false")
    db.query("SELECT count(djkafka_produce(%s, 'payload ' || i)) FROM generate_series(1, %s) i", topic, count)
    table = f"djkafka_outbox_{db.value('SELECT current_table FROM djkafka_outbox_rotation')}"
    # asked without a lock: a table that somebody reads just then is read again and truncated later
    file = "SELECT pg_relation_filenode(%s::regclass)"
    before = db.value(file, table)
    db.query("UPDATE djkafka_outbox_server SET enabled = true")
    wait_value(db, "SELECT sent FROM djkafka_outbox_server", count + 1, timeout=120)
    wait_until(lambda: db.value(file, table) != before, message="the table is truncated")
    read = (
        "SELECT sum(seq_tup_read)::bigint, sum(coalesce(idx_tup_fetch, 0))::bigint FROM pg_stat_user_tables"
        " WHERE relname LIKE 'djkafka\\_outbox\\__'"
    )
    wait_until(lambda: sum(db.query(read)[0]) > 1.9 * count, message="the statistics are there")
    from_beginning, by_index = db.query(read)[0]
    # to send, and to know that all has been sent
    assert from_beginning < count / 2 and by_index < 2.5 * count, f"{from_beginning} and {by_index} of {count} were read"


@pytest.mark.long
@pytest.mark.timeout(300)
def test_single_messages_beside_a_long_transaction(own_cluster, kafka: Client, topic: str, unique, tmp_path) -> None:
    """
    A session that draws ids without a pause, and others that commit one message each: whatever the worker reads of
    the sequence in the midst of that, it passes over none.
    """
    db = Database(own_cluster(djkafka__bootstrap_servers=kafka.address), unique("db"))
    db.query("CREATE EXTENSION djkafka")
    db.query("SELECT djkafka_produce(%s, 'first')", topic)
    wait_sent(db)
    drawing = db.connect()

    def draw() -> None:
        drawing.execute("BEGIN")
        with contextlib.suppress(psycopg.errors.QueryCanceled):
            drawing.execute("SELECT count(djkafka_produce('nothing', 'x')) FROM generate_series(1, 100000000)")
        drawing.execute("ROLLBACK")

    thread = threading.Thread(target=draw)
    thread.start()
    script = tmp_path / "script"
    script.write_text(f"SELECT djkafka_produce('{topic}', 'x');\n")
    try:
        told = subprocess.run(
            [BINDIR / "pgbench", "-n", "-h", db.cluster.folder, "-p", str(PORT), "-U", "postgres"]
            + ["-f", script, "-c", "2", "-T", "60", db.name],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    finally:
        drawing.cancel()
        thread.join()
    committed = int(re.search(r"transactions actually processed: (\d+)", told)[1])
    wait_sent(db)
    assert committed > 10_000
    assert db.value("SELECT sent FROM djkafka_outbox_server") == committed + 1
    assert sum(kafka.end_offsets(topic).values()) == committed + 1


def test_sent_messages_do_not_stay(db: Database, kafka: Client, topic: str) -> None:
    """Not even where a session holds a snapshot."""
    db.query("SELECT djkafka_produce(%s, '0')", topic)
    wait_sent(db)
    holder = db.connect()
    holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    holder.execute("SELECT 1")
    sizes = []
    for part in range(6):
        db.query(
            "SELECT djkafka_produce(%s, repeat('x', 150) || i) FROM generate_series(1, 50000) i", topic
        )
        wait_sent(db, interval=0.2)
        sizes.append(sum(outbox_blocks(db)))
    print(f"blocks of the outbox after each 50,000 messages: {sizes}")
    assert max(sizes) < 3 * LARGE and sizes[-1] < 2.5 * LARGE
    # what the worker writes of itself is small under a held snapshot too
    assert db.value("SELECT pg_total_relation_size('djkafka_outbox_server')", user="postgres") < 1_000_000
    assert holder.execute("SELECT 1").fetchone() == (1,)
    holder.close()
    assert len(read_topic(kafka, topic)) == 300_001

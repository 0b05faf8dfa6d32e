"""A message that crashes the server does so three times and then no more."""

import os
import signal
from collections.abc import Callable

import pytest
from lib.djkafka import assert_audit, dead_letters, to_json, wait_count, wait_state, wait_value, workers
from lib.kafka import Client, Record
from lib.postgres import TEST_BINDIR, Cluster, Database
from lib.process import kill_and_wait
from lib.wait import wait_until

Own = Callable[..., Cluster]

# What follows the crash: a function in C that writes where nothing is.
CRASH = "CREATE FUNCTION crash() RETURNS void LANGUAGE c AS 'djkafka', 'djkafka_test_crash'"
TABLE = """
    CREATE TABLE t (id bigint PRIMARY KEY, bad boolean);
    CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.bad THEN PERFORM crash(); END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER look BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION look();
"""


def restarts(db: Database) -> int:
    return db.cluster.log().count("all server processes terminated; reinitializing")


@pytest.fixture
def crashing(own_cluster: Own, kafka: Client, unique) -> Database:
    """A database with a table whose trigger crashes for some rows."""
    cluster = own_cluster(bindir=TEST_BINDIR, djkafka__bootstrap_servers=kafka.address)
    db = Database(cluster, unique("db"))
    db.query("CREATE EXTENSION djkafka")
    db.query(CRASH, user="postgres")
    db.query(TABLE)
    return db


def answering(db: Database, query: str, wanted, *parameters, timeout: float = 60) -> None:
    """Waits for a value through restarts of the server, during which no session lasts."""

    def reached() -> bool:
        try:
            return db.value(query, *parameters) == wanted
        except Exception:  # noqa: BLE001 - the server is down or restarts
            db.disconnect()
            return False

    wait_until(reached, timeout, f"{query} did not become {wanted}", interval=0.1)


def records(bad: set[int], count: int = 200) -> list[Record]:
    return [Record(to_json(id=n, bad=n in bad), str(n)) for n in range(count)]


def test_dead_letters(crashing: Database, kafka: Client, topic: str) -> None:
    """Two bad messages among good ones: each is a dead letter, and all others arrive."""
    db = crashing
    kafka.produce(topic, records({50, 120}))
    db.query("SELECT djkafka_subscribe(%s, 't')", topic)
    answering(db, "SELECT count(*) FROM t", 198)
    letters = dead_letters(db, topic)
    assert {position: letter["sqlstate"] for position, letter in letters.items()} == {
        (0, 50): "22KF4",
        (0, 120): "22KF4",
    }
    assert restarts(db) <= 5  # three for the first, and two more: the batch counts for both
    wait_state(db, "running")
    wait_value(db, "SELECT count(*) FROM djkafka_event WHERE kind = 'crash'", 2)
    assert_audit(db, 200)
    before = restarts(db)
    kafka.produce(topic, [Record(to_json(id=n, bad=False)) for n in range(1000, 1500)])
    wait_count(db, "t", 698)
    assert restarts(db) == before


def test_stop(crashing: Database, kafka: Client, topic: str) -> None:
    """With on_error => 'stop' the consumer stops there, is seen to, and is tried again when asked."""
    db = crashing
    kafka.produce(topic, records({7}, 20))
    db.query("SELECT djkafka_subscribe(%s, 't', on_error => 'stop')", topic)
    answering(db, "SELECT count(*) FROM djkafka_event WHERE state = 'broken'", 1)
    state = wait_state(db, "broken")
    assert "offset 7" in state["reason"] and "ended 3 times" in state["reason"]
    assert restarts(db) == 3
    assert db.value("SELECT count(*) FROM t") == 7
    db.query("DROP TRIGGER look ON t")
    db.query("SELECT djkafka_restart('default')")
    wait_count(db, "t", 20)
    assert restarts(db) == 3


@pytest.mark.parametrize("deaths", [1, 3])
def test_skip(crashing: Database, kafka: Client, topic: str, deaths: int) -> None:
    """A message that is skipped crashes nothing any more: nobody looks at it."""
    db = crashing
    kafka.produce(topic, records({7}, 20))
    db.query("SELECT djkafka_subscribe(%s, 't', on_error => 'stop')", topic)
    wait_until(lambda: restarts(db) == deaths, 60, "the server has crashed")
    if deaths == 3:
        answering(db, "SELECT count(*) FROM djkafka_event WHERE state = 'broken'", 1)
        hint = wait_state(db, "broken")["hint"]
        db.query(hint[hint.index("SELECT djkafka_skip") :])
    else:
        # Before the worker comes back, or while it dies once more.
        answering(db, f"SELECT djkafka_skip('default', '{topic}', 0, 7)::text", "")
    dying = 0 if deaths == 3 else 1  # what applied the message when it was skipped
    limit = restarts(db) + dying
    answering(db, "SELECT count(*) FROM t", 19)
    assert restarts(db) <= limit
    assert db.value("SELECT skipped FROM djkafka_status") == 1
    assert not dead_letters(db, topic)
    assert_audit(db, 20)


@pytest.mark.long
def test_killed_innocents(crashing: Database, kafka: Client, topic: str) -> None:
    """Workers that are killed make no dead letters, nor do neighbours that crash."""
    db = crashing
    kafka.create_topic(f"{topic}_more", 3)
    db.query("SELECT djkafka_subscribe(%s, 't')", topic)
    db.query("SELECT djkafka_subscribe(%s, 't')", f"{topic}_more")
    sent = 0
    for kill in range(6):
        wait_until(lambda: len(workers(db)) == 1, 30, "no worker")
        wait_state(db, "running")
        kafka.produce(topic, [Record(to_json(id=n, bad=False)) for n in range(sent, sent + 2000)])
        kafka.produce(f"{topic}_more", [Record(to_json(id=-1 - n, bad=False)) for n in range(sent, sent + 2000)])
        sent += 2000
        before = restarts(db)
        if kill % 2 == 0:
            kill_and_wait(workers(db)[1], signal.SIGKILL)
        else:
            with pytest.raises(Exception):  # noqa: B017, PT011 - the session dies with it
                db.query("SELECT crash()")
        wait_until(lambda seen=before: restarts(db) > seen, 30, "the server did not restart")
        answering(db, "SELECT 1", 1)
    answering(db, "SELECT count(*) FROM t", 2 * sent)
    assert db.value("SELECT count(*) FROM djkafka_dead_letter") == 0


@pytest.mark.long
def test_file_of_another(crashing: Database, kafka: Client, topic: str) -> None:
    """A file that is damaged or of another size is made again; the count lasts a restart with another size."""
    db = crashing
    cluster = db.cluster
    marks = cluster.data / "pg_stat_tmp" / "djkafka.marks"
    size = marks.stat().st_size
    db.disconnect()
    for content in (b"", os.urandom(1000), os.urandom(size)):
        cluster.stop()
        marks.write_bytes(content)
        cluster.start()
        assert marks.stat().st_size == size
    cluster.stop()
    cluster.configure(djkafka__max_workers=40, restart_after_crash=False)
    cluster.start()
    assert marks.stat().st_size != size
    kafka.produce(topic, records({3}, 10))
    db.query("SELECT djkafka_subscribe(%s, 't')", topic)
    deaths = 0
    while deaths < 3:
        cluster.process.wait(timeout=60)
        db.disconnect()
        deaths += 1
        cluster.configure(djkafka__max_workers=40 + deaths)
        cluster.start()
    answering(db, "SELECT count(*) FROM t", 9)
    assert [letter["sqlstate"] for letter in dead_letters(db, topic).values()] == ["22KF4"]

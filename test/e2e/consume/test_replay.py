"""Dead letters: replayed byte for byte, refused where they are overtaken, beside a running worker, many at once, expired."""

import json
import os
import signal
import time
from collections.abc import Callable

import psycopg
from lib.djkafka import assert_audit, status, to_json, wait_caught_up, wait_count, wait_state, wait_value, workers
from lib.kafka import Client, Record
from lib.outbox import read_topic, wait_sent
from lib.postgres import Cluster, Database
from lib.process import private_kb, stop_and_wait

OTHER_KEY = b"\x00\xff\xfe key"
OTHER_VALUE = b"\xc3\x28 not UTF-8 \x00\xff" * 3
HEADERS = [(f"name {n % 300}", None if n % 7 == 0 else bytes([n % 256, 0, 255])) for n in range(1000)]
TIME = 1_769_860_800_123


def replay(db: Database, **arguments: object) -> dict[str, int]:
    """How many letters had which result."""
    names = ", ".join(f"{name} => %s" for name in arguments)
    return dict(db.query(f"SELECT result, count(*) FROM djkafka_replay({names}) GROUP BY 1", *arguments.values()))


def test_byte_for_byte(db: Database, kafka: Client, topic: str) -> None:
    """A binary key, a value that is no text, 1,000 headers: in the table, applied, and sent to another topic."""
    db.query(
        "CREATE TABLE raw (topic text, partition int, \"offset\" bigint, \"timestamp\" timestamptz, key bytea, value bytea,"
        " headers djkafka_header[], CONSTRAINT none CHECK (false))"
    )
    db.query("SELECT djkafka_subscribe(%s, 'raw', operation => 'insert', format => 'raw')", topic)
    kafka.produce(topic, [Record(OTHER_VALUE, OTHER_KEY, headers=HEADERS, timestamp=TIME)] * 2 + [Record(None, None, timestamp=TIME)])
    wait_count(db, "djkafka_dead_letter", 3)
    assert db.query("SELECT DISTINCT attempts, first_failed_at = last_failed_at FROM djkafka_dead_letter") == [(1, True)]
    whole = "SELECT key, value, (SELECT array_agg(h.name ORDER BY n) FROM unnest(headers) WITH ORDINALITY h(name, value, n)), {} FROM {} ORDER BY {}"
    letters = db.query(whole.format("message_time", "djkafka_dead_letter", '"offset"'))
    assert letters[0][:3] == (OTHER_KEY, OTHER_VALUE, [name for name, _ in HEADERS])
    assert letters[2][:3] == (None, None, None)

    assert replay(db, consumer="default") == {"failed": 3}
    assert db.query("SELECT DISTINCT attempts, first_failed_at < last_failed_at FROM djkafka_dead_letter") == [(2, True)]
    db.query("ALTER TABLE raw DROP CONSTRAINT none")
    headers = db.query('SELECT headers::text FROM djkafka_dead_letter ORDER BY "offset"')
    assert replay(db, consumer="default", max_letters=1) == {"applied": 1}
    assert db.query(whole.format('"timestamp"', "raw", '"offset"')) == letters[:1]
    assert db.query("SELECT headers::text, partition, \"offset\" FROM raw") == [(headers[0][0], 0, 0)]

    again = kafka.create_topic(f"{topic}.again")
    assert replay(db, consumer="default", to_topic=again) == {"sent": 2}
    assert db.value("SELECT count(*) FROM djkafka_dead_letter") == 0
    wait_sent(db)
    found = [(m.key(), m.value(), m.headers(), m.timestamp()[1]) for m in read_topic(kafka, again)]
    assert found == [(OTHER_KEY, OTHER_VALUE, HEADERS, TIME), (None, None, None, TIME)]
    actions = db.query("SELECT action, result, reason, count(*) FROM djkafka_dead_letter_log GROUP BY 1, 2, 3 ORDER BY 1, 2")
    assert actions == [("replay", "applied", None, 1), ("replay", "failed", None, 3), ("send", "sent", again, 2)]
    assert_audit(db, 3)


def test_overtaken(db: Database, kafka: Client, topic: str) -> None:
    """A letter is refused once something newer of its key is applied: in its batch, a later one, by halves, a deletion."""
    db.query("CREATE TABLE t (id text PRIMARY KEY, n int CHECK (n >= 0), note text)")
    db.query("SELECT djkafka_subscribe(%s, 't', key_columns => '{id}')", topic)
    bad, good = [Record(to_json(n=-1), f"k{n}") for n in range(40)], [Record(to_json(n=n), f"k{n}") for n in range(20)]
    kafka.produce(topic, bad[:10] + good[:10] + [Record("no JSON", "k5"), Record(None, "k30")] + bad[10:])
    wait_caught_up(db, kafka, topic)
    overtaken = "SELECT convert_from(key, 'UTF8'), newer_offset FROM djkafka_dead_letter WHERE newer_offset IS NOT NULL ORDER BY \"offset\""
    assert db.query(overtaken) == [(f"k{n}", 10 + n) for n in range(10)]
    kafka.produce(topic, [*good[10:15], Record(None, "k35"), Record("no JSON", "k36")])
    wait_caught_up(db, kafka, topic)
    assert [key for key, _ in db.query(overtaken)] == [f"k{n}" for n in [*range(15), 35]]

    assert replay(db, consumer="default") == {"refused": 16, "failed": 26}
    db.query("UPDATE djkafka_dead_letter SET value = '{\"n\": 1000}' WHERE key IN ('k0', 'k30', 'k31')")
    assert replay(db, consumer="default") == {"refused": 16, "failed": 24, "applied": 2}
    assert db.query("SELECT id, n FROM t WHERE id IN ('k0', 'k30', 'k31') ORDER BY id") == [("k0", 0), ("k30", 1000), ("k31", 1000)]
    ids = [letter for (letter,) in db.query("SELECT id FROM djkafka_dead_letter WHERE key = 'k0'")]
    assert replay(db, ids=ids, force=True) == {"applied": 1}
    assert db.value("SELECT n FROM t WHERE id = 'k0'") == 1000
    assert db.value("SELECT count(*) FROM djkafka_dead_letter_log WHERE action = 'edit' AND old_value = '{\"n\": -1}'") == 3
    assert db.value("SELECT djkafka_discard(consumer => 'default', reason => 'old')") == 39
    assert_audit(db)
    assert status(db)["dead"] == 42


def test_overtaken_while_waiting(db: Database, kafka: Client, unique: Callable[[str], str]) -> None:
    """What waits for a parent overtakes a letter when it is applied, and becomes one that others overtake."""
    topic = kafka.create_topic(unique("child"))
    db.query("CREATE TABLE parent (id int PRIMARY KEY)")
    db.query("CREATE TABLE child (id text PRIMARY KEY, parent_id int REFERENCES parent, n int CHECK (n >= 0))")
    db.query("SELECT djkafka_subscribe(%s, 'child', key_columns => '{id}', parent_timeout => '1 s')", topic)
    kafka.create_topic(f"{topic}.2")
    db.query("SELECT djkafka_subscribe(%s, 'child', key_columns => '{id}', consumer => 'patient', parent_timeout => '1 h')", f"{topic}.2")
    kafka.produce(f"{topic}.2", [Record(to_json(id="z", parent_id=9, n=1), "z"), Record(to_json(id="y", n=-1), "z")])
    wait_value(db, "SELECT count(*) FROM djkafka_dead_letter WHERE consumer = 'patient'", 1)
    wait_count(db, "djkafka_parked", 1)
    told = db.query("SELECT verdict, state FROM djkafka_health() WHERE consumer = 'patient'")
    assert {("ok", "parked"), ("warning", "dead_letters")} <= set(told)
    assert replay(db, consumer="patient") == {"refused": 1}
    assert "waits in djkafka_parked" in db.value("SELECT error FROM djkafka_replay(consumer => 'patient')")
    assert replay(db, consumer="patient", force=True) == {"failed": 1}
    db.query("SELECT djkafka_drop_consumer('patient')")
    db.query("DELETE FROM djkafka_dead_letter")

    kafka.produce(topic, [Record(to_json(parent_id=1, n=-1), "a"), Record(to_json(parent_id=1, n=1), "a"), Record(to_json(parent_id=9, n=1), "b")])
    wait_count(db, "djkafka_dead_letter", 1)
    wait_count(db, "djkafka_parked", 2)
    db.query("INSERT INTO parent VALUES (1)")
    wait_value(db, "SELECT count(*) FROM child", 1)
    assert db.value("SELECT newer_offset FROM djkafka_dead_letter WHERE key = 'a'") == 1
    wait_count(db, "djkafka_dead_letter", 2)
    assert db.value("SELECT first_failed_at < created_at FROM djkafka_dead_letter WHERE key = 'b'")
    kafka.produce(topic, [Record(to_json(n=2), "b")])
    wait_caught_up(db, kafka, topic)
    assert db.value("SELECT newer_offset FROM djkafka_dead_letter WHERE key = 'b'") == 3
    assert_audit(db, 4)


def test_overtaken_after_a_run(db: Database, kafka: Client, topic: str) -> None:
    """A letter that djkafka_run has made of what waited is known to the worker that goes on, though no offset has moved."""
    db.query("CREATE TABLE parent (id int PRIMARY KEY)")
    db.query("CREATE TABLE child (id text PRIMARY KEY, parent_id int REFERENCES parent, n int CHECK (n >= 0))")
    db.query("SELECT djkafka_subscribe(%s, 'child', key_columns => '{id}', parent_timeout => '4 s')", topic)
    kafka.produce(topic, [Record(to_json(n=-1), "a")])
    wait_count(db, "djkafka_dead_letter", 1)
    kafka.produce(topic, [Record(to_json(parent_id=9, n=1), "b")])
    wait_count(db, "djkafka_parked", 1)
    pid = workers(db)[1]
    stop_and_wait(pid)
    while db.value("SELECT xact_start IS NOT NULL FROM pg_stat_activity WHERE pid = %s", pid, user="postgres"):
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.1)
        stop_and_wait(pid)
    wait_value(db, "SELECT clock_timestamp() > parked_at + interval '4 s' FROM djkafka_parked", True)
    assert db.value("SELECT dead FROM djkafka_run('default', until => 'eof', timeout => '1 min')") == 1
    os.kill(pid, signal.SIGCONT)
    kafka.produce(topic, [Record(to_json(n=2), "b")])
    wait_caught_up(db, kafka, topic)
    assert db.query("SELECT convert_from(key, 'UTF8'), newer_offset FROM djkafka_dead_letter ORDER BY id") == [("a", None), ("b", 2)]
    assert replay(db, consumer="default") == {"failed": 1, "refused": 1}


def test_after_retries(db: Database, kafka: Client, unique: Callable[[str], str]) -> None:
    """A letter that was tried again before says how often, whether its partition waited or not; what comes later overtakes it."""
    for blocking in (False, True):
        topic, table = kafka.create_topic(unique("retried")), f"t{int(blocking)}"
        db.query(f"CREATE TABLE {table} (id text PRIMARY KEY, n int CHECK (n >= 0))")
        policy = json.dumps({"max_retries": 2, "delay": 0.1, "exclude": [], "blocking": blocking})
        db.query("SELECT djkafka_subscribe(%s, %s::regclass, key_columns => '{id}', retry => %s, consumer => %s)", topic, table, policy, table)
        kafka.produce(topic, [Record(to_json(n=-1), "a"), Record(to_json(n=1), "a"), Record(to_json(n=1), "b")])
        wait_count(db, table, 2)
        letter = db.query("SELECT attempts, newer_offset FROM djkafka_dead_letter WHERE consumer = %s", table)
        assert letter == [(3, 1)], f"blocking: {blocking}"
        assert replay(db, consumer=table) == {"refused": 1}
        assert replay(db, consumer=table, force=True) == {"failed": 1}
        assert db.value("SELECT attempts FROM djkafka_dead_letter WHERE consumer = %s", table) == 4
    assert_audit(db)


def test_beside_a_worker(db: Database, kafka: Client, topic: str) -> None:
    """A worker waits for a replay of its partition, so that what is newer comes after it; and a replay for a worker."""
    db.query("CREATE TABLE t (id text PRIMARY KEY, n int CHECK (n >= 0))")
    db.query("CREATE TABLE history (id text, n int, at timestamptz DEFAULT clock_timestamp())")
    db.query("CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO history VALUES (NEW.id, NEW.n); RETURN NULL; END'")
    db.query("CREATE TRIGGER note AFTER INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION note()")
    db.query("SELECT djkafka_subscribe(%s, 't', key_columns => '{id}')", topic)
    kafka.produce(topic, [Record(to_json(n=-1), "a"), Record(to_json(n=-1), "b")])
    wait_count(db, "djkafka_dead_letter", 2)
    db.query("UPDATE djkafka_dead_letter SET value = '{\"n\": 1}'")
    session = db.connect()
    with session.transaction():
        assert session.execute("SELECT result FROM djkafka_replay(consumer => 'default') LIMIT 1").fetchone() == ("applied",)
        kafka.produce(topic, [Record(to_json(n=2), "a"), Record(to_json(n=2), "b")])
        wait_state(db, "waiting_for_lock")
        assert db.value("SELECT count(*) FROM t") == 0
    session.close()
    wait_caught_up(db, kafka, topic)
    assert db.query("SELECT id, n FROM t ORDER BY id") == [("a", 2), ("b", 2)]
    assert db.query("SELECT n, count(*) FROM history GROUP BY 1 ORDER BY 1") == [(1, 2), (2, 2)]
    # A letter that is committed while the worker waits is overtaken by what the worker applies then.
    session = db.connect("postgres")
    with session.transaction():
        session.execute("SELECT FROM djkafka_offset FOR NO KEY UPDATE")
        session.execute(
            "INSERT INTO djkafka_dead_letter (consumer_id, consumer, topic, partition, \"offset\", key, value, sqlstate, message)"
            " SELECT djkafka_consumer_id('default'), 'default', %s, 0, 0, 'a', '{}', '23514', 'm'",
            [topic],
        )
        kafka.produce(topic, [Record(to_json(n=3), "a")])
        wait_state(db, "waiting_for_lock")
    session.close()
    wait_caught_up(db, kafka, topic)
    assert db.query("SELECT newer_offset FROM djkafka_dead_letter") == [(4,)]
    assert_audit(db, 5)


def test_many(db: Database, kafka: Client, topic: str, record_property: Callable[[str, object], None]) -> None:
    """10,000 letters at once, of 10 kB each, some of which fail again: what they take of time and memory."""
    count = 10_000
    db.query("CREATE TABLE t (id text PRIMARY KEY, n int CHECK (n >= 0 AND n <> 7), pad text)")
    db.query("ALTER TABLE t ADD CONSTRAINT none CHECK (n < 0)")
    db.query("SELECT djkafka_create_consumer('default', storm_share => 1)")  # not stopped half-way, for all fail
    db.query("SELECT djkafka_subscribe(%s, 't', key_columns => '{id}')", topic)
    pad = "x" * 10_000
    kafka.produce(topic, (Record(to_json(n=n % 1000, pad=pad), f"key-{n}") for n in range(count)))
    wait_count(db, "djkafka_dead_letter", count, timeout=300)
    db.query("ALTER TABLE t DROP CONSTRAINT none")
    session = db.connect()
    pid = session.info.backend_pid
    before = private_kb(pid)
    started = time.monotonic()
    found = dict(session.execute("SELECT result, count(*) FROM djkafka_replay(consumer => 'default') GROUP BY 1").fetchall())
    taken, grown = time.monotonic() - started, private_kb(pid) - before
    session.close()
    record_property("seconds", round(taken, 1))
    record_property("kB", grown)
    print(f"10,000 letters of 10 kB: {taken:.1f} s, {grown} kB more")
    assert found == {"applied": count - 10, "failed": 10}
    assert db.value("SELECT count(*) FROM t") == count - 10
    assert db.value("SELECT count(*) FROM djkafka_dead_letter_log") == count
    assert grown < 60_000, "all of them are 100 MB"
    assert_audit(db, count)


OTHERS = 5001  # one more than may go at once


def test_expiry(own_cluster: Callable[..., Cluster], kafka: Client, topic: str) -> None:
    """Letters that are too old or too many go, oldest first and with an event; those in somebody's hands stay, and keep no others."""
    cluster = own_cluster(djkafka__bootstrap_servers=kafka.address)
    db = Database(cluster, "db")
    db.query("CREATE EXTENSION djkafka")
    db.query("CREATE TABLE t (id int PRIMARY KEY)")
    db.query("SELECT djkafka_subscribe(%s, 't')", topic)
    kafka.produce(topic, [Record("no JSON")] * 20)
    wait_count(db, "djkafka_dead_letter", 20)
    db.query(
        "INSERT INTO djkafka_dead_letter (consumer_id, consumer, topic, partition, \"offset\", sqlstate, message, last_failed_at)"
        " SELECT 0, 'other', 'other', 0, n, '22000', 'm', now() - interval '1 day' FROM generate_series(1, %s) n",
        OTHERS,
    )
    other = db.connect()
    other.execute("BEGIN")
    other.execute("SELECT FROM djkafka_dead_letter WHERE consumer = 'other' FOR UPDATE")
    cluster.configure(djkafka__max_dead_letters=12)
    cluster.reload()
    wait_count(db, "djkafka_dead_letter", OTHERS + 12)
    assert db.value('SELECT min("offset") FROM djkafka_dead_letter WHERE consumer = \'default\'') == 8
    assert db.query("SELECT consumer, reason FROM djkafka_event WHERE kind = 'expired'") == [
        ("default", "8 dead letters were removed by djkafka.max_dead_letters")
    ]
    logged = db.query("SELECT action, reason, count(*), min(\"offset\"), max(\"offset\") FROM djkafka_dead_letter_log GROUP BY 1, 2")
    assert logged == [("expire", "djkafka.max_dead_letters", 8, 0, 7)]

    session = db.connect()
    with session.transaction():
        session.execute("SELECT FROM djkafka_dead_letter WHERE consumer = 'default' AND \"offset\" = 10 FOR UPDATE")
        time.sleep(1.1)
        cluster.configure(djkafka__dead_letter_retention="1s")
        cluster.reload()
        wait_count(db, "djkafka_dead_letter", OTHERS + 1)
        assert db.value('SELECT min("offset") FROM djkafka_dead_letter WHERE consumer = \'default\'') == 10
    session.close()
    other.close()
    cluster.reload()
    wait_count(db, "djkafka_dead_letter", 0)
    assert db.value("SELECT count(*) FROM djkafka_dead_letter_log WHERE reason = 'djkafka.dead_letter_retention' AND consumer = 'default'") == 12
    assert_audit(db, 20)


def test_in_a_prepared_transaction(own_cluster: Callable[..., Cluster], kafka: Client, topic: str) -> None:
    """A replay that is prepared is nothing until it is committed, and nobody else applies its letters meanwhile."""
    cluster = own_cluster(djkafka__bootstrap_servers=kafka.address, max_prepared_transactions=5)
    db = Database(cluster, "db")
    db.query("CREATE EXTENSION djkafka")
    db.query("CREATE TABLE t (id int PRIMARY KEY)")
    db.query("SELECT djkafka_subscribe(%s, 't')", topic)
    kafka.produce(topic, [Record('{"id": "x"}')])
    wait_count(db, "djkafka_dead_letter", 1)
    db.query("UPDATE djkafka_dead_letter SET value = '{\"id\": 1}'")
    session = db.connect()
    session.execute("BEGIN")
    assert session.execute("SELECT result FROM djkafka_replay(consumer => 'default')").fetchone() == ("applied",)
    session.execute("PREPARE TRANSACTION 'replayed'")
    session.execute("SET lock_timeout = '200ms'")
    try:
        session.execute("SELECT djkafka_replay(consumer => 'default')")
        raise AssertionError("a letter was replayed beside a prepared replay of it")
    except psycopg.errors.LockNotAvailable:
        pass
    session.execute("COMMIT PREPARED 'replayed'")
    assert session.execute("SELECT count(*) FROM djkafka_replay(consumer => 'default')").fetchone() == (0,)
    session.close()
    assert db.query("SELECT id FROM t") == [(1,)]


def test_topic_made_again(db: Database, kafka: Client, topic: str) -> None:
    """Letters of a topic that was deleted are older than whatever its successor holds."""
    db.query("CREATE TABLE t (id text PRIMARY KEY, n int CHECK (n >= 0))")
    db.query("SELECT djkafka_create_consumer('default', on_new_topic => 'earliest')")
    db.query("SELECT djkafka_subscribe(%s, 't', key_columns => '{id}')", topic)
    kafka.produce(topic, [Record(to_json(n=-1), "a"), Record(to_json(id="b", n=-1))])
    wait_count(db, "djkafka_dead_letter", 2)
    kafka.delete_topic(topic)
    kafka.create_topic(topic)
    kafka.produce(topic, [Record(to_json(n=1), "a")])
    wait_count(db, "t", 1, timeout=90)
    db.query("UPDATE djkafka_dead_letter SET value = replace(convert_from(value, 'UTF8'), '-1', '7')::bytea")
    assert replay(db, consumer="default") == {"refused": 1, "applied": 1}
    assert "made again" in db.value("SELECT error FROM djkafka_replay(consumer => 'default')")

"""djkafka_run, djkafka_peek and djkafka_topics: Kafka from within a caller's transaction."""

import json
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from lib.djkafka import assert_audit, dead_letters, positions, to_json
from lib.kafka import Client, Record
from lib.postgres import Database
from lib.wait import wait_until


@pytest.fixture
def items(db: Database, topic: str) -> Database:
    """A consumer that is paused: nobody but djkafka_run works for it."""
    db.query("CREATE TABLE item (id bigint PRIMARY KEY, name text)")
    db.query("SELECT djkafka_create_consumer('cron', enabled => false)")
    db.query("SELECT djkafka_subscribe(%s, 'item', consumer => 'cron')", topic)
    return db


def test_run_until_the_end(items: Database, kafka: Client, topic: str) -> None:
    kafka.produce(topic, [Record(to_json(id=number, name="a")) for number in range(1000)])
    assert items.query("SELECT applied, reason FROM djkafka_run('cron', until => 'eof')") == [(1000, "eof")]
    assert items.query("SELECT applied, reason FROM djkafka_run('cron', until => 'eof')") == [(0, "eof")]
    kafka.produce(topic, [Record(to_json(id=1000 + number)) for number in range(10)])
    assert items.query("SELECT applied, reason FROM djkafka_run('cron', until => 'eof', max_messages => 4)") == [(4, "max_messages")]
    assert items.query("SELECT applied, reason FROM djkafka_run('cron', until => 'eof', max_messages => 100)") == [(6, "eof")]
    assert items.value("SELECT count(*) FROM item") == 1010
    assert_audit(items, 1010)


def test_run_until_the_end_leaves_what_came_later(items: Database, kafka: Client, unique) -> None:
    """While one partition is still read, messages come to another whose end had been reached."""
    topic = kafka.create_topic(unique("late"), partitions=2)
    items.query("SELECT djkafka_subscribe(%s, 'item', consumer => 'cron', operation => 'insert')", topic)
    items.query("CREATE FUNCTION halt() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                " PERFORM pg_advisory_xact_lock(1); RETURN NULL; END $$")  # fmt: skip
    items.query("CREATE TRIGGER halt BEFORE INSERT ON item FOR EACH STATEMENT EXECUTE FUNCTION halt()")
    kafka.produce(topic, [Record(to_json(id=number, name="x" * 100), partition=0) for number in range(30000)])
    kafka.produce(topic, [Record(to_json(id=30000), partition=1)])
    run = "SELECT applied, reason FROM djkafka_run('cron', until => 'eof', timeout => '60 s')"
    holder = items.connect()
    holder.execute("SELECT pg_advisory_lock(1)")
    with ThreadPoolExecutor() as pool:
        running = pool.submit(items.query, run)
        waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        wait_until(lambda: items.cluster.query(waits) == [(1,)], message="the first batch waits")
        kafka.produce(topic, [Record(to_json(id=30001 + number), partition=1) for number in range(3)])
        holder.close()
        assert running.result() == [(30001, "eof")]
    assert items.query(run) == [(3, "eof")]
    assert_audit(items, 30004)


def test_run_is_part_of_the_transaction(items: Database, kafka: Client, topic: str) -> None:
    kafka.produce(topic, [Record(to_json(id=number)) for number in range(10)])
    connection = items.connect()
    with pytest.raises(ZeroDivisionError), connection.transaction():
        assert connection.execute("SELECT applied FROM djkafka_run('cron', until => 'eof')").fetchall() == [(10,)]
        assert connection.execute("SELECT count(*) FROM item").fetchall() == [(10,)]
        raise ZeroDivisionError
    connection.close()
    assert items.value("SELECT count(*) FROM item") == 0
    assert not any(positions(items, topic, "cron").values())
    assert items.query("SELECT applied FROM djkafka_run('cron', until => 'eof')") == [(10,)]


def test_run_given_messages(items: Database, topic: str) -> None:
    given = [
        {"topic": topic, "key": "1", "value": {"id": 1, "name": "a"}},
        {"topic": topic, "key": "2", "value": '{"id": 2, "name": "as text"}'},
        {"topic": topic, "key": "1", "value": None},
        {"topic": topic, "value": "{"},
    ]
    items.query("SELECT * FROM djkafka_run('cron', messages => %s)", json.dumps(given))
    assert items.query("SELECT id, name FROM item") == [(2, "as text")]
    assert items.value("SELECT count(*) FROM djkafka_dead_letter") == 1
    assert not any(positions(items, topic, "cron").values()), "messages of the caller's move no offset"


def test_run_is_the_owners(items: Database) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        items.query("SELECT djkafka_run('cron', messages => '[]')", user="postgres")


def test_run_fails_bad_messages_alone(items: Database, kafka: Client, topic: str) -> None:
    kafka.produce(topic, [Record(to_json(id=1)), Record("{"), Record(to_json(id="x")), Record(to_json(id=2))])
    items.query("SELECT * FROM djkafka_run('cron', until => 'eof')")
    assert items.query("SELECT id FROM item ORDER BY id") == [(1,), (2,)]
    assert set(dead_letters(items, topic)) == {(0, 1), (0, 2)}
    assert_audit(items, 4)


def test_run_gives_up_in_time(own_cluster, unique) -> None:
    cluster = own_cluster(djkafka__bootstrap_servers="127.0.0.1:1", shared_preload_libraries="")
    db = Database(cluster, unique("db"), listed=False)
    db.query("CREATE EXTENSION djkafka")
    db.query("CREATE TABLE item (id bigint PRIMARY KEY)")
    db.query("SELECT djkafka_subscribe('nowhere', 'item')")
    with pytest.raises(psycopg.Error) as error:
        db.query("SELECT * FROM djkafka_run('default', timeout => '1 s')")
    assert error.value.sqlstate == "08KF1"


def test_peek(items: Database, kafka: Client, topic: str) -> None:
    kafka.produce(topic, [Record(f"v{number}", f"k{number}", headers=[("h", b"1")]) for number in range(10)])
    peek = "SELECT convert_from(value, 'UTF8'), convert_from(key, 'UTF8'), cardinality(headers) FROM djkafka_peek"
    assert items.query(f"{peek}(%s, max_messages => 2, start_at => 'earliest')", topic) == [("v0", "k0", 1), ("v1", "k1", 1)]
    assert items.query(f"{peek}(%s, max_messages => 5, start_at => '8')", topic) == [("v8", "k8", 1), ("v9", "k9", 1)]
    assert not any(positions(items, topic, "cron").values()), "looking moves nothing"


def test_topics(items: Database, kafka: Client, topic: str, unique) -> None:
    other = kafka.create_topic(unique("three"), partitions=3)
    kafka.produce(topic, [Record("x")] * 5)
    rows = items.query("SELECT * FROM djkafka_topics() WHERE topic IN (%s, %s)", topic, other)
    assert len(rows) in (2, 4), rows
    with pytest.raises(psycopg.Error):
        items.query("SELECT * FROM djkafka_topics(server => 'nothing')")


def test_a_misspelled_protocol_never_becomes_plaintext(own_cluster, unique) -> None:
    """The server starts with it, and what would connect is refused."""
    cluster = own_cluster(djkafka__bootstrap_servers="127.0.0.1:1", djkafka__security_protocol="sasl-ssl")
    db = Database(cluster, unique("db"), listed=False)
    db.query("CREATE EXTENSION djkafka")
    with pytest.raises(psycopg.Error, match="security.protocol") as error:
        db.query("SELECT * FROM djkafka_topics(timeout => '1 s')", user="postgres")
    assert error.value.sqlstate == "42KF2"


@pytest.mark.parametrize(
    "encoding, name, foreign", [("LATIN1", "é", "€"), ("EUC_JP", "あ", "한"), ("SQL_ASCII", "é", None), ("UTF8", "€", None)]
)
def test_text_of_another_encoding(
    cluster, kafka: Client, topic: str, unique, encoding: str, name: str, foreign: str | None
) -> None:
    """Keys, values and the names of headers are UTF-8 in Kafka; what the database cannot hold shows its bytes."""
    headers = [(name, name.encode()), ("bytes", b"\xff\x00"), ("none", None)] + ([(f"a{foreign}", foreign.encode())] if foreign else [])
    kafka.produce(topic, [Record(name, name, headers=headers)])
    shown = "a" + "".join(f"\\x{byte:02x}" for byte in (foreign or "").encode())
    wanted = {name: name, "bytes": "\\xff00", "none": None} | ({shown: "\\x" + foreign.encode().hex()} if foreign else {})

    db = Database(cluster, unique("db"), listed=False, encoding=encoding)
    # Where the server has no idea of encodings it sends what it has.
    db.connection(db.owner).execute("SET client_encoding = 'UTF8'")
    db.query("CREATE EXTENSION djkafka")
    db.query("CREATE TABLE log (key text, value text, headers jsonb)")
    db.query("CREATE TABLE raw (headers djkafka_header[])")
    for table in ("log", "raw"):
        db.query(f"SELECT djkafka_create_consumer('{table}', enabled => false)")
        db.query(f"SELECT djkafka_create_route('{table}', %s, '{table}', format => 'text', operation => 'insert')", topic)
        assert db.query(f"SELECT applied, dead FROM djkafka_run('{table}', until => 'eof')") == [(1, 0)]
    assert db.query("SELECT * FROM log") == [(name, name, wanted)]
    values = db.query("SELECT h.name, h.value FROM raw, unnest(headers) h")
    assert values == [(shown if key == f"a{foreign}" else key, value) for key, value in headers]
    assert db.query("SELECT h.name, h.value FROM djkafka_peek(%s) m, unnest(m.headers) h", topic) == values

    given = f'[{{"key": "{name}", "value": "{name}", "headers": {{"{name}": "{name}"}}}}]'
    db.query("TRUNCATE log")
    assert db.query("SELECT applied, dead FROM djkafka_run('log', messages => %s)", given) == [(1, 0)]
    assert db.query("SELECT * FROM log") == [(name, name, {name: name})]
    db.destroy()

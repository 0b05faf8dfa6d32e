"""djkafka_skip: one message is passed by unseen, and the state of who is held up at it names the command."""

import re
import time
from collections.abc import Callable

import psycopg
import pytest
from lib.djkafka import assert_audit, dead_letters, explain, status, to_json, wait_caught_up, wait_count, wait_state, wait_value
from lib.kafka import Client, Record, send
from lib.postgres import Database
from lib.wait import wait_until

BAD = Record("{", partition=0)


def good(*ids: int) -> list[Record]:
    return [Record(to_json(id=n), partition=0) for n in ids]


def command_of(hint: str) -> str:
    found = re.search(r"SELECT djkafka_skip\(.*, \d+, \d+\)", hint)
    assert found, hint
    return found[0]


def events(db: Database, consumer: str = "default") -> list[tuple]:
    return db.query(
        "SELECT kind, reason, detail->>'offset' FROM djkafka_event WHERE kind ~ 'skip' AND consumer = %s ORDER BY id", consumer
    )


def wait_ids(db: Database, ids: list[int], timeout: float = 30) -> None:
    wanted = [(n,) for n in ids]
    wait_until(
        lambda: db.query("SELECT id FROM t ORDER BY id") == wanted,
        timeout,
        lambda: f"t has {ids}, not {db.query('SELECT id FROM t ORDER BY id')}\n{explain(db)}",
    )


@pytest.fixture
def table(db: Database, topic: str) -> Database:
    db.query("CREATE TABLE t (id bigint PRIMARY KEY)")
    db.query("SELECT djkafka_subscribe(%s, 't')", topic)
    return db


def test_stopped(db: Database, kafka: Client, topic: str) -> None:
    """The command that the state names goes past that message, at once, whatever the consumer is called."""
    consumer = 'o\'s "%s" \\x'
    db.query("CREATE TABLE t (id bigint PRIMARY KEY)")
    db.query("SELECT djkafka_create_consumer(%s, on_error => 'stop')", consumer)
    db.query("SELECT djkafka_subscribe(%s, 't', consumer => %s)", topic, consumer)
    kafka.produce(topic, [*good(1), BAD, *good(3), BAD, *good(5)])
    for offset, ids in ((1, [1]), (3, [1, 3])):
        wait_value(db, "SELECT reason ~ %s FROM djkafka_status", True, f'topic "{topic}", partition 0, offset {offset}: ')
        shown = wait_state(db, "broken", consumer)
        wait_ids(db, ids)
        # It has failed often enough to wait for seconds before it would look again.
        wait_value(db, "SELECT max(attempt) >= 3 FROM djkafka_worker_status() WHERE kind = 'consumer'", True)
        command = command_of(shown["hint"])
        assert command.endswith(f", '{topic}', 0, {offset})"), command
        started = time.monotonic()
        assert db.query(command) == [("",)]
        wait_ids(db, [*ids, offset + 2])
        assert time.monotonic() - started < 4
    wait_state(db, "running", consumer)
    assert (status(db, consumer)["skipped"], status(db, consumer)["dead"]) == (2, 0)
    assert not dead_letters(db, topic)
    assert db.value("SELECT count(skip_offset) FROM djkafka_offset") == 0
    assert events(db, consumer) == [
        ("skip", "offset 1 is to be skipped", "1"),
        ("skipped", "offset 1 was skipped", "1"),
        ("skip", "offset 3 is to be skipped", "3"),
        ("skipped", "offset 3 was skipped", "3"),
    ]
    assert_audit(db, 5)
    with pytest.raises(psycopg.Error, match="is past offset 3") as past:
        db.query("SELECT djkafka_skip(%s, %s, 0, 3)", consumer, topic)
    assert past.value.sqlstate == "55000"


def test_held_up(db: Database, kafka: Client, topic: str) -> None:
    """One that may be the definition's fault is passed before its tries are over, and is no dead letter."""
    db.query("CREATE TABLE t (id bigint PRIMARY KEY, q tsquery)")
    db.query("SELECT djkafka_subscribe(%s, 't', columns => %s)", topic, to_json(q="(value->>'q')::tsquery"))
    kafka.produce(topic, [Record('{"id": 1, "q": "a &"}', partition=0)])
    shown = wait_state(db, "broken")
    kafka.produce(topic, [Record('{"id": 2, "q": "a"}', partition=0)])
    assert "more tries" in shown["hint"]
    db.query(command_of(shown["hint"]))
    wait_ids(db, [2])
    assert not dead_letters(db, topic)
    assert events(db)[-1] == ("skipped", "offset 0 was skipped", "0")
    assert_audit(db, 2)


def test_what_is_nobodys_fault(table: Database, kafka: Client, topic: str) -> None:
    """A message that a trigger goes on refusing as if it were a deadlock holds up the others until it is skipped."""
    table.query(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.id = 2 THEN RAISE 'deadlock' USING ERRCODE = '40P01'; END IF; RETURN NEW; END $$"
    )
    table.query("CREATE TRIGGER refuse BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION refuse()")
    kafka.produce(topic, good(1, 2, 3))
    wait_state(table, "backoff")
    wait_value(table, "SELECT max(attempt) >= 6 FROM djkafka_worker_status() WHERE kind = 'consumer'", True)
    started = time.monotonic()
    table.query("SELECT djkafka_skip('default', %s, 0, 1)", topic)
    wait_ids(table, [1, 3])
    assert time.monotonic() - started < 4
    assert_audit(table, 3)


def test_one_that_is_to_come(table: Database, kafka: Client, topic: str) -> None:
    """It may be asked for before the message is there, and the consumer goes on running."""
    kafka.produce(topic, good(0))
    wait_ids(table, [0])
    table.query("SELECT djkafka_skip('default', %s, 0, 3)", topic)
    kafka.produce(topic, good(1, 2))
    wait_ids(table, [0, 1, 2])
    assert table.value("SELECT skip_offset FROM djkafka_partition_status") == 3
    kafka.produce(topic, [BAD, *good(4)])
    wait_ids(table, [0, 1, 2, 4])
    assert not dead_letters(table, topic)
    assert table.value("SELECT skip_offset FROM djkafka_partition_status") is None
    assert_audit(table, 5)


def test_among_others_that_fail(db: Database, kafka: Client, topic: str) -> None:
    """In a batch that is taken apart, for values and for constraints, it stays unseen, and the others get their fates."""
    db.query("CREATE TABLE t (id bigint PRIMARY KEY, up bigint REFERENCES t DEFERRABLE INITIALLY DEFERRED)")
    db.query("CREATE TABLE seen (id bigint)")
    db.query(
        "CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO seen VALUES (NEW.id); RETURN NEW; END $$"
    )
    db.query("CREATE TRIGGER look BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION look()")
    db.query("SELECT djkafka_create_consumer('default', enabled => false)")
    db.query("SELECT djkafka_subscribe(%s, 't', parent_timeout => '0')", topic)
    db.query("SELECT djkafka_run('default', until => 'eof')")
    records = [Record(to_json(id=n), partition=0) for n in range(200)]
    for bad in (10, 50, 120):
        records[bad] = BAD
    for orphan in (11, 100, 151):
        records[orphan] = Record(to_json(id=orphan, up=999), partition=0)
    kafka.produce(topic, records)
    db.query("SELECT djkafka_skip('default', %s, 0, 100)", topic)
    db.query("SELECT djkafka_resume('default')")
    wait_caught_up(db, kafka, topic)
    assert sorted(offset for _, offset in dead_letters(db, topic)) == [10, 11, 50, 120, 151]
    assert db.value("SELECT count(*) FROM t") == 194
    assert db.value("SELECT count(*) FROM t WHERE id = 100") == 0
    assert status(db)["skipped"] == 1
    assert_audit(db, 200)


def test_no_message_there(table: Database, kafka: Client, topic: str) -> None:
    """Where Kafka holds only the end of a transaction nothing is skipped, and the wish goes."""
    kafka.produce(topic, good(0))
    wait_ids(table, [0])
    table.query("SELECT djkafka_skip('default', %s, 0, 2)", topic)
    producer = kafka.producer(transactional_id=topic, delivery_timeout_ms=60_000)
    producer.init_transactions(30)
    producer.begin_transaction()
    send(producer, topic, good(1))
    producer.commit_transaction(30)
    wait_value(table, "SELECT next_offset FROM djkafka_partition_status", 3)
    kafka.produce(topic, good(3))
    wait_ids(table, [0, 1, 3])
    wait_value(table, "SELECT skip_offset FROM djkafka_partition_status", None)
    assert events(table)[-1] == ("skip", "offset 2 was to be skipped, and holds no message", "2")
    assert (status(table)["skipped"], status(table)["gaps"]) == (0, 1)
    assert_audit(table)


@pytest.fixture
def waiting(db: Database, kafka: Client, topic: str) -> Database:
    """A child that waits for its parent, and one of the same key behind it."""
    db.query("CREATE TABLE parent (id bigint PRIMARY KEY)")
    db.query("CREATE TABLE t (id bigint PRIMARY KEY, up bigint REFERENCES parent)")
    db.query("INSERT INTO parent VALUES (1)")
    db.query("SELECT djkafka_subscribe(%s, 't', parent_timeout => '1 h')", topic)
    kafka.produce(topic, [Record(to_json(id=7, up=up), "7", partition=0) for up in (99, 1)])
    wait_value(db, "SELECT parked FROM djkafka_status", 2)
    return db


def test_one_that_waits(waiting: Database, topic: str) -> None:
    """It waits no longer, and what waited behind it of its key is applied."""
    waiting.query("SELECT djkafka_skip('default', %s, 0, 0)", topic)
    wait_ids(waiting, [7])
    wait_value(waiting, "SELECT parked FROM djkafka_status", 0)
    assert status(waiting)["skipped"] == 1
    assert not dead_letters(waiting, topic)
    assert_audit(waiting, 2)


def test_one_that_has_waited_in_vain(db: Database, kafka: Client, topic: str) -> None:
    """Under on_error = stop it is named, and skipped, as any other."""
    db.query("CREATE TABLE parent (id bigint PRIMARY KEY)")
    db.query("CREATE TABLE t (id bigint PRIMARY KEY, up bigint REFERENCES parent)")
    db.query("SELECT djkafka_subscribe(%s, 't', parent_timeout => '1 s', on_error => 'stop')", topic)
    kafka.produce(topic, [Record(to_json(id=7, up=99), "7", partition=0), *good(8)])
    db.query(command_of(wait_state(db, "broken")["hint"]))
    wait_state(db, "running")
    wait_ids(db, [8])
    assert status(db)["skipped"] == 1
    assert_audit(db, 2)


@pytest.mark.parametrize("blocking", [True, False])
def test_one_that_is_tried_again(db: Database, kafka: Client, topic: str, blocking: bool) -> None:
    """It is tried no more, and what waits behind it, its key's or its partition's, goes on at once."""
    db.query("CREATE TABLE t (id bigint PRIMARY KEY, code text UNIQUE)")
    db.query("INSERT INTO t VALUES (1, 'taken')")
    policy = to_json(max_retries=5, delay="1 h", blocking=blocking)
    db.query("SELECT djkafka_subscribe(%s, 't', retry => %s)", topic, policy)
    kafka.produce(topic, [Record(to_json(id=7, code=code), "7", partition=0) for code in ("taken", "free")])
    wait_value(db, "SELECT retrying FROM djkafka_status", 1)
    (state, reason), *_ = db.query("SELECT state, reason FROM djkafka_partition_status")
    assert state == ("retrying" if blocking else "running")
    db.query(command_of(reason) if blocking else f"SELECT djkafka_skip('default', '{topic}', 0, 0)")
    wait_ids(db, [1, 7])
    wait_value(db, "SELECT retrying FROM djkafka_status", 0)
    assert status(db)["skipped"] == 1
    assert not dead_letters(db, topic)
    assert_audit(db, 2)


def test_one_that_is_just_being_tried(db: Database, kafka: Client, topic: str) -> None:
    """Whoever skips a message while a try of it is under way is not told to wait for the next one."""
    db.query("CREATE TABLE t (id bigint PRIMARY KEY)")
    db.query("CREATE SEQUENCE tries")
    db.query(
        "CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.id = 7 THEN"
        " PERFORM nextval('tries'), pg_sleep(1); RAISE 'not yet' USING ERRCODE = 'KFR01'; END IF; RETURN NEW; END $$"
    )
    db.query("CREATE TRIGGER fails BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION fails()")
    db.query("SELECT djkafka_subscribe(%s, 't', retry => %s)", topic, to_json(max_retries=5, delay="1 h", blocking=True))
    kafka.produce(topic, good(7, 8))
    # the second is in the transaction that finds out whose fault it is
    wait_value(db, "SELECT last_value > 1 FROM tries", True)
    db.query(f"SELECT djkafka_skip('default', '{topic}', 0, 0)")
    wait_ids(db, [8])
    wait_value(db, "SELECT retrying FROM djkafka_status", 0)
    assert status(db)["skipped"] == 1
    assert_audit(db, 2)


def test_by_run(db: Database, kafka: Client, topic: str) -> None:
    """djkafka_run names the command where it stops, and obeys it; the wish goes with its transaction."""
    db.query("CREATE TABLE t (id bigint PRIMARY KEY)")
    db.query("SELECT djkafka_create_consumer('c', enabled => false, on_error => 'stop')")
    db.query("SELECT djkafka_subscribe(%s, 't', consumer => 'c')", topic)
    run = "SELECT applied, skipped FROM djkafka_run('c', until => 'eof')"
    assert db.query(run) == [(0, 0)]
    kafka.produce(topic, [BAD, *good(2)])
    with pytest.raises(psycopg.Error) as stopped:
        db.query(run)
    assert stopped.value.diag.message_hint
    command = command_of(stopped.value.diag.message_hint)
    with db.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute(command)
        assert connection.execute(run).fetchall() == [(1, 1)]
    with pytest.raises(psycopg.Error):
        db.query(run)
    db.query(command)
    assert db.query(run) == [(1, 1)]
    assert db.value("SELECT skip_offset FROM djkafka_partition_status") is None
    assert_audit(db, 2)


def test_by_its_own_handler(db: Database, kafka: Client, topic: str, unique: Callable[[str], str]) -> None:
    """What is applied does not say what is to be skipped of its own consumer: of another one it may."""
    other = kafka.create_topic(unique("other"))
    db.query("CREATE TABLE t (id bigint PRIMARY KEY)")
    db.query("SELECT djkafka_subscribe(%s, 't', consumer => 'second')", other)
    wait_state(db, "running", "second")
    db.query(
        "CREATE FUNCTION handle(value jsonb) RETURNS void LANGUAGE sql AS $$"
        " SELECT djkafka_skip(value->>'consumer', value->>'topic', 0, (value->>'offset')::bigint) $$"
    )
    db.query("SELECT djkafka_subscribe(%s, handler => 'handle(jsonb)')", topic)
    kafka.produce(topic, [Record(to_json(consumer="default", topic=topic, offset=1), partition=0)])
    wait_caught_up(db, kafka, topic)
    assert dead_letters(db, topic)[0, 0]["sqlstate"] == "27000"
    kafka.produce(topic, [Record(to_json(consumer="second", topic=other, offset=0), partition=0)])
    wait_caught_up(db, kafka, topic)
    kafka.produce(other, good(1, 2))
    wait_ids(db, [2])
    assert status(db, "second")["skipped"] == 1
    assert_audit(db)

"""A worker that waits for somebody's lock says so, with who it is and what ends it."""

import psycopg
import pytest
from lib.djkafka import wait_value
from lib.kafka import Client, Record
from lib.outbox import read_topic, values
from lib.postgres import Database
from lib.wait import wait_until

STATE = "SELECT state, reason, hint, since FROM {} WHERE state = 'waiting_for_lock'"


def hold(db: Database, *statements: str) -> psycopg.Connection:
    """A session with a transaction that stays open."""
    connection = db.connect()
    connection.autocommit = False
    for statement in statements:
        connection.execute(statement)
    return connection


def wait_for_lock(db: Database, view: str, pid: int) -> None:
    """Waits until the view names the holder, then does literally what its hint says."""
    state, reason, hint, since = wait_until(
        lambda: next(iter(db.query(STATE.format(view))), None), timeout=20, message=f"{view} tells of the lock"
    )
    assert reason == f"waits for a lock that process {pid} holds"
    assert since is not None
    assert db.value("SELECT count(*) FROM djkafka_health() WHERE state = 'waiting_for_lock' AND verdict <> 'ok'") == 1
    db.query(hint.removeprefix("Let its transaction end, or end it: ").removesuffix("."))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE djkafka_outbox_server SET enabled = enabled",
        "SELECT FROM djkafka_outbox_server FOR UPDATE",
    ],
)
def test_outbox(db: Database, kafka: Client, topic: str, statement: str) -> None:
    produce = f"SELECT djkafka_produce('{topic}', %s)"
    db.query(produce, "first")
    wait_value(db, "SELECT sent FROM djkafka_outbox_status", 1)
    holder = hold(db, statement)
    db.query(produce, "second")
    wait_for_lock(db, "djkafka_outbox_status", holder.info.backend_pid)
    wait_value(db, "SELECT sent FROM djkafka_outbox_status", 2)
    assert db.value("SELECT state FROM djkafka_outbox_status") == "running"
    assert values(read_topic(kafka, topic)) == ["first", "second"]


@pytest.mark.parametrize(
    "statement", ["LOCK TABLE item IN SHARE MODE", "SELECT FROM djkafka_offset FOR UPDATE", "UPDATE item SET v = 'mine'"]
)
def test_consumer(db: Database, kafka: Client, topic: str, statement: str) -> None:
    db.query("CREATE TABLE item (id int PRIMARY KEY, v text)")
    db.query("SELECT djkafka_subscribe(%s, 'item')", topic)
    kafka.produce(topic, [Record(b'{"id": 1, "v": "a"}', b"1")])
    wait_value(db, "SELECT v FROM item", "a")
    holder = hold(db, statement)
    kafka.produce(topic, [Record(b'{"id": 1, "v": "b"}', b"1")])
    wait_for_lock(db, "djkafka_status", holder.info.backend_pid)
    wait_value(db, "SELECT v FROM item", "b")
    wait_value(db, "SELECT state FROM djkafka_status", "running")


def test_prepared_transaction(own_cluster, kafka: Client, unique) -> None:
    cluster = own_cluster(djkafka__bootstrap_servers=kafka.address, max_prepared_transactions=2)
    db = Database(cluster, unique("db"))
    db.query("CREATE EXTENSION djkafka")
    topic = kafka.create_topic(unique("topic"))
    db.query("CREATE TABLE item (id int PRIMARY KEY, v text)")
    db.query("SELECT djkafka_subscribe(%s, 'item')", topic)
    kafka.produce(topic, [Record(b'{"id": 1, "v": "a"}', b"1")])
    wait_value(db, "SELECT v FROM item", "a")
    hold(db, "UPDATE item SET v = 'mine'", "PREPARE TRANSACTION 'mine'").close()
    kafka.produce(topic, [Record(b'{"id": 1, "v": "b"}', b"1")])
    wait_value(db, "SELECT reason FROM djkafka_status", "waits for a lock that a prepared transaction holds")
    db.query("ROLLBACK PREPARED 'mine'")
    wait_value(db, "SELECT v FROM item", "b")

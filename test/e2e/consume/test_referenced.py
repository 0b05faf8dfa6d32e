"""A deletion of a row that others refer to waits until they are gone, and what is behind it of its key does too."""

import time
from collections.abc import Callable

import pytest
from lib.djkafka import PARKED, assert_audit, dead_letters, status, to_json, wait_caught_up, wait_count, wait_resting, wait_value
from lib.kafka import Client, Record
from lib.postgres import Database

# How the children of parent 1 cease to be.
WAYS = {
    "deleted": "DELETE FROM child WHERE parent_id = 1",
    "given to another": "UPDATE child SET parent_id = 2",
    "set to null": "UPDATE child SET parent_id = NULL",
    "deleted by a cascade": "DELETE FROM grandparent",
    "truncated": "TRUNCATE child",
    "truncated by a cascade": "TRUNCATE grandparent CASCADE",
    "truncated with what it inherits from": "TRUNCATE base",
    "the constraint dropped": "ALTER TABLE child DROP CONSTRAINT child_parent_id_fkey",
    "the table dropped": "DROP TABLE child",
    "the table dropped by a cascade": "DROP TABLE base CASCADE",
}


def make(db: Database, deferrable: str = "") -> None:
    db.query("CREATE TABLE parent (id bigint PRIMARY KEY, code text UNIQUE, v text)")
    db.query("CREATE TABLE grandparent (id bigint PRIMARY KEY)")
    db.query("CREATE TABLE base (id bigint)")
    db.query(
        f"CREATE TABLE child (id bigint PRIMARY KEY, parent_id bigint REFERENCES parent {deferrable},"
        f" code text REFERENCES parent (code) {deferrable}, other_id bigint REFERENCES grandparent ON DELETE CASCADE)"
        " INHERITS (base)"
    )
    db.query("INSERT INTO parent VALUES (1, 'one', 'here'), (2, 'two', 'here')")
    db.query("INSERT INTO grandparent VALUES (5)")
    db.query("INSERT INTO child VALUES (10, 1, NULL, 5), (11, 1, NULL, 5)")


@pytest.mark.parametrize("how", WAYS)
def test_woken(db: Database, kafka: Client, topic: str, how: str) -> None:
    make(db)
    db.query("SELECT djkafka_subscribe(%s, 'parent', parent_timeout => '1 h')", topic)
    kafka.produce(topic, [Record(None, "1"), Record(to_json(id=1, v="again"), "1"), Record(to_json(id=2, v="meanwhile"), "2")])
    wait_resting(db, 2)
    assert db.query("SELECT id, v FROM parent ORDER BY id") == [(1, "here"), (2, "meanwhile")]
    shown = db.query("SELECT children::text, parent, constraint_name, missing_key, sqlstate FROM djkafka_parked ORDER BY id")
    assert shown == [("child", None, "child_parent_id_fkey", None, "23503"), (None, None, None, None, None)]
    db.query(WAYS[how])
    wait_value(db, PARKED, 0)
    assert db.query("SELECT id, code, v FROM parent ORDER BY id") == [(1, None, "again"), (2, "two", "meanwhile")]
    assert_audit(db, 3)


def test_not_woken(db: Database, kafka: Client, topic: str) -> None:
    """A table that is dropped is nothing to those who wait for another, however often, in whatever database."""
    make(db)
    db.query("CREATE SEQUENCE tries")
    db.query("CREATE FUNCTION count_try() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('tries'); RETURN OLD; END $$")
    db.query("CREATE TRIGGER count_try BEFORE DELETE ON parent FOR EACH ROW EXECUTE FUNCTION count_try()")
    db.query("SELECT djkafka_subscribe(%s, 'parent', parent_timeout => '1 h')", topic)
    kafka.produce(topic, [Record(None, "1")])
    wait_resting(db, 1)
    tries = db.value("SELECT last_value FROM tries")
    for dbname in (db.name, "postgres"):
        with db.cluster.connect(dbname) as other:
            for _ in range(10):
                other.execute("CREATE TEMP TABLE own (id int)")
                other.execute("DROP TABLE own")
                time.sleep(0.1)
    assert db.value("SELECT last_value FROM tries") == tries
    db.query("DROP TABLE child")
    wait_value(db, PARKED, 0)


def test_deferred(db: Database, kafka: Client, topic: str) -> None:
    make(db, "DEFERRABLE INITIALLY DEFERRED")
    db.query("SELECT djkafka_subscribe(%s, 'parent', parent_timeout => '1 h')", topic)
    kafka.produce(topic, [Record(None, "1"), Record(to_json(id=3, v="new"), "3"), Record(None, "2")])
    wait_value(db, PARKED, 1)
    assert db.query("SELECT id FROM parent ORDER BY id") == [(1,), (3,)]
    db.query("DELETE FROM child")
    wait_value(db, PARKED, 0)
    assert db.query("SELECT id FROM parent") == [(3,)]


def test_change_of_a_key(db: Database, kafka: Client, topic: str) -> None:
    """A message that changes what others refer to is held by them as a deletion is."""
    make(db)
    db.query("UPDATE child SET code = 'one' WHERE id = 10")
    db.query("SELECT djkafka_subscribe(%s, 'parent', parent_timeout => '1 h')", topic)
    kafka.produce(topic, [Record(to_json(id=1, code="uno"), "1"), Record(to_json(id=2, code="due"), "2")])
    wait_resting(db, 1)
    shown = db.query("SELECT children::text, parent, constraint_name FROM djkafka_parked")
    assert shown == [("child", None, "child_code_fkey")]
    db.query("UPDATE child SET code = NULL")
    wait_value(db, PARKED, 0)
    assert db.query("SELECT id, code FROM parent ORDER BY id") == [(1, "uno"), (2, "due")]


def test_cascade(db: Database, kafka: Client, topic: str) -> None:
    """A deletion that cascades is held by what refers to the rows that it takes along."""
    make(db)
    db.query("CREATE TABLE leaf (id int PRIMARY KEY, grandparent_id bigint REFERENCES child)")
    db.query("INSERT INTO leaf VALUES (100, 11)")
    db.query("SELECT djkafka_subscribe(%s, 'grandparent', parent_timeout => '1 h')", topic)
    kafka.produce(topic, [Record(None, "5")])
    wait_resting(db, 1)
    shown = db.query("SELECT children::text, parent, constraint_name FROM djkafka_parked")
    assert shown == [("leaf", None, "leaf_grandparent_id_fkey")]
    db.query("DELETE FROM leaf")
    wait_value(db, PARKED, 0)
    assert db.query("SELECT (SELECT count(*) FROM grandparent), (SELECT count(*) FROM child)") == [(0, 0)]
    assert_audit(db, 1)


def test_restrict(db: Database, kafka: Client, topic: str) -> None:
    """PostgreSQL 18 has a code of its own for what ON DELETE RESTRICT refuses; older ones are made to say it."""
    make(db)
    db.query("ALTER TABLE child DROP CONSTRAINT child_parent_id_fkey")
    db.query("ALTER TABLE child ADD CONSTRAINT kept FOREIGN KEY (parent_id) REFERENCES parent ON DELETE RESTRICT")
    if int(db.value("SHOW server_version_num")) < 180000:
        db.query(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF EXISTS (SELECT FROM child WHERE parent_id = OLD.id)"
            " THEN RAISE 'restricted' USING ERRCODE = '23001', SCHEMA = 'public', TABLE = 'child', CONSTRAINT = 'kept'; END IF;"
            " RETURN OLD; END $$"
        )
        db.query("CREATE TRIGGER refuse BEFORE DELETE ON parent FOR EACH ROW EXECUTE FUNCTION refuse()")
    db.query("SELECT djkafka_subscribe(%s, 'parent', parent_timeout => '1 h')", topic)
    kafka.produce(topic, [Record(None, "1")])
    wait_resting(db, 1)
    assert db.query("SELECT sqlstate, children::text FROM djkafka_parked") == [("23001", "child")]
    db.query("DELETE FROM child")
    wait_value(db, PARKED, 0)
    assert db.query("SELECT id FROM parent") == [(2,)]
    assert_audit(db, 1)


def test_tree(db: Database, kafka: Client, topic: str) -> None:
    """Within a table a deletion is held, and a row that refers to none lacks one."""
    db.query("CREATE TABLE node (id int PRIMARY KEY, up int REFERENCES node)")
    db.query("INSERT INTO node VALUES (1, NULL), (2, 1), (3, 2)")
    db.query("SELECT djkafka_subscribe(%s, 'node', parent_timeout => '1 h')", topic)
    kafka.produce(topic, [Record(None, "1"), Record(None, "2"), Record(to_json(id=8, up=9), "8")])
    wait_resting(db, 3)
    shown = db.query('SELECT children::text, parent::text, missing_key FROM djkafka_parked ORDER BY "offset"')
    assert shown == [("node", None, None), ("node", None, None), (None, "node", {"id": "9"})]
    kafka.produce(topic, [Record(None, "3"), Record(to_json(id=9), "9")])
    wait_value(db, PARKED, 0)
    assert db.query("SELECT * FROM node ORDER BY id") == [(8, 9), (9, None)]
    assert_audit(db, 5)


@pytest.mark.parametrize("timeout", ["1 s", "0"])
def test_timeout(db: Database, kafka: Client, topic: str, timeout: str) -> None:
    """With the time over it is a dead letter, what was behind it is applied, and a replay deletes later."""
    make(db)
    db.query("SELECT djkafka_subscribe(%s, 'parent', parent_timeout => %s)", topic, timeout)
    kafka.produce(topic, [Record(None, "1"), Record(to_json(id=3, v="c"), "3")])
    wait_value(db, "SELECT count(*) FROM djkafka_dead_letter", 1)
    wait_value(db, PARKED, 0)
    letter = dead_letters(db, topic)[(0, 0)]
    assert letter["sqlstate"] == "23503" and "still reference" in letter["hint"]
    wait_count(db, "parent", 3)
    db.query("DELETE FROM child")
    assert db.value("SELECT result FROM djkafka_replay(consumer => 'default')") == "applied"
    assert db.query("SELECT id FROM parent ORDER BY id") == [(2,), (3,)]


def test_cascade_by_the_route(db: Database, kafka: Client, topic: str) -> None:
    """A deletion takes along what refers to its row, in the transaction that moves the offset."""
    make(db, "DEFERRABLE INITIALLY DEFERRED")
    db.query("SELECT djkafka_subscribe(%s, 'parent', parent_timeout => '1 h', on_referenced => 'cascade')", topic)
    kafka.produce(topic, [Record(to_json(id=3, v="new"), "3"), Record(None, "1"), Record(None, "2")])
    wait_caught_up(db, kafka, topic)
    assert db.query("SELECT id FROM parent") == [(3,)]
    assert db.query("SELECT * FROM child") == []
    assert (status(db)["cascaded"], status(db)["parked"]) == (2, 0)
    assert_audit(db, 3)


def test_deletion_supersedes_what_waits(db: Database, kafka: Client, topic: str) -> None:
    """It does not wait behind messages of which nothing would be left."""
    make(db)
    db.query("SELECT djkafka_subscribe(%s, 'child', parent_timeout => '1 h')", topic)
    kafka.produce(topic, [Record(to_json(id=20, parent_id=9), "20"), Record(to_json(id=20, parent_id=1), "20")])
    wait_value(db, PARKED, 2)
    kafka.produce(topic, [Record(None, "20"), Record(to_json(id=20, parent_id=2), "20")])
    wait_value(db, PARKED, 0)
    assert db.query("SELECT parent_id FROM child WHERE id = 20") == [(2,)]
    assert (status(db)["applied"], status(db)["superseded"], status(db)["dead"]) == (4, 2, 0)
    assert_audit(db, 4)


def test_full_lane_stops_its_partition(db: Database, kafka: Client, unique: Callable[[str], str]) -> None:
    """As long as there is no room behind what waits of a key; the other partition flows."""
    topic = kafka.create_topic(unique("lane"), partitions=2)
    make(db)
    db.query("SELECT djkafka_subscribe(%s, 'child', parent_timeout => '1 h', max_lane_messages => 1, on_full_lane => 'stop')", topic)
    waits = [Record(to_json(id=20, parent_id=9), "20", partition=0), Record(to_json(id=20, parent_id=1), "20", partition=0)]
    kafka.produce(topic, [*waits, Record(to_json(id=21), "21", partition=0), Record(to_json(id=22), "22", partition=1)])
    wait_value(db, "SELECT count(*) FROM child WHERE id = 22", 1)
    wait_value(db, "SELECT state FROM djkafka_partition_status WHERE partition = 0", "retrying")
    reason = db.value("SELECT reason FROM djkafka_partition_status WHERE partition = 0")
    assert reason.startswith("offset 1 waits") and f"djkafka_skip('default', '{topic}', 0, 1)" in reason, reason
    assert (status(db)["parked"], status(db)["retries"]) == (1, 0)
    db.query("INSERT INTO parent VALUES (9)")
    wait_value(db, "SELECT count(*) FROM child WHERE id IN (20, 21)", 2, timeout=30)
    assert db.query("SELECT parent_id FROM child WHERE id = 20") == [(1,)]
    assert_audit(db, 4)

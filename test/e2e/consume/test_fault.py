"""Whose fault an error is: what a worker finds out by trying, not by the class of the error."""

import threading
import time

import pytest
from lib.djkafka import assert_audit, dead_letters, status, to_json, wait_caught_up, wait_count, wait_state
from lib.kafka import Client, Record
from lib.postgres import Database
from lib.wait import wait_until

REFUSE = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.code IS NOT NULL THEN RAISE 'refused' USING ERRCODE = NEW.code; END IF;
        RETURN NEW;
    END $$
"""


def make_item(db: Database) -> None:
    db.query("CREATE TABLE item (id bigint PRIMARY KEY, code text, q tsquery)")
    db.query(REFUSE)
    db.query("CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON item FOR EACH ROW EXECUTE FUNCTION refuse()")


def wait_dead(db: Database, topic: str, offsets: list[int], timeout: float = 30) -> None:
    wait_until(
        lambda: sorted(offset for _, offset in dead_letters(db, topic)) == offsets,
        timeout,
        lambda: f"dead letters at {offsets}: {dead_letters(db, topic)} {status(db)}",
    )


def was_broken(db: Database) -> int:
    return db.value("SELECT count(*) FROM djkafka_event WHERE state = 'broken'")


@pytest.mark.parametrize("value", ['"code": "42501"', '"code": "XX000"', '"code": "55000"', '"q": "a &"'])
def test_lone_message_in_steady_state(db: Database, kafka: Client, topic: str, value: str) -> None:
    """One that fails as a definition would, where the route has applied others: a dead letter, at once."""
    make_item(db)
    db.query("SELECT djkafka_subscribe(%s, 'item')", topic)
    for round in range(3):
        kafka.produce(topic, [Record(to_json(id=round))])
        wait_count(db, "item", round + 1)
        kafka.produce(topic, [Record(f'{{"id": {100 + round}, {value}}}')])
        wait_dead(db, topic, [2 * at + 1 for at in range(round + 1)])
    wait_caught_up(db, kafka, topic)
    assert not was_broken(db)
    assert_audit(db, 6)


def test_lone_message_of_a_new_route(db: Database, kafka: Client, topic: str) -> None:
    """Nothing tells whose fault it is: it waits, says so, and is given up after some tries."""
    db.query("CREATE TABLE item (id bigint PRIMARY KEY, q tsquery)")
    db.query("SELECT djkafka_subscribe(%s, 'item', columns => %s)", topic, to_json(q="(value->>'q')::tsquery"))
    kafka.produce(topic, [Record('{"id": 1, "q": "a &"}', partition=0)])
    found = wait_state(db, "broken")
    assert f'topic "{topic}", partition 0, offset 0: ' in found["reason"], found
    assert f"SELECT djkafka_skip('default', '{topic}', 0, 0)" in found["hint"], found
    assert "more tries" in found["hint"] and found["next_retry"] is not None, found
    wait_dead(db, topic, [0], timeout=60)
    kafka.produce(topic, [Record('{"id": 2, "q": "a & b"}', partition=0)])
    wait_count(db, "item", 1)
    wait_state(db, "running")
    assert_audit(db, 2)


def test_command_that_the_state_names(db: Database, kafka: Client, topic: str) -> None:
    """It goes past the message, and no other."""
    db.query("CREATE TABLE item (id bigint PRIMARY KEY, q tsquery)")
    db.query("SELECT djkafka_create_consumer('default', on_error => 'stop')")
    db.query("SELECT djkafka_subscribe(%s, 'item', columns => %s)", topic, to_json(q="(value->>'q')::tsquery"))
    kafka.produce(topic, [Record(value, partition=0) for value in ('{"id": 1}', '{"id": 2, "q": "a &"}', '{"id": 3}')])
    hint = wait_state(db, "broken")["hint"]
    assert db.query("SELECT id FROM item") == [(1,)]
    command = hint[hint.index("SELECT djkafka_skip") :]
    db.query(command)
    wait_count(db, "item", 2)
    assert db.query("SELECT id FROM item ORDER BY id") == [(1,), (3,)]


def test_trigger_that_breaks_in_steady_state(db: Database, kafka: Client, topic: str) -> None:
    """A trigger that fails for every row does not empty the topic into dead letters, one by one or at once."""
    db.query("CREATE TABLE item (id bigint PRIMARY KEY, code text)")
    db.query("CREATE TABLE log (id bigint)")
    db.query(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN INSERT INTO log VALUES (NEW.id); RETURN NEW; END'"
    )
    db.query("CREATE TRIGGER note AFTER INSERT ON item FOR EACH ROW EXECUTE FUNCTION note()")
    db.query("SELECT djkafka_subscribe(%s, 'item')", topic)
    kafka.produce(topic, [Record(to_json(id=1), partition=0)])
    wait_count(db, "log", 1)
    db.query("ALTER TABLE log RENAME TO away")
    for number in (2, 3, 4):
        kafka.produce(topic, [Record(to_json(id=number), partition=0)])
        wait_until(
            lambda number=number: len(dead_letters(db, topic)) == number - 1 or status(db)["state"] == "broken",
            message=lambda: f"a verdict: {status(db)}",
        )
    found = wait_state(db, "broken")
    assert "log" in found["reason"] and "offset 3" in found["reason"], found
    assert sorted(dead_letters(db, topic)) == [(0, 1), (0, 2)]
    kafka.produce(topic, [Record(to_json(id=number), partition=0) for number in range(5, 50)])
    db.query("ALTER TABLE away RENAME TO log")
    wait_count(db, "item", 1 + 46, timeout=60)
    assert sorted(dead_letters(db, topic)) == [(0, 1), (0, 2)]
    wait_state(db, "running")


def test_all_of_a_batch_fail(db: Database, kafka: Client, topic: str) -> None:
    """A trigger that is broken from the first message on costs none while it is being fixed."""
    make_item(db)
    db.query("CREATE FUNCTION absent() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM no_such(); RETURN NEW; END'")
    db.query("CREATE TRIGGER absent BEFORE INSERT ON item FOR EACH ROW EXECUTE FUNCTION absent()")
    kafka.produce(topic, [Record(to_json(id=number)) for number in range(20)])
    db.query("SELECT djkafka_subscribe(%s, 'item')", topic)
    found = wait_state(db, "broken")
    assert "no_such" in found["reason"], found
    wait_until(lambda: (status(db)["attempt"] or 0) >= 2, message="it tries again")
    assert not dead_letters(db, topic)
    db.query("CREATE FUNCTION no_such() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    wait_count(db, "item", 20, timeout=60)
    assert not dead_letters(db, topic)


def test_each_of_a_batch_has_its_tries(db: Database, kafka: Client, topic: str) -> None:
    """When patience with the first message has ended it has not ended with those behind it."""
    make_item(db)
    db.query("CREATE FUNCTION absent() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM no_such(); RETURN NEW; END'")
    db.query("CREATE TRIGGER absent BEFORE INSERT ON item FOR EACH ROW EXECUTE FUNCTION absent()")
    kafka.produce(topic, [Record(to_json(id=number), partition=0) for number in range(20)])
    db.query("SELECT djkafka_subscribe(%s, 'item')", topic)
    wait_dead(db, topic, [0], timeout=60)
    found = wait_state(db, "broken")
    assert "partition 0, offset 1: " in found["reason"], found
    db.query("CREATE FUNCTION no_such() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    wait_count(db, "item", 19, timeout=60)
    wait_dead(db, topic, [0])
    wait_state(db, "running")


class Flow:
    """Messages of another topic, one after the other, until it ends."""

    def __init__(self, kafka: Client, topic: str):
        self.kafka = Client(kafka.address)
        self.topic = topic
        self.number = 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self) -> None:
        while not self.ended.wait(0.01):
            self.kafka.produce(self.topic, [Record(to_json(id=self.number))])
            self.number += 1

    def __enter__(self) -> "Flow":
        self.thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.ended.set()
        self.thread.join()


@pytest.mark.parametrize("code", ["XX000", "42501", "55000"])
def test_message_beside_the_flow_of_another_topic(db: Database, kafka: Client, topic: str, unique, code: str) -> None:
    """What others bring between its tries neither holds it up for ever, nor says that all is well."""
    make_item(db)
    db.query("CREATE TABLE other (id bigint)")
    other = kafka.create_topic(unique("topic"))
    db.query("SELECT djkafka_subscribe(%s, 'other', operation => 'insert')", other)
    db.query("SELECT djkafka_subscribe(%s, 'item')", topic)
    with Flow(kafka, other) as flow:
        wait_until(lambda: db.value("SELECT count(*) FROM other") > 10, message="messages flow")
        kafka.produce(topic, [Record(to_json(id=1, code=code), partition=0)])
        wait_state(db, "broken")
        wait_dead(db, topic, [0], timeout=60)
    wait_count(db, "other", flow.number)
    wait_state(db, "running")
    assert was_broken(db) > 0
    between = """
        SELECT count(*) FROM djkafka_event e WHERE e.kind = 'state' AND e.state = 'running'
           AND e.id BETWEEN (SELECT min(id) FROM djkafka_event WHERE state = 'broken')
                        AND (SELECT max(id) FROM djkafka_event WHERE state = 'broken')
    """
    assert db.value(between) == 0, db.query("SELECT created_at, kind, state, reason FROM djkafka_event ORDER BY id")
    assert_audit(db, flow.number + 1)


def test_definition_whose_error_is_of_another_class(db: Database, kafka: Client, topic: str) -> None:
    """No replica identity is 55000: the table's fault, which waits until it is fixed."""
    db.query("CREATE TABLE item (id bigint NOT NULL, n int)")
    db.query("CREATE UNIQUE INDEX ON item (id)")
    db.query("SELECT djkafka_subscribe(%s, 'item', operation => 'mirror', key_columns => '{id}')", topic)
    kafka.produce(topic, [Record(to_json(id=1, n=1), "1"), Record(to_json(id=2, n=1), "2")])
    wait_count(db, "item", 2)
    db.query("CREATE PUBLICATION everything FOR TABLE item", user="postgres")
    kafka.produce(topic, [Record(None, "1")])
    found = wait_state(db, "broken")
    assert "replica identity" in found["reason"], found
    wait_until(lambda: (status(db)["attempt"] or 0) >= 3, message="it tries again")
    assert not dead_letters(db, topic)
    db.query("ALTER TABLE item REPLICA IDENTITY FULL")
    wait_count(db, "item", 1, timeout=60)
    wait_state(db, "running")
    assert not dead_letters(db, topic)


def test_transient_error_of_one_row(own_cluster, kafka: Client, topic: str, unique) -> None:
    """A trigger that raises a deadlock for one row, always: others are not held up for ever."""
    cluster = own_cluster(djkafka__bootstrap_servers=kafka.address, djkafka__max_retry_interval="1s")
    db = Database(cluster, unique("db"))
    db.query("CREATE EXTENSION djkafka")
    make_item(db)
    db.query("SELECT djkafka_subscribe(%s, 'item')", topic)
    records = [Record(to_json(id=number, code="40P01" if number == 7 else None), partition=0) for number in range(20)]
    kafka.produce(topic, records)
    found = wait_state(db, "backoff")
    assert f'topic "{topic}", partition 0, from offset ' in found["reason"], found
    assert "more tries" in found["hint"], found
    wait_dead(db, topic, [7], timeout=90)
    wait_count(db, "item", 19)
    wait_caught_up(db, kafka, topic)
    assert dead_letters(db, topic)[0, 7]["sqlstate"] == "40P01"
    assert_audit(db, 20)


def test_order_of_a_key_beside_a_bad_message(db: Database, kafka: Client, topic: str) -> None:
    """What waits for its parent within the batch keeps its place before later messages of its key."""
    db.query(
        "CREATE TABLE node (id bigint PRIMARY KEY, v text NOT NULL,"
        " parent_id bigint REFERENCES node DEFERRABLE INITIALLY DEFERRED)"
    )
    db.query("INSERT INTO node VALUES (20, 'q')")
    values = [
        {"id": 1, "parent_id": 10, "v": "old"},
        {"id": 99, "v": None},
        {"id": 1, "parent_id": 20, "v": "new"},
        {"id": 10, "v": "p"},
    ]
    kafka.produce(topic, [Record(to_json(**value), partition=0) for value in values])
    db.query("SELECT djkafka_subscribe(%s, 'node')", topic)
    wait_caught_up(db, kafka, topic)
    assert db.query("SELECT id, v, parent_id FROM node ORDER BY id") == [(1, "new", 20), (10, "p", None), (20, "q", None)]
    assert list(dead_letters(db, topic)) == [(0, 1)]


def test_lock_is_never_a_message_s_fault(db: Database, kafka: Client, topic: str) -> None:
    """The whole table is locked: that fails without any message too."""
    db.query("CREATE TABLE item (id bigint PRIMARY KEY)")
    db.query(f"ALTER ROLE {db.owner} SET lock_timeout = '20ms'")
    db.query("SELECT djkafka_subscribe(%s, 'item')", topic)
    kafka.produce(topic, [Record(to_json(id=1))])
    wait_count(db, "item", 1)
    blocker = db.connect()
    blocker.execute("BEGIN")
    blocker.execute("LOCK TABLE item IN ACCESS EXCLUSIVE MODE")
    kafka.produce(topic, [Record(to_json(id=2))])
    wait_state(db, "backoff")
    started = time.monotonic()
    wait_until(lambda: (status(db)["attempt"] or 0) >= 4, message="it tries again")
    assert not dead_letters(db, topic), time.monotonic() - started
    blocker.execute("COMMIT")
    blocker.close()
    wait_count(db, "item", 2)


def wait_share(kafka: Client, group: str, name: str, topic: str) -> list[int]:
    """Joins a group under a name, until it has given us partitions, and leaves."""
    shares: list[list[int]] = []
    member = kafka.consumer(group, partition_assignment_strategy="range", client_id=name)
    member.subscribe([topic], on_assign=lambda _member, share: shares.append([each.partition for each in share]))
    try:
        wait_until(lambda: member.poll(0.1) is None and any(shares), 60, f"{name} has a share")
    finally:
        member.close()
    return shares[-1]


def test_group_does_not_wait_for_a_worker_that_waits(db: Database, kafka: Client, unique) -> None:
    """It answers each rebalance at once, though it takes nothing until it tries again."""
    topic = kafka.create_topic(unique("topic"), 2)
    db.query("CREATE TABLE item (id bigint PRIMARY KEY)")
    db.query(f"ALTER ROLE {db.owner} SET lock_timeout = '20ms'")
    db.query("SELECT djkafka_subscribe(%s, 'item')", topic)
    wait_state(db, "running")
    blocker = db.connect()
    blocker.execute("BEGIN")
    blocker.execute("LOCK TABLE item IN ACCESS EXCLUSIVE MODE")
    kafka.produce(topic, [Record(to_json(id=number), partition=number % 2) for number in range(20)])
    wait_until(lambda: (status(db)["attempt"] or 0) >= 8, message="it waits for ten seconds")
    waits_until = status(db)["next_retry"]
    group = db.value("SELECT group_id FROM djkafka_consumer")
    for number in (2, 3):
        assert wait_share(kafka, group, f"djkafka-default-{number}", topic)
    assert db.value("SELECT now()") < waits_until
    blocker.execute("COMMIT")
    blocker.close()
    wait_count(db, "item", 20, timeout=60)
    wait_state(db, "running")


@pytest.mark.parametrize("code", ["42501", pytest.param("40P01", marks=pytest.mark.long)])
def test_lone_message_beside_busy_topics(own_cluster, kafka: Client, topic: str, unique, code: str) -> None:
    """What other routes apply meanwhile does not make its tries begin again."""
    cluster = own_cluster(djkafka__bootstrap_servers=kafka.address, djkafka__max_retry_interval="1s")
    db = Database(cluster, unique("db"))
    db.query("CREATE EXTENSION djkafka")
    make_item(db)
    db.query("CREATE TABLE busy (id bigint, topic text)")
    others = [f"{topic}_{number}" for number in range(6)]
    for other in others:
        kafka.create_topic(other)
        db.query("SELECT djkafka_subscribe(%s, 'busy', operation => 'insert')", other)
    db.query("SELECT djkafka_subscribe(%s, 'item')", topic)
    wait_state(db, "running")
    kafka.produce(topic, [Record(to_json(id=1, code=code), partition=0)])

    def is_given_up() -> bool:
        for other in others:
            kafka.produce(other, [Record(to_json(id=1))])
        return list(dead_letters(db, topic)) == [(0, 0)]

    wait_until(is_given_up, 75, lambda: f"the message is given up: {status(db)}", 0.2)
    kafka.produce(topic, [Record(to_json(id=2), partition=0)])
    wait_count(db, "item", 1)
    for other in others:
        wait_caught_up(db, kafka, other)
    assert_audit(db)
    db.destroy()

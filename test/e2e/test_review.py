"""Defects that a review found: each of these once crashed the server, hung, or lost a message."""

from confluent_kafka import Consumer
from collections.abc import Callable

from lib.djkafka import assert_audit, to_json, wait_caught_up, wait_count, wait_state, wait_value, workers
from lib.kafka import Client, Record
from lib.postgres import Cluster, Database
from lib.wait import wait_until


def test_member_without_client_id(db: Database, kafka: Client, topic: str) -> None:
    """Somebody in the group whose client.id is empty is a foreign member, not a crash."""
    member = Consumer({"bootstrap.servers": kafka.address, "group.id": topic, "client.id": ""})
    member.subscribe([topic])
    wait_until(lambda: member.poll(0.1) is None and member.assignment(), 30, lambda: "the foreign member has joined")
    db.query("CREATE TABLE item (id bigint PRIMARY KEY, name text)")
    db.query("SELECT djkafka_create_consumer('c', group_id => %s)", topic)
    db.query("SELECT djkafka_create_route('c', %s, 'item')", topic)
    kafka.produce(topic, [Record(to_json(id=1, name="x"))])
    wait_state(db, "foreign_member", "c")
    member.close()
    wait_count(db, "item", 1)
    wait_caught_up(db, kafka, topic, "c")


def test_constraint_that_changes_its_mind(db: Database, kafka: Client, topic: str) -> None:
    """A constraint that passes when a piece is checked and fails in the end is not asked for ever."""
    db.query("CREATE TABLE item (id bigint PRIMARY KEY, name text)")
    db.query("CREATE SEQUENCE asked")
    db.query(
        "CREATE FUNCTION moody() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.name = 'moody' AND nextval('public.asked') % 2 = 0 THEN RAISE check_violation; END IF;"
        " RETURN NULL; END $$"
    )
    db.query(
        "CREATE CONSTRAINT TRIGGER moody AFTER INSERT ON item DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION moody()"
    )
    db.query("SELECT nextval('asked')")
    db.query("SELECT djkafka_subscribe(%s, 'item')", topic)
    kafka.produce(topic, [Record(to_json(id=1, name="moody")), Record(to_json(id=2, name="x"))])
    wait_caught_up(db, kafka, topic)
    wait_state(db, "running")
    assert db.query("SELECT id FROM item ORDER BY id") == [(1,), (2,)]
    assert_audit(db, 2)


def test_fewer_workers(db: Database, kafka: Client, unique: Callable[[str], str]) -> None:
    """A worker that is not wanted any more gives its partitions back at once, not when its session times out."""
    topic = kafka.create_topic(unique("topic"), partitions=2)
    db.query("CREATE TABLE item (id bigint PRIMARY KEY, name text)")
    db.query("SELECT djkafka_create_consumer('c', workers => 2)")
    db.query("SELECT djkafka_create_route('c', %s, 'item')", topic)
    wait_value(db, "SELECT count(DISTINCT pid) FROM djkafka_partition_status WHERE pid IS NOT NULL", 2)
    db.query("UPDATE djkafka_consumer SET workers = 1 WHERE name = 'c'")
    wait_until(lambda: list(workers(db, "c")) == [1], message="one worker is left")
    kafka.produce(topic, [Record(to_json(id=number), partition=number) for number in range(2)])
    wait_count(db, "item", 2, timeout=15)


def test_slots_are_given_back(own_cluster: Callable[..., Cluster], kafka: Client, topic: str) -> None:
    """A database that is dropped leaves no slot behind."""
    cluster = own_cluster(djkafka__bootstrap_servers=kafka.address, djkafka__max_workers=8)
    for number in range(4):
        db = Database(cluster, f"db{number}")
        db.query("CREATE EXTENSION djkafka")
        db.query("CREATE TABLE item (id bigint PRIMARY KEY, name text)")
        db.query("SELECT djkafka_create_consumer('c', workers => 3)")
        db.query("SELECT djkafka_create_route('c', %s, 'item')", topic)
        wait_until(lambda: len(workers(db, "c")) == 3, message=lambda: f"three workers run:\n{cluster.log()[-2000:]}")
        db.destroy()

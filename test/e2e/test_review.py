"""Defects that a review found: each of these once crashed the server, hung, or lost a message."""

import psycopg
import pytest
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


def run_one(db: Database, message: str) -> tuple:
    return db.query("SELECT applied, dead FROM djkafka_run('c', messages => %s)", f'[{{"topic": "t", "value": {message}}}]')[0]


@pytest.fixture
def paused(db: Database) -> Database:
    """A database with a consumer that only djkafka_run uses."""
    db.query("CREATE TABLE item (id bigint PRIMARY KEY, name text, n bigint)")
    db.query("SELECT djkafka_create_consumer('c', enabled => false)")
    return db


def test_expression_that_leaves_its_cast(paused: Database) -> None:
    """A number must not be taken for a pointer because an expression's text closed the cast round it."""
    with pytest.raises(psycopg.errors.SyntaxError):
        paused.query(
            "SELECT djkafka_create_route('c', 't', 'item', columns => %s)",
            to_json(name="5) AS bigint) /*", n="*/, CAST((1"),
        )


def test_mapped_characters_are_not_cut(paused: Database) -> None:
    paused.query("CREATE TABLE fixed (id bigint PRIMARY KEY, code char(5), bits bit(4))")
    paused.query(
        "SELECT djkafka_create_route('c', 't', 'fixed', columns => %s)", to_json(code="value->>'c'", bits="B'1010'")
    )
    assert run_one(paused, '{"id": 1, "c": "abc"}') == (1, 0)
    assert paused.query("SELECT code::text, bits::text FROM fixed") == [("abc", "1010")]


def test_table_altered_under_its_rows(paused: Database) -> None:
    """An expression that gives a column another type costs its message, not the server."""
    paused.query(
        "CREATE FUNCTION alters() RETURNS boolean LANGUAGE plpgsql AS"
        " $$ BEGIN ALTER TABLE public.item ALTER n TYPE text; RETURN true; END $$"
    )
    paused.query("SELECT djkafka_create_route('c', 't', 'item', filter => 'alters()')")
    assert run_one(paused, '{"id": 1, "n": 77}') == (0, 1)


def test_route_edited_by_superuser(paused: Database) -> None:
    """What planning runs of a route's expressions runs as the consumer's owner, whoever edits the row."""
    paused.query(
        "CREATE FUNCTION spy() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS"
        " $$ BEGIN RAISE NOTICE 'as %', current_user; RETURN true; END $$"
    )
    paused.query("SELECT djkafka_create_route('c', 't', 'item', filter => 'spy()')")
    seen: list[str | None] = []
    connection = paused.connect("postgres")
    connection.add_notice_handler(lambda diagnostic: seen.append(diagnostic.message_primary))
    connection.execute("UPDATE djkafka_route SET notify = 'batch'")
    connection.close()
    assert set(seen) == {f"as {paused.owner}"}


def test_embedded_broker_without_preload(own_cluster: Callable[..., Cluster]) -> None:
    """Naming the embedded broker where nothing was preloaded is an error, not a crash."""
    cluster = own_cluster(shared_preload_libraries="")
    with cluster.connect("postgres") as connection:
        connection.execute("CREATE EXTENSION djkafka")
        connection.execute("SET djkafka.bootstrap_servers = 'embedded'")
        with pytest.raises(psycopg.DatabaseError, match="embedded broker is not running"):
            connection.execute("SELECT * FROM djkafka_topics()")
    assert not cluster.crashes()

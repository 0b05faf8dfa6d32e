"""A copy of a database (a restored dump, a clone) is told from its original, and nothing runs in it."""

import pytest
from lib.copies import restore
from lib.djkafka import status, to_json, wait_caught_up, wait_count, wait_state, wait_value, workers
from lib.kafka import Client, Record
from lib.outbox import read_topic, values
from lib.postgres import Database
from lib.wait import stays_true, wait_until


@pytest.fixture
def original(db: Database, kafka: Client, topic: str) -> Database:
    """A consumer that has applied messages, one of them to the dead letters, and one that waits."""
    db.query("CREATE TABLE item (id bigint PRIMARY KEY, name text, part_of bigint REFERENCES item)")
    db.query("CREATE TABLE gone (id bigint PRIMARY KEY)")
    db.query("SELECT djkafka_subscribe(%s, 'item', columns => %s)", topic, to_json(name="upper(value->>'name')"))
    db.query("SELECT djkafka_create_consumer('other', enabled => false)")
    db.query("SELECT djkafka_subscribe(%s, 'gone', consumer => 'other')", topic)
    db.query("UPDATE djkafka_route SET parent_timeout = '1 h'")
    kafka.produce(topic, [Record(to_json(id=1, name="a")), Record("{"), Record(to_json(id=2, name="b"))])
    kafka.produce(topic, [Record(to_json(id=9, part_of=99), key="9")])
    wait_caught_up(db, kafka, topic)
    return db


CATALOGS = ("djkafka_consumer", "djkafka_route", "djkafka_offset", "djkafka_parked", "djkafka_dead_letter")


def contents(db: Database) -> dict[str, list]:
    columns = {
        "djkafka_consumer": "id, name, home, group_id",
        "djkafka_route": "id, topic, target::text, columns",
        "djkafka_parked": "id, to_jsonb(djkafka_parked) - 'lane'",  # that is made of numbers of tables
    }
    return {table: db.query(f"SELECT {columns.get(table, '*')} FROM {table} ORDER BY id") for table in CATALOGS}


def test_restored_dump(original: Database, cluster, kafka: Client, topic: str, unique) -> None:
    before = contents(original)
    copy = Database(cluster, unique("copy"))
    try:
        restore(original, copy)
        after = contents(copy)
        assert after == before
        assert len(after["djkafka_parked"]) == 1
        kafka.produce(topic, [Record(to_json(id=3, name="c"))])
        wait_count(original, "item", 3)
        wait_state(copy, "foreign_home")
        assert status(copy)["hint"]
        assert copy.value("SELECT count(*) FROM item") == 2 and not workers(copy)
        assert original.value("SELECT home FROM djkafka_home") != copy.value("SELECT home FROM djkafka_home")
        # a consumer of its own works, and identities go on where they were
        copy.query("SELECT djkafka_subscribe(%s, 'item', consumer => 'mine')", topic)
        wait_count(copy, "item", 3)
    finally:
        copy.destroy()


def test_dropped_target_survives_a_dump(original: Database, cluster, unique) -> None:
    original.query("DROP TABLE gone")
    row = original.query("SELECT target, target_name FROM djkafka_route r WHERE target_name LIKE '%%gone'")
    assert row == [(None, "public.gone")]
    copy = Database(cluster, unique("copy"), listed=False)
    try:
        restore(original, copy)
        assert copy.query("SELECT target, target_name FROM djkafka_route WHERE target_name LIKE '%%gone'") == row
    finally:
        copy.destroy()


def test_clone(original: Database, cluster, kafka: Client, topic: str, unique) -> None:
    original.query("SELECT djkafka_pause('default')")
    wait_state(original, "paused")
    cluster.unlist_database(original.name)
    original.disconnect()
    owner, name = original.owner, unique("clone")
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
    wait_until(lambda: cluster.query(query, original.name) == [(0,)], message="nobody is in the database")
    cluster.query(f"CREATE DATABASE {name} TEMPLATE {original.name} OWNER {owner}")
    cluster.list_database(name)
    clone = cluster.connect(name, owner)
    try:
        clone.execute("SELECT djkafka_resume('default')")
        state = "SELECT DISTINCT state FROM djkafka_status"
        wait_until(lambda: clone.execute(state).fetchall() == [("foreign_home",)], message="the clone is foreign")
        kafka.produce(topic, [Record(to_json(id=3, name="c"))])
        stays_true(lambda: clone.execute("SELECT count(*) FROM item").fetchall() == [(2,)], 1.0, "the clone works")
    finally:
        clone.close()
        cluster.unlist_database(name)
        wait_until(lambda: cluster.query(query, name) == [(0,)], message="nobody is in the clone")
        cluster.query(f"DROP DATABASE {name}")


# In one transaction, so that the supervisor sees rows with the ids of those before, and no time without them.
MADE_ANEW = "SELECT djkafka_uninstall(cascade => true)", "CREATE EXTENSION djkafka"


def test_consumer_of_an_extension_made_again(db: Database, kafka: Client, topic: str, unique) -> None:
    other = kafka.create_topic(unique("topic"))
    db.query("CREATE TABLE item (id bigint PRIMARY KEY)")
    db.query("CREATE TABLE other (id bigint PRIMARY KEY)")
    db.query("SELECT djkafka_subscribe(%s, 'item')", topic)
    kafka.produce(topic, [Record('{"id": 1}')])
    wait_count(db, "item", 1)
    with db.connect() as connection, connection.transaction():
        for statement in MADE_ANEW:
            connection.execute(statement)
        connection.execute("SELECT djkafka_subscribe(%s, 'other')", (other,))
    kafka.produce(topic, [Record('{"id": 2}')])
    kafka.produce(other, [Record('{"id": 3}')])
    wait_count(db, "other", 1)
    assert db.query("SELECT id FROM item") == [(1,)]


def test_outbox_of_an_extension_made_again(db: Database, kafka: Client, topic: str, unique) -> None:
    # held, so that the row of its server is as at first
    db.query("SELECT djkafka_produce(%s, 'to nowhere')", unique("no-such-topic"))
    wait_value(db, "SELECT count(*) FROM djkafka_outbox_held", 1)
    with db.connect("postgres") as connection, connection.transaction():
        for statement in MADE_ANEW:
            connection.execute(statement)
        connection.execute(f"CREATE SERVER x FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers '{kafka.address}')")
        connection.execute("SELECT djkafka_produce(%s, 'a', server => 'x')", (topic,))
        connection.execute("SELECT djkafka_produce(%s, 'b')", (topic,))
    with db.connect("postgres") as connection:
        connection.execute("SELECT djkafka_produce(%s, 'c', server => 'x')", (topic,))
        connection.execute("SELECT djkafka_produce(%s, 'd')", (topic,))
    sent = "SELECT array_agg(sent ORDER BY server) FROM djkafka_outbox_server"
    wait_until(lambda: db.value(sent, user="postgres") == [2, 2], message="all is sent")
    assert sorted(values(read_topic(kafka, topic))) == ["a", "b", "c", "d"]


def test_not_preloaded(own_cluster, unique) -> None:
    """A team's CI, or a restore: the extension is made with a warning, and says why nothing runs."""
    cluster = own_cluster(shared_preload_libraries="")
    db = Database(cluster, unique("db"), listed=False)
    notices: list[str] = []
    connection = db.connect()
    connection.add_notice_handler(lambda notice: notices.append(f"{notice.severity}: {notice.message_primary}"))
    connection.execute("CREATE EXTENSION djkafka")
    connection.close()
    assert any(notice.startswith("WARNING") for notice in notices), notices
    db.query("CREATE TABLE item (id bigint PRIMARY KEY)")
    db.query("SELECT djkafka_subscribe('orders', 'item')")
    found = status(db)
    assert found["state"] == "not_preloaded" and "shared_preload_libraries" in f"{found['reason']} {found['hint']}"
    db.query("SELECT djkafka_uninstall()")


def test_not_listed(db: Database, cluster) -> None:
    cluster.unlist_database(db.name)
    db.query("CREATE TABLE item (id bigint PRIMARY KEY)")
    db.query("SELECT djkafka_subscribe('orders', 'item')")
    found = wait_state(db, "not_listed")
    assert "djkafka.databases" in f"{found['reason']} {found['hint']}"

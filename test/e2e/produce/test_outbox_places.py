"""Several databases, several servers; copies that send nothing; pauses."""

import psycopg
import pytest
from lib.copies import back_up, copy_of, make_standby, restore
from lib.djkafka import wait_value
from lib.kafka import Client
from lib.outbox import (
    explain_outbox,
    make_server,
    outbox_server,
    outbox_worker,
    read_topic,
    sequences,
    values,
    wait_outbox_state,
    wait_sent,
)
from lib.postgres import Database
from lib.wait import stays_true, wait_until


def produce_numbers(db: Database, topic: str, first: int, last: int, server: str | None = None) -> None:
    db.query(
        "SELECT djkafka_produce(%s, i, key => 'k', server => %s) FROM generate_series(%s::int, %s) i",
        *(topic, server, first, last),
    )


def numbers(kafka: Client, topic: str) -> list[int]:
    return sequences(read_topic(kafka, topic)).get("k", [])


def test_two_databases(db: Database, cluster, kafka: Client, unique) -> None:
    other = Database(cluster, unique("db"))
    try:
        other.query("CREATE EXTENSION djkafka")
        topics = {each: kafka.create_topic(unique("of_each")) for each in (db, other)}
        for part in range(5):
            for each, topic in topics.items():
                produce_numbers(each, topic, part * 100 + 1, part * 100 + 100)
        for each, topic in topics.items():
            wait_sent(each)
            assert numbers(kafka, topic) == list(range(1, 501))
            assert outbox_server(each)["sent"] == 500
        assert outbox_worker(db)["pid"] != outbox_worker(other)["pid"]
    finally:
        other.destroy()


def test_two_servers(db: Database, kafka: Client, own_broker, unique) -> None:
    """One that is away does not hold up the other."""
    broker = own_broker()
    far = Client(broker.address)
    topic = kafka.create_topic(unique("same_name"))
    far.create_topic(topic)
    make_server(db, kafka.address, "at_least_once", "near")
    make_server(db, broker.address, "exactly_once", "far")
    broker.stop()
    for part in range(5):
        for server in ("near", "far"):
            produce_numbers(db, topic, part * 100 + 1, part * 100 + 100, server)
    wait_value(db, "SELECT count(*) FROM djkafka_outbox WHERE server = 'near'", 0)
    assert numbers(kafka, topic) == list(range(1, 501))
    assert db.value("SELECT count(*) FROM djkafka_outbox WHERE server = 'far'") == 500
    broker.start()
    wait_sent(db)
    assert numbers(far, topic) == list(range(1, 501))
    assert numbers(kafka, topic) == list(range(1, 501)), "each message goes to its own server"


def test_one_transaction_for_two_servers(db: Database, kafka: Client, unique) -> None:
    topics = {server: kafka.create_topic(unique(server)) for server in ("one", "two")}
    make_server(db, kafka.address, "at_least_once", "one")
    make_server(db, kafka.address, "exactly_once", "two")
    connection = db.connect()
    for rollback in (False, True, False):
        with connection.transaction(force_rollback=rollback):
            for server, topic in topics.items():
                produce = "SELECT djkafka_produce(%s, %s, server => %s)"
                connection.execute(produce, (topic, f"{server} {rollback}", server))
    connection.close()
    wait_sent(db)
    for server, topic in topics.items():
        assert values(read_topic(kafka, topic)) == [f"{server} False"] * 2


@pytest.mark.parametrize("mode", ["at_least_once", "exactly_once"])
def test_disabled(db: Database, kafka: Client, topic: str, mode: str) -> None:
    server = make_server(db, kafka.address, mode)
    produce_numbers(db, topic, 1, 100, server)
    wait_sent(db)
    db.query("UPDATE djkafka_outbox_server SET enabled = false")
    wait_until(lambda: not db.workers("djkafka outbox"), message="the worker leaves")
    produce_numbers(db, topic, 101, 200, server)
    stays_true(lambda: not db.workers("djkafka outbox"), 1, "a worker sends although the server is disabled")
    assert numbers(kafka, topic) == list(range(1, 101))
    assert db.value("SELECT count(*) FROM djkafka_outbox") == 100
    db.query("UPDATE djkafka_outbox_server SET enabled = true")
    wait_sent(db)
    assert numbers(kafka, topic) == list(range(1, 201))


def test_changed_server(db: Database, kafka: Client, topic: str) -> None:
    """Another address: what was not sent goes there."""
    server = make_server(db, "127.0.0.1:1", "at_least_once")
    produce_numbers(db, topic, 1, 100, server)
    outbox_worker(db, server)
    db.query(f"ALTER SERVER {server} OPTIONS (SET bootstrap_servers '{kafka.address}')", user="postgres")
    wait_sent(db)
    assert numbers(kafka, topic) == list(range(1, 101))


@pytest.mark.parametrize("mode", ("at_least_once", "exactly_once"))
def test_termination_in_mid_batch(db: Database, kafka: Client, topic: str, mode: str) -> None:
    """A worker that is told to end confirms what it has sent first."""
    server = make_server(db, kafka.address, mode)
    for part in range(8):
        produce_numbers(db, topic, part * 20_000 + 1, part * 20_000 + 20_000, server)
        pid = outbox_worker(db, server)["pid"]
        assert db.query("SELECT pg_terminate_backend(%s)", pid, user="postgres") == [(True,)]
        # A second signal would be obeyed at once.
        wait_until(lambda old=pid: outbox_worker(db, server)["pid"] != old, message="the worker has left")
    wait_sent(db)
    assert numbers(kafka, topic) == list(range(1, 160_001))


def test_termination_of_a_worker_that_waits(db: Database, kafka: Client, topic: str) -> None:
    """It waits for a lock, which knows nothing of its wish to confirm a batch first."""
    server = make_server(db, kafka.address, "at_least_once")
    produce_numbers(db, topic, 1, 10, server)
    wait_sent(db)
    pid = outbox_worker(db, server)["pid"]
    waiting = "SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s"
    with db.connect("postgres") as blocker, blocker.transaction():
        blocker.execute("LOCK TABLE djkafka_outbox_server IN SHARE MODE")
        produce_numbers(db, topic, 11, 20, server)
        wait_until(lambda: db.value(waiting, pid, user="postgres") == "Lock", message="the worker waits for the lock")
        assert db.query("SELECT pg_terminate_backend(%s)", pid, user="postgres") == [(True,)]
        wait_until(lambda: pid not in db.workers("djkafka outbox"), 15, "the worker has left, with the lock still held")
    wait_sent(db)
    assert numbers(kafka, topic) == list(range(1, 21))


def test_changes_of_another_server(db: Database, kafka: Client, topic: str) -> None:
    """A worker goes on while other servers and their mappings come, change and go."""
    server = make_server(db, kafka.address, "at_least_once")
    produce_numbers(db, topic, 1, 10, server)
    wait_sent(db)
    pid = outbox_worker(db, server)["pid"]
    make_server(db, "127.0.0.1:1", "at_least_once", "other")
    db.query("CREATE USER MAPPING FOR PUBLIC SERVER other OPTIONS (sasl_username 'somebody')", user="postgres")
    db.query("ALTER SERVER other OPTIONS (ADD client_id 'changed')", user="postgres")
    db.query("DROP SERVER other CASCADE", user="postgres")
    produce_numbers(db, topic, 11, 20, server)
    wait_sent(db)
    assert outbox_worker(db, server)["pid"] == pid


# -- copies


def test_changes_of_a_server_in_mid_batch(db: Database, kafka: Client, topic: str) -> None:
    """A worker that leaves for a change waits for the answers to what it has sent: nothing comes twice."""
    server = make_server(db, kafka.address, "at_least_once", client_id="first")
    for part in range(8):
        produce_numbers(db, topic, part * 20_000 + 1, part * 20_000 + 20_000, server)
        db.query(f"ALTER SERVER {server} OPTIONS (SET client_id 'change-{part}')", user="postgres")
    wait_sent(db)
    assert numbers(kafka, topic) == list(range(1, 160_001))


def test_clone(db: Database, cluster, kafka: Client, topic: str, unique) -> None:
    """A copy has the messages that were not sent, and sends none; the original goes on."""
    server = make_server(db, kafka.address, "exactly_once")
    produce_numbers(db, topic, 1, 100, server)
    wait_sent(db)
    db.query("UPDATE djkafka_outbox_server SET enabled = false")
    produce_numbers(db, topic, 101, 150, server)
    cluster.unlist_database(db.name)
    db.disconnect()
    busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
    wait_until(lambda: cluster.query(busy, db.name) == [(0,)], message="nobody is in the database")
    name = unique("clone")
    cluster.query(f"CREATE DATABASE {name} TEMPLATE {db.name}")
    clone = Database.__new__(Database)
    clone.cluster, clone.name, clone.owner, clone._connections = cluster, name, db.owner, {}
    cluster.list_database(db.name)
    cluster.list_database(name)
    try:
        for each in (clone, db):
            each.query("UPDATE djkafka_outbox_server SET enabled = true")
        wait_value(clone, "SELECT state FROM djkafka_outbox_status", "foreign_home")
        assert "copy sends nothing" in clone.value("SELECT hint FROM djkafka_outbox_status")
        produce_numbers(clone, topic, 9001, 9010, server)
        produce_numbers(db, topic, 151, 200, server)
        wait_sent(db)
        stays_true(lambda: not clone.workers("djkafka outbox"), 1, "a worker sends for the clone")
        assert numbers(kafka, topic) == list(range(1, 201))
        assert clone.value("SELECT count(*) FROM djkafka_outbox WHERE state = 'pending'") == 60
    finally:
        clone.disconnect()
        cluster.unlist_database(name)
        wait_until(lambda: cluster.query(busy, name) == [(0,)], message="nobody is in the clone")
        cluster.query(f"DROP DATABASE {name}")


def test_restored_dump(db: Database, cluster, kafka: Client, topic: str, unique) -> None:
    produce_numbers(db, topic, 1, 100)
    wait_sent(db)
    db.query("UPDATE djkafka_outbox_server SET enabled = false")
    produce_numbers(db, topic, 101, 150)
    copy = Database(cluster, unique("copy"))
    try:
        restore(db, copy)
        assert copy.value("SELECT count(*) FROM djkafka_outbox WHERE state = 'pending'") >= 50
        copy.query("UPDATE djkafka_outbox_server SET enabled = true")
        wait_value(copy, "SELECT state FROM djkafka_outbox_status", "foreign_home")
        assert "copy sends nothing" in copy.value("SELECT hint FROM djkafka_outbox_status")
        stays_true(lambda: not copy.workers("djkafka outbox"), 1, "a worker sends for the copy")
        assert numbers(kafka, topic) == list(range(1, 101))
    finally:
        copy.destroy()


def test_not_preloaded(own_cluster, kafka: Client, topic: str, unique) -> None:
    """What is produced waits until somebody sends."""
    cluster = own_cluster(djkafka__bootstrap_servers=kafka.address, shared_preload_libraries="")
    db = Database(cluster, unique("db"))
    db.query("CREATE EXTENSION djkafka")
    produce_numbers(db, topic, 1, 100)
    assert db.value("SELECT count(*) FROM djkafka_outbox") == 100
    db.disconnect()
    cluster.configure(shared_preload_libraries="djkafka")
    cluster.restart()
    wait_sent(db)
    assert numbers(kafka, topic) == list(range(1, 101))


def test_read_only(db: Database, topic: str) -> None:
    with db.connect() as connection:
        connection.execute("SET default_transaction_read_only = on")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("SELECT djkafka_produce(%s, 'x')", (topic,))


# -- a standby that is promoted


def test_former_primary_still_runs(own_cluster, own_broker, unique) -> None:
    """Both give their next batch the same number, and neither takes the other's for its own."""
    broker = own_broker()
    client = Client(broker.address)
    topic = client.create_topic("numbers")
    old = Database(own_cluster(), unique("db"))
    old.query("CREATE EXTENSION djkafka")
    produce = "SELECT djkafka_produce(%s, %s, server => %s)"
    server = make_server(old, broker.address, "exactly_once")
    old.query(produce, topic, "before", server)
    wait_sent(old)
    standby = own_cluster()
    make_standby(standby, old.cluster)
    new = copy_of(old, standby)
    # nothing runs there, and nothing is wrong with that
    assert new.query("SELECT DISTINCT verdict, state FROM djkafka_health()") == [("ok", "standby")]
    standby.query("SELECT pg_promote()")

    new.query(produce, topic, "new 1", server)
    wait_sent(new)
    old.query(produce, topic, "old", server)
    wait_outbox_state(old, "broken", server)
    new.query(produce, topic, "new 2", server)
    wait_sent(new)
    assert values(read_topic(client, topic)) == ["before", "new 1", "new 2"]

    # its own messages are a person's to decide about
    old.cluster.reload()
    wait_outbox_state(old, "needs_decision", server)
    new.disconnect()
    new.cluster.stop()
    old.query("SELECT djkafka_outbox_decide('send', %s)", server)
    wait_sent(old)
    assert values(read_topic(client, topic)) == ["before", "new 1", "new 2", "old"]


def test_index_that_was_dropped(db: Database, own_broker) -> None:
    """
    Without its index a table of the outbox cannot be read in order: that is said, and repaired by whoever did it.
    What was claimed before is confirmed all the same, and not sent again with each new start.
    """
    broker = own_broker()
    kafka = Client(broker.address)
    kafka.create_topic("orders")
    server = make_server(db, broker.address, "at_least_once")
    broker.stop()
    produce_numbers(db, "orders", 1, 5, server)
    wait_value(db, "SELECT batch - confirmed FROM djkafka_outbox_server", 1)
    db.query("DROP INDEX djkafka_outbox_0_id", user="postgres")
    broker.start()
    wait_value(db, "SELECT batch - confirmed FROM djkafka_outbox_server", 0, timeout=120)
    produce_numbers(db, "orders", 6, 6, server)
    failing = (
        "SELECT last_error, hint FROM djkafka_worker_status()"
        " WHERE kind = 'outbox' AND attempt >= 3"
        " AND last_error LIKE '%%djkafka_outbox_0%%' AND hint LIKE '%%(id)%%'"
    )
    wait_until(lambda: db.query(failing), message=lambda: f"it was started a few times\n{explain_outbox(db)}")
    db.query("CREATE INDEX djkafka_outbox_0_id ON djkafka_outbox_0 (id)", user="postgres")
    wait_sent(db)
    found = numbers(kafka, "orders")
    assert sorted(set(found)) == [1, 2, 3, 4, 5, 6] and len(found) <= 2 * 5 + 1, found


def test_table_that_is_rewritten(db: Database, kafka: Client, topic: str) -> None:
    """The worker waits for the table, and then sees what was in it before."""
    produce_numbers(db, topic, 0, 0)
    wait_sent(db)
    db.query("UPDATE djkafka_outbox_server SET enabled = false")
    wait_until(lambda: not db.workers("djkafka outbox"), message="the outbox's worker has left")
    produce_numbers(db, topic, 1, 100)
    table = f"djkafka_outbox_{db.value('SELECT current_table FROM djkafka_outbox_rotation')}"
    rewriting = db.connect("postgres")
    rewriting.execute("BEGIN")
    rewriting.execute(f"ALTER TABLE {table} SET UNLOGGED")
    db.query("UPDATE djkafka_outbox_server SET enabled = true")
    waiting = (
        "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)"
        " WHERE backend_type LIKE 'djkafka outbox%%' AND NOT granted AND relation = %s::regclass"
    )
    wait_until(lambda: db.value(waiting, table, user="postgres") == 1, message="the worker waits for the table")
    rewriting.execute("COMMIT")
    wait_sent(db)
    assert numbers(kafka, topic) == list(range(101))
    rewriting.close()


@pytest.mark.parametrize("batches", (1, 2))
def test_backup_of_a_claim(own_cluster, own_broker, unique, batches: int) -> None:
    """It was taken when the first batch of a worker was claimed, which has been sent since."""
    broker = own_broker()
    client = Client(broker.address)
    topic = client.create_topic("numbers")
    old = Database(own_cluster(), unique("db"))
    old.query("CREATE EXTENSION djkafka")
    server = make_server(old, broker.address, "exactly_once")
    produce_numbers(old, topic, 1, 10, server)
    wait_sent(old)
    pid = outbox_worker(old, server)["pid"]
    broker.stop()
    old.cluster.reload()
    wait_until(lambda: outbox_worker(old, server)["pid"] != pid, message="another worker runs")
    produce_numbers(old, topic, 11, 20, server)
    wait_value(old, "SELECT batch - confirmed FROM djkafka_outbox_server", 1)
    backup = own_cluster()
    back_up(old.cluster, backup)
    broker.start()
    wait_sent(old)
    if batches == 2:
        produce_numbers(old, topic, 21, 30, server)
        wait_sent(old)
    old.disconnect()
    old.cluster.stop()

    backup.start()
    new = copy_of(old, backup)
    produce_numbers(new, topic, 101, 110, server)
    if batches == 2:
        found = wait_outbox_state(new, "needs_decision", server)
        assert "batch 2 was claimed" in found["reason"] and "Kafka itself names 3" in found["reason"]
        new.query("SELECT djkafka_outbox_decide('confirm', %s)", server)
    wait_sent(new)
    assert numbers(client, topic) == [*range(1, 10 * batches + 11), *range(101, 111)]

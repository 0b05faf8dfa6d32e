"""Commands that want a database without sessions: workers leave for them, and come back."""

import time
from collections.abc import Callable

import psycopg
import pytest
from lib.djkafka import wait_state, wait_value
from lib.kafka import Client, Record
from lib.outbox import make_server
from lib.postgres import Database
from lib.process import stop_and_wait
from lib.wait import wait_until
from lib.wire import Wire

MANY = 50_000
EVERYBODY = "SELECT count(*) FROM djkafka_worker_status() WHERE pid IS NOT NULL AND kind IN ('consumer', 'outbox', 'supervisor')"


def make_busy(db: Database, client: Client, topic: str, server: str) -> None:
    """Two workers that apply, and an outbox that sends: four processes with the supervisor."""
    client.produce(topic, [Record(f'{{"id": {number}}}') for number in range(MANY)])
    db.query("CREATE TABLE item (id bigint PRIMARY KEY, slow text GENERATED ALWAYS AS (repeat(md5(id::text), 20)) STORED)")
    db.query("SELECT djkafka_create_consumer('c', workers => 2, server => %s)", server)
    db.query("SELECT djkafka_create_route('c', %s, 'item')", topic)
    produce = "SELECT count(djkafka_produce(%s, repeat('x', 500), server => %s)) FROM generate_series(1, %s)"
    db.query(produce, topic + "-out", server, MANY)
    wait_value(db, EVERYBODY, 4)
    wait_until(lambda: db.value("SELECT count(*) FROM item") > 0, message="rows are written")


def timed(run: Callable[[], object]) -> float:
    started = time.monotonic()
    run()
    return time.monotonic() - started


@pytest.mark.parametrize("answers", [True, False], ids=["busy", "no answer"])
@pytest.mark.parametrize("command", ["clone", "move", "rename", "drop"])
def test_workers_leave(
    db: Database, kafka: Client, wire: Wire, unique, tmp_path_factory, command: str, answers: bool
) -> None:
    topic = kafka.create_topic(unique("topic"), partitions=2)
    kafka.create_topic(topic + "-out")
    make_busy(db, kafka, topic, make_server(db, wire.address, "at_least_once"))
    if not answers:
        stop_and_wait(wire.process.pid)
    copy = unique("copy")
    place = unique("place")
    if command == "move":
        db.cluster.query(f"CREATE TABLESPACE {place} LOCATION '{tmp_path_factory.mktemp(place)}'")
    commands = {
        "clone": f"CREATE DATABASE {copy} TEMPLATE {db.name}",
        "move": f"ALTER DATABASE {db.name} SET TABLESPACE {place}",
        "rename": f"ALTER DATABASE {db.name} RENAME TO {copy}",
        "drop": f"DROP DATABASE {db.name}",
    }
    db.disconnect()
    took = timed(lambda: db.cluster.query(commands[command]))
    print(f"{command}: {took:.3f} s")
    assert took < 3
    if command == "rename":
        db.cluster.query(f"ALTER DATABASE {copy} RENAME TO {db.name}")
    if command == "drop":
        db.cluster.query(f"CREATE DATABASE {db.name} OWNER {db.owner}")
        slots = "SELECT count(*) FROM djkafka_worker_status() WHERE kind <> 'launcher'"
        db.query("CREATE EXTENSION djkafka")
        wait_value(db, slots, 1)
        return
    wait_value(db, EVERYBODY, 4)
    if answers:
        wait_value(db, "SELECT count(*) FROM item", MANY, timeout=60)
    db.disconnect()
    if command == "clone":
        db.cluster.query(f"DROP DATABASE {copy}")
    if command == "move":
        db.cluster.query(f"ALTER DATABASE {db.name} SET TABLESPACE pg_default")
        db.cluster.query(f"DROP TABLESPACE {place}")


def test_command_that_fails(db: Database, kafka: Client, topic: str, unique) -> None:
    """A session of somebody else's is in the way: the workers are back at once."""
    db.query("CREATE TABLE item (id bigint PRIMARY KEY)")
    db.query("SELECT djkafka_subscribe(%s, 'item')", topic)
    wait_state(db, "running")
    old = set(db.workers("djkafka consumer"))
    with pytest.raises(psycopg.errors.ObjectInUse):
        db.cluster.query(f"DROP DATABASE {db.name}")
    wait_until(lambda: set(db.workers("djkafka consumer")) - old, message="another worker runs", timeout=10)


def test_whoever_may_not(db: Database, kafka: Client, topic: str, unique) -> None:
    """A command that is refused ends no worker."""
    db.query("CREATE TABLE item (id bigint PRIMARY KEY)")
    db.query("SELECT djkafka_subscribe(%s, 'item')", topic)
    wait_state(db, "running")
    old = db.workers("djkafka")
    stranger = unique("stranger")
    db.cluster.query(f"CREATE ROLE {stranger} LOGIN CREATEDB")
    with db.connect(user=stranger) as connection:
        for command in (
            f"CREATE DATABASE {unique('copy')} TEMPLATE {db.name}",
            f"ALTER DATABASE {db.name} SET TABLESPACE pg_default",
            f"DROP DATABASE {db.name}",
        ):
            with pytest.raises(psycopg.Error):
                connection.execute(command)
    with db.cluster.connect("postgres", user=stranger) as connection:
        for command in (
            f"CREATE DATABASE {unique('copy')} TEMPLATE {db.name}",
            f"ALTER DATABASE {db.name} RENAME TO {unique('copy')}",
            f"ALTER DATABASE {db.name} SET TABLESPACE pg_default",
            f"DROP DATABASE {db.name}",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(command)
    assert db.workers("djkafka") == old
    db.cluster.query(f"DROP ROLE {stranger}")


def test_list_has_the_old_name(db: Database, unique) -> None:
    other = unique("renamed")
    db.disconnect()
    notices: list[str] = []
    with db.cluster.connect("postgres") as connection:
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))
        connection.execute(f"ALTER DATABASE {db.name} RENAME TO {other}")
        connection.execute(f"ALTER DATABASE {other} RENAME TO {db.name}")
    assert [text for text in notices if other in text] == [f'djkafka does not run in database "{other}"']

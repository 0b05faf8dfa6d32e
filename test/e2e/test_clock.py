"""now() in a worker's transaction is now, not the moment at which the worker began."""

from lib.djkafka import wait_count, wait_state, wait_value
from lib.kafka import Client, Record
from lib.outbox import outbox_worker, wait_sent
from lib.postgres import Database

MISSING = "no-such-topic"


def test_defaults_of_rows(db: Database, kafka: Client, topic: str) -> None:
    """Django's db_default=Now() is statement_timestamp()."""
    db.query(
        "CREATE TABLE item (id bigint PRIMARY KEY, begun_at timestamptz DEFAULT now(),"
        " stated_at timestamptz DEFAULT statement_timestamp())"
    )
    db.query("SELECT djkafka_subscribe(%s, 'item')", topic)
    wait_state(db, "running")
    before = db.value("SELECT clock_timestamp()")
    kafka.produce(topic, [Record('{"id": 1}'), Record('{"id": "x"}')])
    wait_count(db, "item", 1)
    wait_count(db, "djkafka_dead_letter", 1)
    assert db.query("SELECT begun_at > %s, stated_at > %s FROM item", before, before) == [(True, True)]
    assert db.query("SELECT created_at > %s FROM djkafka_dead_letter", before) == [(True,)]


def test_times_of_the_outbox(db: Database, kafka: Client, topic: str, unique) -> None:
    db.query("SELECT djkafka_produce(%s, 'first')", topic)
    outbox_worker(db)
    wait_sent(db)
    small = kafka.create_topic(unique("small"), max_message_bytes=1000)
    db.query("SELECT djkafka_produce(%s, 'held'), djkafka_produce(%s, repeat('x', 5000))", unique(MISSING), small)
    wait_value(db, "SELECT held_at > message_time FROM djkafka_outbox_held", True)
    wait_value(db, "SELECT dead_at > message_time FROM djkafka_outbox_dead", True)

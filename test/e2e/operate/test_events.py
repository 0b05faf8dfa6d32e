"""Rows of djkafka_event: one for a change of state, not for each wording of it."""

from lib.djkafka import to_json
from lib.kafka import Client, Record
from lib.postgres import Database
from lib.wait import wait_until


def test_other_words_are_no_event(db: Database, kafka: Client, topic: str) -> None:
    db.query("CREATE TABLE item (id bigint PRIMARY KEY)")
    db.query(
        "CREATE FUNCTION busy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE EXCEPTION 'busy at %', clock_timestamp() USING ERRCODE = '55P03'; END $$"
    )
    db.query("CREATE TRIGGER busy BEFORE INSERT ON item FOR EACH ROW EXECUTE FUNCTION busy()")
    db.query("SELECT djkafka_subscribe(%s, 'item')", topic)
    kafka.produce(topic, [Record(to_json(id=1))])
    status = "SELECT state, reason FROM djkafka_status WHERE state = 'backoff'"
    seen = set()

    def five_reasons() -> bool:
        seen.update(db.query(status))
        return len(seen) >= 5

    wait_until(five_reasons, message=lambda: f"the batch fails with five messages: {seen}")
    assert db.value("SELECT count(*) FROM djkafka_event WHERE state = 'backoff'") == 1
    db.query("DROP TRIGGER busy ON item")
    wait_until(lambda: db.value("SELECT count(*) FROM item") == 1, message="the batch is applied")
    db.query("CREATE TRIGGER busy BEFORE INSERT ON item FOR EACH ROW EXECUTE FUNCTION busy()")
    kafka.produce(topic, [Record(to_json(id=2))])
    backoffs = "SELECT count(*) FROM djkafka_event WHERE state = 'backoff'"
    wait_until(lambda: db.value(backoffs) == 2, message="another change of state is another event")


def test_old_events_go(db: Database) -> None:
    """Those that are too old are removed, and one that somebody holds keeps the supervisor from nothing."""
    db.cluster.unlist_database(db.name)
    wait_until(lambda: not db.workers(), message="the supervisor has left")
    db.query("INSERT INTO djkafka_event (created_at, kind) SELECT now() - interval '31 days', 'old' FROM generate_series(1, 3)")
    with db.connect() as session, session.transaction():
        session.execute("SELECT FROM djkafka_event WHERE kind = 'old' ORDER BY id LIMIT 1 FOR UPDATE")
        db.cluster.list_database(db.name)
        old = "SELECT count(*) FROM djkafka_event WHERE kind = 'old'"
        wait_until(lambda: db.value(old) == 1, message="the others are removed")

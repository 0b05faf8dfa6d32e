"""djkafka_test says what would become of Kafka's messages, and leaves nothing behind."""

from typing import Any

from lib.djkafka import assert_audit, to_json, wait_caught_up, wait_state
from lib.kafka import Client, Record
from lib.postgres import Database

STATE = """SELECT (SELECT jsonb_agg(to_jsonb(o) ORDER BY o.id) FROM djkafka_offset o), (SELECT count(*) FROM djkafka_dead_letter),
    (SELECT count(*) FROM djkafka_parked), (SELECT count(*) FROM djkafka_outbox), (SELECT count(*) FROM djkafka_event),
    (SELECT jsonb_agg(to_jsonb(t) ORDER BY t.id) FROM t)"""


def rehearse(db: Database, *arguments: Any) -> list[tuple]:
    given = ", ".join(["%s"] * len(arguments))
    return db.query(
        'SELECT partition, "offset", operation, fate, row_before->>\'n\', row_after->>\'n\', code'
        f" FROM djkafka_test('default'{', ' if arguments else ''}{given})",
        *arguments,
    )


def test_what_would_become(db: Database, kafka: Client, topic: str) -> None:
    """Before a consumer runs, beside a running one, and after one has stopped."""
    db.query("CREATE TABLE parent (id bigint PRIMARY KEY)")
    db.query("CREATE TABLE t (id bigint PRIMARY KEY, n int CHECK (n >= 0), parent_id bigint REFERENCES parent)")
    db.query("INSERT INTO t VALUES (1, 10)")
    db.query("SELECT djkafka_subscribe(%s, 't', enabled => false, on_error => 'stop')", topic)
    values = [to_json(id=1, n=11), to_json(id=2, n=2), to_json(id=3, n=3, parent_id=9), to_json(id=1, n=-1), to_json(id=4, n=4)]
    kafka.produce(topic, [Record(value, headers=[("h", b"1")]) for value in values])
    before = db.query(STATE)
    expected = [
        (0, 0, "update", "applied", "10", "11", None),
        (0, 1, "insert", "applied", None, "2", None),
        (0, 2, "insert", "parked", None, None, "23503"),
        (0, 3, "update", "stopped", "11", "11", "23514"),
    ]
    assert rehearse(db) == expected
    assert rehearse(db, 2) == expected[:2]
    assert db.query(STATE) == before

    # the same is what happens
    db.query("SELECT djkafka_resume('default')")
    assert "offset 3" in wait_state(db, "broken")["reason"]
    assert db.query("SELECT id, n FROM t ORDER BY id") == [(1, 11), (2, 2)]
    assert_audit(db, 3)

    # what would be with the cause fixed: in a transaction that is not committed
    with db.connect() as session:
        session.execute("BEGIN")
        session.execute("ALTER TABLE t DROP CONSTRAINT t_n_check")
        found = session.execute("SELECT \"offset\", operation, fate FROM djkafka_test('default')").fetchall()
        session.execute("ROLLBACK")
    assert found == [(3, "update", "applied"), (4, "insert", "applied")]
    db.query("ALTER TABLE t DROP CONSTRAINT t_n_check")
    db.query("INSERT INTO parent VALUES (9)")
    wait_caught_up(db, kafka, topic)
    wait_state(db, "running")
    assert rehearse(db) == []

    # what was read already, again
    with db.connect() as session:
        session.execute("BEGIN")
        session.execute("SELECT djkafka_seek('default', %s, '4')", [topic])
        again = session.execute("SELECT \"offset\", operation, fate FROM djkafka_test('default')").fetchall()
        session.execute("ROLLBACK")
    assert again == [(4, "update", "applied")]
    assert_audit(db, 5)

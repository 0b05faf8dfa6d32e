"""A topic lands in a table, live: the ways in which a consumer is used."""

import json

import pytest
from lib.djkafka import assert_audit, dead_letters, positions, status, to_json, wait_caught_up, wait_count
from lib.djkafka import wait_state, wait_value, workers
from lib.kafka import Client, Record
from lib.postgres import Database
from lib.wait import wait_until


@pytest.fixture
def orders(db: Database) -> Database:
    db.query(
        "CREATE TABLE orders (id bigint PRIMARY KEY, customer text NOT NULL,"
        " status text NOT NULL DEFAULT 'new', amount numeric(12, 2))"
    )
    return db


def order(number: int, **fields) -> Record:
    return Record(to_json(id=number, **fields), key=str(number))


def test_topic_becomes_table(orders: Database, kafka: Client, topic: str) -> None:
    kafka.produce(topic, [order(1, customer="Ada", amount="12.50"), order(2, customer="Grace", amount=7)])
    assert orders.value("SELECT djkafka_subscribe(%s, 'orders')", topic) == "default"
    wait_count(orders, "orders", 2)

    # live, and an absent field is not a null one
    kafka.produce(topic, [order(1, status="paid"), order(2, customer="Grace", amount=None), order(3, customer="Alan")])
    wait_caught_up(orders, kafka, topic)
    rows = orders.query("SELECT id, customer, status, amount::text FROM orders ORDER BY id")
    assert rows == [(1, "Ada", "paid", "12.50"), (2, "Grace", "new", None), (3, "Alan", "new", None)]

    # a tombstone deletes, so does the field __deleted; deleting what is not there is no error
    kafka.produce(topic, [Record(None, key="1"), order(2, __deleted="TRUE"), Record(None, key="99")])
    wait_caught_up(orders, kafka, topic)
    assert orders.query("SELECT id FROM orders") == [(3,)]
    assert_audit(orders, messages=8)
    assert not dead_letters(orders, topic)


def test_topic_created_later(orders: Database, kafka: Client, unique) -> None:
    topic = unique("later")
    orders.query("SELECT djkafka_subscribe(%s, 'orders')", topic)
    waiting = wait_state(orders, "waiting_for_topic")
    assert topic in waiting["reason"], "the reason names the topic"

    kafka.create_topic(topic, partitions=2)
    kafka.produce(topic, [order(number, customer="Ada") for number in range(100)])
    wait_count(orders, "orders", 100)
    wait_state(orders, "running")
    assert_audit(orders, messages=100)


def test_partitions_added_later(orders: Database, kafka: Client, topic: str) -> None:
    kafka.produce(topic, [order(1, customer="Ada")])
    orders.query("SELECT djkafka_subscribe(%s, 'orders')", topic)
    wait_count(orders, "orders", 1)

    kafka.add_partitions(topic, 3)
    kafka.produce(topic, [Record(to_json(id=10 + number, customer="Grace"), partition=number) for number in range(3)])
    wait_count(orders, "orders", 4, timeout=60)
    assert positions(orders, topic) == {0: 2, 1: 1, 2: 1}


def test_topics_by_pattern(orders: Database, kafka: Client, unique) -> None:
    prefix = unique("pattern")
    first, other = kafka.create_topic(f"{prefix}.first"), kafka.create_topic(f"x{prefix}.first")
    kafka.produce(first, [order(1, customer="Ada")])
    kafka.produce(other, [order(2, customer="nobody")])
    orders.query("SELECT djkafka_subscribe(%s, 'orders')", f"^{prefix}[.].*")
    wait_count(orders, "orders", 1)

    second = kafka.create_topic(f"{prefix}.second")
    kafka.produce(second, [order(3, customer="Grace")])
    wait_count(orders, "orders", 2, timeout=60)
    assert orders.query("SELECT id FROM orders ORDER BY id") == [(1,), (3,)]


def test_first_matching_route_takes_the_message(orders: Database, kafka: Client, topic: str) -> None:
    orders.query("CREATE TABLE big (LIKE orders INCLUDING ALL)")
    orders.query(
        "SELECT djkafka_subscribe(%s, 'big', route_order => 1, filter => %s)", topic, "(value->>'amount')::numeric > 100"
    )
    orders.query("SELECT djkafka_subscribe(%s, 'orders', route_order => 2, filter => 'value ? ''amount''')", topic)
    amounts = {1: 50, 2: 500, 3: None, 4: 101}
    kafka.produce(topic, [order(number, customer="Ada", amount=amount) for number, amount in amounts.items()])
    kafka.produce(topic, [order(5, customer="Ada")])
    wait_caught_up(orders, kafka, topic)
    assert orders.query("SELECT id FROM big ORDER BY id") == [(2,), (4,)]
    assert orders.query("SELECT id FROM orders ORDER BY id") == [(1,), (3,)]
    assert status(orders)["filtered"] == 1
    assert_audit(orders, messages=5)


def test_mapping_by_expression(orders: Database, kafka: Client, topic: str) -> None:
    orders.query("CREATE TABLE customers (code text PRIMARY KEY, name text)")
    orders.query("INSERT INTO customers VALUES ('a', 'Ada'), ('g', 'Grace')")
    mapping = {
        "customer": "(SELECT c.name FROM customers c WHERE c.code = value->>'code')",
        "amount": "(value->>'cents')::numeric / 100",
        "status": "topic || '/' || partition || '/' || msg_offset",
    }
    orders.query("SELECT djkafka_subscribe(%s, 'orders', columns => %s)", topic, json.dumps(mapping))
    kafka.produce(topic, [order(1, code="a", cents=1999), order(2, code="g", cents=5)])
    wait_count(orders, "orders", 2)
    rows = orders.query("SELECT id, customer, amount::text, status FROM orders ORDER BY id")
    assert rows == [(1, "Ada", "19.99", f"{topic}/0/0"), (2, "Grace", "0.05", f"{topic}/0/1")]


def test_message_log(db: Database, kafka: Client, topic: str) -> None:
    """Format raw: what Kafka has, byte for byte."""
    db.query(
        'CREATE TABLE log (topic text, partition int, "offset" bigint, "timestamp" timestamptz,'
        " key bytea, value bytea, headers djkafka_header[])"
    )
    db.query("SELECT djkafka_subscribe(%s, 'log', operation => 'insert', format => 'raw')", topic)
    headers = [("a", b"\x00\xff"), ("a", None), ("b", b"")]
    kafka.produce(topic, [Record(b"\x00\xff", b"\xfe", headers=headers, timestamp=1_700_000_000_123), Record(None)])
    wait_count(db, "log", 2)
    rows = db.query(
        'SELECT topic, partition, "offset", key, value,'
        " (SELECT array_agg((h.name, h.value)::text) FROM unnest(headers) h) FROM log ORDER BY 3"
    )
    assert rows[0] == (topic, 0, 0, b"\xfe", b"\x00\xff", [r'(a,"\\x00ff")', "(a,)", r'(b,"\\x")'])
    assert rows[1][:5] == (topic, 0, 1, None, None)
    assert db.value('SELECT extract(epoch FROM "timestamp")::text FROM log WHERE "offset" = 0') == "1700000000.123000"


def test_handlers(db: Database, kafka: Client, topic: str, unique) -> None:
    """Functions of one document, of one message, and of all messages of a batch."""
    db.query("CREATE TABLE seen (who text, what text)")
    bodies = {
        "jsonb": "INSERT INTO seen VALUES ('jsonb', $1->>'a')",
        "djkafka_message": "INSERT INTO seen VALUES ('message', $1.topic || convert_from($1.value, 'UTF8'))",
        "djkafka_message[]": "INSERT INTO seen SELECT 'array', m.\"offset\"::text FROM unnest($1) m",
    }
    for argument, body in bodies.items():
        name = unique("handler")
        db.query(f"CREATE FUNCTION {name}({argument}) RETURNS void LANGUAGE sql AS $body$ {body} $body$")
        db.query(
            "SELECT djkafka_subscribe(%s, handler => %s, consumer => %s)", topic, f"{name}({argument})", name
        )
    kafka.produce(topic, [Record('{"a": 1}'), Record('{"a": 2}')])
    wait_count(db, "seen", 6)
    assert db.query("SELECT who, what FROM seen ORDER BY who, what") == [
        ("array", "0"),
        ("array", "1"),
        ("jsonb", "1"),
        ("jsonb", "2"),
        ("message", f'{topic}{{"a": 1}}'),
        ("message", f'{topic}{{"a": 2}}'),
    ]


def test_pause_resume_seek(db: Database, kafka: Client, topic: str) -> None:
    db.query("CREATE TABLE log (id bigint)")
    db.query("SELECT djkafka_subscribe(%s, 'log', operation => 'insert')", topic)
    kafka.produce(topic, [Record(to_json(id=number)) for number in range(10)])
    wait_count(db, "log", 10)

    db.query("SELECT djkafka_pause('default')")
    wait_state(db, "paused")
    assert not workers(db)
    kafka.produce(topic, [Record(to_json(id=10))])
    db.query("SELECT djkafka_resume('default')")
    wait_count(db, "log", 11)
    assert_audit(db, messages=11)

    # the last five once more; counting begins again
    assert db.value("SELECT djkafka_seek('default', %s, '6')", topic) == 1
    wait_count(db, "log", 16)
    wait_caught_up(db, kafka, topic)
    assert_audit(db, messages=5)
    assert db.query("SELECT count(*) FROM log WHERE id >= 6") == [(10,)]

    db.query("SELECT djkafka_seek('default', %s, 'latest')", topic)
    wait_value(db, "SELECT start_at IS NULL FROM djkafka_partition_status", True)
    kafka.produce(topic, [Record(to_json(id=99))])
    wait_value(db, "SELECT count(*) FROM log WHERE id = 99", 1)
    assert db.value("SELECT count(*) FROM log") == 17


def test_notify(orders: Database, kafka: Client, topic: str) -> None:
    """A listener hears of a batch after its rows are visible, and of changes of state."""
    heard: list[dict] = []
    with orders.connect() as listener:

        def told(wanted) -> bool:
            heard.extend(json.loads(notice.payload) for notice in listener.notifies(timeout=0.1))
            return any(map(wanted, heard))

        listener.execute("LISTEN djkafka")
        orders.query("SELECT djkafka_subscribe(%s, 'orders', notify => 'keys')", topic)
        kafka.produce(topic, [order(1, customer="Ada"), order(2, customer="Grace")])
        wait_until(lambda: told(lambda n: str(n.get("keys", "")).count("2")), message=lambda: f"the second key: {heard}")
        assert orders.value("SELECT count(*) FROM orders") == 2, "the rows are there when the notice comes"
        batches = [notice for notice in heard if "rows" in notice]
        assert {(batch["consumer"], batch["topic"]) for batch in batches} == {("default", topic)}
        assert sum(batch["rows"] for batch in batches) == 2
        assert sorted(str(key) for batch in batches for key in batch["keys"]) == ["1", "2"]
        orders.query("SELECT djkafka_pause('default')")
        wait_until(lambda: told(lambda n: n.get("state") == "paused"), message=lambda: f"a notice of the pause: {heard}")


def test_processes_tell_what_they_do(orders: Database, kafka: Client, topic: str) -> None:
    orders.query("SELECT djkafka_subscribe(%s, 'orders', consumer => 'incoming')", topic)
    wait_state(orders, "running", "incoming")
    (pid,) = workers(orders, "incoming").values()
    row = orders.query(
        "SELECT usename, backend_type, application_name FROM pg_stat_activity WHERE pid = %s", pid, user="postgres"
    )[0]
    assert row[0] == orders.owner, "a worker's session user is the consumer's owner"
    assert row[1].startswith("djkafka consumer")
    assert "incoming" in row[2]

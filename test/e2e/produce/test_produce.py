"""Messages produced in SQL, by psycopg and by Django, as an independent consumer reads them."""

import datetime
import json
import time
import uuid
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from confluent_kafka import Message
from lib.django import Project
from lib.kafka import Client
from lib.postgres import Database
from lib.wait import wait_until
from psycopg.types.json import Json, Jsonb

ID = uuid.UUID("11111111-2222-3333-4444-555555555555")

# What a driver is given, and what Kafka gets; None: refused, the type has no form.
REFUSED = object()
VALUES: list[tuple[Any, Any]] = [
    ("text ä€", "text ä€".encode()),
    ("", b""),
    (b"\x00\xff", b"\x00\xff"),
    (Json({"a": [1, "ä"]}), b'{"a": [1, "\\u00e4"]}'),
    (Jsonb({"b": 1, "a": "ä"}), '{"a": "ä", "b": 1}'.encode()),
    (7, b"7"),
    (-70_000, b"-70000"),
    (2**40, b"1099511627776"),
    (2**70, b"1180591620717411303424"),
    (0.1, b"0.1"),
    (Decimal("12.50"), b"12.50"),
    (ID, str(ID).encode()),
    (None, None),
    (True, REFUSED),
    (datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), REFUSED),
    ([1, 2], REFUSED),
]


def read(kafka: Client, topic: str, count: int, timeout: float = 30) -> list[Message]:
    """The messages of a topic, as a consumer reads them that knows nothing of us."""
    consumer = kafka.consumer(f"read-{topic}", **{"isolation.level": "read_committed"})
    found: list[Message] = []
    try:
        consumer.subscribe([topic])
        until = time.monotonic() + timeout
        while len(found) < count and time.monotonic() < until:
            found += [message for message in consumer.consume(1000, 0.2) if message.error() is None]
    finally:
        consumer.close()
    assert len(found) == count, f"{len(found)} of {count} messages"
    return found


@pytest.mark.parametrize("binding", ["client", "server"])
def test_every_value_and_key(db: Database, kafka: Client, topic: str, binding: str) -> None:
    """All combinations of what psycopg sends, in both of its ways to send it."""
    connection = db.connect()
    cursor = (psycopg.ClientCursor if binding == "client" else psycopg.Cursor)(connection)
    wanted = []
    for value, value_bytes in VALUES:
        for key, key_bytes in VALUES:
            call = ("SELECT djkafka_produce(%s, %s, key => %s)", (topic, value, key))
            if REFUSED in (value_bytes, key_bytes):
                with pytest.raises(psycopg.errors.DatatypeMismatch):
                    cursor.execute(*call)
            else:
                cursor.execute(*call)
                wanted.append((key_bytes, value_bytes))
    cursor.execute("SELECT djkafka_flush('30 s')")
    assert cursor.fetchone() == (True,)
    connection.close()
    assert [(message.key(), message.value()) for message in read(kafka, topic, len(wanted))] == wanted


def test_headers_partition_and_time(db: Database, kafka: Client, unique) -> None:
    topic = kafka.create_topic(unique("produce"), partitions=3)
    db.query(
        "SELECT djkafka_produce(%s, 'v', headers => %s, partition => 2, at_time => %s)",
        topic,
        Jsonb([["a", "ä"], ["b", None], ["a", {"base64": "AP8="}], ["n", 1.5]]),
        datetime.datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=datetime.UTC),
    )
    (message,) = read(kafka, topic, 1)
    assert message.partition() == 2
    assert message.timestamp()[1] == 1767323045678
    assert message.headers() == [("a", "ä".encode()), ("b", None), ("a", b"\x00\xff"), ("n", b"1.5")]


def test_compacted_topic_takes_no_message_without_a_key(db: Database, kafka: Client, unique) -> None:
    topic = kafka.create_topic(unique("compacted"), cleanup_policy="compact")
    db.query("SELECT djkafka_produce(%s, 'a', key => 'k'), djkafka_produce(%s, 'b'), djkafka_produce(%s, 'c', key => '')", *[topic] * 3)
    assert {message.value() for message in read(kafka, topic, 2)} == {b"a", b"c"}
    wait_until(lambda: db.value("SELECT count(*) FROM djkafka_outbox_dead") == 1, 30, "the message is set aside")
    assert "no key and its topic is compacted" in db.value("SELECT message FROM djkafka_outbox_dead")


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
@pytest.mark.parametrize("partitioner", ["consistent_random", "murmur2_random"])
def test_empty_key_is_a_key(db: Database, kafka: Client, unique, delivery: str, partitioner: str) -> None:
    """Its messages share a partition and keep their order."""
    topic = kafka.create_topic(unique("empty"), partitions=8)
    server = unique("server")
    db.query(
        f"CREATE SERVER \"{server}\" FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers '{kafka.address}',"
        f" partitioner '{partitioner}', delivery '{delivery}')",
        user="postgres",
    )
    for i in range(40):
        db.query("SELECT djkafka_produce(%s, %s, key => '', server => %s)", topic, str(i), server, user="postgres")
    messages = read(kafka, topic, 40)
    assert {message.key() for message in messages} == {b""}
    assert len({message.partition() for message in messages}) == 1
    assert [message.value() for message in messages] == [str(i).encode() for i in range(40)]


def test_text_of_another_encoding(cluster, kafka: Client, topic: str, unique) -> None:
    """Kafka gets UTF-8, whatever the database's encoding; what cannot be converted is refused at once."""
    db = Database(cluster, unique("db"), encoding="LATIN1")
    bytes_only = Database(cluster, unique("db"), encoding="SQL_ASCII")
    headers = Jsonb({"grüße": "wört"})
    try:
        db.query("CREATE EXTENSION djkafka")
        db.query("SELECT djkafka_produce(%s, 'wért', key => 'ä', headers => %s)", topic, headers)
        (message,) = read(kafka, topic, 1)
        assert (message.key(), message.value()) == ("ä".encode(), "wért".encode())
        assert message.headers() == [("grüße", "wört".encode())]
        # as long as it is for Kafka
        too_long = "SELECT djkafka_produce(%s, 'x', headers => jsonb_build_object(repeat('ä', 500000), 1))"
        with pytest.raises(psycopg.DataError):
            db.query(too_long, topic)

        bytes_only.query("CREATE EXTENSION djkafka")
        produce = f"SELECT djkafka_produce('{topic}', 'x', headers => '{{\"%s\": \"1\"}}')".encode()
        for name in (b"\xe4", b"a\xff"):
            with pytest.raises(psycopg.errors.CharacterNotInRepertoire), bytes_only.connect() as connection:
                connection.execute(produce % name)
        with bytes_only.connect() as connection:
            connection.execute(produce % "ä".encode())
        assert read(kafka, topic, 2)[1].headers() == [("ä", b"1")]
    finally:
        db.destroy()
        bytes_only.destroy()


def test_savepoints_and_prepared_transactions(own_cluster, kafka: Client, topic: str) -> None:
    cluster = own_cluster(djkafka__bootstrap_servers=kafka.address, max_prepared_transactions=2)
    db = Database(cluster, "produce")
    db.query("CREATE EXTENSION djkafka")
    connection = db.connect()

    def produce(value: str) -> None:
        connection.execute("SELECT djkafka_produce(%s, %s)", (topic, value))

    with connection.transaction():
        produce("1")
        with pytest.raises(ZeroDivisionError), connection.transaction():
            produce("gone")
            raise ZeroDivisionError
        with connection.transaction():
            produce("2")
    with pytest.raises(ZeroDivisionError), connection.transaction():
        produce("gone")
        raise ZeroDivisionError
    assert connection.execute("SELECT djkafka_flush('30 s')").fetchone() == (True,)
    for end in ("COMMIT", "ROLLBACK"):
        connection.execute("BEGIN")
        produce(end)
        connection.execute("PREPARE TRANSACTION 'produce'")
        connection.execute(f"{end} PREPARED 'produce'")
    # COMMIT PREPARED wakes the worker: nothing else does within this time.
    assert [message.value() for message in read(kafka, topic, 3)] == [b"1", b"2", b"COMMIT"]
    connection.close()


def test_delivery(db: Database, kafka: Client, topic: str, unique) -> None:
    """The states of a message, a topic that does not exist yet among them."""
    connection = db.connect()

    def value(query: str, *parameters: Any) -> Any:
        return connection.execute(query, parameters or None).fetchone()[0]

    late = unique("late")
    sent = value("SELECT djkafka_produce(%s, 'v')", topic)
    assert value("SELECT djkafka_flush('30 s')") is True
    assert value("SELECT state FROM djkafka_delivery(%s)", sent) in ("sent", "unknown")  # its table may be empty again
    held = value("SELECT djkafka_produce(%s, 'v')", late)
    wait_until(
        lambda: value("SELECT state FROM djkafka_delivery(%s)", held) == "held",
        message=lambda: db.query("TABLE djkafka_outbox_status"),
    )
    assert value("SELECT djkafka_flush('100 ms')") is False
    assert db.query("SELECT held, dead FROM djkafka_outbox_status") == [(1, 0)]
    assert ("warning", "held", "settings") in db.query("SELECT verdict, state, outbox FROM djkafka_health()")
    kafka.create_topic(late)
    assert value("SELECT djkafka_flush('60 s')") is True
    assert db.query("SELECT state, depth, held, sent FROM djkafka_outbox_status") == [("running", 0, 0, 2)]
    connection.execute("BEGIN")
    value("SELECT djkafka_produce(%s, 'v')", topic)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        value("SELECT djkafka_flush()")
    connection.close()


def test_refused_message(db: Database, kafka: Client, unique) -> None:
    """What Kafka refuses for good is dead, can be sent again, and holds up nobody."""
    topic = kafka.create_topic(unique("small"), **{"max.message.bytes": 1000})
    connection = db.connect()
    connection.execute("SELECT djkafka_produce(%s, repeat(md5(random()::text), 200))", (topic,))
    connection.execute("SELECT djkafka_produce(%s, 'small')", (topic,))
    assert connection.execute("SELECT djkafka_flush('30 s')").fetchone() == (False,)
    # What was sent behind the refused one may be sent again.
    wait_until(lambda: kafka.end_offsets(topic)[0] > 0, message="the small one arrives")
    assert {message.value() for message in read(kafka, topic, kafka.end_offsets(topic)[0])} == {b"small"}
    ((dead, error),) = db.query("SELECT id, error FROM djkafka_outbox_dead")
    assert error == "MSG_SIZE_TOO_LARGE"
    assert db.value("SELECT state FROM djkafka_delivery(%s)", dead) == "dead"
    again = db.value("SELECT djkafka_outbox_resend(%s)", dead)
    wait_until(lambda: db.value("SELECT state FROM djkafka_delivery(%s)", again) == "dead")
    db.query("SELECT djkafka_outbox_discard(%s)", again)
    assert db.value("SELECT count(*) FROM djkafka_outbox_dead") == 0
    connection.close()


def test_django(plain_db: Database, kafka: Client, unique) -> None:
    """A view's transaction.atomic(), savepoints, and every type of value through Django's cursor."""
    project = Project(plain_db, unique("shop") + ".")
    project.manage("migrate")
    topic = kafka.create_topic(unique("django"))
    values = project.orm(
        f"""
        import datetime, decimal, uuid
        from django.db import connection, transaction
        from psycopg.types.json import Json, Jsonb

        def produce(value, key=None):
            with connection.cursor() as cursor:
                cursor.execute("SELECT djkafka_produce(%s, %s, key => %s)", ["{topic}", value, key])
                return cursor.fetchone()[0]

        with transaction.atomic():
            customer = Customer.objects.create(name="Ada")
            produce(Jsonb({{"name": customer.name}}), customer.pk)
            try:
                with transaction.atomic():
                    produce("gone")
                    Customer.objects.create(name="Ada", id=customer.pk, email="x")
                    raise ValueError
            except Exception:
                pass
            for value in ("str", b"bytes", Json([1]), 5, decimal.Decimal("1.50"), customer.pk, None):
                produce(value, 1)
            with connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM djkafka_outbox WHERE topic = %s", ["{topic}"])
                waiting = cursor.fetchone()[0]
        try:
            with transaction.atomic():
                produce("gone")
                raise ValueError
        except ValueError:
            pass
        with connection.cursor() as cursor:
            cursor.execute("SELECT djkafka_flush('30 s')")
            flushed = cursor.fetchone()[0]
        answer([str(customer.pk), waiting, flushed])
        """
    )
    pk, waiting, flushed = values
    assert (waiting, flushed) == (8, True)
    found = [(message.key(), message.value()) for message in read(kafka, topic, 8)]
    assert found[0] == (pk.encode(), json.dumps({"name": "Ada"}).encode())
    assert found[1:] == [(b"1", value) for value in (b"str", b"bytes", b"[1]", b"5", b"1.50", pk.encode(), None)]

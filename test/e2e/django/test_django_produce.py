"""A Django project produces: what atomic() commits is in Kafka, what it rolls back is not."""

import json
import re

import pytest
from confluent_kafka import TopicPartition
from lib.django import Project
from lib.djkafka import wait_count
from lib.kafka import Client
from lib.postgres import Database
from lib.wait import wait_until

BEGIN = """
from django.db import transaction
from shop.services import *
customer = Customer.objects.create(name="Ada")
"""


@pytest.fixture
def project(plain_db: Database, kafka: Client, unique) -> Project:
    made = Project(plain_db, unique("shop") + ".")
    for topic in ("customers", "orders", "payments", "placed"):
        kafka.create_topic(made.topic_prefix + topic)
    made.manage("migrate")
    return made


def read(kafka: Client, topic: str, count: int) -> list[tuple[str | None, object]]:
    """(key, value) of all that the topic holds once it holds so many messages."""
    wait_until(lambda: kafka.end_offsets(topic)[0] >= count, message=lambda: f"{kafka.end_offsets(topic)} of {count}")
    consumer = kafka.consumer("djk-test-read", enable_partition_eof=True)
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        found = []
        while (message := consumer.poll(20)) is not None and not message.error():
            found.append((message.key() and message.key().decode(), json.loads(message.value())))
        return found
    finally:
        consumer.close()


def test_atomic(project: Project, plain_db: Database, kafka: Client) -> None:
    """Two transactions, one of which fails at its end; the messages of the other, in order."""
    project.orm(
        BEGIN
        + """
orders = place(customer.pk, ["N1", "N2"])
try:
    with transaction.atomic():
        pay(orders[0])
        raise RuntimeError
except RuntimeError:
    pass
with transaction.atomic():
    produce("payments", "first")
    pay(orders[1])
    produce("payments", "last")
"""
    )
    wait_count(plain_db, "djkafka_outbox", 0)
    values = [value for _, value in read(kafka, project.topic_prefix + "payments", 3)]
    assert values == ["first", {"order": 2, "amount": "1"}, "last"]
    assert plain_db.query("SELECT id, paid FROM shop_order ORDER BY id") == [(1, False), (2, True)]


def test_savepoints(project: Project, plain_db: Database, kafka: Client) -> None:
    """Inner atomic() blocks that fail take their messages along, and no other's."""
    paid = project.orm(
        BEGIN
        + """
orders = place(customer.pk, [f"N{number}" for number in range(10)])
pay_all(orders, refused={order.pk for order in orders[::3]})
answer(list(Order.objects.filter(paid=True).order_by("id").values_list("id", flat=True)))
"""
    )
    assert len(paid) == 6
    wait_count(plain_db, "djkafka_outbox", 0)
    assert [key for key, _ in read(kafka, project.topic_prefix + "payments", 6)] == [str(order) for order in paid]


def test_bulk(project: Project, plain_db: Database, kafka: Client) -> None:
    """bulk_create and one statement for its messages: as many as rows, in their order."""
    project.orm(BEGIN + "place(customer.pk, [str(number) for number in range(5000)])")
    wait_count(plain_db, "djkafka_outbox", 0)
    found = read(kafka, project.topic_prefix + "placed", 5000)
    assert [value["number"] for _, value in found] == [str(number) for number in range(5000)]
    assert all(key == str(value["id"]) for key, value in found)


def test_message_too_large(project: Project, plain_db: Database) -> None:
    """No OperationalError, which code that tries again would take for what may pass."""
    found = project.orm(
        BEGIN
        + """
from django.db import DataError, connection
try:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT djkafka_produce('large', repeat('x', 2000000), key => 'a key')")
except DataError as error:
    answer(str(error))
"""
    )
    assert "too large" in found and "a key" in found


def test_published_model(project: Project, plain_db: Database, kafka: Client, unique) -> None:
    """A model that is published: save(), bulk_create(), update() and delete() need not say anything."""
    topic = kafka.create_topic(unique("published"))
    plain_db.query("SELECT djkafka_publish('shop_order', %s, include => '{id,number,paid}')", topic)
    project.orm(
        BEGIN
        + """
orders = place(customer.pk, ["N1", "N2"])
pay(orders[0])
Order.objects.filter(paid=False).update(number="N3")
Order.objects.filter(number="N3").delete()
"""
    )
    wait_count(plain_db, "djkafka_outbox", 0)
    wait_until(lambda: kafka.end_offsets(topic)[0] >= 5, message=lambda: f"{kafka.end_offsets(topic)}")
    rows = plain_db.query(
        "SELECT convert_from(key, 'UTF8')::jsonb->>'id', convert_from(value, 'UTF8')::jsonb"
        " FROM djkafka_peek(%s, start_at => 'earliest') ORDER BY \"offset\"",
        topic,
    )
    assert rows == [
        ("1", {"id": 1, "number": "N1", "paid": False}),
        ("2", {"id": 2, "number": "N2", "paid": False}),
        ("1", {"id": 1, "number": "N1", "paid": True}),
        ("2", {"id": 2, "number": "N3", "paid": False}),
        ("2", None),
    ]


def test_manage_py_test(project: Project, plain_db: Database, kafka: Client) -> None:
    """The project's tests look into the outbox, and nothing of it reaches Kafka."""
    plain_db.cluster.query(f"ALTER ROLE {plain_db.owner} CREATEDB")
    output = project.manage("test", "--noinput", "shop.test_services")
    assert re.search(r"Ran 5 tests", output) and "OK" in output, output
    for topic in ("payments", "placed"):
        assert kafka.end_offsets(project.topic_prefix + topic) == {0: 0}

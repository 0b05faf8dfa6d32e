"""How a project tests what its topics do: the messages are given to djkafka_run, no Kafka is asked.

Several classes, so that --parallel has something to share out.
"""

import json
import uuid
from datetime import UTC, datetime
from decimal import Decimal

from django.conf import settings
from django.db import connection
from django.test import TestCase, TransactionTestCase

from shop.models import Customer, Order

ADA = uuid.UUID("11111111-2222-3333-4444-555555555555")


def consume(*messages: tuple[str, object, str | None]) -> int:
    """Gives (topic, value, key) to the consumer "shop", in the test's own transaction."""
    prefix = settings.SHOP_TOPIC_PREFIX
    given = [{"topic": prefix + topic, "value": value, "key": key} for topic, value, key in messages]
    with connection.cursor() as cursor:
        cursor.execute("SELECT applied FROM djkafka_run('shop', messages => %s)", [json.dumps(given)])
        return cursor.fetchone()[0]


def customer(**fields: object) -> tuple[str, object, str]:
    return "customers", {"id": str(ADA), "name": "Ada"} | fields, str(ADA)


def order(number: int, **fields: object) -> tuple[str, object, str]:
    value = {"id": number, "customer_id": str(ADA), "number": f"N{number}", "amount": "12.50"}
    return "orders", value | {"placed_at": "2026-01-02T03:04:05+01:00"} | fields, str(number)


class RowsTest(TestCase):
    def test_messages_become_rows(self) -> None:
        self.assertEqual(consume(customer(), order(1, tags=["a", "b"], details={"x": [1]}, paid=True)), 2)
        found = Order.objects.select_related("customer").get()
        self.assertEqual((found.pk, found.customer.name, found.amount), (1, "Ada", Decimal("12.50")))
        self.assertEqual(found.placed_at, datetime(2026, 1, 2, 2, 4, 5, tzinfo=UTC))
        self.assertEqual((found.tags, found.details, found.paid), (["a", "b"], {"x": [1]}, True))

    def test_each_test_begins_with_nothing(self) -> None:
        self.assertFalse(Customer.objects.exists())
        consume(customer(name="Grace"))
        self.assertEqual(Customer.objects.get().name, "Grace")


class DeletionTest(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        Customer.objects.create(id=ADA, name="Ada")

    def test_tombstone(self) -> None:
        consume(("customers", None, str(ADA)))
        self.assertFalse(Customer.objects.exists())

    def test_partial_update(self) -> None:
        consume(("customers", {"id": str(ADA), "active": False}, None))
        found = Customer.objects.get()
        self.assertEqual((found.name, found.active), ("Ada", False))


class CommittedTest(TransactionTestCase):
    def test_without_a_transaction_around(self) -> None:
        # The child first: the key is checked when the transaction of djkafka_run ends.
        consume(order(7), customer())
        self.assertEqual(Order.objects.get().customer_id, ADA)


class PublishTest(TestCase):
    """What the code under test has published is in the outbox, and nobody sends it."""

    @classmethod
    def setUpTestData(cls) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT djkafka_publish('shop_customer', 'published', include => '{name}')")

    def published(self) -> list[tuple]:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT convert_from(key, 'UTF8')::json->>'id', convert_from(value, 'UTF8')::json->>'name'"
                " FROM djkafka_outbox WHERE topic = 'published' ORDER BY id"
            )
            return cursor.fetchall()

    def test_changes_are_published(self) -> None:
        ada = Customer.objects.create(id=ADA, name="Ada")
        Customer.objects.bulk_create([Customer(name="Bob"), Customer(name="Cyd")])
        ada.delete()
        names = [name for _, name in self.published()]
        self.assertEqual(names, ["Ada", "Bob", "Cyd", None])

    def test_messages_are_not_published_again(self) -> None:
        consume(customer())
        self.assertEqual(self.published(), [])
        Customer.objects.update(name="Eve")
        self.assertEqual(self.published(), [(str(ADA), "Eve")])

    def test_suppressed(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL djkafka.suppress = on")
        Customer.objects.create(name="Ada")
        self.assertEqual(self.published(), [])

"""How a project tests what it produces: the view djkafka_outbox shows it, inside the test's own transaction.

Nothing is sent: a test database is not in djkafka.databases, and a TestCase never commits.
"""

import json

from django.conf import settings
from django.db import connection, transaction
from django.test import TestCase, TransactionTestCase

from shop.models import Customer
from shop.services import pay, pay_all, place


def outbox(topic: str) -> list[tuple[str | None, object]]:
    """(key, value) of the messages that wait, in the order in which they were produced."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT convert_from(key, 'UTF8'), convert_from(value, 'UTF8') FROM djkafka_outbox"
            " WHERE topic = %s ORDER BY id",
            [settings.SHOP_TOPIC_PREFIX + topic],
        )
        return [(key, value and json.loads(value)) for key, value in cursor.fetchall()]


class ProduceTest(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        cls.orders = place(Customer.objects.create(name="Ada").pk, ["N1", "N2", "N3"])

    def test_paying_tells_others(self) -> None:
        first = self.orders[0]
        pay(first)
        self.assertEqual(outbox("payments"), [(str(first.pk), {"order": first.pk, "amount": "1"})])

    def test_what_another_test_produced_is_gone(self) -> None:
        self.assertEqual(outbox("payments"), [])
        self.assertEqual([value["number"] for _, value in outbox("placed")], ["N1", "N2", "N3"])

    def test_savepoints(self) -> None:
        pay_all(self.orders, refused={self.orders[1].pk})
        self.assertEqual([key for key, _ in outbox("payments")], [str(self.orders[0].pk), str(self.orders[2].pk)])

    def test_suppressed(self) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL djkafka.suppress = on")
            pay(self.orders[0])
        self.assertEqual(outbox("payments"), [])


class CommittedProduceTest(TransactionTestCase):
    def test_rolled_back(self) -> None:
        (order,) = place(Customer.objects.create(name="Ada").pk, ["N1"])
        before = len(outbox("payments"))
        with self.assertRaises(ZeroDivisionError), transaction.atomic():
            pay(order)
            1 / 0
        order.refresh_from_db()
        self.assertFalse(order.paid)
        self.assertEqual(len(outbox("payments")), before)

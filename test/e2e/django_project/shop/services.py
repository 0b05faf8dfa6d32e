"""What changes an order and tells others of it: the row and the message commit together, or neither."""

from collections.abc import Iterable

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from psycopg.types.json import Jsonb

from shop.models import Order


def produce(topic: str, value: object, key: object = None) -> None:
    """In the transaction that is open: nothing to do on_commit, nothing to undo on a rollback."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT djkafka_produce(%s, %s, key => %s)",
            [settings.SHOP_TOPIC_PREFIX + topic, Jsonb(value), key],
        )


@transaction.atomic
def pay(order: Order) -> None:
    order.paid = True
    order.save(update_fields=["paid"])
    produce("payments", {"order": order.pk, "amount": str(order.amount)}, key=order.pk)


@transaction.atomic
def place(customer_id: object, numbers: Iterable[str]) -> list[Order]:
    """Many orders by one statement, and their messages by another."""
    now = timezone.now()
    orders = Order.objects.bulk_create(
        Order(customer_id=customer_id, number=number, amount=1, placed_at=now) for number in numbers
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT djkafka_produce(%s, to_jsonb(o), key => o.id) FROM shop_order o WHERE o.id = ANY (%s) ORDER BY o.id",
            [settings.SHOP_TOPIC_PREFIX + "placed", [order.pk for order in orders]],
        )
    return orders


def pay_all(orders: Iterable[Order], refused: set[int]) -> None:
    """A savepoint each: an order that cannot be paid takes its message with it, and no other's."""
    with transaction.atomic():
        for order in orders:
            try:
                with transaction.atomic():
                    pay(order)
                    if order.pk in refused:
                        raise ValueError("the card was refused")
            except ValueError:
                pass

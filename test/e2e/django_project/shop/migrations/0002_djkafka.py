"""The extension, and the topics that keep the tables in sync; as the database's owner."""

from django.conf import settings
from django.db import migrations


TOPICS = ("customers", "shop_customer"), ("orders", "shop_order")


class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]

    operations = [
        migrations.RunSQL(
            "CREATE EXTENSION IF NOT EXISTS djkafka",
            migrations.RunSQL.noop,
        ),
        migrations.RunSQL(
            [
                (
                    "SELECT djkafka_subscribe(%s, %s, consumer => 'shop', enabled => false)",
                    [settings.SHOP_TOPIC_PREFIX + topic, table],
                )
                for topic, table in TOPICS
            ],
            [
                (
                    "SELECT djkafka_unsubscribe(%s, %s, consumer => 'shop')",
                    [settings.SHOP_TOPIC_PREFIX + topic, table],
                )
                for topic, table in TOPICS
            ],
        ),
    ]

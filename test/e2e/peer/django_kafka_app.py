"""
An application of django-kafka: tells on stdout, a line of JSON each, what it gets.

    django_kafka_app.py main|retry|letters BROKERS GROUP TOPIC

"main" reads the topic and "retry" what is tried again of it, each message failing as often as it
says ("fail"), and no more than twice; "letters" reads its dead letters.
"""

import json
import re
import sys

import django
from django.conf import settings

MODE, BROKERS, GROUP, TOPIC = sys.argv[1:]
CONSUMER = {"auto.offset.reset": "earliest", "enable.auto.offset.store": False, "topic.metadata.refresh.interval.ms": 1000}
settings.configure(
    INSTALLED_APPS=["django_kafka"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    USE_TZ=True,
    DJANGO_KAFKA={
        "GLOBAL_CONFIG": {"bootstrap.servers": BROKERS},
        "CONSUMER_CONFIG": CONSUMER,
        "RETRY_CONSUMER_CONFIG": CONSUMER,
    },
)
django.setup()

from django_kafka import kafka  # noqa: E402
from django_kafka.consumer import Consumer, Topics  # noqa: E402
from django_kafka.dead_letter.header import DeadLetterHeader  # noqa: E402
from django_kafka.retry.header import RetryHeader  # noqa: E402
from django_kafka.retry.topic import RetryTopicProducer  # noqa: E402
from django_kafka.topic import TopicConsumer  # noqa: E402


def tell(msg, names) -> None:
    headers = {name: RetryHeader.get(msg.headers(), name) for name in names}
    known = {name: value.decode() for name, value in headers.items() if value is not None}
    print(json.dumps({"topic": msg.topic(), "key": msg.key().decode(), "value": msg.value().decode(), **known}), flush=True)


@kafka.retry(max_retries=2, delay=1, blocking=False)
class Items(TopicConsumer):
    name = TOPIC

    def consume(self, msg) -> None:
        due = RetryHeader.get_retry_time(msg.headers())
        tell(msg, [RetryHeader.MESSAGE, RetryHeader.TIMESTAMP] if due else [])
        attempt = RetryTopicProducer.get_next_retry_attempt(msg.topic()) - 1 if re.search("retry", msg.topic()) else 0
        if json.loads(msg.value())["fail"] > attempt:
            raise ValueError(f"not yet: {msg.key().decode()}")


class Letters(TopicConsumer):
    name = f"{GROUP}.{TOPIC}.dlt"

    def consume(self, msg) -> None:
        tell(msg, [v for k, v in vars(DeadLetterHeader).items() if isinstance(v, str) and k.isupper()])


@kafka.consumers()
class Main(Consumer):
    topics = Topics(Items())
    config = {"group.id": GROUP}


@kafka.consumers()
class Reader(Consumer):
    topics = Topics(Letters())
    config = {"group.id": f"{GROUP}.letters"}


key = f"{__name__}.{'Reader' if MODE == 'letters' else 'Main'}" + (".retry" if MODE == "retry" else "")
kafka.consumers[key]().start()

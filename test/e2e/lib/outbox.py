"""What the tests ask of the outbox, and what an independent consumer says that Kafka holds."""

import json
from collections import defaultdict
from typing import Any

from confluent_kafka import KafkaError, Message, TopicPartition

from . import process
from .djkafka import explain
from .kafka import Client
from .postgres import Database
from .wait import wait_until

UNSENT = "SELECT EXISTS (SELECT FROM djkafka_outbox)"
SERVER = "SELECT * FROM djkafka_outbox_server WHERE server IS NOT DISTINCT FROM %s"


def explain_outbox(db: Database) -> str:
    """Why something is not sent."""
    lines = [explain(db)]
    for table in ("djkafka_outbox_server", "djkafka_outbox_rotation"):
        for (line,) in db.query(f"SELECT to_jsonb(t) FROM {table} t"):
            lines.append(f"{table}: {json.dumps(line)}"[:1500])
    lines += [f"dead: {row}" for row in db.query("SELECT id, topic, error, message FROM djkafka_outbox_dead LIMIT 5")]
    lines.append(f"unsent: {db.query('SELECT state, topic, count(*), min(id) FROM djkafka_outbox GROUP BY 1, 2 LIMIT 9')}")
    return "\n".join(lines)


def outbox_server(db: Database, server: str | None = None) -> dict[str, Any]:
    return db.record(SERVER, server)


def outbox_worker(db: Database, server: str | None = None, timeout: float = 30) -> dict[str, Any]:
    """The status of the worker that sends to a server, once it runs."""
    title = f"djkafka outbox {server or ''}".strip()

    def find() -> dict[str, Any]:
        for (row,) in db.query("SELECT to_jsonb(w) FROM djkafka_worker_status() w WHERE kind = 'outbox'"):
            if row["pid"] and process.title(row["pid"]) == title:
                return row
        return {}

    return wait_until(find, timeout, lambda: f"{title} runs\n{explain_outbox(db)}")


def wait_sent(db: Database, timeout: float = 60, interval: float = 0.02) -> None:
    """Waits until nothing is left to be sent, which what is held or pending in an open transaction is not."""
    wait_until(
        lambda: not db.value(UNSENT),
        timeout,
        lambda: f"the outbox is empty\n{explain_outbox(db)}",
        interval,
    )


def wait_outbox_state(db: Database, state: str, server: str | None = None, timeout: float = 30) -> dict[str, Any]:
    """Waits for a state of the server's worker; its status then."""

    def reached() -> dict[str, Any]:
        worker = outbox_worker(db, server)
        return worker if worker["state"] == state else {}

    return wait_until(reached, timeout, lambda: f"the outbox's worker is {state}\n{explain_outbox(db)}")


def make_server(db: Database, address: str, delivery: str, name: str = "kafka", **options: str) -> str:
    """A server that the database's owner may use."""
    given = {"bootstrap_servers": address, "delivery": delivery} | options
    texts = ", ".join(f"{option} '{value}'" for option, value in given.items())
    db.query(f"CREATE SERVER {name} FOREIGN DATA WRAPPER djkafka OPTIONS ({texts})", user="postgres")
    db.query(f"GRANT USAGE ON FOREIGN SERVER {name} TO {db.owner}", user="postgres")
    return name


def read_topic(client: Client, topic: str, timeout: float = 60, **options: Any) -> list[Message]:
    """
    What a topic holds for a reader of committed messages; those of a partition are in order.
    Kafka answers a commit before it has ended the transaction in each partition, so their
    ends are asked for first, and an end of what may be read before that is not the end.
    """
    ends = client.end_offsets(topic, "read_uncommitted")
    reader = client.consumer(
        f"read-{topic}", isolation_level="read_committed", enable_partition_eof=True, **options
    )
    messages: list[Message] = []
    waiting = set(ends)
    reader.assign([TopicPartition(topic, partition, 0) for partition in waiting])

    def at_end() -> bool:
        for message in reader.consume(10_000, 0.1):
            error = message.error()
            if error is None:
                messages.append(message)
            elif error.code() == KafkaError._PARTITION_EOF and message.offset() >= ends[message.partition()]:
                waiting.discard(message.partition())
        return not waiting

    try:
        wait_until(at_end, timeout, lambda: f"{topic} is read to its end, not {waiting}", interval=0)
    finally:
        reader.close()
    return messages


class Tail:
    """A reader that stays, for how long a message takes."""

    def __init__(self, client: Client, topic: str):
        self._reader = client.consumer(f"tail-{topic}", isolation_level="read_committed", fetch_wait_max_ms=100)
        ends = client.end_offsets(topic)
        self._reader.assign([TopicPartition(topic, partition, end) for partition, end in ends.items()])

    def __enter__(self) -> "Tail":
        return self

    def __exit__(self, *_: Any) -> None:
        self._reader.close()

    def wait(self, value: str, timeout: float = 30) -> Message:
        """Waits until a message of that value is here."""

        def come() -> Message | None:
            message = self._reader.poll(0.1)
            if message is None or message.error() is not None or message.value() != value.encode():
                return None
            return message

        found = wait_until(come, timeout, f"message {value} is in Kafka", interval=0)
        assert found is not None
        return found


def values(messages: list[Message]) -> list[str | None]:
    return [None if message.value() is None else message.value().decode() for message in messages]


def sequences(messages: list[Message]) -> dict[str, list[int]]:
    """Key → the numbers that its messages carry as their value, in Kafka's order."""
    found: dict[str, list[int]] = defaultdict(list)
    for message in messages:
        found[message.key().decode()].append(int(message.value()))
    return dict(found)

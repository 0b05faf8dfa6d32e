"""What the tests ask of djkafka's views and catalogs, with messages that say what was seen instead."""

import json
from typing import Any

from .kafka import Client
from .postgres import Database
from .process import cpu_seconds, kill_and_wait
from .wait import wait_until

STATUS = "SELECT * FROM djkafka_status WHERE consumer = %s"
# How many messages wait.
PARKED = "SELECT coalesce(sum(parked), 0)::bigint FROM djkafka_status"


def to_json(**fields: Any) -> str:
    """A message's value."""
    return json.dumps(fields, ensure_ascii=False)


def status(db: Database, consumer: str = "default") -> dict[str, Any]:
    return db.record(STATUS, consumer)


def explain(db: Database) -> str:
    """Everything that tells why something did not happen."""
    lines = []
    for view in ("djkafka_health()", "djkafka_status", "djkafka_worker_status()", "djkafka_partition_status"):
        for (line,) in db.query(f"SELECT to_jsonb(x) - 'hint' FROM {view} x"):
            lines.append(f"{view}: {json.dumps(line)}"[:1500])
    letters = db.query("SELECT topic, \"offset\", sqlstate, message, detail FROM djkafka_dead_letter LIMIT 5")
    lines += [f"dead letter: {letter}" for letter in letters]
    return "\n".join(lines)


def wait_state(db: Database, state: str, consumer: str = "default", timeout: float = 30) -> dict[str, Any]:
    """Waits until the consumer's state is this one; its status then."""
    found: dict[str, Any] = {}

    def reached() -> bool:
        found.update(status(db, consumer))
        return found["state"] == state

    wait_until(reached, timeout, lambda: f"{consumer} is {state}\n{explain(db)}")
    return found


def wait_value(db: Database, query: str, wanted: Any, *parameters: Any, timeout: float = 30) -> None:
    """Waits until a query's one value is the wanted one."""
    wait_until(
        lambda: db.value(query, *parameters) == wanted,
        timeout,
        lambda: f"{query} gives {wanted!r}, not {db.value(query, *parameters)!r}\n{explain(db)}",
    )


def wait_count(db: Database, table: str, count: int, timeout: float = 30) -> None:
    wait_value(db, f"SELECT count(*) FROM {table}", count, timeout=timeout)


def positions(db: Database, topic: str, consumer: str = "default") -> dict[int, int | None]:
    rows = db.query(
        "SELECT partition, next_offset FROM djkafka_partition_status WHERE consumer = %s AND topic = %s",
        consumer,
        topic,
    )
    return dict(rows)


def wait_caught_up(
    db: Database, kafka: Client, topic: str, consumer: str = "default", timeout: float = 60, interval: float = 0.05
) -> None:
    """Waits until every message that the topic holds has had its effect."""
    ends = kafka.end_offsets(topic)
    wait_until(
        lambda: positions(db, topic, consumer) == ends,
        timeout,
        lambda: f"{consumer} is at the end of {topic}: {positions(db, topic, consumer)} of {ends}\n{explain(db)}",
        interval,
    )


def assert_audit(db: Database, messages: int | None = None) -> None:
    """The accounting holds for every partition, and sums up to so many messages."""
    rows = db.query("SELECT topic, partition, first_offset, next_offset, accounted, holds FROM djkafka_audit()")
    assert rows, "there is nothing to audit"
    assert all(row[-1] for row in rows), f"the accounting does not hold: {rows}"
    if messages is not None:
        assert sum(row[4] for row in rows) == messages, f"not {messages} messages are accounted for: {rows}"


def dead_letters(db: Database, topic: str) -> dict[tuple[int, int], dict[str, Any]]:
    """(partition, offset) → the dead letter; fails if one position has two."""
    rows = db.query(
        "SELECT partition, \"offset\", key, value, sqlstate, message, detail, hint, cardinality(headers)"
        " FROM djkafka_dead_letter WHERE topic = %s",
        topic,
    )
    names = ("key", "value", "sqlstate", "message", "detail", "hint", "headers")
    letters = {(row[0], row[1]): dict(zip(names, row[2:])) for row in rows}
    assert len(letters) == len(rows), "a message has two dead letters"
    return letters


def workers(db: Database, consumer: str = "default") -> dict[int, int]:
    """Worker number → process id of the consumer's running workers."""
    rows = db.query(
        "SELECT w.worker, w.pid FROM djkafka_worker_status() w JOIN djkafka_consumer c ON c.id = w.consumer_id"
        " WHERE w.kind = 'consumer' AND c.name = %s AND w.pid IS NOT NULL",
        consumer,
    )
    return dict(rows)


def wait_resting(db: Database, waiting: int) -> None:
    """So many wait, what has to wait has been tried, and the worker does nothing about it."""
    wait_value(db, PARKED, waiting)
    pid = next(iter(workers(db).values()))
    seen = [cpu_seconds(pid)]

    def rests() -> bool:
        seen.append(cpu_seconds(pid))
        return len(seen) > 4 and seen[-1] == seen[-5]

    wait_until(rests, 60, lambda: explain(db), interval=0.5)


def kill_worker(db: Database, pid: int) -> None:
    """The server restarts, and is there again."""
    restarts = "all server processes terminated; reinitializing"
    before = db.cluster.log().count(restarts)
    kill_and_wait(pid)
    wait_until(lambda: db.cluster.log().count(restarts) > before, 60, lambda: "the server restarts")
    wait_until(lambda: answers(db), 60, lambda: "the server is back")


def answers(db: Database) -> bool:
    try:
        return db.value("SELECT true")
    except Exception:  # noqa: BLE001 - the server is down or restarts
        db.disconnect()
        return False

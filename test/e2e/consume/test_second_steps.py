"""Each function and statement that changes a running thing, while it runs, and once more.

Messages are produced before, between and after; all of them arrive, each as often as it should.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from lib.djkafka import assert_audit, explain, wait_state
from lib.kafka import Client, Record
from lib.outbox import make_server
from lib.postgres import Database
from lib.wait import wait_until


def some(steps: dict[str, Any], *short: str) -> list[Any]:
    """Those that each run takes; the others are for the long one."""
    assert set(short) <= set(steps)
    return [step if step in short else pytest.param(step, marks=pytest.mark.long) for step in steps]


class Flow:
    """Numbers that go through a topic into a table."""

    def __init__(self, db: Database, kafka: Client, topic: str):
        self.db = db
        self.kafka = kafka
        self.topic = topic
        self.number = 0
        self.more = 0  # rows beyond one for each number
        db.query("CREATE TABLE log (id bigint)")

    def produce(self, count: int = 3) -> None:
        self.kafka.produce(self.topic, [Record(f'{{"id": {self.number + i}}}') for i in range(count)])
        self.number += count

    def arrives(self) -> None:
        numbers = "SELECT count(DISTINCT id), count(*) FROM log"
        wait_until(
            lambda: self.db.query(numbers) == [(self.number, self.number + self.more)],
            message=lambda: f"{self.number} numbers, {self.more} of them twice: {self.db.query(numbers)}\n{explain(self.db)}",
        )
        wait_state(self.db, "running")
        assert_audit(self.db)


@pytest.fixture
def flow(db: Database, kafka: Client, topic: str) -> Flow:
    made = Flow(db, kafka, topic)
    made.produce()
    db.query("SELECT djkafka_subscribe(%s, 'log', operation => 'insert')", topic)
    made.arrives()
    return made


def superuser(flow: Flow, statement: str) -> None:
    flow.db.query(statement, user="postgres")


def seek_back(flow: Flow) -> None:
    """The last two once more."""
    flow.arrives()
    flow.db.query("SELECT djkafka_seek('default', %s, %s)", flow.topic, str(flow.number - 2))
    flow.more += 2
    flow.arrives()


def pause_and_resume(flow: Flow) -> None:
    flow.db.query("SELECT djkafka_pause('default')")
    wait_state(flow.db, "paused")
    flow.produce()
    flow.db.query("SELECT djkafka_resume('default')")


def replace_route(flow: Flow) -> None:
    flow.db.query("SELECT djkafka_drop_route(id) FROM djkafka_route")
    wait_state(flow.db, "no_routes")
    flow.produce()
    flow.db.query("SELECT djkafka_create_route('default', %s, 'log', operation => 'insert')", flow.topic)


def replace_consumer(flow: Flow) -> None:
    """One that is made again in the group goes on where the first stopped, in the midst of what comes."""
    flow.produce(1000)
    wait_until(lambda: flow.db.value("SELECT count(*) FROM log WHERE id >= %s", flow.number - 1000), message="the first of many")
    flow.db.query("SELECT djkafka_drop_consumer('default')")
    flow.produce()
    flow.db.query("SELECT djkafka_subscribe(%s, 'log', operation => 'insert')", flow.topic)


def unsubscribe_and_subscribe(flow: Flow) -> None:
    flow.produce(1000)
    flow.db.query("SELECT djkafka_unsubscribe(%s, 'log')", flow.topic)
    flow.produce()
    flow.db.query("SELECT djkafka_subscribe(%s, 'log', operation => 'insert', enabled => false)", flow.topic)
    flow.produce()
    flow.db.query("SELECT djkafka_resume('default')")


def replace_extension(flow: Flow) -> None:
    flow.arrives()
    flow.db.query("SELECT djkafka_uninstall()")
    flow.db.query("TRUNCATE log")
    flow.more = 0
    flow.db.query("CREATE EXTENSION djkafka")
    flow.db.query("SELECT djkafka_subscribe(%s, 'log', operation => 'insert')", flow.topic)


def change_table(flow: Flow) -> None:
    name = f"c{flow.number}"
    flow.db.query(f"ALTER TABLE log ADD COLUMN {name} text DEFAULT 'x'")
    flow.db.query("ALTER TABLE log RENAME TO other")
    flow.db.query("ALTER TABLE other RENAME TO log")


def change_owner(flow: Flow) -> None:
    """To a superuser and back: the worker logs in as another role."""
    now = flow.db.value("SELECT owner::text FROM djkafka_consumer")
    role = flow.db.owner if now == "postgres" else "postgres"
    superuser(flow, f"UPDATE djkafka_consumer SET owner = '{role}'")


def change_server(flow: Flow) -> None:
    """From the settings to a server, then an option of it and a user mapping."""
    if flow.db.value("SELECT server FROM djkafka_consumer") is None:
        make_server(flow.db, flow.kafka.address, "at_least_once", "other")
        flow.db.query("UPDATE djkafka_consumer SET server = 'other'")
        return
    superuser(flow, "ALTER SERVER other OPTIONS (ADD client_id 'second')")
    superuser(flow, f"CREATE USER MAPPING FOR {flow.db.owner} SERVER other OPTIONS (sasl_username 'unused')")


STEPS: dict[str, Callable[[Flow], Any]] = {
    "route_filter": lambda flow: flow.db.query("UPDATE djkafka_route SET filter = coalesce(filter || ' AND ', '') || 'true'"),
    "route_replaced": replace_route,
    "batch_size": lambda flow: flow.db.query("UPDATE djkafka_consumer SET batch_messages = coalesce(batch_messages, 0) + 1"),
    "options": lambda flow: flow.db.query(
        "UPDATE djkafka_consumer SET options = jsonb_build_object('fetch.wait.max.ms', (100 + revision % 100)::text)"
    ),
    "group": lambda flow: flow.db.query("UPDATE djkafka_consumer SET group_id = group_id || 'x'"),
    "on_error": lambda flow: flow.db.query("UPDATE djkafka_consumer SET notify = 'batch', on_error = 'stop'"),
    "paused": pause_and_resume,
    "restarted": lambda flow: flow.db.query("SELECT djkafka_restart('default')"),
    "sought": seek_back,
    "reloaded": lambda flow: flow.db.cluster.reload(),
    "owner": change_owner,
    "server": change_server,
    "table": change_table,
    "consumer_replaced": replace_consumer,
    "unsubscribed": unsubscribe_and_subscribe,
    "extension_replaced": replace_extension,
}


@pytest.mark.parametrize("step", some(STEPS, "consumer_replaced", "unsubscribed", "paused", "sought", "server", "owner", "extension_replaced"))
def test_consuming(flow: Flow, step: str) -> None:
    for _ in range(2):
        flow.produce()
        STEPS[step](flow)
        flow.produce()
        flow.arrives()
        flow.produce()
        flow.arrives()


# -- producing


@pytest.fixture
def published(db: Database, kafka: Client, topic: str) -> Iterator["Published"]:
    made = Published(db, kafka, topic)
    yield made
    made.reader.close()


class Published:
    """A table whose rows go to a topic."""

    def __init__(self, db: Database, kafka: Client, topic: str):
        self.db = db
        self.topic = topic
        self.server = make_server(db, kafka.address, "at_least_once")
        self.wanted: list[str] = []
        self.got: list[str] = []
        self.reader = kafka.consumer(f"{topic}-reader")
        self.reader.subscribe([topic])
        db.query("CREATE TABLE item (id int PRIMARY KEY, note text)")
        self.publish()

    def publish(self) -> None:
        self.db.query("SELECT djkafka_publish('item', %s, key_format => 'text', server => %s)", self.topic, self.server)

    def unpublish(self) -> None:
        self.db.query("SELECT djkafka_unpublish('item', %s)", self.topic)

    def write(self, count: int = 2, told: bool = True) -> None:
        for _ in range(count):
            (number,) = self.db.query("INSERT INTO item SELECT count(*) FROM item RETURNING id")[0]
            self.wanted += [str(number)] if told else []

    def arrives(self) -> None:
        def all_there() -> bool:
            message = self.reader.poll(0.05)
            if message is not None and message.error() is None:
                self.got.append(message.key().decode())
            return len(self.got) >= len(self.wanted)

        wait_until(all_there, message=lambda: f"{self.wanted} and not {self.got}\n{explain(self.db)}", interval=0)
        assert self.got == self.wanted


def publish_again(flow: Published) -> None:
    flow.unpublish()
    flow.write(told=False)
    flow.publish()


def snapshot(flow: Published) -> None:
    flow.arrives()
    flow.db.query("CALL djkafka_snapshot('item')")
    flow.wanted += [str(number) for (number,) in flow.db.query("SELECT id FROM item ORDER BY id")]


def pause_outbox(flow: Published) -> None:
    state = "SELECT state FROM djkafka_outbox_status"
    flow.db.query("UPDATE djkafka_outbox_server SET enabled = false", user="postgres")
    wait_until(lambda: flow.db.value(state) == "paused", message="the outbox is paused")
    flow.write()
    flow.db.query("UPDATE djkafka_outbox_server SET enabled = true", user="postgres")


def alter_server(flow: Published) -> None:
    action = "SET" if "client_id" in str(flow.db.value("SELECT srvoptions::text FROM pg_foreign_server")) else "ADD"
    flow.db.query(f"ALTER SERVER {flow.server} OPTIONS ({action} client_id 'c{len(flow.wanted)}')", user="postgres")


PUBLISHED: dict[str, Callable[[Published], Any]] = {
    "published_again": publish_again,
    "snapshot": snapshot,
    "paused": pause_outbox,
    "server": alter_server,
    "reloaded": lambda flow: flow.db.cluster.reload(),
    "table": lambda flow: flow.db.query(f"ALTER TABLE item ADD COLUMN c{len(flow.wanted)} int DEFAULT 1"),
    "publication": lambda flow: flow.db.query("UPDATE djkafka_publication SET filter = coalesce(filter || ' AND ', '') || 'true'"),
    "delivery": lambda flow: flow.db.query(
        f"ALTER SERVER {flow.server} OPTIONS (SET delivery"
        f" '{'exactly_once' if len(flow.wanted) < 6 else 'at_least_once'}')", user="postgres"
    ),
}


@pytest.mark.parametrize("step", some(PUBLISHED, "published_again", "snapshot", "server", "delivery"))
def test_producing(published: Published, step: str) -> None:
    published.write()
    published.arrives()
    for _ in range(2):
        published.write()
        PUBLISHED[step](published)
        published.write()
        published.arrives()
        published.write()
        published.arrives()

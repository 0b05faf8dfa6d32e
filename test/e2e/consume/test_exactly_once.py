"""Exactly once, whatever is killed: the table equals a model of what was sent, row by row.

The short form runs with the tests, the long one with make test-long. DJK_SEED repeats a run.
"""

import random
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from lib.chance import choose_seed
from lib.djkafka import assert_audit, dead_letters, explain, to_json, wait_caught_up, workers
from lib.kafka import Broker, Client
from lib.postgres import Cluster, Database
from lib.process import kill_and_wait
from lib.wait import wait_until

PARTITIONS = 6
FIELDS = ("name", "amount", "n", "note")
DEFAULTS = {"name": "nobody", "amount": None, "n": 7, "note": None}
TABLE = (
    "CREATE TABLE item (id bigint PRIMARY KEY, name text DEFAULT 'nobody', amount numeric,"
    " n int DEFAULT 7, note text)"
)


@dataclass
class Model:
    """What the table must hold: the messages applied one after the other, in Python."""

    random: random.Random
    keys: int
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    serial: int = 0

    def next_message(self) -> tuple[int, str | None]:
        """The next message's key and value, which the model then has applied."""
        self.serial += 1
        key = self.random.randrange(self.keys)
        kind = self.random.random()
        if kind < 0.10:
            self.rows.pop(key, None)
            return key, None
        if kind < 0.15:
            self.rows.pop(key, None)
            return key, to_json(id=key, name="never seen", __deleted=True)
        values = {"name": f"name-{self.serial}", "amount": self.serial, "n": self.serial % 1000, "note": None}
        if kind < 0.55:  # some fields only: the others stay, or take their defaults
            values = {name: values[name] for name in self.random.sample(FIELDS, self.random.randrange(1, 4))}
        self.rows[key] = self.rows.get(key, DEFAULTS) | values
        return key, to_json(id=key, **values)

    def table(self) -> list[tuple]:
        return sorted((key, *(row[name] for name in FIELDS)) for key, row in self.rows.items())


@dataclass
class Run:
    """A server, a broker and a stream of messages, to be disturbed."""

    cluster: Cluster
    broker: Broker
    db: Database
    topic: str
    model: Model
    sent: int = 0

    def __post_init__(self) -> None:
        self.client = Client(self.broker.address)
        self.producer = self.client.producer(delivery_timeout_ms=300_000, linger_ms=20)
        self.failures: list[str] = []

    def send(self, count: int) -> None:
        """Hands messages to the producer, which sends them whenever the broker is there."""
        for _ in range(count):
            key, value = self.model.next_message()
            self.producer.produce(
                self.topic, value, str(key), partition=key % PARTITIONS, on_delivery=self._delivered
            )
            self.producer.poll(0)
        self.sent += count

    def _delivered(self, error: Any, _message: Any) -> None:
        if error is not None:
            self.failures.append(str(error))

    def applied(self) -> int:
        """How many messages have had their effect; what was last known while the server is down."""
        self.producer.poll(0)
        try:
            return self.db.value("SELECT coalesce(sum(next_offset - first_offset), 0)::bigint FROM djkafka_offset")
        except psycopg.OperationalError:
            return -1

    def wait_applied(self, count: int, timeout: float = 90) -> None:
        wait_until(
            lambda: self.applied() >= count,
            timeout,
            lambda: f"{count} of {self.sent} messages have their effect, not {self.applied()}\n{explain(self.db)}",
            interval=0.01,
        )


# -- the faults


def kill_worker(run: Run, chance: random.Random) -> None:
    """kill -9 of one worker: the server restarts itself, as for any backend that crashes."""
    pids = wait_until(lambda: _workers(run), timeout=60, message="a worker runs")
    run.db.kill_process(chance.choice(pids))


def _workers(run: Run) -> list[int]:
    try:
        return list(workers(run.db).values())
    except psycopg.OperationalError:
        return []


def kill_postmaster(run: Run, _chance: random.Random) -> None:
    run.cluster.kill()
    run.db.disconnect()
    run.cluster.start()


def restart_broker(run: Run, chance: random.Random) -> None:
    if chance.random() < 0.5:
        run.broker.stop()
    else:
        run.broker.kill()
    # Messages go on being handed to the producer while nobody is there to take them.
    run.send(200)
    run.broker.start()


def change_workers(run: Run, chance: random.Random) -> None:
    wanted = chance.choice([1, 3, 4])
    wait_until(lambda: _change_workers(run, wanted), message="the server takes the change")


def _change_workers(run: Run, wanted: int) -> bool:
    try:
        run.db.query("UPDATE djkafka_consumer SET workers = %s", wanted)
    except psycopg.OperationalError:
        return False
    return True


Fault = Callable[[Run, random.Random], None]


def disturb(run: Run, faults: list[Fault], messages: int, chance: random.Random) -> None:
    """Sends the messages in as many parts as there are faults, each of which strikes in the midst of a part."""
    part = messages // (len(faults) + 1)
    for number, fault in enumerate(faults):
        before = run.sent
        run.send(part)
        run.wait_applied(before + int(part * chance.random()))
        print(f"{number + 1}/{len(faults)} after {run.applied()} messages: {fault.__name__}", flush=True)
        fault(run, chance)
    run.send(messages - run.sent)


def check(run: Run) -> None:
    assert run.producer.flush(120) == 0 and not run.failures, f"not all was sent: {run.failures[:3]}"
    wait_caught_up(run.db, run.client, run.topic, timeout=180)
    table = run.db.query(f"SELECT id, {', '.join(FIELDS)} FROM item ORDER BY id")
    wrong = set(table) ^ set(run.model.table())
    assert not wrong, f"{len(wrong)} rows differ, e.g. {sorted(wrong)[:6]}\n{dead_letters(run.db, run.topic)}"
    assert len(table) == len(run.model.rows)
    assert not dead_letters(run.db, run.topic)
    assert_audit(run.db, run.sent)


@pytest.fixture
def start(own_cluster, own_broker, unique) -> Callable[[int], tuple[Run, random.Random]]:
    def make(keys: int) -> tuple[Run, random.Random]:
        seed = choose_seed()
        broker = own_broker()
        cluster = own_cluster(
            djkafka__bootstrap_servers=broker.address,
            restart_after_crash="on",
            djkafka__max_retry_interval="2s",
        )
        db = Database(cluster, unique("db"))
        topic = Client(broker.address).create_topic(unique("items"), partitions=PARTITIONS)
        db.query("CREATE EXTENSION djkafka")
        db.query(TABLE)
        db.query("SELECT djkafka_create_consumer('default', workers => 2, batch_messages => 500)")
        db.query("SELECT djkafka_subscribe(%s, 'item')", topic)
        return Run(cluster, broker, db, topic, Model(random.Random(seed), keys)), random.Random(seed + 1)

    return make


def test_short(start) -> None:
    run, chance = start(keys=2000)
    faults: list[Fault] = [kill_worker] * 2 + [kill_postmaster, restart_broker, change_workers]
    chance.shuffle(faults)
    disturb(run, faults, 30_000, chance)
    check(run)


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_long(start) -> None:
    run, chance = start(keys=10_000)
    faults: list[Fault] = [kill_worker] * 10 + [kill_postmaster] * 3 + [restart_broker] * 3 + [change_workers] * 4
    chance.shuffle(faults)
    disturb(run, faults, 200_000, chance)
    check(run)


def test_terminated_workers(db: Database, kafka: Client, unique) -> None:
    """SIGTERM in the midst of a batch: no restart of the server, nothing lost, nothing twice."""
    topic = kafka.create_topic(unique("visits"), partitions=4)
    db.query("CREATE TABLE visit (id bigint)")
    # each batch takes its time, else all may be there before the second worker is ended
    db.query("CREATE TABLE slow AS SELECT true AS slow")
    db.query(
        "CREATE FUNCTION take_time() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM pg_sleep(0.01) FROM slow; RETURN NULL; END'"
    )
    db.query("CREATE TRIGGER take_time AFTER INSERT ON visit FOR EACH STATEMENT EXECUTE FUNCTION take_time()")
    count, ended = 100_000, 0
    producer = kafka.producer()
    for number in range(count):
        producer.produce(topic, f'{{"id": {number}}}')
    assert producer.flush(60) == 0
    # only now: on a busy machine a worker keeps up with what is produced
    db.query("SELECT djkafka_create_consumer('default', workers => 2, batch_messages => 50)")
    db.query("SELECT djkafka_subscribe(%s, 'visit', operation => 'insert')", topic)
    while db.value("SELECT count(*) FROM visit") < count * 0.9 and ended < 10:
        for pid in workers(db).values():
            kill_and_wait(pid, signal.SIGTERM)
            ended += 1
    assert ended > 2, "no worker was ended on the way"
    db.query("DELETE FROM slow")
    wait_caught_up(db, kafka, topic, timeout=90)
    assert db.query("SELECT count(*), count(DISTINCT id) FROM visit") == [(count, count)]
    assert_audit(db, count)

"""The outbox, whatever is killed: nothing is lost, keys stay in order, exactly_once doubles nothing.

The short forms run with the tests, the long ones with make test-long. DJK_SEED repeats a run.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import psycopg
import pytest
from lib.chance import choose_seed
from lib.djkafka import assert_audit, wait_caught_up, wait_value
from lib.kafka import Broker, Client, Record
from lib.outbox import explain_outbox, make_server, read_topic, sequences, wait_sent
from lib.postgres import Cluster, Database
from lib.wait import wait_until

MODES = ("at_least_once", "exactly_once")
WRITERS = 4
KEYS = 10  # of each writer
EACH = 5  # messages of a key in a transaction
CHUNK = KEYS * EACH

# A writer's transaction: the numbers of its keys go on, and are in Kafka if and only if they are here.
PRODUCE = f"""
WITH taken AS (UPDATE counter SET n = n + {EACH} WHERE writer = %(writer)s RETURNING key, n - {EACH} AS n)
SELECT count(djkafka_produce(%(topic)s, n + i, key => key, server => %(server)s))
  FROM (SELECT * FROM taken, generate_series(1, {EACH}) i ORDER BY i) numbers
"""


@dataclass
class Run:
    """A server, a broker and writers that go on through all that is done to them."""

    cluster: Cluster
    broker: Broker
    db: Database
    topic: str
    server: str
    chance: random.Random
    limit: int = 0
    produced: list[int] = field(default_factory=lambda: [0] * WRITERS)
    failures: list[str] = field(default_factory=list)
    ended: bool = False

    def __post_init__(self) -> None:
        self.db.query("CREATE TABLE counter (key int PRIMARY KEY, writer int, n int DEFAULT 0) WITH (fillfactor = 20)")
        self.db.query(
            "INSERT INTO counter SELECT k, k %% %s FROM generate_series(1, %s) k", WRITERS, WRITERS * KEYS
        )
        self.threads = [threading.Thread(target=self._write, args=(number,)) for number in range(WRITERS)]

    # -- the writers

    def _write(self, writer: int) -> None:
        try:
            while not self.ended:
                try:
                    with self.db.connect() as connection:
                        self._produce(connection, writer)
                except psycopg.OperationalError:
                    time.sleep(0.05)  # the server is down: it is asked again
        except Exception as error:  # a thread's failure is told by finish()
            self.failures.append(f"writer {writer}: {error!r}")

    def _produce(self, connection: psycopg.Connection, writer: int) -> None:
        parameters = {"writer": writer, "topic": self.topic, "server": self.server}
        while not self.ended:
            if self.produced[writer] * WRITERS >= self.limit:
                time.sleep(0.005)  # until more is wanted
                continue
            # What a commit has done whose answer was lost is told by the counters alone.
            connection.execute(PRODUCE, parameters, prepare=True)
            self.produced[writer] += CHUNK

    # -- the sender

    def sent(self) -> int:
        """How many messages were acknowledged; -1 while nobody can tell."""
        try:
            return self.db.value("SELECT sent FROM djkafka_outbox_server") or 0
        except psycopg.OperationalError:
            return -1

    def worker(self) -> int:
        """The outbox worker's process; 0 while there is none."""
        try:
            return next(iter(self.db.workers("djkafka outbox")), 0)
        except psycopg.OperationalError:
            return 0

    def disturb(self, faults: "list[Fault]", messages: int) -> None:
        """The faults strike at random moments while messages are written and sent."""
        for thread in self.threads:
            thread.start()
        part = messages // (len(faults) + 1)
        for number, fault in enumerate(faults):
            # one part for now, another so that the writers still write when the moment has come
            self.limit = min(messages, (number + 2) * part)
            if self.chance.random() < 0.8:  # else the next one strikes before the last is over
                self.wait_acknowledged(number * part + 1)
            time.sleep(self.chance.uniform(0, 0.3))
            print(f"{number + 1}/{len(faults)} after {self.sent()} messages: {fault.__name__}", flush=True)
            fault(self)
        self.limit = messages

    def wait_acknowledged(self, count: int) -> None:
        wait_until(
            lambda: self.failures or self.sent() >= count,
            90,
            lambda: f"{count} messages of {self.produced} are sent, not {self.sent()}\n{explain_outbox(self.db)}",
            interval=0.01,
        )

    def finish(self) -> dict[str, list[int]]:
        """Key → the numbers that Kafka holds, once all has been sent."""
        wait_until(
            lambda: self.failures or min(self.produced) * WRITERS >= self.limit, 120, "all is produced", interval=0.1
        )
        self.stop()
        assert not self.failures, self.failures
        wait_sent(self.db, timeout=120, interval=0.2)
        return sequences(read_topic(Client(self.broker.address), self.topic, timeout=120))

    def stop(self) -> None:
        self.ended = True
        for thread in self.threads:
            if thread.is_alive():
                thread.join()

    def check(self, mode: str) -> None:
        found = self.finish()
        counts = dict(self.db.query("SELECT key::text, n FROM counter"))
        assert found.keys() == counts.keys()
        for key, count in counts.items():
            wanted = list(range(1, count + 1))
            first_seen = list(dict.fromkeys(found[key]))
            missing = sorted(set(wanted) - set(first_seen))
            assert not missing, f"key {key}: {len(missing)} of {count} messages are lost: {missing[:10]}"
            assert len(first_seen) == count, f"key {key}: {max(first_seen)} was rolled back at {count}"
            assert first_seen == wanted, f"key {key} is out of order"
        total, messages = sum(counts.values()), sum(map(len, found.values()))
        print(f"{mode}: {total} messages, {messages - total} duplicates", flush=True)
        assert mode == "at_least_once" or messages == total, f"{messages - total} duplicates"
        assert not self.db.query("SELECT * FROM djkafka_outbox_dead")


# -- the faults


def kill_worker(run: Run) -> None:
    """kill -9 of the worker: the server restarts itself, as for any backend that crashes."""
    pid = wait_until(run.worker, 60, lambda: f"the worker runs\n{explain_outbox(run.db)}", interval=0.01)
    run.db.kill_process(pid)


def kill_postmaster(run: Run) -> None:
    run.cluster.kill()
    run.db.disconnect()
    run.cluster.start()


def kill_broker(run: Run) -> None:
    run.broker.kill()
    run.broker.start()


Fault = Callable[[Run], None]


@pytest.fixture
def start(own_cluster, own_broker, unique) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def make(mode: str, **settings: str) -> Run:
        seed = choose_seed()
        broker = own_broker()
        cluster = own_cluster(
            djkafka__bootstrap_servers=broker.address,
            restart_after_crash="on",
            djkafka__max_retry_interval="2s",
            **settings,
        )
        db = Database(cluster, unique("db"))
        topic = Client(broker.address).create_topic(unique("numbers"), partitions=3)
        db.query("CREATE EXTENSION djkafka")
        runs.append(Run(cluster, broker, db, topic, make_server(db, broker.address, mode), random.Random(seed)))
        return runs[-1]

    yield make
    for run in runs:
        run.stop()


@pytest.mark.parametrize("mode", MODES)
def test_kill(start, mode: str) -> None:
    run = start(mode)
    faults: list[Fault] = [kill_worker] * 3 + [kill_postmaster, kill_broker]
    run.chance.shuffle(faults)
    run.disturb(faults, 30_000)
    run.check(mode)


@pytest.mark.long
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("mode", MODES)
def test_kill_long(start, mode: str) -> None:
    run = start(mode)
    faults: list[Fault] = [kill_worker] * 50 + [kill_postmaster] * 5 + [kill_broker] * 5
    run.chance.shuffle(faults)
    run.disturb(faults, 500_000)
    run.check(mode)


@pytest.mark.parametrize("mode", MODES)
def test_first_batch_is_claimed_and_never_sent(start, mode: str) -> None:
    """The worker is killed before Kafka has ever heard of the outbox."""
    run = start(mode)
    run.broker.stop()
    run.db.query("SELECT djkafka_produce(%s, i, key => 1, server => 'kafka') FROM generate_series(1, 100) i", run.topic)
    wait_value(run.db, "SELECT batch - confirmed FROM djkafka_outbox_server", 1)
    kill_worker(run)
    if mode == "exactly_once":  # as it is when a transaction was about to begin
        place = "UPDATE djkafka_outbox_server SET carrier_topic = %s"
        run.db.query(place, run.topic, user="postgres")
    kill_worker(run)
    run.broker.start()
    wait_sent(run.db)
    assert sequences(read_topic(Client(run.broker.address), run.topic)) == {"1": list(range(1, 101))}


# -- an asynchronous commit is seen before it is durable


class Ledger:
    """Sessions that commit asynchronously: a row and its message in each transaction."""

    def __init__(self, run: Run, sessions: int):
        self.run = run
        self.answered: list[set[int]] = [set() for _ in range(sessions)]
        self.ended = False
        self.numbers = iter(range(1, 10**9))
        self.threads = [threading.Thread(target=self._write, args=(seen,)) for seen in self.answered]
        for thread in self.threads:
            thread.start()

    def _write(self, answered: set[int]) -> None:
        run = self.run
        try:
            with run.db.connect() as connection:
                connection.execute("SET synchronous_commit = off")
                while not self.ended:
                    number = next(self.numbers)
                    connection.execute(
                        "WITH row AS (INSERT INTO ledger VALUES (%s) RETURNING id)"
                        " SELECT djkafka_produce(%s, id, server => %s) FROM row",
                        (number, run.topic, run.server),
                        prepare=True,
                    )
                    answered.add(number)
        except psycopg.OperationalError:
            pass  # the server was killed

    def join(self) -> set[int]:
        self.ended = True
        for thread in self.threads:
            thread.join()
        return set().union(*self.answered)


@pytest.mark.parametrize("mode", MODES)
def test_asynchronous_commit(start, mode: str) -> None:
    """kill -9 of the postmaster: no message of a transaction that is gone, and none is missing of one that is not."""
    run = start(mode, wal_writer_delay="10s", wal_writer_flush_after="100MB")
    run.db.query("CREATE TABLE ledger (id bigint)")
    lost = 0
    for number in range(4):
        run.db.query("TRUNCATE ledger")
        run.topic = Client(run.broker.address).create_topic(f"round-{number}")
        sent = run.sent()
        ledger = Ledger(run, sessions=3)
        run.wait_acknowledged(sent + 200)
        time.sleep(run.chance.uniform(0, 0.2))
        run.cluster.kill()
        answered = ledger.join()
        run.db.disconnect()
        run.cluster.start()
        wait_sent(run.db)
        rows = {row for (row,) in run.db.query("SELECT id FROM ledger")}
        messages = [int(m.value()) for m in read_topic(Client(run.broker.address), run.topic)]
        assert set(messages) <= rows, f"messages without a transaction: {sorted(set(messages) - rows)[:10]}"
        assert rows <= set(messages), f"transactions without their message: {sorted(rows - set(messages))[:10]}"
        assert mode == "at_least_once" or len(messages) == len(rows)
        lost += len(answered - rows)
        print(f"{len(rows)} transactions, {len(answered - rows)} answered ones are gone", flush=True)
    assert lost > 0, "no crash hit a commit that was not durable: the test tests nothing"


# -- consume, transform, produce


HANDLER = """
CREATE FUNCTION transform(message djkafka_message) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO seen VALUES (convert_from(message.value, 'UTF8')::bigint);
    PERFORM djkafka_produce('results', convert_from(message.value, 'UTF8'), key => message.key, server => 'kafka');
END $$
"""


def kill_consumer(run: Run) -> None:
    """kill -9 of the worker that consumes."""
    pid = wait_until(lambda: consumer_worker(run), 60, "a worker consumes", interval=0.01)
    run.db.kill_process(pid)


def consumer_worker(run: Run) -> int:
    try:
        return next(iter(run.db.workers("djkafka consumer")), 0)
    except psycopg.OperationalError:
        return 0


def test_consume_and_produce(start) -> None:
    """A handler's rows, its messages and the offsets are one transaction, and Kafka has each result once."""
    run = start("exactly_once")
    client = Client(run.broker.address)
    client.create_topic("inputs", 3)
    client.create_topic("results", 3)
    run.db.query("CREATE TABLE seen (id bigint)")
    run.db.query(HANDLER)
    run.db.query("SELECT djkafka_create_consumer('default', batch_messages => 100)")
    run.db.query("SELECT djkafka_subscribe('inputs', handler => 'transform(djkafka_message)', format => 'raw')")
    count, part = 20_000, 4000
    faults = [kill_consumer, kill_worker, kill_postmaster, kill_consumer, kill_worker]
    for number, fault in enumerate(faults):
        numbers = range(number * part, (number + 1) * part)
        client.produce("inputs", [Record(str(value), str(value % 50)) for value in numbers])
        run.wait_acknowledged(number * part + run.chance.randrange(1, part))
        print(f"{number + 1}/{len(faults)} after {run.sent()} messages: {fault.__name__}", flush=True)
        fault(run)
    wait_caught_up(run.db, client, "inputs", timeout=120)
    wait_sent(run.db)
    found = sequences(read_topic(client, "results"))
    for key in range(50):
        assert found.get(str(key)) == list(range(key, count, 50)), f"key {key}"
    assert run.db.query("SELECT count(*), count(DISTINCT id) FROM seen") == [(count, count)]
    assert_audit(run.db, count)

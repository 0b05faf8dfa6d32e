"""A definition that changes while the consumer runs: what is subscribed to is read, within seconds.

Nothing is said to be ok before it is: whoever waits here looks at djkafka_health all the time.
"""

import time
from collections.abc import Callable

import psycopg
import pytest
from lib.djkafka import assert_audit, explain, positions, wait_count, wait_state, workers
from lib.kafka import Client, Record
from lib.postgres import Cluster, Database
from lib.wait import wait_until

SECONDS = 20.0  # a session of the group lasts 45


class Log:
    """A table that has a row for each message: topic, partition and offset tell what came, and how often."""

    def __init__(self, db: Database, kafka: Client):
        self.db = db
        self.kafka = kafka
        self.sent: dict[str, int] = {}
        db.query('CREATE TABLE log (topic text, partition int, "offset" bigint, "timestamp" timestamptz,'
                 " key bytea, value bytea, headers djkafka_header[])")

    def subscribe(self, topic: str, consumer: str = "default") -> None:
        self.db.query(
            "SELECT djkafka_subscribe(%s, 'log', operation => 'insert', format => 'raw', consumer => %s)", topic, consumer
        )

    def unsubscribe(self, topic: str) -> None:
        self.db.query("SELECT djkafka_drop_route(id) FROM djkafka_route WHERE topic = %s", topic)

    def produce(self, topic: str, count: int = 5) -> None:
        """So many messages into each partition."""
        for partition in range(self.kafka.partitions(topic)):
            self.kafka.produce(topic, [Record(f"{number}", partition=partition) for number in range(count)])
            self.sent[topic] = self.sent.get(topic, 0) + count

    def rows(self) -> dict[str, int]:
        return dict(self.db.query("SELECT topic, count(*) FROM log GROUP BY topic"))

    def arrives(self, *topics: str, timeout: float = SECONDS, flowing: bool = False) -> None:
        """
        All of these topics' messages become rows, once each; health says no ok before.

        Where they are flowing already, and nothing has changed but that there are more messages,
        these may be on their way for as long as a poll and a batch take.
        """
        deadline = time.monotonic() + timeout
        on_their_way = time.monotonic() + (1 if flowing else 0)
        while True:
            told = self.db.query("SELECT verdict, state, reason FROM djkafka_health()")
            rows = self.rows()
            missing = {topic: (rows.get(topic, 0), self.sent[topic]) for topic in topics if rows.get(topic, 0) != self.sent[topic]}
            well = all(verdict == "ok" for verdict, _, _ in told)
            if not missing and well:
                break
            assert not (missing and well) or time.monotonic() < on_their_way, f"health is ok, and rows are missing: {missing}\n{explain(self.db)}"
            assert time.monotonic() < deadline, f"not within {timeout} s: {missing}, {told}\n{explain(self.db)}"
            time.sleep(0.02)
        twice = self.db.query('SELECT topic, partition, "offset" FROM log GROUP BY 1, 2, 3 HAVING count(*) > 1')
        assert not twice, f"applied twice: {twice}"
        assert_audit(self.db)


@pytest.fixture
def log(db: Database, kafka: Client) -> Log:
    return Log(db, kafka)


@pytest.fixture
def topics(kafka: Client, unique: Callable[[str], str]) -> Callable[..., str]:
    def make(name: str = "topic", partitions: int = 1) -> str:
        return kafka.create_topic(unique(name), partitions)

    return make


def test_more_topics(log: Log, topics) -> None:
    """A second and a third topic, each on a consumer that reads the others."""
    made = []
    for _ in range(3):
        made.append(topics())
        log.produce(made[-1])
        log.subscribe(made[-1])
        log.arrives(*made)
    for topic in made:
        log.produce(topic)
    log.arrives(*made, flowing=True)


def test_pattern(log: Log, kafka: Client, topics, unique) -> None:
    first, prefix = topics(), unique("pattern")
    matching = [kafka.create_topic(f"{prefix}.{number}", partitions=2) for number in range(2)]
    for topic in (first, *matching):
        log.produce(topic)
    log.subscribe(first)
    log.arrives(first)
    log.subscribe(f"^{prefix}[.].*")
    log.arrives(first, *matching)


def test_route_dropped_and_added_again(log: Log, topics) -> None:
    """Its position stays where it is, and it goes on from there."""
    kept, dropped = topics(), topics()
    for topic in (kept, dropped):
        log.produce(topic)
        log.subscribe(topic)
    log.arrives(kept, dropped)

    log.unsubscribe(dropped)
    log.produce(dropped, 7)
    log.produce(kept)
    log.arrives(kept)
    assert positions(log.db, dropped) == {0: 5}
    states = "SELECT topic, state, lag FROM djkafka_partition_status ORDER BY topic = %s"
    assert log.db.query(states, dropped) == [(kept, "running", 0), (dropped, "no_route", None)]
    assert log.db.value("SELECT lag FROM djkafka_status") == 0

    log.subscribe(dropped)
    log.arrives(kept, dropped)
    assert positions(log.db, dropped) == {0: 12}


def test_topic_of_a_route_changes(log: Log, topics) -> None:
    old, new = topics(), topics(partitions=3)
    log.produce(old)
    log.subscribe(old)
    log.arrives(old)
    log.produce(new)
    log.db.query("UPDATE djkafka_route SET topic = %s", new)
    log.arrives(old, new)
    log.produce(old)
    log.db.query("UPDATE djkafka_route SET topic = %s", old)
    log.arrives(old, new)


def test_number_of_workers_changes(log: Log, topics) -> None:
    topic = topics(partitions=4)
    log.produce(topic)
    log.subscribe(topic)
    log.arrives(topic)
    for wanted in (2, 1, 3):
        log.db.query("UPDATE djkafka_consumer SET workers = %s", wanted)
        log.produce(topic)
        log.arrives(topic)
        wait_until(lambda: len(workers(log.db)) == wanted, message=f"{wanted} workers")
        readers = {worker for (worker,) in log.db.query("SELECT worker FROM djkafka_partition_status")}
        assert readers == set(range(1, wanted + 1)), "each of them reads"


@pytest.mark.long
def test_strategy_changes(log: Log, topics) -> None:
    made = [topics(partitions=2), topics(partitions=2)]
    log.db.query("SELECT djkafka_create_consumer('default', workers => 2)")
    for topic in made:
        log.produce(topic)
        log.subscribe(topic)
    log.arrives(*made)
    for strategy in ("roundrobin", "range"):
        log.db.query("UPDATE djkafka_consumer SET assignment = %s", strategy)
        log.produce(made[0])
        log.arrives(*made)


def test_others_go_on(log: Log, kafka: Client, topics, unique) -> None:
    """Of a cooperative assignment a rebalance may give a worker nothing new: it reads on all the same."""
    try:
        log.db.query("SELECT djkafka_create_consumer('default', workers => 2, assignment => 'cooperative-sticky')")
    except psycopg.errors.FeatureNotSupported:
        pytest.skip("this librdkafka does not cooperate")
    topic, other = topics(), topics()
    log.produce(topic)
    log.subscribe(topic)
    log.arrives(topic)

    def all_arrive() -> None:
        """What goes on meanwhile is ok, and of new partitions the library hears after a while."""
        log.produce(topic)
        wait_count(log.db, "log", sum(log.sent.values()), timeout=60)
        log.arrives(topic)

    kafka.add_partitions(topic, 3)
    all_arrive()
    log.produce(other)
    log.subscribe(other)
    all_arrive()
    for wanted in (1, 3):
        log.db.query("UPDATE djkafka_consumer SET workers = %s", wanted)
        all_arrive()
        wait_until(lambda: len(workers(log.db)) == wanted, message=f"{wanted} workers")
        all_arrive()
    log.unsubscribe(other)
    all_arrive()


def test_changes_at_once(log: Log, topics) -> None:
    """In one transaction, and in several before the workers could follow."""
    first, second, third, fourth = (topics(partitions=2) for _ in range(4))
    for topic in (first, second, third, fourth):
        log.produce(topic)
    log.subscribe(first)
    log.arrives(first)
    with log.db.connection(log.db.owner).transaction():
        log.unsubscribe(first)
        log.subscribe(second)
        log.db.query("UPDATE djkafka_consumer SET workers = 2, assignment = 'roundrobin'")
    log.arrives(second)
    log.subscribe(third)
    log.unsubscribe(second)
    log.subscribe(fourth)
    log.subscribe(first)
    log.produce(second)
    log.produce(first)
    log.arrives(first, third, fourth)
    log.subscribe(second)
    log.arrives(first, second, third, fourth)


def test_made_again_under_its_id(log: Log, topics) -> None:
    """In one transaction, and with as many changes as before: what runs is another consumer's definition."""
    db, topic = log.db, topics()
    db.query("CREATE TABLE other (LIKE log)")

    def make(target: str) -> None:
        db.query("INSERT INTO djkafka_consumer (id, name) VALUES (4711, 'default')")
        db.query("SELECT djkafka_create_route('default', %s, %s, operation => 'insert', format => 'raw')", topic, target)

    make("log")
    log.produce(topic)
    log.arrives(topic)
    with db.connection(db.owner).transaction():
        db.query("DELETE FROM djkafka_consumer")
        make("other")
    log.produce(topic)
    wait_count(db, "other", 5)
    assert log.rows() == {topic: 5}
    assert_audit(db, 5)


# -- what changes while nobody is there


@pytest.fixture
def absent(own_cluster, kafka: Client, unique) -> Log:
    """On a server of its own, which the test stops and kills."""
    cluster: Cluster = own_cluster(djkafka__bootstrap_servers=kafka.address)
    db = Database(cluster, unique("db"))
    db.query("CREATE EXTENSION djkafka")
    return Log(db, kafka)


def test_kafka_changes_while_the_server_is_down(absent: Log, kafka: Client, topics, unique) -> None:
    """Partitions are added, and topics of a pattern made: a static member that comes back gets what it had."""
    topic, prefix = topics(), unique("pattern")
    first = kafka.create_topic(f"{prefix}.first")
    for each in (topic, first):
        absent.produce(each)
    absent.subscribe(topic)
    absent.subscribe(f"^{prefix}[.].*")
    absent.arrives(topic, first)

    absent.db.disconnect()
    absent.db.cluster.stop()
    kafka.add_partitions(topic, 3)
    second = kafka.create_topic(f"{prefix}.second")
    for each in (topic, second):
        absent.produce(each)
    absent.db.cluster.start()
    absent.arrives(topic, first, second)
    assert positions(absent.db, topic) == {0: 10, 1: 5, 2: 5}


def crash(db: Database, change: Callable[[], None]) -> None:
    """All workers die at once, and come back to another definition."""
    cluster = db.cluster
    db.disconnect()
    cluster.kill()
    cluster.configure(djkafka__databases="")
    cluster.start()
    change()
    cluster.list_database(db.name)
    wait_until(lambda: workers(db), message="a worker runs")


def test_definition_changes_after_a_crash(absent: Log, topics) -> None:
    """Nobody has left the group, so what was joined with is still there."""
    db = absent.db
    first, second, third = (topics(partitions=2) for _ in range(3))
    for topic in (first, second, third):
        absent.produce(topic)
    absent.subscribe(first)
    absent.arrives(first)

    crash(db, lambda: absent.subscribe(second))
    absent.arrives(first, second)

    def swap() -> None:
        absent.unsubscribe(first)
        absent.subscribe(third)

    crash(db, swap)
    absent.produce(first)
    absent.arrives(second, third)
    assert positions(db, first) == {0: 5, 1: 5}, "an offset of a topic without a route does not move"

    crash(db, lambda: db.query("UPDATE djkafka_consumer SET workers = 3, assignment = 'roundrobin'"))
    absent.produce(second)
    absent.arrives(second, third)
    crash(db, lambda: db.query("UPDATE djkafka_consumer SET workers = 1, assignment = 'range'"))
    absent.subscribe(first)
    absent.produce(third)
    absent.arrives(first, second, third)


@pytest.mark.long
def test_definition_changes_while_kafka_is_away(own_broker, db: Database, unique) -> None:
    broker = own_broker()
    kafka = Client(broker.address)
    log = Log(db, kafka)
    first, second = kafka.create_topic(unique("topic")), kafka.create_topic(unique("topic"))
    db.query("CREATE SERVER away FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers %s)" % f"'{broker.address}'", user="postgres")
    db.query(f"GRANT USAGE ON FOREIGN SERVER away TO {db.owner}", user="postgres")
    db.query("SELECT djkafka_create_consumer('default', server => 'away')")
    for topic in (first, second):
        log.produce(topic)
    log.subscribe(first)
    log.arrives(first)
    broker.kill()
    log.subscribe(second)
    wait_state(db, "unreachable")
    broker.start()
    log.arrives(first, second, timeout=60)


def test_commit_of_whoever_is_waited_for(db: Database, kafka: Client, topic: str) -> None:
    """A migration changes rows and the route that writes them: what waited for its locks is applied by the new one."""
    db.query("CREATE TABLE item (id int PRIMARY KEY, name text)")
    db.query("SELECT djkafka_subscribe(%s, 'item')", topic)
    kafka.produce(topic, [Record('{"id": 1, "name": "one"}')])
    wait_count(db, "item", 1)
    with db.connect() as migration, migration.transaction():
        migration.execute("UPDATE item SET name = upper(name)")
        kafka.produce(topic, [Record('{"id": 2, "name": "two"}'), Record('{"id": 1, "name": "uno"}')])
        wait_state(db, "waiting_for_lock")
        migration.execute(
            "SELECT djkafka_alter_route('default', %s, columns => %s)", [topic, '{"name": "upper(value->>\'name\')"}']
        )
    wait_count(db, "item", 2)
    assert db.query("SELECT id, name FROM item ORDER BY id") == [(1, "UNO"), (2, "TWO")]
    assert_audit(db, 3)

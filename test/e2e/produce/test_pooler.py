"""Many clients that share a session, as pgbouncer in transaction mode makes them: what is said of a session and a transaction."""

import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from lib.kafka import Client
from lib.outbox import read_topic, sequences, values, wait_sent
from lib.pooler import Pooler
from lib.postgres import Database

SUPPRESSED = "SELECT djkafka_suppressed()"
WARNING_OF_SESSION = "the session's setting djkafka.suppress silences messages"

Pool = Callable[..., Pooler]


@pytest.fixture
def pool(db: Database) -> Iterator[Pool]:
    """Makes a pooler before the database."""
    made: list[Pooler] = []

    def make(**options: Any) -> Pooler:
        made.append(Pooler(db, **options))
        return made[-1]

    yield make
    for each in made:
        each.destroy()


class Clerk:
    """A client of the pooler, who writes into a published table and produces besides."""

    def __init__(self, pooler: Pooler, topic: str):
        self.topic = topic
        self.connection = pooler.connect()
        self.warnings: list[str] = []
        self.connection.add_notice_handler(lambda said: self.warnings.append(said.message_primary or ""))

    def run(self, statement: str, *parameters: Any) -> Any:
        cursor = self.connection.execute(statement, parameters or None)
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None

    def insert(self, name: str) -> None:
        self.run("INSERT INTO orders (name) VALUES (%s)", name)

    def produce(self, name: str) -> int | None:
        return self.run("SELECT djkafka_produce(%s, %s)", self.topic, name)

    def hear(self) -> list[str]:
        """The warnings since it was asked for the last time."""
        heard, self.warnings = self.warnings, []
        return heard


@pytest.fixture
def clerks(db: Database, pool: Pool, topic: str) -> tuple[Clerk, Clerk]:
    """Two strangers in one session; messages are the names of orders, from the table and from djkafka_produce."""
    db.query("CREATE TABLE orders (id bigserial PRIMARY KEY, name text)")
    db.query("SELECT djkafka_publish('orders', %s)", topic)
    pooler = pool()
    one, other = Clerk(pooler, topic), Clerk(pooler, topic)
    assert one.run("SELECT pg_backend_pid()") == other.run("SELECT pg_backend_pid()")
    return one, other


def names(kafka: Client, topic: str) -> list[str]:
    """What Kafka has heard of orders, in order."""
    found = [value or "" for value in values(read_topic(kafka, topic))]
    return [json.loads(value)["name"] if value.startswith("{") else value for value in found]


class Mistake(Exception):
    """A block that fails."""


def test_silence_ends_with_its_block(db: Database, kafka: Client, topic: str, clerks: tuple[Clerk, Clerk]) -> None:
    """djkafka_suppress(): neither what stands around the block nor the session's next client is silent."""
    one, other = clerks
    told: list[str] = []

    def tell(clerk: Clerk, name: str) -> None:
        clerk.insert(f"{name} in a table")
        assert clerk.produce(name) is not None
        told.extend([f"{name} in a table", name])

    def keep_silent() -> int:
        token = one.run("SELECT djkafka_suppress()")
        one.insert("silent")
        assert one.produce("silent") is None
        return token

    with one.connection.transaction():
        token = keep_silent()
    tell(other, "after a commit")
    assert not other.run("SELECT djkafka_unsuppress(%s)", token)

    with pytest.raises(Mistake), one.connection.transaction():
        keep_silent()
        raise Mistake
    tell(other, "after a rollback")

    with pytest.raises(psycopg.errors.DivisionByZero), one.connection.transaction():
        keep_silent()
        one.run("SELECT 1 / 0")
    tell(other, "after an error")

    with one.connection.transaction():
        tell(one, "before a savepoint")
        with one.connection.transaction():
            keep_silent()
            with one.connection.transaction():
                one.insert("silent")
        tell(one, "after a savepoint")
        with pytest.raises(Mistake), one.connection.transaction():
            keep_silent()
            raise Mistake
        tell(one, "after a savepoint's rollback")
        assert one.run("SELECT djkafka_unsuppress(%s)", keep_silent())
        tell(one, "after a token")
        keep_silent()
    tell(other, "after a transaction with savepoints")

    with one.connection.transaction():
        one.run("SELECT djkafka_suppress(%s)", ["another_topic"])
        tell(one, "beside another topic")
        one.run("SELECT djkafka_suppress(%s)", [topic])
        assert one.produce("silent") is None
    tell(other, "after topics")
    assert one.hear() == other.hear() == []

    # whose client goes away in its midst: a pooler closes such a session, or another would be in its transaction
    one.run("BEGIN")
    keep_silent()
    one.connection.close()
    tell(other, "after a client that went away")

    assert db.value("SELECT count(*) FROM orders WHERE name = 'silent'") == 5
    assert db.value(SUPPRESSED) == 8 * 2 + 2
    wait_sent(db)
    assert names(kafka, topic) == told


def test_set_local_ends_with_its_transaction(db: Database, kafka: Client, topic: str, clerks: tuple[Clerk, Clerk]) -> None:
    one, other = clerks

    def silence() -> None:
        one.run("SET LOCAL djkafka.suppress = on")
        one.insert("silent")
        assert one.produce("silent") is None

    with one.connection.transaction():
        silence()
    other.insert("1")

    with pytest.raises(Mistake), one.connection.transaction():
        silence()
        raise Mistake
    other.insert("2")

    with one.connection.transaction():
        with pytest.raises(Mistake), one.connection.transaction():
            silence()
            raise Mistake
        one.insert("3")
        with one.connection.transaction():
            silence()
        one.insert("silent")  # to the outermost one's end, unlike a token
    other.insert("4")
    assert one.hear() == other.hear() == []

    # in autocommit it comes to nothing, and says so
    one.run("SET LOCAL djkafka.suppress = on")
    one.insert("5")
    one.run("SELECT djkafka_suppress()")
    one.insert("6")
    said = one.hear()
    assert len(said) == 2 and "SET LOCAL" in said[0] and said[1].startswith("djkafka_suppress() is in force"), said
    assert other.hear() == []

    wait_sent(db)
    assert names(kafka, topic) == list("123456")


def test_setting_of_a_session_is_told_to_each_client(
    db: Database, kafka: Client, topic: str, clerks: tuple[Clerk, Clerk]
) -> None:
    """SET holds for whoever gets the session: each of them hears of it, the log once, and what was silenced is counted."""
    one, other = clerks
    start = db.cluster.log_size()
    before = db.value(SUPPRESSED)
    one.run("SET djkafka.suppress = on")
    one.insert("silent")
    assert one.hear() == [WARNING_OF_SESSION]
    other.insert("silent")
    assert other.hear() == [WARNING_OF_SESSION]
    with other.connection.transaction():
        other.insert("silent")
        assert other.produce("silent") is None
    assert other.hear() == [WARNING_OF_SESSION]
    with pytest.raises(Mistake), one.connection.transaction():
        one.insert("silent")
        raise Mistake
    assert one.hear() == [WARNING_OF_SESSION]
    assert db.cluster.log(start).count(WARNING_OF_SESSION) == 1
    assert db.value(SUPPRESSED) == before + 5

    other.run("RESET djkafka.suppress")
    one.insert("told")
    # who sets it in a transaction knows; who comes then does not
    with one.connection.transaction():
        one.run("SELECT set_config('djkafka.suppress', %s, false)", topic)
        one.insert("silent")
    assert one.hear() == []
    other.insert("silent")
    assert other.hear() == [WARNING_OF_SESSION]
    assert db.cluster.log(start).count(WARNING_OF_SESSION) == 2
    other.run("DISCARD ALL")
    one.insert("told after all")
    assert one.hear() == other.hear() == []
    wait_sent(db)
    assert names(kafka, topic) == ["told", "told after all"]
    assert db.value("SELECT DISTINCT suppressed FROM djkafka_outbox_status") == before + 7


THREADS = 6
TRANSACTIONS = 60
KEYS = 4


def count_in_short_transactions(pooler: Pooler, topic: str, seed: int) -> tuple[list[int], list[int]]:
    """
    Raises the counter of some key again and again, publishing and producing each number; some of it is rolled
    back. Returns the ids of messages that were committed, and of those that were not.
    """
    chance = random.Random(seed)
    committed: list[int] = []
    undone: list[int] = []

    def raise_counter() -> int:
        raised = "UPDATE counters SET n = n + 1 WHERE key = %s RETURNING n"
        (number,) = connection.execute(raised, [key]).fetchone()
        produced = connection.execute("SELECT djkafka_produce(%s, %s::text, key => %s)", [topic, number, key])
        return produced.fetchone()[0]

    connection = pooler.connect()
    for _ in range(TRANSACTIONS):
        key = f"key {chance.randrange(KEYS)}"
        fate = chance.choice(["commit", "commit", "commit", "rollback", "savepoint", "close"])
        with connection.transaction() as block:
            ids = [raise_counter()]
            if fate == "savepoint":
                with connection.transaction() as inner:
                    undone.append(raise_counter())
                    raise psycopg.Rollback(inner)
                ids.append(raise_counter())
            if fate == "rollback":
                undone += ids
                raise psycopg.Rollback(block)
        if fate != "rollback":
            committed += ids
        if fate == "close":
            connection.close()
            connection = pooler.connect()
        elif chance.random() < 0.1:
            # true or false: whose messages it waited for is not known here
            assert connection.execute("SELECT djkafka_flush('5 s')").fetchone()[0] in (True, False)
    return committed, undone


def test_many_short_transactions(db: Database, kafka: Client, pool: Pool, unique: Callable[[str], str]) -> None:
    """Nothing is lost or doubled, and a key's messages are in the order of their commits, from the table and by the call."""
    published, produced = (kafka.create_topic(unique(name), partitions=3) for name in ("published", "produced"))
    db.query("CREATE TABLE counters (key text PRIMARY KEY, n int NOT NULL)")
    db.query("INSERT INTO counters SELECT 'key ' || k, 0 FROM generate_series(0, %s) k", KEYS - 1)
    db.query("SELECT djkafka_publish('counters', %s, key_format => 'text')", published)
    pooler = pool(pool_size=2)
    with ThreadPoolExecutor(THREADS) as threads:
        runs = list(threads.map(lambda seed: count_in_short_transactions(pooler, produced, seed), range(THREADS)))
    wait_sent(db)

    final = dict(db.query("SELECT key, n FROM counters"))
    wanted = {key: list(range(1, number + 1)) for key, number in final.items()}
    committed = [each for run in runs for each in run[0]]
    undone = [each for run in runs for each in run[1]]
    assert sum(final.values()) == len(committed) == len(set(committed))
    assert sequences(read_topic(kafka, produced)) == wanted
    numbers: dict[str, list[int]] = defaultdict(list)
    for message in read_topic(kafka, published):
        numbers[message.key().decode()].append(json.loads(message.value())["n"])
    assert numbers == wanted

    # whoever asks is told; what was sent is forgotten with its table, which may be at any time
    states = "SELECT DISTINCT (djkafka_delivery(id)).state FROM unnest(%s::bigint[]) id"
    assert {state for (state,) in pooler.connect().execute(states, [committed])} <= {"sent", "delivered", "unknown"}
    assert pooler.connect().execute(states, [undone]).fetchall() == [("unknown",)]


@pytest.mark.parametrize("binding", ["client", "server"])
def test_statements_that_strangers_prepared(
    db: Database, kafka: Client, topic: str, clerks: tuple[Clerk, Clerk], binding: str
) -> None:
    """
    What the session keeps of one client's statements serves the next one, also after DISCARD ALL and under another
    search_path. psycopg prepares them for the server where pgbouncer is new enough; else it must be told not to.
    """
    one, other = clerks
    kind = psycopg.ClientCursor if binding == "client" else psycopg.Cursor
    told = []
    for i in range(12):
        clerk = (one, other)[i % 2]
        cursor = kind(clerk.connection)
        with clerk.connection.transaction():
            if i % 3 == 0:
                cursor.execute("SET LOCAL search_path = public, pg_temp")
            cursor.execute("INSERT INTO orders (name) VALUES (%s)", [f"row {i}"])
            cursor.execute("SELECT djkafka_suppress(%s)", [[topic]])
            cursor.execute("SELECT djkafka_unsuppress(%s)", cursor.fetchone())
            cursor.execute("SELECT djkafka_produce(%s, %s, key => %s)", [topic, f"message {i}", i])
        told += [f"row {i}", f"message {i}"]
        if i == 7 and not clerk.connection.prepare_threshold:
            cursor.execute("DISCARD ALL")
    if binding == "server" and one.connection.prepare_threshold:
        assert one.run("SELECT count(*) FROM pg_prepared_statements") > 0
    wait_sent(db)
    assert names(kafka, topic) == told

"""Two workers, disturbed by all that is nobody's fault: what lands is what one message after the other makes.

Children refer to parents of another topic by a foreign key and by a look-up, have versions, and
are remembered when they are deleted.  DJK_SEED repeats the messages of a run.
"""

import json
import random
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from lib.chance import choose_seed
from lib.djkafka import dead_letters, explain, to_json, workers
from lib.kafka import Client, Record
from lib.postgres import Cluster, Database
from lib.process import kill_and_wait
from lib.wait import wait_until

Own = Callable[..., Cluster]

PARENTS = 40
CHILDREN = 60
PARTITIONS = {"parent": 3, "child": 4}

TABLES = """
    CREATE TABLE log (n bigint GENERATED ALWAYS AS IDENTITY, target text, op text, row jsonb);
    CREATE FUNCTION log_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO log (target, op, row)
            SELECT TG_TABLE_NAME, TG_OP, to_jsonb(CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END);
        IF random() < 0.003 THEN RAISE 'not now' USING ERRCODE = '40001'; END IF;
        RETURN NULL; END $$;
    CREATE TABLE parent (id int PRIMARY KEY, code text UNIQUE, v int);
    CREATE TABLE child (id int PRIMARY KEY, parent_id int REFERENCES parent {deferrable}, code_id int, ver int,
        a int CHECK (a <> 5), b text DEFAULT 'd');
    CREATE TRIGGER log AFTER INSERT OR UPDATE OR DELETE ON parent FOR EACH ROW EXECUTE FUNCTION log_row();
    CREATE TRIGGER log AFTER INSERT OR UPDATE OR DELETE ON child FOR EACH ROW EXECUTE FUNCTION log_row();
"""
LOOKUP = '{"code_id": {"table": "parent", "column": "code", "field": "code"}}'


@dataclass
class Model:
    """What messages make, one after the other, once all their parents are there."""

    dice: random.Random
    rows: dict[str, dict[int, dict[str, Any]]] = field(default_factory=lambda: {"parent": {}, "child": {}})
    log: dict[tuple[str, int], list[tuple[str, dict]]] = field(default_factory=lambda: defaultdict(list))
    remembered: dict[int, int] = field(default_factory=dict)
    fates: dict[tuple[str, int], Counter] = field(default_factory=lambda: defaultdict(Counter))
    dead: dict[tuple[int, int], str] = field(default_factory=dict)
    ver: int = 0

    def write(self, table: str, key: int, fields: dict[str, Any], defaults: dict[str, Any]) -> str:
        there = self.rows[table].get(key)
        self.rows[table][key] = row = (there or defaults) | fields
        self.log[table, key].append(("UPDATE" if there else "INSERT", row))
        return "applied"

    def delete(self, key: int, ver: int | None) -> str:
        row = self.rows["child"].pop(key, None)
        if row is not None:
            self.log["child", key].append(("DELETE", row))
        if row is not None or ver is not None:
            self.remembered[key] = row["ver"] if ver is None and row else ver
        return "applied"

    def is_stale(self, key: int, ver: int) -> bool:
        row = self.rows["child"].get(key)
        known = row["ver"] if row else self.remembered.get(key)
        return known is not None and ver <= known

    def count(self, topic: str, key: int, fate: str) -> int:
        """Its partition; a dead one is noted by its SQLSTATE."""
        partition = key % PARTITIONS[topic]
        fates = self.fates[topic, partition]
        if fate[0].isdigit():
            self.dead[partition, fates.total()] = fate
            fate = "dead"
        fates[fate] += 1
        return partition

    def parent(self, key: int) -> Record:
        fields = {"id": key, "code": f"c{key}", "v": self.dice.randint(1, 9)}
        partition = self.count("parent", key, self.write("parent", key, fields, {}))
        return Record(to_json(**fields), str(key), partition=partition)

    def child(self) -> Record:
        key = self.dice.randrange(CHILDREN)
        kind = self.dice.random()
        if kind < 0.08:
            return Record(None, str(key), partition=self.count("child", key, self.delete(key, None)))
        self.ver += 1
        ver = max(self.ver - self.dice.choice([0, 0, 0, 3 * CHILDREN]), 0)
        if kind < 0.14:
            fate = "stale" if self.is_stale(key, ver) else self.delete(key, ver)
            return Record(to_json(id=key, ver=ver, __deleted=True), str(key), partition=self.count("child", key, fate))
        return self.change(key, ver)

    def change(self, key: int, ver: int) -> Record:
        dice = self.dice
        may = {"a": dice.choice([1, 2, 3, None, 5, "x"] if dice.random() < 0.2 else [1, 2]), "b": dice.choice(["p", "q", None])}
        may |= {"parent_id": dice.choice([None, *range(PARENTS)]), "code": dice.choice([None, *(f"c{n}" for n in range(PARENTS))])}
        given = {name: may[name] for name in may if dice.random() < 0.5}
        if given.get("a") == "x":
            fate = "22P02"
        elif self.is_stale(key, ver):
            fate = "stale"
        elif given.get("a") == 5:
            fate = "23514"
        else:
            row = {"ver": ver} | given
            if "code" in row:
                code = row.pop("code")
                row["code_id"] = code and int(code[1:])
            fate = self.write("child", key, row, {"id": key, "parent_id": None, "code_id": None, "a": None, "b": "d"})
        return Record(to_json(id=key, ver=ver, **given), str(key), partition=self.count("child", key, fate))


def lock_rows(db: Database, done: threading.Event, failures: list[BaseException]) -> None:
    """A client that locks rows from the last to the first, and children before their parents."""
    dice = random.Random()
    while not done.is_set():
        try:
            with db.connect() as connection, connection.transaction():
                for table, last in (("child", CHILDREN), ("parent", PARENTS)):
                    for key in sorted(dice.sample(range(last), 6), reverse=True):
                        connection.execute(f"SELECT FROM {table} WHERE id = {key} FOR UPDATE")
                time.sleep(dice.random() * 0.1)
        except psycopg.OperationalError:  # a deadlock, or the server restarts
            pass
        except psycopg.Error as error:
            failures.append(error)
        time.sleep(0.05)


class Listener(threading.Thread):
    """Sums up what is told of the topics' rows."""

    def __init__(self, db: Database):
        super().__init__(daemon=True)
        self.connection = db.connect()
        self.connection.execute("LISTEN djkafka")
        self.rows: Counter = Counter()
        self.keys: dict[str, Counter] = defaultdict(Counter)
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.is_set():
            for notify in self.connection.notifies(timeout=0.2):
                told = json.loads(notify.payload)
                if "rows" in told:
                    self.rows[told["topic"]] += told["rows"]
                    self.keys[told["topic"]].update(told.get("keys", []))
        self.connection.close()


# -- what disturbs


def kill_worker(db: Database, dice: random.Random) -> None:
    db.kill_process(dice.choice(wait_until(lambda: list(workers(db).values()), 60, "a worker runs")))


def terminate_worker(db: Database, dice: random.Random) -> None:
    kill_and_wait(dice.choice(wait_until(lambda: list(workers(db).values()), 60, "a worker runs")), signal.SIGTERM)


def change_workers(db: Database, dice: random.Random) -> None:
    db.query("UPDATE djkafka_consumer SET workers = %s, batch_messages = %s", dice.choice([1, 2, 3]), dice.choice([1, 7, 50, 5000]))


def alter_table(db: Database, dice: random.Random) -> None:
    """A column comes and goes, as soon as the others let it."""
    with db.connect() as connection:
        connection.execute("SET lock_timeout = 0")
        for change in ("ADD c int", "DROP c"):
            wait_until(lambda change=change: alters(connection, change), 60)


def alters(connection: psycopg.Connection, change: str) -> bool:
    try:
        connection.execute(f"ALTER TABLE child {change}")
    except psycopg.errors.DeadlockDetected:
        return False
    return True


Fault = Callable[[Database, random.Random], None]


@dataclass
class Run:
    db: Database
    kafka: Client
    topics: dict[str, str]
    model: Model
    dice: random.Random
    late: list[int] = field(default_factory=lambda: list(range(PARENTS)))

    def send(self, count: int, all_parents: bool) -> None:
        """Children, and parents among them: some for the first time."""
        producer = self.kafka.producer(linger_ms=5)
        for n in range(count):
            table, record = "child", self.model.child()
            producer.produce(self.topics[table], record.value, record.key, partition=record.partition)
            if self.late and (n % (count // 8) == 0 or (all_parents and count - n <= len(self.late))):
                self.send_parent(producer, self.late.pop(self.dice.randrange(len(self.late))))
            elif self.dice.random() < 0.1 and len(self.late) < PARENTS:
                self.send_parent(producer, self.dice.choice([n for n in range(PARENTS) if n not in self.late]))
        assert producer.flush(60) == 0

    def send_parent(self, producer: Any, key: int) -> None:
        record = self.model.parent(key)
        producer.produce(self.topics["parent"], record.value, record.key, partition=record.partition)

    def done(self, waiting: bool) -> int:
        """How many messages have come to their end, or wait."""
        parked = "" if waiting else " - parked"
        try:
            return self.db.value(f"SELECT coalesce(sum(next_offset - first_offset{parked}), 0)::bigint FROM djkafka_offset")
        except psycopg.OperationalError:
            self.db.disconnect()
            return -1

    def sent(self) -> int:
        return sum(fates.total() for fates in self.model.fates.values())


def begin(db: Database, kafka: Client, unique: Callable[[str], str], deferrable: str) -> Run:
    seed = choose_seed()
    dice = random.Random(seed)
    topics = {table: kafka.create_topic(unique(table), number) for table, number in PARTITIONS.items()}
    db.query("CREATE EXTENSION djkafka")
    db.query(TABLES.format(deferrable=deferrable))
    # What is the owner's, and nothing that djkafka's correctness may depend on.
    isolation = dice.choice(["serializable", "repeatable read", "read committed"])
    for name, value in (("default_transaction_isolation", isolation), ("lock_timeout", "60ms"), ("statement_timeout", "5s")):
        db.query(f"ALTER ROLE {db.owner} SET {name} = '{value}'", user="postgres")
    size = dice.choice([1, 7, 50, 500])
    db.query("SELECT djkafka_create_consumer('default', workers => 2, batch_messages => %s, notify => 'keys')", size)
    db.query("SELECT djkafka_subscribe(%s, 'parent', parent_timeout => '1 hour')", topics["parent"])
    db.query(
        "SELECT djkafka_subscribe(%s, 'child', parent_timeout => '1 hour', lookups => %s,"
        " version_column => 'ver', remember_deleted => '1 day')",
        topics["child"],
        LOOKUP,
    )
    return Run(db, kafka, topics, Model(dice), dice)


def disturb(run: Run, faults: list[Fault], messages: int) -> None:
    """Sends the messages in as many parts as there are faults, each of which strikes in the midst of a part."""
    done, failures = threading.Event(), []
    locking = threading.Thread(target=lock_rows, args=(run.db, done, failures), daemon=True)
    locking.start()
    try:
        for number in range(len(faults) + 1):
            before = run.sent()
            run.send(messages // (len(faults) + 1), number == len(faults))
            if number < len(faults):
                wanted = before + int((run.sent() - before) * run.dice.random() * 0.3)
                wait_until(lambda wanted=wanted: run.done(waiting=True) >= wanted, 60, lambda: explain(run.db))
                faults[number](run.db, run.dice)
        wait_until(lambda: run.done(waiting=False) == run.sent(), 240, lambda: f"all of {run.sent()} have come to their end\n{explain(run.db)}", 0.1)
    finally:
        done.set()
        locking.join(30)
    assert not failures


def check(run: Run) -> None:
    db, model = run.db, run.model
    letters = dead_letters(db, run.topics["child"])
    assert {place: letter["sqlstate"] for place, letter in letters.items()} == model.dead, letters
    log = defaultdict(list)
    for target, op, row in db.query("SELECT target, op, row - 'c' FROM log ORDER BY n"):
        log[target, row["id"]].append((op, row))
    wrong = {key for key in log.keys() | model.log.keys() if log[key] != model.log[key]}
    assert not wrong, [(key, log[key], model.log[key]) for key in wrong][:2]
    for table, rows in model.rows.items():
        found = {row["id"]: row for (row,) in db.query(f"SELECT to_jsonb(x) FROM {table} x")}
        wrong = {key for key in found.keys() | rows.keys() if found.get(key) != rows.get(key)}
        assert not wrong, [(table, key, found.get(key), log[table, key], model.log[table, key]) for key in wrong]
    remembered = db.query("SELECT key, version FROM djkafka_deleted", user="postgres")
    assert {int(json.loads(key)[0]): int(version) for key, version in remembered} == model.remembered
    names = ("applied", "stale", "dead", "filtered", "duplicates", "skipped", "parked", "gaps")
    for topic, partition, *counts in db.query(f"SELECT topic, partition, {', '.join(names)} FROM djkafka_offset"):
        table = "parent" if topic == run.topics["parent"] else "child"
        assert dict(zip(names, counts)) == {name: model.fates[table, partition][name] for name in names}, (topic, partition)


@pytest.mark.parametrize("deferrable", ["", "DEFERRABLE INITIALLY DEFERRED"], ids=["immediate", "deferred"])
def test_disturbed(own_cluster: Own, kafka: Client, unique: Callable[[str], str], deferrable: str) -> None:
    cluster = own_cluster(djkafka__bootstrap_servers=kafka.address, djkafka__max_retry_interval="1s")
    db = Database(cluster, unique("db"))
    run = begin(db, kafka, unique, deferrable)
    listener = Listener(db)
    listener.start()
    disturb(run, [terminate_worker, change_workers, alter_table], 800)
    check(run)
    applied = {table: sum(run.model.fates[table, p]["applied"] for p in range(PARTITIONS[table])) for table in PARTITIONS}
    wait_until(
        lambda: all(listener.rows[run.topics[table]] >= count for table, count in applied.items()),
        message=lambda: f"{listener.rows}, not {applied}",
    )
    listener.done.set()
    listener.join(10)
    for table, count in applied.items():
        assert listener.rows[run.topics[table]] == count == listener.keys[run.topics[table]].total()


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("deferrable", ["", "DEFERRABLE INITIALLY DEFERRED"], ids=["immediate", "deferred"])
def test_killed_and_disturbed(own_cluster: Own, kafka: Client, unique: Callable[[str], str], deferrable: str) -> None:
    cluster = own_cluster(djkafka__bootstrap_servers=kafka.address, djkafka__max_retry_interval="1s")
    run = begin(Database(cluster, unique("db")), kafka, unique, deferrable)
    faults: list[Fault] = [kill_worker] * 6 + [terminate_worker, change_workers, alter_table] * 3
    run.dice.shuffle(faults)
    disturb(run, faults, 12_000)
    check(run)

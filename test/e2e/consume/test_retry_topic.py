"""What failed is tried again from topics, as django-kafka does it: by whom, when, and what becomes of it."""

import json
import os
import random
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from lib.copies import restore
from lib.djkafka import assert_audit, kill_worker, status, to_json, wait_count, wait_state, wait_value, workers
from lib.kafka import Client, Record
from lib.outbox import read_topic, wait_sent
from lib.postgres import Cluster, Database
from lib.wait import wait_until

TIME = 1_769_860_800_123
# A message says how often it fails: its column at_topic knows how often it was tried again.
TABLES = [
    "CREATE TABLE item (id bigint PRIMARY KEY, n bigint, fail int, at_topic text, at_time timestamptz, written timestamptz DEFAULT clock_timestamp())",
    """CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.fail > coalesce(substring(NEW.at_topic FROM '[.]retry[.]([0-9]+)$'), '0')::int THEN
    RAISE 'not yet: %', NEW.id USING ERRCODE = 'KFR01';
  END IF;
  RETURN NEW; END $$""",
    "CREATE TRIGGER fails BEFORE INSERT ON item FOR EACH ROW EXECUTE FUNCTION fails()",
]
COLUMNS = '{"at_topic": "topic", "at_time": "msg_time"}'
POLICY = {"max_retries": 2, "delay": 0.5, "through": "topics"}
ROUTE = "SELECT djkafka_subscribe(%s, 'item', columns => %s, retry => %s, ordering => 'none')"


@pytest.fixture
def group(unique: Callable[[str], str]) -> str:
    return unique("retries")


def subscribe(db: Database, topic: str, group: str, policy: dict[str, Any] = POLICY, reader: bool = True) -> None:
    for statement in TABLES:
        db.query(statement)
    db.query("SELECT djkafka_create_consumer('default', group_id => %s, dead_letters => 'topic')", group)
    if reader:
        db.query("SELECT djkafka_create_consumer('retries', retries_of => 'default')")
    db.query(ROUTE, topic, COLUMNS, json.dumps(policy))


def item(id: int, fail: int = 0, **options: Any) -> Record:
    return Record(to_json(id=id, n=id, fail=fail), str(id), **options)


def test_retries(db: Database, kafka: Client, topic: str, group: str) -> None:
    """Each goes as far as it must: applied at the second, the third try; a dead letter after the last one."""
    subscribe(db, topic, group)
    one, two, letters = [kafka.create_topic(f"{group}.{topic}.{end}") for end in ("retry.1", "retry.2", "dlt")]
    kafka.produce(topic, [item(n, fail=n % 4, headers=[("trace", b"\xff"), ("RETRY_TIMESTAMP", b"nan")], timestamp=TIME) for n in range(40)])
    wait_count(db, "item", 30)
    wait_sent(db)
    wait_until(lambda: kafka.end_offsets(letters) == {0: 10}, message="the letters are there")
    assert db.query("SELECT count(*), sum(fail) FROM item WHERE at_topic = %s", one) == [(10, 10)]
    assert db.query("SELECT count(*), sum(fail) FROM item WHERE at_topic = %s", two) == [(10, 20)]
    assert db.value("SELECT count(DISTINCT at_time) FROM item") == 1
    now, retries = status(db), status(db, "retries")
    assert (now["applied"], now["retried"], now["parked"], now["retries"]) == (10, 30, 0, 0)
    assert (retries["applied"], retries["retried"], retries["dead"], retries["dead_sent"], retries["retries"]) == (20, 20, 10, 10, 50)
    assert_audit(db, 40 + 50)

    first = read_topic(kafka, one)[0]
    headers = dict(first.headers())
    assert first.headers()[0] == ("trace", b"\xff")
    assert (first.key(), first.value(), first.timestamp()[1]) == (b"1", item(1, fail=1).value.encode(), TIME)
    assert headers["RETRY_MESSAGE"] == b"not yet: 1"
    assert re.fullmatch(rb"\d{10}\.\d{6}", headers["RETRY_TIMESTAMP"])
    assert abs(float(headers["RETRY_TIMESTAMP"]) - time.time()) < 300
    assert [name for name, _ in first.headers()].count("RETRY_TIMESTAMP") == 1
    letter = dict(read_topic(kafka, letters)[0].headers())
    assert (letter["DEAD_LETTER_MESSAGE_TOPIC"], letter["DJKAFKA_TOPIC"], letter["DJKAFKA_OFFSET"]) == (two.encode(), topic.encode(), b"3")
    assert (letter["DJKAFKA_ATTEMPTS"], letter["DEAD_LETTER_SUMMARY"]) == (b"3", b"not yet: 3")
    assert "RETRY_TIMESTAMP" not in letter


def test_due(db: Database, kafka: Client, topic: str, group: str) -> None:
    """Nothing of a topic of retries is applied before it is due, others go on meanwhile; a time that is none is now."""
    subscribe(db, topic, group, {**POLICY, "max_retries": 9})
    for n in (1, 2, 3):
        kafka.create_topic(f"{group}.{topic}.retry.{n}")
    soon = str(time.time() + 3.5).encode()
    kafka.produce(f"{group}.{topic}.retry.1", [item(1, headers=[("RETRY_TIMESTAMP", b"nan")]), item(2, headers=[("RETRY_TIMESTAMP", soon), ("RETRY_MESSAGE", b"no\x00\xff")]), item(3)])
    never = str(time.time() + 86400).encode()
    kafka.produce(f"{group}.{topic}.retry.2", [item(4, headers=[("RETRY_TIMESTAMP", v)]) for v in (b"inf", b"1_0", b"", b"-1", b"1e300", b"9" * 400, b"99999999999999")])
    kafka.produce(f"{group}.{topic}.retry.3", [item(5, headers=[("RETRY_TIMESTAMP", never)])])
    wait_value(db, "SELECT array_agg(id ORDER BY id) FROM item WHERE id IN (1, 4)", [1, 4])
    held = f"{group}.{topic}.retry.3"
    wait_value(db, f"SELECT state FROM djkafka_partition_status WHERE topic = '{held}'", "retrying")
    reason = db.value("SELECT reason FROM djkafka_partition_status WHERE topic = %s", held)
    assert "retry number 3 of the message is not due before" in reason
    wait_value(db, "SELECT array_agg(id ORDER BY id) FROM item", [1, 2, 3, 4])
    assert db.value("SELECT min(written) >= to_timestamp(%s) FROM item WHERE id IN (2, 3)", float(soon))
    # and one that nobody wants to wait for
    db.query("SELECT djkafka_skip('retries', %s, 0, 0)", f"{group}.{topic}.retry.3")
    wait_value(db, "SELECT skipped FROM djkafka_status WHERE consumer = 'retries'", 1)
    assert status(db, "retries")["applied"] == 10
    assert_audit(db, 11)


def test_nobody_reads(db: Database, kafka: Client, topic: str, group: str) -> None:
    """Without somebody who reads them nothing goes to topics: it waits in the table. With one it does, and its definition follows."""
    subscribe(db, topic, group, {**POLICY, "delay": 3600}, reader=False)
    kafka.produce(topic, [item(1, fail=1)])
    wait_value(db, "SELECT parked FROM djkafka_status", 1)
    one = kafka.create_topic(f"{group}.{topic}.later.1")
    db.query("SELECT djkafka_create_consumer('retries', retries_of => 'default', retry_suffix => 'later')")
    wait_state(db, "running")
    kafka.produce(topic, [item(2, fail=1)])
    wait_value(db, "SELECT retried FROM djkafka_status WHERE consumer = 'default'", 1)
    wait_value(db, "SELECT retrying FROM djkafka_status WHERE consumer = 'retries'", 1)
    # the table, changed for both
    db.query("DROP TRIGGER fails ON item")
    db.query("SELECT djkafka_skip('retries', %s, 0, 0)", one)
    db.query("SELECT djkafka_alter_route('default', %s, filter => 'true')", topic)
    wait_state(db, "running", "retries")
    kafka.produce(one, [item(3)])
    wait_value(db, "SELECT array_agg(id) FROM item", [3])
    assert_audit(db, 4)


def test_loop(own_cluster: Callable[..., Cluster], kafka: Client, topic: str, unique: Callable[[str], str], group: str) -> None:
    """A pattern that takes the topics of its own retries sends nothing there: what fails waits in the table, as far as that has room."""
    db = Database(own_cluster(djkafka__bootstrap_servers=kafka.address, djkafka__max_parked=3), unique("db"))
    db.query("CREATE EXTENSION djkafka")
    subscribe(db, topic, group, {**POLICY, "delay": 3600})
    db.query("SELECT djkafka_alter_route('default', %s, dead_letters => 'table', new_topic => %s)", topic, f"^(.*[.])?{topic}")
    kafka.produce(topic, [item(n, fail=1) for n in range(5)])
    wait_value(db, "SELECT parked FROM djkafka_status WHERE consumer = 'default'", 3)
    wait_count(db, "djkafka_dead_letter", 2)
    assert db.query("SELECT DISTINCT attempt, due_at > now() FROM djkafka_retry") == [(1, True)]
    assert db.value("SELECT count(*) FROM djkafka_dead_letter WHERE hint LIKE '%the consumer reads topic%djkafka.max_parked%'") == 2
    assert (status(db)["retried"], db.value("SELECT count(*) FROM djkafka_outbox")) == (0, 0)
    assert_audit(db, 5)


def test_copy(db: Database, cluster: Cluster, topic: str, unique: Callable[[str], str], group: str) -> None:
    """Both consumers come with a dump, in whatever order, and are one pair again when they are adopted."""
    subscribe(db, topic, group)
    db.query("SELECT djkafka_alter_consumer('default', enabled => false)")
    into = Database(cluster, unique("copy"), listed=False)
    restore(db, into)
    assert into.query("SELECT consumer, state FROM djkafka_status ORDER BY 1") == [("default", "foreign_home"), ("retries", "foreign_home")]
    assert into.value("SELECT consumers FROM djkafka_adopt()") == 2
    assert into.query("SELECT k.group_id = c.group_id || '.retry', c.group_id LIKE %s FROM djkafka_consumer c JOIN djkafka_consumer k ON k.retries_of = c.id", f"{group}-________") == [(True, True)]
    assert into.value("SELECT count(*) FROM djkafka_route_topic") == 2
    into.destroy()


def killed_at_random(db: Database, kafka: Client, topic: str, group: str, count: int, kills: int, timeout: float) -> None:
    """Whoever is killed meanwhile: each message is a row once, or a dead letter once."""
    seed = int(os.environ.get("DJK_SEED", random.randrange(1 << 30)))
    rnd = random.Random(seed)
    print(f"DJK_SEED={seed}")
    subscribe(db, topic, group)
    # A second copy of a message is seen: the first one's row refuses it.
    db.query("SELECT djkafka_alter_route('default', %s, operation => 'insert', retry => %s)", topic, json.dumps({**POLICY, "include": ["KFR01"]}))
    for end in ("retry.1", "retry.2", "dlt"):
        kafka.create_topic(f"{group}.{topic}.{end}", partitions=2)
    outbox = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'djkafka outbox'"
    for kill in range(kills + 1):
        kafka.produce(topic, [item(n, fail=n % 4) for n in range(count) if n * (kills + 1) // count == kill])
        if kill == kills:
            break
        time.sleep(rnd.uniform(0.1, 1.5))
        pids = [*workers(db).values(), *workers(db, "retries").values(), *(pid for (pid,) in db.query(outbox))]
        if pids:
            kill_worker(db, rnd.choice(pids))
    wait_count(db, "item", count * 3 // 4, timeout=timeout)
    wait_value(db, "SELECT sum(dead_sent)::bigint FROM djkafka_status", count // 4, timeout=timeout)
    wait_sent(db, timeout)
    assert db.query("SELECT coalesce(substring(at_topic FROM '.retry.([12])$'), '0')::int = fail, count(*) FROM item GROUP BY 1") == [(True, count * 3 // 4)]
    assert sorted(int(letter.key()) for letter in read_topic(kafka, f"{group}.{topic}.dlt")) == list(range(3, count, 4))
    assert db.value("SELECT sum(dead)::bigint FROM djkafka_status") == count // 4, "a message came twice"
    assert_audit(db)


def own_database(own_cluster: Callable[..., Cluster], kafka: Client, unique: Callable[[str], str]) -> Database:
    db = Database(own_cluster(djkafka__bootstrap_servers=kafka.address, djkafka__delivery="exactly_once"), unique("db"))
    db.query("CREATE EXTENSION djkafka")
    return db


def test_killed(own_cluster: Callable[..., Cluster], kafka: Client, topic: str, unique: Callable[[str], str], group: str) -> None:
    killed_at_random(own_database(own_cluster, kafka, unique), kafka, topic, group, 400, 3, 120)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_killed_often(own_cluster: Callable[..., Cluster], kafka: Client, topic: str, unique: Callable[[str], str], group: str) -> None:
    killed_at_random(own_database(own_cluster, kafka, unique), kafka, topic, group, 40_000, 20, 600)


def test_reader_of_nothing(db: Database, topic: str, group: str) -> None:
    """A consumer whose main one belongs to another home has no topics, and is not started again and again."""
    subscribe(db, topic, group)
    wait_until(lambda: workers(db) and workers(db, "retries"), message="both run")
    for statement in [
        "ALTER TABLE djkafka_consumer DISABLE TRIGGER djkafka_consumer_validate",
        "UPDATE djkafka_consumer SET home = gen_random_uuid() WHERE name = 'default'",
        "ALTER TABLE djkafka_consumer ENABLE ALWAYS TRIGGER djkafka_consumer_validate",
        "SELECT pg_terminate_backend(pid) FROM djkafka_worker_status() WHERE kind = 'consumer'",
    ]:
        db.query(statement, user="postgres")
    wait_value(db, "SELECT state FROM djkafka_status WHERE consumer = 'retries'", "no_routes")
    size = db.cluster.log_size()
    time.sleep(0.5)
    assert db.cluster.log(size).count("the consumer is not to run") <= 1

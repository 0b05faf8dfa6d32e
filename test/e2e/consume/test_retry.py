"""What failed is tried again as its route's retry policy says, and what is behind it of its key waits for it."""

import json
import os
import random
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from lib.djkafka import (
    PARKED,
    answers,
    assert_audit,
    dead_letters,
    explain,
    kill_worker,
    status,
    to_json,
    wait_caught_up,
    wait_count,
    wait_state,
    wait_value,
    workers,
)
from lib.kafka import Client, Record
from lib.postgres import TEST_BINDIR, Cluster, Database
from lib.process import cpu_seconds
from lib.wait import stays_true, wait_until

Own = Callable[..., Cluster]

# A message says how often it fails: its trigger looks up how often it was tried again already.
TABLES = [
    "CREATE TABLE item (id bigint PRIMARY KEY, n bigint, fail int, code text, at_offset bigint, at_partition int)",
    "CREATE TABLE written (at bigint GENERATED ALWAYS AS IDENTITY, id bigint, n bigint, time timestamptz DEFAULT clock_timestamp())",
    "CREATE TABLE tried (at bigint GENERATED ALWAYS AS IDENTITY, n bigint)",
    """CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.fail > 0 AND NEW.fail > coalesce(
      (SELECT p.attempt FROM djkafka_parked p
         JOIN djkafka_offset o ON o.id = p.offset_id AND o.partition = NEW.at_partition WHERE p."offset" = NEW.at_offset),
      (SELECT o.retry_attempt FROM djkafka_offset o WHERE o.partition = NEW.at_partition AND o.retry_offset = NEW.at_offset),
      0) THEN
    RAISE 'not yet: %', NEW.n USING ERRCODE = coalesce(NEW.code, 'KFR01'), DETAIL = 'As the message says.';
  END IF;
  RETURN NEW; END $$""",
    "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    " INSERT INTO written (id, n) VALUES (NEW.id, NEW.n); RETURN NULL; END $$",
    "CREATE TRIGGER fails BEFORE INSERT ON item FOR EACH ROW EXECUTE FUNCTION fails()",
    "CREATE TRIGGER note AFTER INSERT OR UPDATE ON item FOR EACH ROW EXECUTE FUNCTION note()",
]
COLUMNS = '{"at_offset": "msg_offset", "at_partition": "partition"}'
# The clock, put forward for what waits: as if so much time had passed.
LATER = "UPDATE djkafka_parked SET due_at = due_at - %s::interval"


def subscribe(db: Database, topic: str, policy: dict[str, Any], **options: Any) -> None:
    for statement in TABLES:
        db.query(statement)
    given = "".join(f", {name} => '{value}'" for name, value in options.items())
    db.query(f"SELECT djkafka_subscribe(%s, 'item', columns => %s, retry => %s{given})", topic, COLUMNS, json.dumps(policy))


def item(id: int, n: int, fail: int = 0, code: str | None = None, **options: Any) -> Record:
    return Record(to_json(id=id, n=n, fail=fail, code=code), str(id), **options)


def put_forward(db: Database, interval: str) -> None:
    db.query("SET session_replication_role = replica", user="postgres")
    db.query("ALTER TABLE djkafka_parked DISABLE TRIGGER djkafka_parked_guard", user="postgres")
    db.query(LATER, interval, user="postgres")
    db.query("ALTER TABLE djkafka_parked ENABLE ALWAYS TRIGGER djkafka_parked_guard", user="postgres")
    db.query("SET session_replication_role = origin", user="postgres")
    db.query("SELECT djkafka_restart('default')")


def retries(db: Database) -> list[tuple]:
    return db.query('SELECT "offset", attempt, sqlstate FROM djkafka_retry ORDER BY "offset"')


@pytest.fixture
def topic(kafka: Client, unique: Callable[[str], str]) -> str:
    return kafka.create_topic(unique("item"), 2)


def test_order_of_a_key(db: Database, kafka: Client, topic: str) -> None:
    """What is behind a message that is tried again is applied after it; what is not of its key at once."""
    subscribe(db, topic, {"max_retries": 5, "delay": 0.5})
    wait_state(db, "running")
    kafka.produce(topic, [item(1, 1, fail=2, partition=0), item(1, 2, partition=0), item(2, 3, partition=0)])
    wait_count(db, "item WHERE id = 2", 1)
    kafka.produce(topic, [item(1, 4, partition=0)])
    wait_value(db, "SELECT n FROM item WHERE id = 1", 4)
    assert db.query("SELECT n FROM written ORDER BY at") == [(3,), (1,), (2,), (4,)]
    wait_value(db, PARKED, 0)
    assert db.value("SELECT count(*) FROM djkafka_dead_letter") == 0
    assert_audit(db, 4)


def test_prompt(db: Database, kafka: Client, topic: str) -> None:
    """A retry begins when it is due, and all is shown of it before."""
    subscribe(db, topic, {"max_retries": 1, "delay": "3 s"})
    wait_state(db, "running")
    kafka.produce(topic, [item(1, 1, fail=1)])
    wait_value(db, PARKED, 1)
    waits = db.record("SELECT * FROM djkafka_retry")
    assert (waits["consumer"], waits["topic"], waits["offset"], waits["attempt"], waits["sqlstate"]) == ("default", topic, 0, 1, "KFR01")
    assert (waits["message"], waits["detail"]) == ("not yet: 1", "As the message says.")
    assert (status(db)["retrying"], status(db)["retries"]) == (1, 0)
    assert status(db)["retry_due_at"] == waits["due_at"]
    assert db.query("SELECT retrying, retry_due_at FROM djkafka_partition_status WHERE retrying > 0") == [(1, waits["due_at"])]
    told = "SELECT h.verdict FROM djkafka_health() h, djkafka_status s WHERE h.reason = %s::text || s.retry_due_at"
    assert db.query(told, "messages that failed wait to be tried again: 1, the next at ") == [("ok",)]
    wait_count(db, "item", 1)
    late = (db.value("SELECT time FROM written") - waits["due_at"]).total_seconds()
    assert 0 <= late < 0.9
    assert (status(db)["retrying"], status(db)["retries"]) == (0, 1)
    assert_audit(db, 1)


def test_prompt_beside_many(db: Database, kafka: Client, topic: str, unique: Callable[[str], str]) -> None:
    """However many wait for their parents, what is due does not wait for its turn among them."""
    child = kafka.create_topic(unique("child"))
    db.query("CREATE TABLE parent (id bigint PRIMARY KEY)")
    db.query("CREATE TABLE child (id bigint PRIMARY KEY REFERENCES parent)")
    subscribe(db, topic, {"max_retries": 1, "delay": "8 s"})
    db.query("SELECT djkafka_subscribe(%s, 'child', parent_timeout => '1 h')", child)
    kafka.produce(child, [Record(to_json(id=n), str(n)) for n in range(10_000)])
    wait_value(db, PARKED, 10_000, timeout=60)
    kafka.produce(topic, [item(n % 10, n, fail=int(n < 10)) for n in range(50)])
    wait_value(db, PARKED, 10_050)
    due = db.value("SELECT max(due_at) FROM djkafka_retry")
    wait_value(db, PARKED, 10_000)
    assert dict(db.query("SELECT id, n FROM item")) == {n: 40 + n for n in range(10)}
    assert db.value("SELECT max(extract(epoch FROM time - %s)) FROM written", due) < 3
    assert_audit(db, 10_050)


BUSY = """CREATE FUNCTION busy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.n = {n} AND EXISTS (SELECT FROM djkafka_parked WHERE {waits}) AND nextval('busy') <= {times} THEN
    RAISE 'not now' USING ERRCODE = '40001';
  END IF;
  RETURN NEW; END $$"""


def be_busy(db: Database, n: int, waits: str, times: int) -> None:
    """What is nobody's fault meets a message so many times, once something waits."""
    db.query("CREATE SEQUENCE busy")
    db.query(BUSY.format(n=n, waits=waits, times=times))
    db.query("CREATE TRIGGER busy BEFORE INSERT ON item FOR EACH ROW EXECUTE FUNCTION busy()")


def test_parent_after_a_disturbed_try(db: Database, kafka: Client, topic: str, unique: Callable[[str], str]) -> None:
    """A try of what is due that nobody's fault ends leaves out none of those that wait for their parents."""
    child = kafka.create_topic(unique("child"))
    db.query("CREATE TABLE parent (id bigint PRIMARY KEY)")
    db.query("CREATE TABLE child (id bigint PRIMARY KEY REFERENCES parent)")
    subscribe(db, topic, {"max_retries": 1, "delay": "1 s"})
    db.query("SELECT djkafka_subscribe(%s, 'child', parent_timeout => '1 h')", child)
    be_busy(db, 1, "attempt = 1", 1)
    kafka.produce(child, [Record(to_json(id=7), "7")])
    wait_value(db, PARKED, 1)
    kafka.produce(topic, [item(1, 1, fail=1)])
    wait_count(db, "item", 1)
    db.query("INSERT INTO parent VALUES (7)")
    wait_count(db, "child", 1)
    assert_audit(db, 2)


def test_behind_a_disturbed_try(db: Database, kafka: Client, topic: str) -> None:
    """What waits behind a message is applied after it, though nobody's fault has kept it from going together."""
    subscribe(db, topic, {"max_retries": 1, "delay": "1 s"})
    be_busy(db, 2, "true", 3)
    kafka.produce(topic, [item(1, 1, fail=1, partition=0), item(1, 2, partition=0)])
    wait_value(db, "SELECT n FROM item", 2)
    wait_value(db, PARKED, 0)
    assert_audit(db, 2)


def test_attempts(db: Database, kafka: Client, topic: str) -> None:
    """So many retries and no more; the dead letter tells of them, and what waits behind goes on."""
    subscribe(db, topic, {"max_retries": 3, "delay": 0.1})
    kafka.produce(topic, [item(1, 1, fail=3), item(2, 2, fail=4), item(2, 3), item(3, 4, fail=9)])
    wait_value(db, "SELECT count(*) FROM djkafka_dead_letter", 2)
    wait_value(db, PARKED, 0)
    letters = db.query("SELECT sqlstate, message, detail FROM djkafka_dead_letter ORDER BY message")
    detail = "As the message says. It was tried again 3 times, as often as max_retries of its retry policy allows."
    assert letters == [("KFR01", "not yet: 2", detail), ("KFR01", "not yet: 4", detail)]
    assert dict(db.query("SELECT id, n FROM item")) == {1: 1, 2: 3}
    assert status(db)["retries"] == 9
    assert_audit(db, 4)


def test_skip_and_stop(db: Database, kafka: Client, topic: str) -> None:
    """After the last retry comes what on_error says, whatever it is."""
    subscribe(db, topic, {"max_retries": 1, "delay": 0.1}, on_error="skip")
    kafka.produce(topic, [item(1, 1, fail=9, partition=0), item(2, 2, partition=0)])
    wait_value(db, "SELECT sum(skipped) FROM djkafka_status", 1)
    db.query("SELECT djkafka_alter_route('default', %s, on_error => 'stop')", topic)
    kafka.produce(topic, [item(3, 3, fail=9, partition=0), item(4, 4, partition=0)])
    shown = wait_state(db, "broken")
    assert "not yet: 3" in shown["reason"]
    assert f"SELECT djkafka_skip('default', '{topic}', 0, 2)" in shown["hint"]
    db.query("SELECT djkafka_alter_route('default', %s, on_error => 'dead_letter')", topic)
    wait_value(db, PARKED, 0)
    assert len(dead_letters(db, topic)) == 1
    assert_audit(db, 4)


@pytest.mark.parametrize("policy", [{"max_retries": 0}, {}, None], ids=["none", "empty", "null"])
def test_no_retries(db: Database, kafka: Client, topic: str, policy: dict[str, Any] | None) -> None:
    """As long as nobody asks for retries there are none."""
    subscribe(db, topic, policy or {})
    if policy is None:
        db.query("SELECT djkafka_alter_route('default', %s, reset => '{retry}')", topic)
    kafka.produce(topic, [item(1, 1, fail=1), item(2, 2)])
    wait_caught_up(db, kafka, topic)
    assert [letter["detail"] for letter in dead_letters(db, topic).values()] == ["As the message says."]
    assert_audit(db, 2)


def test_for_ever(db: Database, kafka: Client, topic: str) -> None:
    """With -1 it is tried until it passes."""
    subscribe(db, topic, {"max_retries": -1, "delay": 0.02})
    kafka.produce(topic, [item(1, 1, fail=40)])
    wait_count(db, "item", 1)
    assert status(db)["retries"] == 40
    assert_audit(db, 1)


def test_delays(db: Database, kafka: Client, topic: str) -> None:
    """Delays are backed off up to the cap, with the clock put forward."""
    subscribe(db, topic, {"max_retries": -1, "delay": "1 h", "backoff": True, "max_delay": "5 h"})
    kafka.produce(topic, [item(1, 1, fail=9)])
    seen = []
    for attempt in range(1, 6):
        wait_value(db, "SELECT max(attempt) FROM djkafka_parked", attempt)
        seen.append(db.value("SELECT round(extract(epoch FROM due_at - clock_timestamp()) / 3600) FROM djkafka_parked"))
        put_forward(db, "5 h")
    assert seen == [1, 2, 4, 5, 5]


def test_factor_and_jitter(db: Database, kafka: Client, topic: str) -> None:
    """Another factor; and with jitter a delay is between half of it and all."""
    subscribe(db, topic, {"max_retries": -1, "delay": 1000, "backoff": 1.5, "jitter": True})
    kafka.produce(topic, [item(n, n, fail=9) for n in range(200)])
    wait_value(db, PARKED, 200)
    due = [float(s) for (s,) in db.query("SELECT extract(epoch FROM due_at - parked_at) FROM djkafka_parked")]
    assert 499 < min(due) < 600
    assert 900 < max(due) < 1001
    put_forward(db, "1000 s")
    wait_value(db, "SELECT min(attempt) FROM djkafka_parked", 2)
    due = [float(s) for (s,) in db.query("SELECT extract(epoch FROM due_at - clock_timestamp()) FROM djkafka_parked")]
    assert 700 < min(due) < 900
    assert 1350 < max(due) < 1501


CODES = ["KFR01", "KFRZZ", "23505", "23503", "40001", "22003", "23502", "23514", "P0001", "42501", "22KF1"]


@pytest.mark.parametrize(
    "named, retried",
    [
        ({}, {"KFR01", "KFRZZ", "23505", "23503"}),
        ({"include": ["23502", "check_violation"]}, {"23502", "23514"}),
        ({"include": ["integrity_constraint_violation", "P0"]}, {"23505", "23503", "23502", "23514", "P0001"}),
        ({"exclude": ["22", "not_null_violation"], "include": None}, {"KFR01", "KFRZZ", "23505", "23503", "23514", "P0001"}),
        ({"include": []}, set()),
        ({"exclude": []}, {"KFR01", "KFRZZ", "23505", "23503", "22003", "23502", "23514", "P0001", "22KF1"}),
    ],
    ids=["default", "include", "classes", "exclude", "nothing", "all"],
)
def test_which_errors(db: Database, kafka: Client, topic: str, named: dict[str, list[str] | None], retried: set[str]) -> None:
    """By code, class and name; without either what another try can help."""
    subscribe(db, topic, {"max_retries": 1, "delay": "1 day", **named}, parent_timeout="0")
    codes = [code for code in CODES if code not in ("40001", "42501")]
    kafka.produce(topic, [item(n, n, fail=1, code=code) for n, code in enumerate(codes)])
    wait_caught_up(db, kafka, topic)
    assert {code for _, _, code in retries(db)} == retried
    assert {letter["sqlstate"] for letter in dead_letters(db, topic).values()} == set(codes) - retried
    assert_audit(db, len(codes))


def test_undecodable(db: Database, kafka: Client, topic: str) -> None:
    """What is no JSON is not tried again unless that is asked for."""
    subscribe(db, topic, {"max_retries": 1, "delay": 0.1})
    kafka.produce(topic, [Record("{", "1"), item(2, 2)])
    wait_caught_up(db, kafka, topic)
    assert [letter["sqlstate"] for letter in dead_letters(db, topic).values()] == ["22KF0"]
    db.query("SELECT djkafka_alter_route('default', %s, retry => %s)", topic, '{"exclude": [], "max_retries": 2, "delay": 0.1}')
    kafka.produce(topic, [Record("{", "1"), item(3, 3)])
    wait_count(db, "djkafka_dead_letter", 2)
    wait_value(db, PARKED, 0)
    assert db.value("SELECT detail FROM djkafka_dead_letter ORDER BY id DESC LIMIT 1").endswith(
        "It was tried again 2 times, as often as max_retries of its retry policy allows."
    )
    # Nor is it, where a filter that does not ask for the value has taken it, something else.
    db.query("SELECT djkafka_alter_route('default', %s, filter => 'topic IS NOT NULL')", topic)
    kafka.produce(topic, [Record("{", "1")])
    wait_count(db, "djkafka_dead_letter", 3)
    assert db.value("SELECT detail FROM djkafka_dead_letter ORDER BY id DESC LIMIT 1").endswith("as often as max_retries of its retry policy allows.")
    assert_audit(db, 5)


def test_layers(own_cluster: Own, kafka: Client, unique: Callable[[str], str], topic: str) -> None:
    """The setting, the consumer and the route overlay each other key by key."""
    cluster = own_cluster(
        djkafka__bootstrap_servers=kafka.address, djkafka__retry='{"max_retries": 1, "delay": "1 h", "include": ["22"]}'
    )
    db = Database(cluster, unique("db"))
    db.query("CREATE EXTENSION djkafka")
    db.query("SELECT djkafka_create_consumer('default', retry => %s)", '{"delay": "2 h", "backoff": 3}')
    subscribe(db, topic, {"max_retries": 2, "exclude": ["22"]})
    kafka.produce(topic, [item(1, 1, fail=9), item(2, 2, fail=9, code="22003")])
    wait_caught_up(db, kafka, topic)
    assert [code for _, _, code in retries(db)] == ["KFR01"]
    assert db.value("SELECT round(extract(epoch FROM due_at - clock_timestamp()) / 3600) FROM djkafka_parked") == 2
    put_forward(db, "2 h")
    wait_value(db, "SELECT max(attempt) FROM djkafka_parked", 2)
    assert db.value("SELECT round(extract(epoch FROM due_at - clock_timestamp()) / 3600) FROM djkafka_parked") == 2
    # What is said nowhere else is the setting's; a null takes it back.
    db.query("SELECT djkafka_alter_route('default', %s, reset => '{retry}')", topic)
    db.query("SELECT djkafka_alter_consumer('default', retry => %s)", '{"include": null, "max_retries": 5}')
    put_forward(db, "2 h")
    wait_value(db, "SELECT max(attempt) FROM djkafka_parked", 3)
    assert db.value("SELECT round(extract(epoch FROM due_at - clock_timestamp()) / 3600) FROM djkafka_parked") == 1
    assert_audit(db, 2)


def test_log_every(db: Database, kafka: Client, topic: str) -> None:
    """Of the attempts each second one is logged; by default none."""
    subscribe(db, topic, {"max_retries": 4, "delay": 0.05, "log_every": 2})
    size = db.cluster.log_size()
    kafka.produce(topic, [item(1, 1, fail=4)])
    wait_count(db, "item", 1)
    lines = [line for line in db.cluster.log(size).splitlines() if "retry number" in line and topic in line]
    assert len(lines) == 2
    assert "as retry number 2:" in lines[0] and "as retry number 4:" in lines[1]


def test_parent_first(db: Database, kafka: Client, topic: str, unique: Callable[[str], str]) -> None:
    """A missing parent is waited for as long as parent_timeout says, then it is tried again as others are."""
    subscribe(db, topic, {"max_retries": 1, "delay": "1 h"}, parent_timeout="2 s")
    db.query("CREATE TABLE parent (id bigint PRIMARY KEY)")
    db.query("ALTER TABLE item ADD FOREIGN KEY (n) REFERENCES parent")
    kafka.produce(topic, [item(1, 1), item(2, 2), item(2, 3)])
    wait_value(db, PARKED, 3)
    assert retries(db) == []
    db.query("INSERT INTO parent VALUES (1)")
    wait_count(db, "item", 1)
    wait_value(db, "SELECT count(*) FROM djkafka_retry", 1)
    assert [(attempt, code) for _, attempt, code in retries(db)] == [(1, "23503")]
    db.query("INSERT INTO parent VALUES (2), (3)")
    stays_true(lambda: db.value("SELECT count(*) FROM item") == 1, 1.5, "it is not tried before it is due")
    put_forward(db, "1 h")
    wait_value(db, "SELECT n FROM item WHERE id = 2", 3)
    wait_value(db, PARKED, 0)
    assert_audit(db, 3)


def test_behind_another_key(db: Database, kafka: Client, topic: str) -> None:
    """What waited since the keys of the table had changed goes on once it is known which key is tried again, and fails again."""
    db.query("CREATE TABLE item (id int PRIMARY KEY, fail boolean)")
    db.query("CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not yet' USING ERRCODE = 'KFR01'; END $$")
    db.query("CREATE TRIGGER fails BEFORE INSERT ON item FOR EACH ROW WHEN (NEW.fail) EXECUTE FUNCTION fails()")
    db.query("SELECT djkafka_subscribe(%s, 'item', retry => %s)", topic, to_json(max_retries=-1, delay=3))
    kafka.produce(topic, [Record(to_json(id=1, fail=True), "1", partition=0)])
    wait_value(db, PARKED, 1)
    db.query("ALTER TABLE item ALTER id TYPE bigint")
    kafka.produce(topic, [Record(to_json(id=2), "2", partition=0)])
    wait_value(db, PARKED, 2)
    wait_count(db, "item", 1)
    wait_value(db, PARKED, 1)
    assert_audit(db, 2)


def test_ordering_none(db: Database, kafka: Client, topic: str) -> None:
    """Where order does not matter what waits holds up no other."""
    subscribe(db, topic, {"max_retries": 1, "delay": "1 h"}, ordering="none")
    kafka.produce(topic, [item(1, 1, fail=1), item(1, 2), item(2, 3)])
    wait_count(db, "item", 2)
    wait_value(db, PARKED, 1)
    assert db.query("SELECT key_hash FROM djkafka_parked") == [(None,)]
    kafka.produce(topic, [item(1, 4)])
    wait_value(db, "SELECT n FROM item WHERE id = 1", 4)
    put_forward(db, "1 h")
    wait_value(db, PARKED, 0)
    assert db.value("SELECT n FROM item WHERE id = 1") == 1
    assert_audit(db, 4)


def test_no_room(own_cluster: Own, kafka: Client, unique: Callable[[str], str], topic: str) -> None:
    """No more than djkafka.max_parked wait to be tried again."""
    cluster = own_cluster(djkafka__bootstrap_servers=kafka.address, djkafka__max_parked=5)
    db = Database(cluster, unique("db"))
    db.query("CREATE EXTENSION djkafka")
    subscribe(db, topic, {"max_retries": 1, "delay": "1 h"})
    kafka.produce(topic, [item(n, n, fail=1) for n in range(20)])
    wait_caught_up(db, kafka, topic)
    assert db.value("SELECT count(*) FROM djkafka_retry") == 5
    assert db.value("SELECT count(*) FROM djkafka_dead_letter WHERE hint LIKE '%djkafka.max_parked%'") == 15
    assert_audit(db, 20)


def test_idle(db: Database, kafka: Client, topic: str) -> None:
    """While nothing is due nothing is looked for."""
    subscribe(db, topic, {"max_retries": 1, "delay": "1 h"})
    kafka.produce(topic, [item(n % 100, n, fail=int(n < 100)) for n in range(3000)])
    wait_caught_up(db, kafka, topic)
    assert db.value(PARKED) == 3000
    pid = next(iter(workers(db).values()))
    time.sleep(3)
    before = cpu_seconds(pid)
    time.sleep(4)
    assert cpu_seconds(pid) - before < 0.1
    put_forward(db, "1 h")
    wait_value(db, PARKED, 0, timeout=60)
    assert db.value("SELECT count(*) FROM item WHERE n >= 2900") == 100
    assert_audit(db, 3000)


def test_run(db: Database, kafka: Client, topic: str) -> None:
    """djkafka_run keeps what is tried again, and tries what is due; what it is given does not wait."""
    subscribe(db, topic, {"max_retries": 1, "delay": 1}, enabled="false")
    kafka.produce(topic, [item(1, 1, fail=1, partition=0), item(1, 2, partition=0), item(2, 3, partition=0)])
    run = "SELECT applied, dead, parked FROM djkafka_run('default', until => 'eof')"
    assert db.query(run) == [(1, 0, 2)]
    assert [attempt for _, attempt, _ in retries(db)] == [1]
    wait_until(lambda: db.value("SELECT due_at < clock_timestamp() FROM djkafka_retry"), 10, lambda: "it is due")
    assert db.query(run) == [(2, 0, 0)]
    assert db.value("SELECT n FROM item WHERE id = 1") == 2
    given = [{"topic": topic, "value": {"id": 9, "n": 9, "fail": 1}}]
    assert db.query("SELECT applied, dead, parked FROM djkafka_run('default', messages => %s)", json.dumps(given)) == [(0, 1, 0)]
    assert_audit(db, 3)


def test_seek_and_drop(db: Database, kafka: Client, topic: str) -> None:
    """A seek makes dead letters of what waits to be tried again, as of all that waits."""
    subscribe(db, topic, {"max_retries": 1, "delay": "1 h"})
    kafka.produce(topic, [item(1, 1, fail=1), item(2, 2)])
    wait_value(db, PARKED, 1)
    db.query("SELECT djkafka_pause('default')")
    db.query("SELECT djkafka_seek('default', %s, 'latest')", topic)
    assert db.query("SELECT sqlstate, message FROM djkafka_dead_letter") == [("KFR01", "not yet: 1")]
    assert db.value("SELECT count(*) FROM djkafka_parked") == 0


CRASHING = [
    "CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    " IF NEW.n = 13 THEN PERFORM crash(); END IF; RETURN NEW; END $$",
    "CREATE TRIGGER zz_look BEFORE INSERT ON item FOR EACH ROW EXECUTE FUNCTION look()",
]


def test_patience_between_holds(db: Database, kafka: Client, topic: str) -> None:
    """What passes before a partition is held counts: disturbances that have passed do not add up."""
    for n in range(0, 12, 2):
        db.query(f"CREATE SEQUENCE tries_of_{n}")
    db.query("CREATE TABLE patience (attempt int)")
    db.query(
        "CREATE FUNCTION disturb() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.code = '40001' THEN"
        "  IF nextval('tries_of_' || NEW.n) = 1 THEN RAISE 'disturbed' USING ERRCODE = '40001'; END IF;"
        "  INSERT INTO patience SELECT max(attempt) FROM djkafka_worker_status() WHERE kind = 'consumer';"
        " END IF; RETURN NEW; END $$"
    )
    policy = {"max_retries": 1, "delay": 0.1, "blocking": True}
    subscribe(db, topic, policy, enabled="false")
    db.query("CREATE TRIGGER disturb BEFORE INSERT ON item FOR EACH ROW EXECUTE FUNCTION disturb()")
    db.query("SELECT djkafka_alter_consumer('default', batch_messages => 3)")
    db.query("SELECT djkafka_resume('default')")
    records = []
    for n in range(0, 12, 2):
        records += [item(n, n, code="40001", partition=0), item(n + 1, n + 1, fail=1, partition=0)]
    kafka.produce(topic, records)
    wait_count(db, "item", 12)
    assert db.value("SELECT max(attempt) FROM patience") == 1


@pytest.mark.parametrize("blocking", [False, True], ids=["parked", "blocking"])
def test_crash(own_cluster: Own, kafka: Client, unique: Callable[[str], str], topic: str, blocking: bool) -> None:
    """One that takes the server down when it is tried again is known, whatever else is tried in between."""
    cluster = own_cluster(bindir=TEST_BINDIR, djkafka__bootstrap_servers=kafka.address)
    db = Database(cluster, unique("db"))
    db.query("CREATE EXTENSION djkafka")
    db.query("CREATE FUNCTION crash() RETURNS void LANGUAGE c AS 'djkafka', 'djkafka_test_crash'", user="postgres")
    policy = {"max_retries": -1, "delay": 0.5, "exclude": [], "blocking": blocking}
    subscribe(db, topic, policy)
    for statement in CRASHING:
        db.query(statement)
    # Those around it fail more often than it does, and go on waiting while it crashes.
    others = 0 if blocking else 20
    kafka.produce(topic, [item(n, n, fail=1 if n == 13 else others, partition=0) for n in range(20)])
    wait_until(lambda: answers(db) and in_peace(db, "SELECT count(*) FROM djkafka_dead_letter") == 1, 120, lambda: explain(db))
    wait_until(lambda: in_peace(db, PARKED) == 0, 60, lambda: explain(db))
    assert db.query('SELECT "offset", sqlstate FROM djkafka_dead_letter') == [(13, "22KF4")]
    wait_count(db, "item", 19)
    assert db.cluster.log().count("all server processes terminated; reinitializing") == 3
    assert_audit(db, 20)


def in_peace(db: Database, query: str) -> Any:
    try:
        return db.value(query)
    except psycopg.Error:
        db.disconnect()
        return None


# ---------- blocking ----------

SHOWN = "SELECT partition, state, next_offset, retrying FROM djkafka_partition_status ORDER BY partition"


def test_blocking(db: Database, kafka: Client, topic: str) -> None:
    """The partition waits, offset and all; the other one flows."""
    subscribe(db, topic, {"max_retries": 3, "delay": "4 s", "blocking": True})
    kafka.produce(topic, [item(1, 1, partition=0), item(2, 2, fail=2, partition=0), item(3, 3, partition=0), item(1, 4, partition=0)])
    kafka.produce(topic, [item(n, n, partition=1) for n in range(10, 20)])
    wait_value(db, "SELECT count(*) FROM djkafka_retry WHERE blocking", 1)
    wait_count(db, "item", 11)
    kafka.produce(topic, [item(20, 20, partition=1)])
    wait_count(db, "item", 12)
    assert db.query(SHOWN) == [(0, "retrying", 1, 1), (1, "running", 11, 0)]
    # nobody sees the end of what waits as a whole, whatever comes meanwhile
    assert db.query("SELECT lag FROM djkafka_partition_status WHERE state = 'retrying'") == [(None,)]
    told = db.record("SELECT verdict, reason FROM djkafka_health() WHERE state = 'retrying'")
    assert told["verdict"] == "warning" and told["reason"].endswith("partitions that wait with them: 1"), told
    waits = db.record("SELECT * FROM djkafka_retry")
    assert (waits["topic"], waits["partition"], waits["offset"], waits["attempt"]) == (topic, 0, 1, 1)
    assert (waits["sqlstate"], waits["message"]) == ("KFR01", "not yet: 2")
    shown = wait_state(db, "running")
    assert (shown["state"], shown["retrying"], shown["parked"], shown["retry_due_at"]) == ("running", 1, 0, waits["due_at"])
    assert "offset 1 has failed" in db.value("SELECT reason FROM djkafka_partition_status WHERE partition = 0")
    wait_value(db, "SELECT attempt FROM djkafka_retry", 2)
    wait_value(db, "SELECT n FROM item WHERE id = 1", 4)
    assert [n for (n,) in db.query("SELECT n FROM written WHERE n < 10 ORDER BY at")] == [1, 2, 3, 4]
    assert db.query(SHOWN) == [(0, "running", 4, 0), (1, "running", 11, 0)]
    assert db.query("SELECT * FROM djkafka_retry") == []
    assert db.query("SELECT verdict FROM djkafka_health() WHERE state = 'retrying'") == []
    wait_value(db, "SELECT lag FROM djkafka_partition_status WHERE partition = 0", 0)
    assert status(db)["retries"] == 2
    assert_audit(db, 15)


@pytest.mark.parametrize("delay", [0.2, 0.001], ids=["soon", "at-once"])
def test_blocking_ends(db: Database, kafka: Client, topic: str, delay: float) -> None:
    """After the last retry comes what on_error says, and the partition goes on; each next message counts from one.
    One that is due before its wait is written down is fetched again all the same, and so is what is behind it."""
    subscribe(db, topic, {"max_retries": 2, "delay": delay, "blocking": True})
    kafka.produce(topic, [item(n, n, fail=9 * (n % 2), partition=0) for n in range(6)])
    wait_count(db, "item", 3, timeout=60)
    wait_count(db, "djkafka_dead_letter", 3)
    assert all("It was tried again 2 times" in letter["detail"] for letter in dead_letters(db, topic).values())
    assert db.query("SELECT * FROM djkafka_retry") == []
    assert status(db)["retries"] == 6
    assert_audit(db, 6)


@pytest.mark.parametrize("how", ["kill", "restart", "worker"])
def test_blocking_is_remembered(own_cluster: Own, kafka: Client, unique: Callable[[str], str], topic: str, how: str) -> None:
    """Neither a crash, nor a restart, nor another worker forgets how often a message was tried, or tries it before its time."""
    cluster = own_cluster(djkafka__bootstrap_servers=kafka.address)
    db = Database(cluster, unique("db"))
    db.query("CREATE EXTENSION djkafka")
    subscribe(db, topic, {"max_retries": 2, "delay": "8 s", "blocking": True})
    kafka.produce(topic, [item(1, 1, fail=1, partition=0), item(1, 2, partition=0)])
    wait_value(db, "SELECT attempt FROM djkafka_retry", 1)
    due = db.value("SELECT due_at FROM djkafka_retry")
    if how == "kill":
        kill_worker(db, next(iter(workers(db).values())))
    elif how == "restart":
        cluster.restart()
        db.disconnect()
    else:
        db.query("SELECT djkafka_alter_consumer('default', workers => 2)")
    wait_until(lambda: answers(db), 60, lambda: "the server is back")
    kafka.produce(topic, [item(5, 5, partition=1)])
    wait_count(db, "item WHERE id = 5", 1)
    assert db.query("SELECT attempt, due_at FROM djkafka_retry") == [(1, due)]
    wait_value(db, "SELECT n FROM item WHERE id = 1", 2)
    assert db.value("SELECT min(time) >= %s FROM written WHERE id = 1", due)
    assert db.value("SELECT count(*) FROM djkafka_dead_letter") == 0
    assert_audit(db, 3)


def test_blocking_beside_a_backlog(db: Database, kafka: Client, topic: str) -> None:
    """What waits costs nothing; several partitions may wait while one is read."""
    topic = kafka.create_topic(topic + ".many", 8)
    subscribe(db, topic, {"max_retries": 5, "delay": "1 s", "blocking": True})
    wait_state(db, "running")
    records = []
    for partition in range(8):
        records += [item(partition * 10000 + n, n, fail=2 * (partition < 6 and n == 5), partition=partition) for n in range(5000)]
    random.Random(7).shuffle(records)
    kafka.produce(topic, records)
    wait_count(db, "item", 40000, timeout=90)
    assert db.value("SELECT count(*) FROM djkafka_dead_letter") == 0
    assert_audit(db, 40000)


@pytest.mark.long
def test_blocking_slow(db: Database, kafka: Client, unique: Callable[[str], str]) -> None:
    """Partitions that are held one after the other cost the worker none of them, however long that takes."""
    topic = kafka.create_topic(unique("item"), 5)
    db.query("SELECT djkafka_create_consumer('default', options => %s)", '{"max.poll.interval.ms": "10000", "session.timeout.ms": "10000"}')
    kafka.produce(topic, [item(p, p, fail=1, partition=p) for p in range(5)])
    log = db.cluster.log_size()
    for statement in TABLES:
        db.query(statement)
    db.query(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(2) FROM (SELECT coalesce("
        " (SELECT retry_offset FROM djkafka_offset WHERE partition = NEW.at_partition), -1) AS o) o WHERE o < 0; RETURN NEW; END $$"
    )
    db.query("CREATE TRIGGER a_slow BEFORE INSERT ON item FOR EACH ROW EXECUTE FUNCTION slow()")
    policy = {"max_retries": 1, "delay": "1 s", "blocking": True}
    db.query("SELECT djkafka_subscribe(%s, 'item', columns => %s, retry => %s)", topic, COLUMNS, json.dumps(policy))
    wait_count(db, "item", 5, timeout=90)
    assert db.cluster.log(log).count("was assigned") == 1
    assert_audit(db, 5)


def test_blocking_idle(db: Database, kafka: Client, topic: str) -> None:
    """A partition that waits is not fetched."""
    subscribe(db, topic, {"max_retries": 5, "delay": "1 h", "blocking": True})
    wait_state(db, "running")
    kafka.produce(topic, [item(n, n, fail=int(n == 0), partition=0) for n in range(50000)])
    wait_value(db, "SELECT count(*) FROM djkafka_retry", 1)
    time.sleep(2)
    pid = next(iter(workers(db).values()))
    before = cpu_seconds(pid)
    kafka.produce(topic, [item(n, n, partition=0) for n in range(1, 50000)])
    time.sleep(3)
    assert cpu_seconds(pid) - before < 0.3
    db.query("SELECT djkafka_pause('default')")
    wait_state(db, "paused")
    told = "SELECT verdict, reason FROM djkafka_health() WHERE state = 'retrying'"
    assert db.query(told) == [("ok", "messages that failed wait to be tried again: 1, when the consumer runs")]
    db.query("SELECT djkafka_resume('default')")
    db.query("SELECT djkafka_seek('default', %s, '1', 0)", topic)
    wait_count(db, "item", 49999, timeout=60)
    assert db.query("SELECT * FROM djkafka_retry") == []


def test_blocking_through_a_rebalance(db: Database, kafka: Client, unique: Callable[[str], str]) -> None:
    """When the group shares out its partitions again what waits goes on waiting, and is read again when its time has come."""
    prefix = unique("many")
    topic = kafka.create_topic(prefix + ".a", 2)
    db.query("SELECT djkafka_create_consumer('default', options => %s)", '{"topic.metadata.refresh.interval.ms": "1000"}')
    subscribe(db, f"^{prefix}", {"max_retries": 3, "delay": "15 s", "blocking": True})
    wait_state(db, "running")
    kafka.produce(topic, [item(1, 1, fail=1, partition=0), item(1, 2, partition=0)])
    wait_value(db, "SELECT count(*) FROM djkafka_retry", 1)
    due = db.value("SELECT due_at FROM djkafka_retry")
    other = kafka.create_topic(prefix + ".b")
    kafka.produce(other, [item(5, 5)])
    wait_count(db, "item WHERE id = 5", 1)
    assert db.value("SELECT clock_timestamp() < %s", due)
    wait_value(db, "SELECT n FROM item WHERE id = 1", 2)
    assert db.value("SELECT min(time) >= %s FROM written WHERE id = 1", due)
    assert_audit(db, 3)


def test_blocking_run(db: Database, kafka: Client, topic: str) -> None:
    """djkafka_run does not wait: the message is its error."""
    subscribe(db, topic, {"max_retries": 5, "delay": "1 s", "blocking": True}, enabled="false")
    kafka.produce(topic, [item(1, 1, fail=1)])
    with pytest.raises(psycopg.Error, match="not yet: 1") as raised:
        db.query("SELECT djkafka_run('default', until => 'eof')")
    assert raised.value.sqlstate == "KFR01"
    assert "djkafka_run does not" in raised.value.diag.message_hint
    assert db.query("SELECT * FROM djkafka_retry") == []


# ---------- at random ----------


def make_records(rnd: random.Random, count: int, keys: int, partitions: int, share: float) -> list[Record]:
    made = []
    for n in range(count):
        id = rnd.randrange(keys)
        fail = rnd.randint(1, 3) if rnd.random() < share else 0
        made.append(item(id, n, fail=fail, partition=id % partitions))
    return made


def last_values(records: list[Record]) -> dict[int, int]:
    values = [json.loads(record.value) for record in records]
    return {value["id"]: value["n"] for value in values}


def assert_in_order(db: Database, records: list[Record]) -> None:
    assert dict(db.query("SELECT id, n FROM item")) == last_values(records)
    wrong = "SELECT count(*) FROM (SELECT n, lag(n) OVER (PARTITION BY id ORDER BY at) AS before FROM written) w WHERE n <= before"
    assert db.value(wrong) == 0
    assert db.value("SELECT count(*) FROM written") == len(records)
    assert db.value("SELECT count(*) FROM djkafka_dead_letter") == 0
    assert_audit(db, len(records))


def run_at_random(
    db: Database, kafka: Client, topic: str, count: int, keys: int, kills: int, timeout: float, blocking: bool = False
) -> None:
    """With workers killed at random the table is what it is when nothing fails."""
    seed = int(os.environ.get("DJK_SEED", random.randrange(1 << 30)))
    rnd = random.Random(seed)
    print(f"DJK_SEED={seed}")
    records = make_records(rnd, count, keys, 2, 0.01)
    db.query("SELECT djkafka_create_consumer('default', workers => 2, batch_messages => 500, synchronous_commit => true)")
    delay = rnd.choice([0.001, 0.02, 0.2])
    subscribe(db, topic, {"max_retries": 3, "delay": delay, "backoff": True, "jitter": True, "blocking": blocking})
    started = time.monotonic()
    sent = 0
    for kill in range(kills + 1):
        part = records[sent : len(records) * (kill + 1) // (kills + 1)]
        kafka.produce(topic, part)
        sent += len(part)
        if kill == kills:
            break
        time.sleep(rnd.uniform(0.2, 2.0))
        pids = list(workers(db).values())
        if pids:
            kill_worker(db, rnd.choice(pids))
    wait_caught_up(db, kafka, topic, timeout=timeout)
    wait_value(db, PARKED, 0, timeout=timeout)
    print(f"{count} messages over {keys} keys, {kills} kills: {time.monotonic() - started:.1f} s")
    assert_in_order(db, records)


@pytest.mark.parametrize("blocking", [False, True], ids=["parked", "blocking"])
def test_random(own_cluster: Own, kafka: Client, unique: Callable[[str], str], topic: str, blocking: bool) -> None:
    db = Database(own_cluster(djkafka__bootstrap_servers=kafka.address), unique("db"))
    db.query("CREATE EXTENSION djkafka")
    run_at_random(db, kafka, topic, 3_000 if blocking else 10_000, 100, 5, 120, blocking)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_random_volume(own_cluster: Own, kafka: Client, unique: Callable[[str], str], topic: str) -> None:
    db = Database(own_cluster(djkafka__bootstrap_servers=kafka.address), unique("db"))
    db.query("CREATE EXTENSION djkafka")
    run_at_random(db, kafka, topic, 100_000, 1_000, 20, 900)

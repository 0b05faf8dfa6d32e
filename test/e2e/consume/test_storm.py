"""A partition of which too many messages fail stops, before its dead letters fill the disk."""

import signal
from collections.abc import Callable
from typing import Any

import pytest
from lib.djkafka import assert_audit, positions, status, to_json, wait_caught_up, wait_state, wait_value, workers
from lib.kafka import Client, Record
from lib.postgres import Database
from lib.process import kill_and_wait, private_memory
from lib.wait import wait_until

TABLE = "CREATE TABLE t (id bigint PRIMARY KEY, n int CHECK (n >= 0), at int, name text)"


def subscribe(db: Database, topic: str, **options: Any) -> None:
    db.query(TABLE)
    given = "".join(f", {name} => {value!r}" for name, value in options.items())
    db.query(f"SELECT djkafka_create_consumer('default'{given})")
    db.query("SELECT djkafka_subscribe(%s, 't')", topic)


def bad(number: int, partition: int = -1) -> Record:
    return Record(to_json(id=number, n=-1), str(number), partition=partition)


def good(number: int, partition: int = -1) -> Record:
    return Record(to_json(id=number, n=1), str(number), partition=partition)


def stops_behind(fails: list[bool], share: float, window: int) -> int:
    """How many messages are taken of a partition."""
    recent = failed = 0
    for number, is_bad in enumerate(fails):
        if recent >= window:
            recent, failed = recent // 2, failed // 2
        recent, failed = recent + 1, failed + is_bad
        if is_bad and failed > share * max(recent, window // 2):
            return number + 1
    return len(fails)


def test_one_of_two_partitions(db: Database, kafka: Client, unique: Callable[[str], str]) -> None:
    """It stops at the message that is too much, whatever is behind; the other one goes on, and it goes on by the hint."""
    topic = kafka.create_topic(unique("storm"), 2)
    kafka.produce(topic, [bad(n, 0) for n in range(500)] + [good(n, 0) for n in range(500)])
    kafka.produce(topic, [good(n, 1) for n in range(1000, 2000)])
    subscribe(db, topic, workers=2, storm_share=0.5, storm_window=200)
    stopped = wait_state(db, "storm")
    # more than a half of half a window
    wait_value(db, "SELECT next_offset FROM djkafka_offset WHERE partition = 0", 51)
    wait_value(db, "SELECT next_offset FROM djkafka_offset WHERE partition = 1", 1000)
    assert f'topic "{topic}", partition 0, has stopped behind offset 50: 51 of 51' in stopped["reason"]
    assert "23514" in stopped["reason"]
    told = db.query("SELECT verdict, state FROM djkafka_health() WHERE consumer = 'default' ORDER BY state")
    assert told == [("warning", "dead_letters"), ("critical", "storm")]
    assert db.query("SELECT state FROM djkafka_partition_status ORDER BY partition") == [("storm",), ("running",)]

    # it stays so for whoever reads it next, and what comes of the other is applied
    for pid in workers(db).values():
        kill_and_wait(pid, signal.SIGTERM)
    kafka.produce(topic, [good(3000, 1)])
    wait_value(db, "SELECT count(*) FROM t WHERE id = 3000", 1)
    wait_state(db, "storm")
    assert positions(db, topic)[0] == 51
    assert db.value("SELECT count(*) FROM djkafka_dead_letter") == 51
    assert_audit(db, 51 + 1001)

    # the cause is fixed; what was dead comes back
    db.query("ALTER TABLE t DROP CONSTRAINT t_n_check")
    db.query(stopped["hint"].split(": ")[1])
    wait_caught_up(db, kafka, topic)
    wait_state(db, "running")
    replayed = db.query("SELECT result, count(*) FROM djkafka_replay(consumer => 'default') GROUP BY 1")
    assert sum(count for _, count in replayed) == 51
    assert_audit(db, 2001)
    assert db.query("SELECT count(*) FROM djkafka_event WHERE kind = 'storm'") == [(2,)]


@pytest.mark.parametrize("batch_messages", [1, 7, 5000])
def test_place_of_batches(db: Database, kafka: Client, topic: str, batch_messages: int) -> None:
    """Whether messages come one by one or together: behind the same one; djkafka_run goes on, for its caller sees what fails."""
    fails = [n >= 60 and n % 10 != 0 for n in range(300)]
    taken = stops_behind(fails, 0.8, 50)
    assert taken < 200
    kafka.produce(topic, [bad(n) if is_bad else good(n) for n, is_bad in enumerate(fails)])
    subscribe(db, topic, batch_messages=batch_messages, storm_share=0.8, storm_window=50)
    wait_state(db, "storm")
    dead = sum(fails[:taken])
    assert db.query("SELECT next_offset, applied, dead FROM djkafka_offset") == [(taken, taken - dead, dead)]
    db.query("SELECT djkafka_pause('default')")
    wait_until(lambda: not workers(db), message="the worker has left")
    left = sum(fails[taken:])
    assert db.query("SELECT applied, dead FROM djkafka_run('default', until => 'eof')") == [(300 - taken - left, left)]
    assert_audit(db, 300)


def check_all_poison(db: Database, kafka: Client, topic: str, count: int, record_property) -> None:
    """Nothing but poison: the guard of the defaults stops it, the table and memory are bounded."""
    kafka.produce(topic, [bad(number) for number in range(count)])
    subscribe(db, topic)
    wait_state(db, "storm", timeout=120)
    # more than 90 % of half of 10,000
    assert positions(db, topic)[0] == 4501
    assert db.value("SELECT count(*) FROM djkafka_dead_letter") == 4501
    (pid,) = workers(db).values()
    memory = private_memory(pid) / 2**20
    print(f"nothing but poison: {memory:.0f} MB")
    record_property("poison_memory_mb", memory)
    assert memory < 150
    assert_audit(db, 4501)


@pytest.mark.long
def test_all_poison_of_many(db: Database, kafka: Client, topic: str, record_property) -> None:
    check_all_poison(db, kafka, topic, 100_000, record_property)


def test_all_poison(db: Database, kafka: Client, topic: str, record_property) -> None:
    check_all_poison(db, kafka, topic, 8000, record_property)
    assert status(db)["dead"] == 4501

"""A topic that is deleted and made again is another one, however many messages it has."""

import re
import time
from collections.abc import Callable

import pytest
from confluent_kafka import TopicPartition
from lib.djkafka import wait_count, wait_state, wait_value
from lib.kafka import Client, Record
from lib.postgres import Database
from lib.wait import wait_until

OLD = ["a", "b", "c"]


def records(names: list[str]) -> list[Record]:
    return [Record(f'{{"name": "{name}"}}') for name in names]


def names(db: Database) -> list[str]:
    return [name for (name,) in db.query("SELECT name FROM log ORDER BY id")]


def wait_names(db: Database, wanted: list[str]) -> None:
    wait_until(lambda: names(db) == wanted, 60, lambda: f"{names(db)} are {wanted}")


def read_old(db: Database, kafka: Client, topic: str, **options: str) -> None:
    db.query("CREATE TABLE log (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text)")
    given = "".join(f", {name} => '{value}'" for name, value in options.items())
    db.query(f"SELECT djkafka_create_consumer('c'{given})")
    db.query("SELECT djkafka_create_route('c', %s, 'log', operation => 'insert')", topic)
    kafka.produce(topic, records(OLD))
    wait_count(db, "log", len(OLD))
    wait_state(db, "running", "c")


def make_again(kafka: Client, topic: str, new: list[str], partitions: int = 1) -> None:
    kafka.delete_topic(topic)

    def created() -> bool:
        try:
            kafka.create_topic(topic, partitions)
        except Exception as error:
            assert "exists" in str(error).lower() or "marked for deletion" in str(error).lower(), error
            return False
        return True

    wait_until(created, 60)
    kafka.produce(topic, [record._replace(partition=p) for p in range(partitions) for record in records(new)])


def paused(db: Database, change: Callable[[], None]) -> None:
    db.query("SELECT djkafka_pause('c')")
    wait_state(db, "paused", "c")
    change()
    db.query("SELECT djkafka_resume('c')")


# What the new topic holds: more than the old one, as much, less, the same, nothing at first.
NEW = {
    "more": ["1", "2", "3", "4", "5"],
    "as_many": ["1", "2", "3"],
    "fewer": ["1", "2"],
    "one": ["1"],
    "the_same": [*OLD, "d"],
}


@pytest.mark.parametrize("when", ["running", "paused"])
@pytest.mark.parametrize("what", NEW)
def test_read_from_its_beginning(db: Database, kafka: Client, topic: str, what: str, when: str) -> None:
    read_old(db, kafka, topic, on_new_topic="earliest")
    if when == "running":
        make_again(kafka, topic, NEW[what])
    else:
        paused(db, lambda: make_again(kafka, topic, NEW[what]))
    wait_names(db, OLD + NEW[what])
    wait_state(db, "running", "c")
    assert db.query("SELECT kind, topic FROM djkafka_event WHERE kind = 'new_topic'") == [("new_topic", topic)]
    assert db.query("SELECT holds, accounted FROM djkafka_audit()") == [(True, len(NEW[what]))]


@pytest.mark.parametrize("on_new_topic", ["earliest", "needs_decision"])
def test_end_of_the_old_one(db: Database, kafka: Client, topic: str, on_new_topic: str) -> None:
    """What is still to be read is counted up to the end of the topic that is there."""
    read_old(db, kafka, topic, on_new_topic=on_new_topic)
    kafka.produce(topic, records(["more"] * 100))
    wait_count(db, "log", 103)
    make_again(kafka, topic, ["1"])
    if on_new_topic == "needs_decision":
        wait_state(db, "needs_decision", "c")
        db.query("SELECT djkafka_seek('c', %s, 'earliest')", topic)
    wait_count(db, "log", 104)
    wait_state(db, "running", "c")
    ends = "SELECT next_offset, high_watermark, lag FROM djkafka_partition_status"
    wait_until(lambda: db.query(ends) == [(1, 1, 0)], 10, lambda: f"{db.query(ends)} is the end of the new topic")


@pytest.mark.parametrize("when", ["running", "paused"])
@pytest.mark.parametrize("what", ["more", "as_many", "fewer"])
def test_a_person_decides(db: Database, kafka: Client, topic: str, what: str, when: str) -> None:
    read_old(db, kafka, topic)
    if when == "running":
        make_again(kafka, topic, NEW[what])
    else:
        paused(db, lambda: make_again(kafka, topic, NEW[what]))
    found = wait_state(db, "needs_decision", "c")
    assert found["reason"].startswith(f'topic "{topic}", partition 0: ') and "made again" in found["reason"], found
    assert names(db) == OLD
    command = re.search(r"SELECT djkafka_seek\(.*?\)", found["hint"])
    assert command, found
    db.query(command[0])  # as it stands
    wait_names(db, OLD + NEW[what])


def test_no_false_alarm(db: Database, kafka: Client, topic: str) -> None:
    """Where the last message is too old, what comes next is read; in place of nothing nothing is missed."""
    read_old(db, kafka, topic)

    def forget_all() -> None:
        kafka.admin.delete_records([TopicPartition(topic, 0, len(OLD))])[TopicPartition(topic, 0)].result(20)

    paused(db, forget_all)
    wait_state(db, "running", "c")
    kafka.produce(topic, records(["d"]))
    wait_names(db, [*OLD, "d"])
    for _ in range(3):
        db.query("SELECT djkafka_restart('c')")
        wait_state(db, "running", "c")
    kafka.produce(topic, records(["e"]))
    wait_names(db, [*OLD, "d", "e"])


def test_told_by_its_id(db: Database, kafka: Client, topic: str) -> None:
    """Where nothing is left in the anchor's place only the id of the topic tells; older libraries do not know it."""
    read_old(db, kafka, topic, on_new_topic="earliest")
    if db.value("SELECT topic_uuid FROM djkafka_offset") is None:
        pytest.skip("this librdkafka does not know the ids of topics")

    def make_again_without_beginning() -> None:
        make_again(kafka, topic, ["1", "2", "3", "4", "5"])
        kafka.admin.delete_records([TopicPartition(topic, 0, len(OLD))])[TopicPartition(topic, 0)].result(20)

    paused(db, make_again_without_beginning)
    wait_names(db, [*OLD, "4", "5"])
    assert db.query("SELECT reason LIKE '%%its id is%%' FROM djkafka_event WHERE kind = 'new_topic'") == [(True,)]
    assert db.query("SELECT first_offset, holds FROM djkafka_audit()") == [(3, True)]


def test_run(db: Database, kafka: Client, topic: str) -> None:
    db.query("CREATE TABLE log (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text)")
    db.query("SELECT djkafka_create_consumer('c', enabled => false)")
    db.query("SELECT djkafka_create_route('c', %s, 'log', operation => 'insert')", topic)
    kafka.produce(topic, records(OLD))

    def run() -> int:
        return db.value("SELECT applied FROM djkafka_run('c', until => 'eof')")

    assert run() == 3
    started = time.monotonic()
    assert run() == 0
    assert time.monotonic() - started < 5
    make_again(kafka, topic, NEW["as_many"])
    assert run() == 0
    wait_value(db, "SELECT state FROM djkafka_offset", "needs_decision")
    db.query("UPDATE djkafka_consumer SET on_new_topic = 'earliest'")
    db.query("SELECT djkafka_seek('c', %s, 'earliest')", topic)
    assert run() == 3
    make_again(kafka, topic, NEW["fewer"])
    assert run() == 0
    assert run() == 2
    assert names(db) == OLD + NEW["as_many"] + NEW["fewer"]


def test_many_partitions_begin_together(db: Database, kafka: Client, unique: Callable[[str], str]) -> None:
    """Each that is found is another reason to fetch again, which all others begin again for; not so often."""
    partitions = 60
    topic = kafka.create_topic(unique("wide"), partitions)
    db.query("CREATE TABLE log (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text)")
    kafka.produce(topic, [Record('{"name": "old"}', partition=p) for p in range(partitions) for _ in OLD])
    db.query("SELECT djkafka_create_consumer('c', on_new_topic => 'earliest')")
    db.query("SELECT djkafka_create_route('c', %s, 'log', operation => 'insert')", topic)
    wait_count(db, "log", partitions * len(OLD))
    paused(db, lambda: make_again(kafka, topic, NEW["more"], partitions))
    started = time.monotonic()
    wait_count(db, "log", partitions * len(OLD + NEW["more"]))
    assert time.monotonic() - started < 10
    assert db.value("SELECT count(*) FROM djkafka_event WHERE kind = 'new_topic'") == partitions

"""A busy topic does not starve a quiet one."""

import time

import pytest
from lib.djkafka import status, to_json, wait_caught_up, wait_value
from lib.kafka import Client, Record, send
from lib.postgres import Database
from lib.wait import wait_until

BACKLOG = 1_000_000
PROBES = 5
LIMIT = 1.0


@pytest.mark.parametrize("partitions", [1, pytest.param(16, marks=[pytest.mark.long, pytest.mark.alone])])
def test_quiet_topic_beside_backlog(db: Database, kafka: Client, unique, record_property, partitions: int) -> None:
    busy, quiet = kafka.create_topic(unique("busy"), partitions), kafka.create_topic(unique("quiet"))
    db.query("CREATE TABLE busy (id bigint, customer text, status text, amount numeric(12, 2))")
    db.query("CREATE TABLE quiet (id bigint PRIMARY KEY)")
    db.query("SELECT djkafka_create_consumer('default', enabled => false)")
    db.query("SELECT djkafka_subscribe(%s, 'busy', operation => 'insert')", busy)
    db.query("SELECT djkafka_subscribe(%s, 'quiet', operation => 'insert')", quiet)
    value = '{"id": %d, "customer": "customer-1", "status": "new", "amount": "867.97"}'
    kafka.produce(busy, (Record(value % number) for number in range(BACKLOG)))
    producer = kafka.producer(linger_ms=0)
    send(producer, quiet, [Record(to_json(id=-1))])  # connects, so that the probes need not

    db.query("SELECT djkafka_resume('default')")
    applied = "SELECT sum(applied)::bigint FROM djkafka_offset WHERE topic = %s"
    wait_until(lambda: (db.value(applied, busy) or 0) > 0, message="the backlog is worked on", interval=0.005)
    seconds = []
    for number in range(PROBES):
        start = time.monotonic()
        send(producer, quiet, [Record(to_json(id=number))])
        wait_until(
            lambda: db.value("SELECT count(*) FROM quiet WHERE id = %s", number) == 1,
            message=lambda: f"message {number} of the quiet topic is visible: {status(db)}",
            interval=0.005,
        )
        seconds.append(time.monotonic() - start)
        done = db.value(applied, busy)
        if done == BACKLOG:
            break
    print(f"quiet topic beside a backlog: {[round(each, 3) for each in seconds]} s, {done} of the backlog done")
    record_property("quiet_seconds", max(seconds))
    assert done < BACKLOG or len(seconds) > 1, "the backlog was gone before the first probe: nothing was measured"
    assert max(seconds) < LIMIT
    wait_caught_up(db, kafka, busy, timeout=180)
    wait_value(db, "SELECT count(*) FROM busy", BACKLOG)

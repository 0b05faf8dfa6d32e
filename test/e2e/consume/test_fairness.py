"""A busy topic does not starve a quiet one."""

import time
from collections.abc import Callable

import pytest
from confluent_kafka import Producer
from lib.djkafka import explain, positions, status, to_json, wait_caught_up, wait_state, wait_value, workers
from lib.kafka import Client, Record, send
from lib.outbox import make_server
from lib.postgres import Database
from lib.wait import wait_until
from lib.wire import Wire

BACKLOG = 1_000_000
PROBES = 5
LIMIT = 1.0
LONG = [pytest.mark.long, pytest.mark.alone]

# What an ordinary producer makes of it: linger.ms and batch.size of the Java client, no compression.
ORDINARY = {"compression_type": "none", "batch_size": 16384}

VALUE = '{"id": %d, "customer": "customer-1", "status": "new", "amount": "867.97"}'


def prepare(
    db: Database, kafka: Client, unique: Callable[[str], str], partitions: int, wire: Wire | None = None
) -> tuple[str, str]:
    busy, quiet = kafka.create_topic(unique("busy"), partitions), kafka.create_topic(unique("quiet"))
    db.query("CREATE TABLE busy (id bigint, customer text, status text, amount numeric(12, 2))")
    db.query("CREATE TABLE quiet (id bigint PRIMARY KEY)")
    server = make_server(db, wire.address, "at_least_once") if wire else None
    db.query("SELECT djkafka_create_consumer('default', server => %s, enabled => false)", server)
    db.query("SELECT djkafka_subscribe(%s, 'busy', operation => 'insert')", busy)
    db.query("SELECT djkafka_subscribe(%s, 'quiet', operation => 'insert')", quiet)
    return busy, quiet


def work_on(db: Database, busy: str) -> None:
    db.query("SELECT djkafka_resume('default')")
    wait_until(lambda: applied(db, busy) > 0, message="the backlog is worked on", interval=0.005)


def applied(db: Database, topic: str) -> int:
    return db.value("SELECT coalesce(sum(applied), 0)::bigint FROM djkafka_offset WHERE topic = %s", topic)


def connect(kafka: Client, quiet: str) -> Producer:
    """A producer that has found its way to the quiet topic already."""
    producer = kafka.producer(linger_ms=0)
    send(producer, quiet, [Record(to_json(id=-1))])
    return producer


def probe(db: Database, producer: Producer, busy: str, quiet: str, backlog: int = BACKLOG) -> float:
    """The most seconds until one of some messages of the quiet topic is visible while the busy one is read."""
    seconds: list[float] = []
    before = applied(db, busy)
    step = (backlog - before) // (PROBES + 1)
    for number in range(PROBES):
        wait_until(lambda: applied(db, busy) >= before + number * step, 120, "the backlog is read", 0.005)
        start = time.monotonic()
        send(producer, quiet, [Record(to_json(id=number))])
        wait_until(
            lambda: db.value("SELECT count(*) FROM quiet WHERE id = %s", number) == 1,
            message=lambda: f"message {number} of the quiet topic is visible: {status(db)}",
            interval=0.005,
        )
        seconds.append(time.monotonic() - start)
        done = applied(db, busy)
        if done == backlog:
            break
    print(f"quiet topic beside a backlog: {[round(each, 3) for each in seconds]} s, {done} of {backlog} done")
    assert done < backlog or len(seconds) > 1, "the backlog was gone before the first probe: nothing was measured"
    return max(seconds)


def finish(db: Database, kafka: Client, busy: str) -> None:
    wait_caught_up(db, kafka, busy, timeout=180)
    wait_value(db, "SELECT count(*) FROM busy", BACKLOG)


@pytest.mark.parametrize("partitions", [1, pytest.param(16, marks=LONG)])
def test_quiet_topic_beside_backlog(db: Database, kafka: Client, unique, record_property, partitions: int) -> None:
    busy, quiet = prepare(db, kafka, unique, partitions)
    kafka.produce(busy, (Record(VALUE % number) for number in range(BACKLOG)))
    producer = connect(kafka, quiet)
    work_on(db, busy)
    seconds = probe(db, producer, busy, quiet)
    record_property("quiet_seconds", seconds)
    assert seconds < LIMIT
    finish(db, kafka, busy)


# make test has the hardest: a lone backlog far away, of which much is asked at once.
NEAR_AND_FAR = [
    pytest.param(partitions, round_trip, marks=[] if (partitions, round_trip) == (1, 2) else LONG)
    for partitions in (1, 16)
    for round_trip in (0, 2)
]


@pytest.mark.parametrize(("partitions", "round_trip"), NEAR_AND_FAR)
def test_small_batches(
    db: Database, kafka: Client, wire: Wire, unique, record_property, partitions: int, round_trip: float
) -> None:
    """The same with what ordinary producers send, near and far."""
    busy, quiet = prepare(db, kafka, unique, partitions, wire)
    send(kafka.producer(**ORDINARY), busy, (Record(VALUE % number) for number in range(BACKLOG)))
    producer = connect(Client(wire.address), quiet)
    wire.set_round_trip(round_trip)
    work_on(db, busy)
    seconds = probe(db, producer, busy, quiet)
    record_property("quiet_seconds", seconds)
    assert seconds < LIMIT
    finish(db, kafka, busy)


def know_partitions(db: Database, busy: str, partitions: int) -> None:
    """Lets a worker find out how many there are, before there is anything to read."""
    db.query("SELECT djkafka_resume('default')")
    wait_until(lambda: len(positions(db, busy)) == partitions, message=lambda: f"all is known: {explain(db)}")
    db.query("SELECT djkafka_pause('default')")
    wait_state(db, "paused")


def wait_for_another(db: Database, before: dict[int, int]) -> None:
    wait_until(
        lambda: workers(db) not in ({}, before), 60, lambda: f"a worker that asks for more\n{explain(db)}", interval=0.01
    )


def test_share_grows(db: Database, kafka: Client, wire: Wire, unique) -> None:
    """One partition of many has a backlog, far away: it takes many round trips until the worker asks for more."""
    partitions, backlog = 16, 300_000
    busy, _ = prepare(db, kafka, unique, partitions, wire)
    send(kafka.producer(**ORDINARY), busy, (Record(VALUE % number, partition=0) for number in range(backlog)))
    wire.set_round_trip(10)
    work_on(db, busy)
    start = db.cluster.log_size()
    wait_for_another(db, workers(db))
    assert "it asks for 128 kB of a partition at once from now on" in db.cluster.log(start)
    assert applied(db, busy) < backlog / 2
    wait_value(db, "SELECT count(DISTINCT id) FROM busy", backlog)
    assert db.value("SELECT count(*) FROM busy") == backlog


@pytest.mark.long
@pytest.mark.alone
def test_backlog_that_spreads(db: Database, kafka: Client, wire: Wire, unique, record_property) -> None:
    """
    One partition of a hundred has a backlog: the worker asks for more of it, and is faster. Then all have
    one: a quiet topic beside them waits no longer than else.
    """
    partitions = 100
    busy, quiet = prepare(db, kafka, unique, partitions, wire)
    producer = kafka.producer(**ORDINARY)
    know_partitions(db, busy, partitions)
    send(producer, busy, (Record(VALUE % number, partition=0) for number in range(BACKLOG)))

    wire.set_round_trip(10)
    log = db.cluster.log_size()
    start = time.monotonic()
    work_on(db, busy)
    wait_for_another(db, workers(db))
    before, now = applied(db, busy), time.monotonic()
    assert before < BACKLOG / 2
    wait_until(lambda: applied(db, busy) == BACKLOG, 60, "the rest is read", interval=0.01)
    slow, fast = before / (now - start), (BACKLOG - before) / (time.monotonic() - now)
    print(f"one of {partitions} partitions: {slow:,.0f}/s, then {fast:,.0f}/s")
    assert fast > 2 * slow
    most = "it asks for 1024 kB of a partition at once from now on"
    assert most in db.cluster.log(log), "more than any partition holds from now on"

    wire.set_round_trip(0)
    probing = connect(Client(wire.address), quiet)
    with db.connect() as holder:  # a backlog while the worker that asks for much is there
        holder.execute("BEGIN; LOCK TABLE busy IN SHARE MODE")
        much = workers(db)
        send(producer, busy, (Record(VALUE % number, partition=number % partitions) for number in range(BACKLOG)))
        holder.execute("COMMIT")
    assert workers(db) == much, "it was the same worker all the time"
    seconds = probe(db, probing, busy, quiet, 2 * BACKLOG)
    record_property("quiet_seconds", seconds)
    assert seconds < LIMIT
    wait_caught_up(db, kafka, busy, timeout=180)
    wait_value(db, "SELECT count(*) FROM busy", 2 * BACKLOG)

"""A cap on what is fetched ahead holds, whatever the number of partitions; one on what is sent at once, too."""

import base64
import json
import random
from collections.abc import Iterator

import pytest
from lib.djkafka import explain, positions, wait_state, workers
from lib.kafka import Client, Record
from lib.postgres import Database
from lib.outbox import UNSENT, explain_outbox, outbox_worker
from lib.process import highest_memory, private_memory
from lib.wait import stays_true, wait_until

PARTITIONS = 100
MESSAGES = 150_000
SIZE = 1000
LIMIT = 128 * 1024 * 1024


def test_hundred_partitions(own_cluster, kafka: Client, unique, record_property) -> None:
    cluster = own_cluster(djkafka__bootstrap_servers=kafka.address, djkafka__queue_size="32MB")
    topic = kafka.create_topic(unique("wide"), partitions=PARTITIONS)
    noise = random.Random(1)
    payloads = [base64.b64encode(noise.randbytes(SIZE * 3 // 4)).decode() for _ in range(500)]
    kafka.produce(
        topic,
        (
            Record(f'{{"id": {number}, "payload": "{payloads[number % 500]}"}}', partition=number % PARTITIONS)
            for number in range(MESSAGES)
        ),
    )

    db = Database(cluster, unique("db"))
    db.query("CREATE EXTENSION djkafka")
    db.query("CREATE TABLE wide (id bigint, payload text)")
    db.query("SELECT djkafka_subscribe(%s, 'wide', operation => 'insert')", topic)
    ends = kafka.end_offsets(topic)
    peak = samples = 0

    def caught_up() -> bool:
        nonlocal peak, samples
        for pid in workers(db).values():
            try:
                peak = max(peak, private_memory(pid))
                samples += 1
            except (FileNotFoundError, KeyError):
                pass
        return positions(db, topic) == ends

    wait_until(caught_up, 180, lambda: f"caught up\n{explain(db)}", interval=0.01)
    wait_state(db, "running")
    print(f"RssAnon while catching up on {PARTITIONS} partitions: {peak / 2**20:.0f} MB in {samples} samples")
    record_property("rss_anon_mb", peak / 2**20)
    assert samples > 20, "too few samples to tell"
    assert db.value("SELECT count(DISTINCT id) FROM wide") == MESSAGES
    assert peak < LIMIT


def large_records(part: str) -> Iterator[Record]:
    noise = random.Random(2)
    large = base64.b64encode(noise.randbytes(150_000))
    for number in range(3000):
        note = b'{"note": "%d %s"}' % (number, large if part == "values" else b"")
        yield Record(note, large if part == "keys" else None, 0, [("h", large)] if part == "headers" else None)


# Values are the short form of it: each part is 450 MB for Kafka to take.
@pytest.mark.parametrize("part", [pytest.param("headers", marks=pytest.mark.long), pytest.param("keys", marks=pytest.mark.long), "values"])
def test_large_parts_of_messages(own_cluster, kafka: Client, unique, part: str) -> None:
    """Keys and headers count as values do: 600 MB of them, while a batch waits for a lock, are not read ahead."""
    cluster = own_cluster(djkafka__bootstrap_servers=kafka.address, djkafka__queue_size="32MB")
    topic = kafka.create_topic(unique("large"))
    db = Database(cluster, unique("db"))
    db.query("CREATE EXTENSION djkafka")
    db.query("CREATE TABLE large (id bigint PRIMARY KEY, note text)")
    db.query("SELECT djkafka_subscribe(%s, 'large', columns => '{\"id\": \"msg_offset\"}')", topic)
    wait_state(db, "running")
    with db.connect() as session:
        session.execute("BEGIN; LOCK TABLE large")
        kafka.produce(topic, large_records(part))
        peak = 0

        def look() -> bool:
            nonlocal peak
            peak = max([peak, *map(private_memory, workers(db).values())])
            return peak < LIMIT

        stays_true(look, 15, "what the worker reads ahead is bounded", interval=0.1)
        session.execute("ROLLBACK")
    wait_until(lambda: look() and db.value("SELECT count(*) FROM large") == 3000, 120, lambda: explain(db))
    print(f"RssAnon with large {part}: {peak / 2**20:.0f} MB")


def test_outbox_of_large_headers(db: Database, kafka: Client, topic: str) -> None:
    """Headers count in a batch as keys and values do: 600 MB of them are many batches."""
    db.query("SELECT djkafka_produce(%s, 'first')", topic)
    worker = outbox_worker(db)
    db.query(
        "SELECT djkafka_produce(%s, i, headers => jsonb_build_object('h', repeat(md5(i::text), 20000))) FROM generate_series(1, 1000) i",
        topic,
    )
    peak = 0

    def sent() -> bool:
        nonlocal peak
        peak = max(peak, private_memory(worker["pid"]))
        return not db.value(UNSENT)

    wait_until(sent, 120, lambda: f"the outbox is empty\n{explain_outbox(db)}", interval=0.01)
    print(f"RssAnon while sending headers: {peak / 2**20:.0f} MB")
    assert sum(kafka.end_offsets(topic).values()) == 1001
    assert peak < LIMIT


@pytest.mark.parametrize(
    ("column", "default"),
    [
        ("text", "repeat('main', 3000)"),
        ("bytea", r"decode(repeat('00ff', 6000), 'hex')"),
        ("varbit", "repeat('10', 80000)::varbit"),
    ],
)
def test_default_of_a_key_is_the_rows_own(own_cluster, unique, monkeypatch, column: str, default: str) -> None:
    """A route is built again in the middle of a batch, here because of a schema: what is freed then is overwritten."""
    monkeypatch.setenv("MALLOC_PERTURB_", "165")
    db = Database(own_cluster(), unique("db"))
    db.query("CREATE EXTENSION djkafka")
    db.query("CREATE TABLE first (id int PRIMARY KEY)")
    db.query(f"CREATE TABLE target (part {column} DEFAULT {default}, id int, PRIMARY KEY (part, id))")
    db.query("""
        CREATE FUNCTION make_schema() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN CREATE SCHEMA meanwhile; DROP SCHEMA meanwhile; RETURN NEW; END';
        CREATE TRIGGER make_schema BEFORE INSERT ON first FOR EACH ROW EXECUTE FUNCTION make_schema();
        SELECT djkafka_create_consumer('c', enabled => false);
        SELECT djkafka_create_route('c', 'first', 'first');
        SELECT djkafka_create_route('c', 'target', 'target')""")
    given = [{"topic": "first", "value": {"id": 1}}] + [{"topic": "target", "value": {"id": i}} for i in range(20)]
    assert db.query("SELECT applied, dead FROM djkafka_run('c', messages => %s)", json.dumps(given)) == [(21, 0)]
    assert db.query(f"SELECT count(*), bool_and(part = {default}) FROM target") == [(20, True)]


def test_letters_of_a_large_key(db: Database) -> None:
    """The keys of dead letters that a message overtakes are compared where they are."""
    key = "k" * 1_000_000
    db.query("CREATE TABLE target (id int PRIMARY KEY)")
    db.query("SELECT djkafka_create_consumer('c', enabled => false), djkafka_create_route('c', 't', 'target')")
    db.query(
        "INSERT INTO djkafka_dead_letter (consumer_id, consumer, topic, partition, \"offset\", key, sqlstate, message)"
        " SELECT djkafka_consumer_id('c'), 'c', 't', 0, n, convert_to(%s, 'UTF8'), 'XX000', 'x' FROM generate_series(1, 400) n",
        key,
    )
    with db.connect() as session:
        (pid,) = session.execute("SELECT pg_backend_pid()").fetchone()
        given = json.dumps([{"topic": "t", "offset": 300, "key": key, "value": {"id": 1}}])
        assert session.execute("SELECT applied FROM djkafka_run('c', messages => %s)", (given,)).fetchone() == (1,)
        peak = highest_memory(pid)
    assert db.query("SELECT count(*), max(newer_offset) FROM djkafka_dead_letter WHERE newer_offset >= 0") == [(300, 300)]
    assert peak < LIMIT

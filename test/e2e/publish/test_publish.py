"""Published tables with a real Kafka: a Django model, a snapshot, and two databases that write to each other."""

import json
import random
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from confluent_kafka import TopicPartition
from lib.djkafka import assert_audit, explain, wait_caught_up, wait_value
from lib.django import Project
from lib.kafka import Client, Record
from lib.postgres import Cluster, Database
from lib.wait import wait_until

PENDING = "SELECT count(*) FROM djkafka_outbox"


def read(client: Client, topic: str, count: int, timeout: float = 60) -> list[tuple[Any, Any]]:
    """The first messages of a topic with one partition: key and value, as JSON."""
    reader = client.consumer("djk-test-reader", isolation_level="read_committed")
    found: list[tuple[Any, Any]] = []

    def more() -> bool:
        for message in reader.consume(1000, 0.2):
            value = message.value()
            found.append((json.loads(message.key()), value and json.loads(value)))
        return len(found) >= count

    try:
        reader.assign([TopicPartition(topic, 0, 0)])
        wait_until(more, timeout, lambda: f"{count} messages of {topic}, not {found}")
    finally:
        reader.close()
    return found


@pytest.mark.parametrize(
    ("type_", "spellings", "options"),
    [
        ("numeric", ["{0}", "{0}.0", "{0}.00"], ""),
        ("float8", ["{0}", "-{0}", "{0}e0"], ""),
        ("citext", ["key{0}", "KEY{0}", "Key{0}"], ", key_spelling => 'lower'"),
    ],
)
def test_equal_keys_are_one_row_of_a_copy(
    db: Database, kafka: Client, unique, type_: str, spellings: list[str], options: str
) -> None:
    """However a key was spelled when its row changed, and whatever partition is read first."""
    topic = kafka.create_topic(unique("spelled"), partitions=7)
    db.query("CREATE EXTENSION IF NOT EXISTS citext", user="postgres")
    for table in ("origin", "copy"):
        db.query(f"CREATE TABLE {table} (k {type_} PRIMARY KEY, v int)")
    db.query(f"SELECT djkafka_publish('origin', %s{options})", topic)
    keys = [0] if type_ == "float8" else range(40)
    for n, spelling in enumerate(spellings):
        for key in keys:
            db.query(
                "INSERT INTO origin VALUES (%s, %s) ON CONFLICT (k) DO UPDATE SET k = excluded.k, v = excluded.v",
                spelling.format(key),
                n,
            )
    if type_ != "float8":
        db.query("DELETE FROM origin WHERE k = %s", spellings[1].format(7))
    wait_value(db, PENDING, 0)
    db.query("SELECT djkafka_subscribe(%s, 'copy')", topic)
    wait_caught_up(db, kafka, topic)
    differences = "SELECT count(*) FROM origin o FULL JOIN copy c ON o.k = c.k AND o.v = c.v WHERE o.k IS NULL OR c.k IS NULL"
    assert db.value("SELECT count(*) FROM copy") == max(len(keys) - 1, 1)
    assert db.value(differences) == 0


def test_django_model(plain_db: Database, kafka: Client, unique) -> None:
    """Whatever the ORM does is in Kafka if it is committed; migrations change what is published."""
    project = Project(plain_db, unique("shop") + ".")
    project.manage("migrate")
    topic = kafka.create_topic(unique("customers"))
    plain_db.query("SELECT djkafka_publish('shop_customer', %s, exclude => '{joined_at}')", topic)
    project.orm(
        """
        from django.apps import apps
        from django.db import connection, migrations, models, transaction
        from django.db.migrations.state import ProjectState
        from uuid import UUID
        a, b, c = (UUID(int=n) for n in (1, 2, 3))
        Customer.objects.bulk_create([Customer(id=a, name="Ada"), Customer(id=b, name="Bob"), Customer(id=c, name="Cyd")])
        with transaction.atomic():
            Customer.objects.filter(id=a).update(name="Eve")
            try:
                with transaction.atomic():
                    Customer.objects.all().delete()
                    raise ValueError
            except ValueError:
                pass
        try:
            with transaction.atomic():
                Customer.objects.create(name="never")
                raise ValueError
        except ValueError:
            pass
        both = list(Customer.objects.filter(id__in=[b, c]).order_by("id"))
        for one in both:
            one.email = f"{one.name}@example.org"
        Customer.objects.bulk_update(both, ["email"])
        both[0].save()
        Customer.objects.get(id=c).delete()
        change = migrations.Migration("change", "shop")
        change.operations = [
            migrations.AddField("customer", "level", models.IntegerField(db_default=7)),
            migrations.RenameField("customer", "name", "full_name"),
        ]
        with connection.schema_editor() as editor:
            change.apply(ProjectState.from_apps(apps), editor)
        with connection.cursor() as cursor:
            cursor.execute("UPDATE shop_customer SET full_name = 'Robert', email = NULL WHERE id = %s", [b])
        """
    )
    keys = [{"id": f"00000000-0000-0000-0000-00000000000{n}"} for n in (1, 2, 3)]
    found = read(kafka, topic, 8)
    assert found[:4] == [
        (key, key | {"name": name, "email": None, "active": True})
        for key, name in zip(keys + keys[:1], ("Ada", "Bob", "Cyd", "Eve"))
    ]
    assert found[4:] == [
        (keys[1], keys[1] | {"name": "Bob", "email": "Bob@example.org", "active": True}),
        (keys[2], keys[2] | {"name": "Cyd", "email": "Cyd@example.org", "active": True}),
        (keys[2], None),
        (keys[1], keys[1] | {"full_name": "Robert", "email": None, "active": True, "level": 7}),
    ]


@pytest.fixture
def two(cluster: Cluster, unique) -> Iterator[list[Database]]:
    """Two databases with a table of the same shape."""
    databases = [Database(cluster, unique("db")) for _ in range(2)]
    start = cluster.log_size()
    for database in databases:
        database.query("CREATE EXTENSION djkafka")
        database.query("CREATE TABLE item (id int PRIMARY KEY, v text, n int)")
    yield databases
    for database in databases:
        database.destroy()
    assert not cluster.crashes(start), f"the server crashed: {cluster.crashes(start)}"


def write(database: Database, seed: int, statements: int, changes: list[int]) -> None:
    """Writes rows of 30 keys at random, and counts what is committed."""
    chance = random.Random(seed)
    committed = 0
    with database.connect() as connection:
        for number in range(statements):
            keys = chance.sample(range(30), chance.randint(1, 4))
            try:
                with connection.transaction():
                    if chance.random() < 0.3:
                        made = connection.execute("DELETE FROM item WHERE id = ANY (%s)", [keys]).rowcount
                    else:
                        made = connection.execute(
                            "INSERT INTO item SELECT k, %s, 0 FROM unnest(%s::int[]) k ORDER BY k"
                            " ON CONFLICT (id) DO UPDATE SET v = EXCLUDED.v, n = item.n + 1",
                            [f"{seed}:{number}", keys],
                        ).rowcount
                    if chance.random() < 0.1:
                        raise psycopg.Rollback
                    committed += made
            except psycopg.Rollback:
                pass
            except psycopg.errors.DeadlockDetected:
                pass  # with the worker: nothing of it is committed
    changes.append(committed)


def rows(database: Database) -> list[tuple]:
    return database.query("SELECT id, v, n FROM item ORDER BY id")


def test_round_trip(two: list[Database], kafka: Client, topic: str) -> None:
    """Both publish and consume a table by one topic, write at the same time, and end equal; no change goes round."""
    for database in two:
        database.query("SELECT djkafka_subscribe(%s, 'item'), djkafka_publish('item', %s)", topic, topic)
    changes: list[int] = []
    seeds = [random.randrange(1 << 30) for _ in range(4)]
    print("seeds", seeds)
    threads = [
        threading.Thread(target=write, args=(two[number % 2], seed, 150, changes)) for number, seed in enumerate(seeds)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(changes) == len(seeds), "a writer failed"

    def settled() -> bool:
        if any(database.value(PENDING) for database in two):
            return False
        end = kafka.end_offsets(topic)[0]
        position = "SELECT next_offset FROM djkafka_offset WHERE topic = %s"
        return all(database.value(position, topic) == end for database in two)

    wait_until(settled, 90, lambda: "\n".join(explain(database) for database in two), interval=0.3)
    assert rows(two[0]) == rows(two[1])
    assert rows(two[0]), "nothing is left to compare"
    last = dict((key["id"], value) for key, value in read(kafka, topic, kafka.end_offsets(topic)[0]))
    assert rows(two[0]) == [(key, row["v"], row["n"]) for key, row in sorted(last.items()) if row is not None]
    assert kafka.end_offsets(topic)[0] == sum(changes), "one message for each change, and none for what came by Kafka"
    for database in two:
        assert_audit(database, sum(changes))


def test_snapshot(db: Database, kafka: Client, topic: str) -> None:
    """A snapshot among writers: the last message of each row is its last state."""
    db.query("CREATE TABLE item (id int PRIMARY KEY, v text, n int)")
    db.query("INSERT INTO item SELECT i, 'old', 0 FROM generate_series(0, 999) i")
    db.query("SELECT djkafka_publish('item', %s)", topic)
    changes: list[int] = []
    writers = [threading.Thread(target=write, args=(db, seed, 100, changes)) for seed in (1, 2)]
    for writer in writers:
        writer.start()
    db.query("CALL djkafka_snapshot('item', chunk => 7)")
    for writer in writers:
        writer.join()
    assert len(changes) == 2, "a writer failed"
    wait_value(db, PENDING, 0)
    found = read(kafka, topic, kafka.end_offsets(topic)[0])
    last = {key["id"]: value for key, value in found}
    assert rows(db) == [(key, row["v"], row["n"]) for key, row in sorted(last.items()) if row is not None]
    assert len(found) >= 970 + sum(changes)


def test_handler_produces(db: Database, kafka: Client, topic: str, unique) -> None:
    """What a handler produces is sent, though what it writes into a published table is not."""
    answers = kafka.create_topic(unique("answers"))
    db.query("CREATE TABLE item (id int PRIMARY KEY, v text, n int)")
    db.query("SELECT djkafka_publish('item', %s)", answers)
    db.query(
        "CREATE FUNCTION answer(m jsonb) RETURNS void LANGUAGE sql AS $$"
        " INSERT INTO item VALUES ((m->>'id')::int, 'handled', 0);"
        f" SELECT djkafka_produce('{answers}', jsonb_build_object('answer', m->'id'), key => m->>'id') $$"
    )
    db.query("SELECT djkafka_subscribe(%s, handler => 'answer(jsonb)', format => 'json')", topic)
    kafka.produce(topic, [Record(json.dumps({"id": n}), key=str(n)) for n in range(100)])
    wait_value(db, "SELECT count(*) FROM item", 100)
    wait_value(db, PENDING, 0)
    assert read(kafka, answers, 100) == [(number, {"answer": number}) for number in range(100)]
    assert kafka.end_offsets(answers)[0] == 100



def test_handler_killed(own_cluster, kafka: Client, unique) -> None:
    """Consume, transform and produce in one transaction, whatever is killed: each answer is committed once."""
    questions, answers = kafka.create_topic(unique("questions"), 2), kafka.create_topic(unique("answers"))
    server = own_cluster(djkafka__bootstrap_servers=kafka.address, fsync="on")
    db = Database(server, "killed")
    db.query("CREATE EXTENSION djkafka")
    db.query("CREATE TABLE answered (id int)")
    db.query(
        "CREATE FUNCTION answer(m jsonb) RETURNS void LANGUAGE sql AS $$"
        " INSERT INTO answered VALUES ((m->>'id')::int);"
        f" SELECT djkafka_produce('{answers}', jsonb_build_object('id', m->'id'), key => m->>'id') $$"
    )
    db.query("SELECT djkafka_create_consumer('c', batch_messages => 50)")
    db.query("SELECT djkafka_subscribe(%s, handler => 'answer(jsonb)', consumer => 'c')", questions)
    count = 3000
    kafka.produce(questions, [Record(json.dumps({"id": n}), key=str(n)) for n in range(count)])
    for part in (1, 2, 3):

        def reached(wanted: int = part * 600) -> bool:
            try:
                return db.value("SELECT count(*) FROM answered") >= wanted
            except psycopg.OperationalError:
                return False

        wait_until(reached, 60, f"{part * 600} answers")
        if part == 2:
            server.kill()
            server.start()
        else:
            for pid in db.workers("djkafka consumer"):
                db.kill_process(pid)

    def complete() -> bool:
        try:
            return db.value("SELECT count(*) FROM answered") >= count and db.value(PENDING) == 0
        except psycopg.OperationalError:
            return False

    wait_until(complete, 90, lambda: explain(db))
    assert db.query("SELECT id, count(*) FROM answered GROUP BY id HAVING count(*) <> 1") == []
    found = read(kafka, answers, kafka.end_offsets(answers)[0])  # some twice: at least once
    assert sorted({key for key, _ in found}) == list(range(count)), "answers are missing"
    assert_audit(db, count)

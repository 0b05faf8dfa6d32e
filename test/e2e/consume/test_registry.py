"""Messages whose schemas a registry has, written by the serializers of others; and registries that answer badly, or not at all."""

import json
import ssl
import threading
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient, header_schema_id_serializer
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from lib.djkafka import assert_audit, dead_letters, status, wait_caught_up, wait_count, wait_state, wait_value
from lib.kafka import Client, Record
from lib.postgres import Database
from lib.registry import Answer, Registry, make_certificate
from lib.wait import wait_until

ITEM = {"type": "record", "name": "Item", "namespace": "shop", "fields": [{"name": "id", "type": "int"}, {"name": "name", "type": ["null", "string"]}]}
KEY = {"type": "record", "name": "Key", "fields": [{"name": "id", "type": "int"}]}


@pytest.fixture
def registry() -> Iterator[Registry]:
    made = Registry().start()
    yield made
    made.stop()


class Writer:
    """Writes a topic as an application does that uses confluent-kafka."""

    def __init__(self, kafka: Client, registry: Registry, topic: str):
        self.kafka, self.topic = kafka, topic
        options: dict[str, Any] = {"url": registry.url}
        if registry.user:
            options["basic.auth.user.info"] = ":".join(registry.user)
        self.client = SchemaRegistryClient(options)
        self.records: list[Record] = []

    def _field(self, field: str, headers: list[tuple[str, bytes]] | None = None) -> SerializationContext:
        return SerializationContext(self.topic, field, headers)

    def add(self, schema: Any, value: dict[str, Any] | None, key: Any = None, in_header: bool = False) -> None:
        config: dict[str, Any] = {"subject.name.strategy": lambda context, name, *_: f"{self.topic}-{context.field}"}
        if in_header:
            config["schema.id.serializer"] = header_schema_id_serializer
        headers: list[tuple[str, bytes]] = []
        text = schema if isinstance(schema, Schema) else json.dumps(schema)
        data = AvroSerializer(self.client, text, conf=config)(value, self._field(MessageField.VALUE, headers)) if value is not None else None
        if key is not None:
            key = AvroSerializer(self.client, json.dumps(KEY), conf=config)({"id": key}, self._field(MessageField.KEY, headers))
        self.records.append(Record(data, key, headers=[*headers]))

    def send(self) -> None:
        self.kafka.produce(self.topic, self.records)
        self.records = []


def make_server(db: Database, kafka: Client, registry: Registry | str) -> None:
    """The database's owner makes it, as whoever may say where Kafka is."""
    url = registry if isinstance(registry, str) else registry.url
    db.query(f"GRANT USAGE ON FOREIGN DATA WRAPPER djkafka TO {db.value('SELECT quote_ident(current_user)')}", user="postgres")
    db.query(
        f"CREATE SERVER k FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers '{kafka.address}', registry_url '{url}')"
    )


def subscribe(db: Database, topic: str, **options: Any) -> None:
    """A table of items; the consumer is 'c'."""
    db.query("CREATE TABLE item (id int PRIMARY KEY, name text, price numeric)")
    db.query("SELECT djkafka_create_consumer('c', server => 'k', enabled => %s)", options.pop("enabled", True))
    named = "".join(f", {name} => '{value}'" for name, value in ({"format": "avro"} | options).items())
    db.query(f"SELECT djkafka_create_route('c', '{topic}', 'item'{named})")


def test_serializers(db: Database, kafka: Client, topic: str, registry: Registry) -> None:
    """Ids and GUIDs, keys, schemas that name others, a new version in mid-stream; none of them is asked for twice."""
    make_server(db, kafka, registry)
    subscribe(db, topic, key_format="avro")
    writer = Writer(kafka, registry, topic)
    writer.add(ITEM, {"id": 1, "name": "one"}, key=1)
    writer.add(ITEM, {"id": 2, "name": None}, key=2)
    writer.add(ITEM, {"id": 3, "name": "GUID"}, key=3, in_header=True)
    writer.add(ITEM, {"id": 4, "name": "gone"}, key=4)
    writer.add(ITEM, None, key=4)
    writer.add(ITEM, None, key=2, in_header=True)
    price = {"type": "record", "name": "Price", "namespace": "shop", "fields": [{"name": "cents", "type": {"type": "bytes", "logicalType": "decimal", "precision": 8, "scale": 2}}]}
    registry.add(json.dumps(price), "price")
    newer = ITEM | {"fields": [*ITEM["fields"], {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 8, "scale": 2}}, {"name": "of", "type": ["null", "shop.Price"]}]}
    reference = Schema(json.dumps(newer), "AVRO", [SchemaReference("shop.Price", "price", 1)])
    writer.add(reference, {"id": 5, "name": "priced", "price": Decimal("12.34"), "of": {"cents": Decimal("0.01")}}, key=5)
    writer.add(ITEM, {"id": 6, "name": "older"}, key=6)
    writer.send()
    wait_caught_up(db, kafka, topic, "c")
    assert not dead_letters(db, topic)
    assert db.query("SELECT * FROM item ORDER BY id") == [
        (1, "one", None), (3, "GUID", None), (5, "priced", Decimal("12.34")), (6, "older", None)
    ]  # fmt: skip
    asked = [path for path in registry.asked if "/schemas/" in path]
    assert len(asked) == len(set(asked)) == db.value("SELECT count(*) FROM djkafka_schema"), asked
    assert_audit(db, 8)


def test_json_schema(db: Database, kafka: Client, topic: str, registry: Registry) -> None:
    """No registry is asked for these."""
    make_server(db, kafka, "http://127.0.0.1:1")
    subscribe(db, topic, format="json_schema")
    schema = json.dumps({"title": "Item", "type": "object", "properties": {"id": {"type": "integer"}, "name": {"type": "string"}}})
    client = SchemaRegistryClient({"url": registry.url})
    for number, in_header in enumerate((False, True)):
        headers: list[tuple[str, bytes]] = []
        config: dict[str, Any] = {"subject.name.strategy": lambda context, name, *_: f"{topic}-value"}
        if in_header:
            config["schema.id.serializer"] = header_schema_id_serializer
        context = SerializationContext(topic, MessageField.VALUE, headers)
        value = JSONSerializer(schema, client, conf=config)({"id": number, "name": "ä"}, context)
        kafka.produce(topic, [Record(value, headers=headers)])
    wait_caught_up(db, kafka, topic, "c")
    assert db.query("SELECT id, name FROM item ORDER BY id") == [(0, "ä"), (1, "ä")]


def test_registry_away(db: Database, kafka: Client, topic: str, registry: Registry, unique: Callable[[str], str]) -> None:
    """What is known goes on, also in another process; what is not waits in a state that says so, and lands."""
    other = kafka.create_topic(unique("other"))
    make_server(db, kafka, registry)
    subscribe(db, topic)
    db.query(f"SELECT djkafka_create_route('c', '{other}', 'item', format => 'avro')")
    writer, beside = Writer(kafka, registry, topic), Writer(kafka, registry, other)
    writer.add(ITEM, {"id": 1, "name": "one"})
    writer.send()
    wait_count(db, "item", 1)
    newer = ITEM | {"name": "Other"}
    writer.add(newer, {"id": 2, "name": "of a new schema"})
    writer.add(ITEM, {"id": 3, "name": "behind it"})
    beside.add(ITEM, {"id": 4, "name": "beside it"})
    registry.stop()
    db.query("SELECT djkafka_pause('c')")
    wait_state(db, "paused", "c")
    db.query("SELECT djkafka_resume('c')")
    writer.send()
    beside.send()
    found = wait_state(db, "registry_unreachable", "c")
    assert "schema 2 cannot be fetched" in found["reason"] and str(registry.port) in found["reason"] and "registry_url" in found["hint"]
    wait_value(db, "SELECT array_agg(id ORDER BY id) FROM item", [1, 4])
    row = "SELECT state, reason FROM djkafka_partition_status WHERE topic = %s"
    wait_until(lambda: "Couldn't connect" in db.query(row, topic)[0][1], message="the partition says why it waits")
    assert db.query(row, topic)[0][0] == "registry_unreachable"
    assert db.value("SELECT count(*) FROM djkafka_retry") == 0
    assert db.value("SELECT verdict FROM djkafka_health() WHERE state = 'registry_unreachable'") == "critical"
    registry.mode = "error"
    registry.start()
    wait_until(lambda: "the store is away" in status(db, "c")["reason"], message="what the registry says is told")
    registry.mode = "ok"
    wait_value(db, "SELECT array_agg(id ORDER BY id) FROM item", [1, 2, 3, 4])
    wait_state(db, "running", "c")
    assert not dead_letters(db, topic)
    assert_audit(db, 4)


def test_skipped_while_it_waits(db: Database, kafka: Client, topic: str, registry: Registry, unique: Callable[[str], str]) -> None:
    """A schema that nobody needs any more is not asked for, though other messages wait for something else."""
    other = kafka.create_topic(unique("other"))
    make_server(db, kafka, "http://127.0.0.1:1")
    subscribe(db, topic)
    db.query(f"SELECT djkafka_create_route('c', '{other}', 'item', operation => 'insert', retry => %s)",
             json.dumps({"include": ["23"], "max_retries": 1, "delay": 3600}))  # fmt: skip
    db.query("INSERT INTO item VALUES (5)")
    kafka.produce(other, [Record(b'{"id": 5}')])
    wait_count(db, "djkafka_retry", 1)
    kafka.produce(topic, [Record(b"\0\0\0\0\x07\0")])
    wait_state(db, "registry_unreachable", "c")
    db.query(f"SELECT djkafka_skip('c', '{topic}', 0, 0)")
    wait_value(db, "SELECT sum(skipped)::int FROM djkafka_status", 1)
    wait_state(db, "running", "c")
    kafka.produce(topic, [Record(b"\0\0\0\0\x01\x02")])
    wait_state(db, "registry_unreachable", "c")
    db.query(f"ALTER SERVER k OPTIONS (SET registry_url '{registry.url}')")
    registry.add(json.dumps({"type": "record", "name": "R", "fields": [{"name": "id", "type": "int"}]}))
    wait_count(db, "item", 2)


def test_retries_go_on(db: Database, kafka: Client, topic: str, registry: Registry) -> None:
    """How often a message was tried again is not forgotten while its schema is asked for, by another process neither."""
    make_server(db, kafka, registry)
    db.query("CREATE TABLE item (id int PRIMARY KEY, name text)")
    db.query("SELECT djkafka_create_consumer('c', server => 'k')")
    policy = json.dumps({"blocking": True, "include": ["23"], "max_retries": 3, "delay": 0.7, "backoff": 1})
    db.query(f"SELECT djkafka_create_route('c', '{topic}', 'item', format => 'avro', operation => 'insert', retry => %s)", policy)
    db.query("INSERT INTO item VALUES (1, 'there')")
    writer = Writer(kafka, registry, topic)
    writer.add(ITEM, {"id": 1, "name": "one"})
    writer.send()
    wait_value(db, "SELECT retry_attempt FROM djkafka_offset", 2)
    registry.stop()
    db.query("DELETE FROM djkafka_schema")
    wait_state(db, "registry_unreachable", "c")
    held = db.value("SELECT attempt FROM djkafka_retry WHERE blocking AND sqlstate = '08KF2'")
    db.query("SELECT djkafka_pause('c')")
    wait_state(db, "paused", "c")
    db.query("SELECT djkafka_resume('c')")
    wait_state(db, "registry_unreachable", "c")
    assert db.value("SELECT state FROM djkafka_partition_status") == "registry_unreachable"
    assert db.value("SELECT attempt FROM djkafka_retry") == held >= 2
    registry.start()
    wait_caught_up(db, kafka, topic, "c")
    letter = dead_letters(db, topic)[0, 0]
    assert letter["sqlstate"] == "23505" and "3 times" in letter["detail"], letter


def test_what_waits_without_its_schema(db: Database, kafka: Client, topic: str, registry: Registry) -> None:
    """Of what waits, what lacks its schema holds up nothing but its key; what nobody needs any more is not asked for."""
    make_server(db, kafka, registry)
    subscribe(db, topic, enabled="false")
    db.query(f"SELECT djkafka_alter_route('c', '{topic}', operation => 'insert', retry => %s)",
             json.dumps({"include": ["23"], "max_retries": -1, "delay": 0.5, "backoff": 1}))  # fmt: skip
    db.query("INSERT INTO item SELECT n, 'there' FROM generate_series(1, 3) n")
    writer = Writer(kafka, registry, topic)
    other = ITEM | {"name": "Other"}
    writer.add(ITEM, {"id": 1, "name": "first"}, key=1)
    writer.add(other, {"id": 1, "name": "behind it"}, key=1)
    writer.add(other, {"id": 2, "name": "second"}, key=2)
    writer.add(ITEM, {"id": 3, "name": "third"}, key=3)
    writer.send()
    db.query("SELECT djkafka_resume('c')")
    wait_count(db, "djkafka_parked", 4)
    registry.stop()
    db.query("DELETE FROM djkafka_schema WHERE schema_id = 1")
    wait_state(db, "registry_unreachable", "c")
    db.query("DELETE FROM item")
    wait_value(db, "SELECT array_agg(id || ' ' || name) FROM item", ["2 second"])
    wait_value(db, "SELECT count(*) FROM djkafka_parked", 3)
    db.query("SELECT pg_sleep(1.5)")
    assert db.value("SELECT array_agg(id || ' ' || name) FROM item") == ["2 second"]
    registry.start()
    wait_value(db, "SELECT array_agg(id || ' ' || name ORDER BY id) FROM item", ["1 first", "2 second", "3 third"])
    wait_state(db, "running", "c")
    wait_value(db, "SELECT array_agg(\"offset\") FROM djkafka_parked", [1])
    registry.stop()
    db.query("DELETE FROM djkafka_schema")
    wait_state(db, "registry_unreachable", "c")
    db.query(f"SELECT djkafka_seek('c', '{topic}', 'latest')")
    kafka.produce(topic, [Record(None, b"\0")])
    wait_state(db, "running", "c")
    assert db.value("SELECT count(*) FROM djkafka_parked") == 0


def test_absent(db: Database, kafka: Client, topic: str, registry: Registry) -> None:
    """What a registry says that it does not have is asked for again, and then the message's own error; the others land."""
    make_server(db, kafka, registry)
    subscribe(db, topic)
    writer = Writer(kafka, registry, topic)
    writer.records = [Record(b"\0\0\0\0\x63\x02"), Record(b"\x01" + uuid.UUID(int=5).bytes + b"\x02"), Record(b"\0\0\0\0\x63\x02")]
    writer.records.append(Record(b"\0\xff\xff\xff\xff\x02"))  # more than a registry can count
    writer.add(ITEM, {"id": 1, "name": "one"})
    writer.send()
    wait_caught_up(db, kafka, topic, "c")
    letters = dead_letters(db, topic)
    assert [letters[0, offset]["sqlstate"] for offset in range(4)] == ["22KF0"] * 4
    assert letters[0, 0]["message"] == "message was written with an unknown schema: the registry has no schema 99"
    assert "schema 00000000-0000-0000-0000-000000000005" in letters[0, 1]["message"]
    assert sum("/ids/99" in path for path in registry.asked) == 3, registry.asked
    assert db.query("SELECT id FROM item") == [(1,)]
    assert_audit(db, 5)


@pytest.mark.parametrize("way", ["unknown", *(pytest.param(way, marks=pytest.mark.long) for way in ("page", "method", "html", "redirect"))])
def test_no_guids(db: Database, kafka: Client, topic: str, registry: Registry, way: str) -> None:
    """A registry that knows no GUIDs has no schema that one names; one that only does not answer may have it."""
    make_server(db, kafka, f"http://127.0.0.1:1, {registry.url}")
    subscribe(db, topic)
    registry.guids = "error"
    writer = Writer(kafka, registry, topic)
    writer.records = [Record(b"\0", headers=[("__value_schema_id", b"\x01" + uuid.UUID(int=7).bytes)])]
    writer.add(ITEM, {"id": 1, "name": "one"})
    writer.send()
    reason = wait_state(db, "registry_unreachable", "c")["reason"]
    assert "127.0.0.1:1/" in reason and "answers 500: the store is away" in reason, reason
    registry.guids = way
    wait_caught_up(db, kafka, topic, "c")
    assert f"the registry knows no GUIDs, so it has no schema {uuid.UUID(int=7)}" in dead_letters(db, topic)[0, 0]["message"]
    assert db.query("SELECT id FROM item") == [(1,)]
    wait_state(db, "running", "c")
    assert_audit(db, 2)


def test_replay_fetches(db: Database, kafka: Client, topic: str, registry: Registry) -> None:
    """A schema that was absent may have come when its letters are replayed; no worker waits while it is asked for."""
    make_server(db, kafka, registry)
    subscribe(db, topic)
    kafka.produce(topic, [Record(b"\0\0\0\0\x01\x02\0"), Record(b"\0\0\0\0\x02\x04\0"), Record(b"\0\0\0\0\x63\x04\0")])
    wait_caught_up(db, kafka, topic, "c")
    assert len(dead_letters(db, topic)) == 3
    registry.stop()
    replay = "SELECT result, code, error FROM djkafka_replay(consumer => 'c') ORDER BY id"
    results = db.query(replay)
    assert [row[:2] for row in results] == [("failed", "08KF2")] * 3, results
    assert "schema 1, which cannot be fetched: " in results[0][2] and str(registry.port) in results[0][2]
    registry.add(json.dumps(ITEM))
    registry.add(json.dumps(ITEM | {"name": "Other"}))

    def need_no_lock(path: str) -> None:
        with db.cluster.connect(db.name) as beside:
            beside.execute("SELECT FROM djkafka_offset FOR UPDATE NOWAIT")

    registry.before = need_no_lock
    registry.start()
    results = db.query(replay)
    assert [row[:2] for row in results] == [("applied", None), ("applied", None), ("failed", "22KF0")], results
    assert "the registry has no schema 99" in results[2][2]
    assert db.query("SELECT id FROM item ORDER BY id") == [(1,), (2,)]


def test_kept_by_whose_word(db: Database, kafka: Client, topic: str, registry: Registry, unique: Callable[[str], str]) -> None:
    """What one registry says is not kept as another's, and a session that has stored it keeps no worker waiting."""
    other = Registry().start()
    make_server(db, kafka, registry)
    subscribe(db, topic, enabled="false")
    for each in registry, other:
        each.add(json.dumps(ITEM))
        each.add(json.dumps(ITEM | {"name": "Other"}))
    kafka.produce(topic, [Record(b"\0\0\0\0\x01\x02\0"), Record(b"\0\0\0\0\x02\x04\0")])
    run = "SELECT applied, dead FROM djkafka_run('c', until => 'eof')"

    def alter(path: str) -> None:
        registry.before = None
        with db.connect() as beside:
            beside.execute(f"ALTER SERVER k OPTIONS (SET registry_url '{other.url}')")

    registry.before = alter
    with pytest.raises(psycopg.errors.SerializationFailure, match="the schema registry of consumer"):
        db.query(run)
    assert db.value("SELECT count(*) FROM djkafka_schema") == 0
    second = kafka.create_topic(unique("second"))
    kafka.produce(second, [Record(b"\0\0\0\0\x02\x06\0")])
    db.query("BEGIN")
    assert db.query(run) == [(2, 0)]
    with db.connect() as beside:
        beside.execute("SELECT djkafka_create_consumer('d', server => 'k')")
        beside.execute(f"SELECT djkafka_create_route('d', '{second}', 'item', format => 'avro')")
        wait_until(lambda: beside.execute("SELECT count(*) FROM item").fetchone() == (1,), message="a worker is not held up")
    db.query("COMMIT")
    assert db.query("SELECT schema_id, registry FROM djkafka_schema ORDER BY 1") == [(1, other.url), (2, other.url)]
    other.stop()


def test_forgotten_before_it_is_absent(db: Database, kafka: Client, topic: str, registry: Registry, unique: Callable[[str], str]) -> None:
    """What is known of schemas may go while one is waited for, which then turns out to be absent."""
    other = kafka.create_topic(unique("other"))
    make_server(db, kafka, registry)
    subscribe(db, topic)
    db.query(f"SELECT djkafka_create_route('c', '{other}', 'item')")
    registry.stop()
    kafka.produce(topic, [Record(b"\0\0\0\0\x63\x02")])
    wait_state(db, "registry_unreachable", "c")
    db.query("DELETE FROM djkafka_schema")
    kafka.produce(other, [Record(b'{"id": 5}')])
    wait_count(db, "item", 1)
    registry.start()
    wait_value(db, "SELECT sqlstate FROM djkafka_dead_letter", "22KF0")


REASONS = {
    "half": "",
    "huge": "the answer has more than 16777216 bytes",
    "error": "answers 500: the store is away??",
    "redirect": "answers 302 and sends to http://127.0.0.1:1/elsewhere, which is not followed",
    "html": "is not understood: it is no object of JSON",
    "page": "answers 404",
    "empty": "it is no object of JSON",
    "no schema": "it has no schema",
    "no text": "it has no schema",
    "unknown": "answers 404: HTTP 404 Not Found",
    "method": "answers 405",
    "nul": "it is no object of JSON",
    "deep": "it is no object of JSON",
    "values": "it is no object of JSON",
    "circle": "name each other in a circle",
    "references": "a reference has no subject or no version",
    "many": "no list of references, or one that is too long",
}


SHORT = ("half", "huge", "redirect", "page", "circle", "values")


@pytest.mark.parametrize("modes", [SHORT, pytest.param(tuple(REASONS), marks=pytest.mark.long)], ids=["some", "all"])
def test_bad_answers(db: Database, kafka: Client, topic: str, registry: Registry, modes: tuple[str, ...]) -> None:
    """Whatever a registry answers costs no message; what is fetched by who reads in a session is kept."""
    make_server(db, kafka, registry)
    subscribe(db, topic, enabled="false")
    writer = Writer(kafka, registry, topic)
    writer.add(ITEM, {"id": 1, "name": "one"})
    writer.send()
    run = "SELECT applied, dead FROM djkafka_run('c', until => 'eof')"
    for mode in modes:
        reason = REASONS[mode]
        registry.mode = mode
        with pytest.raises(psycopg.errors.OperationalError) as raised:
            db.query(run)
        assert raised.value.sqlstate == "08KF2" and reason in str(raised.value), (mode, str(raised.value))
        assert "schema 1" in str(raised.value)
    assert db.value("SELECT count(*) FROM djkafka_schema") == 0
    registry.mode = "ok"
    assert db.query("SELECT fate FROM djkafka_test('c')") == [("applied",)]
    assert db.value("SELECT count(*) FROM djkafka_schema") == 0
    assert db.query(run) == [(1, 0)]
    assert db.query("SELECT schema_id, type, server, registry FROM djkafka_schema") == [(1, "AVRO", "k", registry.url)]
    db.query("DELETE FROM djkafka_schema")
    db.query(f"SELECT djkafka_seek('c', '{topic}', 'earliest')")
    assert db.query(run) == [(1, 0)]


def test_session_is_interrupted(db: Database, kafka: Client, topic: str, registry: Registry) -> None:
    """Who waits for a registry is ended at once."""
    registry.mode = "never"
    make_server(db, kafka, registry)
    subscribe(db, topic, enabled="false")
    kafka.produce(topic, [Record(b"\0\0\0\0\x01\x02")])
    db.query("SET statement_timeout = '1500ms'")
    with pytest.raises(psycopg.errors.QueryCanceled):
        db.query("SELECT djkafka_run('c', until => 'eof')")
    registry.stop()


def test_access(db: Database, kafka: Client, topic: str, registry: Registry) -> None:
    """A path, a password, a token, and the second of two addresses."""
    guarded = Registry("/apis/ccompat/v7", ("app", "p:ä")).start()
    make_server(db, kafka, f"http://127.0.0.1:1, {guarded.url}/")
    subscribe(db, topic, enabled="false")
    guarded.add(json.dumps(ITEM))
    kafka.produce(topic, [Record(b"\0\0\0\0\x01\x02\0")])
    run = "SELECT applied, dead FROM djkafka_run('c', until => 'eof')"
    with pytest.raises(psycopg.errors.OperationalError, match="answers 401: Unauthorized"):
        db.query(run)
    db.query("CREATE USER MAPPING FOR CURRENT_USER SERVER k OPTIONS (registry_username 'app', registry_password 'wrong')")
    with pytest.raises(psycopg.errors.OperationalError, match="answers 401: Unauthorized"):
        db.query(run)
    db.query("ALTER USER MAPPING FOR CURRENT_USER SERVER k OPTIONS (SET registry_password 'p:ä')")
    assert db.query(run) == [(1, 0)]
    guarded.user, guarded.token = None, "abc.def"
    guarded.add(json.dumps(ITEM | {"name": "Second"}))
    kafka.produce(topic, [Record(b"\0\0\0\0\x02\x04\0")])
    db.query("ALTER USER MAPPING FOR CURRENT_USER SERVER k OPTIONS (ADD registry_token 'abc.def')")
    assert db.query(run) == [(1, 0)]
    assert all(path.startswith("/apis/ccompat/v7/schemas/ids/") for path in guarded.asked)
    guarded.stop()


def test_other_addresses(db: Database, kafka: Client, topic: str, registry: Registry) -> None:
    """An address that answers what none of a registry's does hides no other; what each has said is told, and what cannot be is not asked for."""
    other = Registry().start()
    make_server(db, kafka, f"{registry.url}, {other.url}")
    subscribe(db, topic, enabled="false")
    run = "SELECT applied, dead FROM djkafka_run('c', until => 'eof')"
    modes = ("html", "redirect", "error", "page", "references", "half")
    for number, mode in enumerate(modes, 1):
        other.add(json.dumps(ITEM | {"name": f"Item{number}"}))
        kafka.produce(topic, [Record(b"\0" + number.to_bytes(4, "big") + bytes([2 * number, 0]))])
        registry.mode, other.mode = mode, "no schema"
        with pytest.raises(psycopg.errors.OperationalError) as raised:
            db.query(run)
        assert f"{registry.url}/" in str(raised.value) and f"{other.url}/" in str(raised.value), str(raised.value)
        other.mode = "ok"
        assert db.query(run) == [(1, 0)], mode
        registry.mode = "ok"  # and has none of these: the other is believed
        db.query("DELETE FROM djkafka_schema")
    asked = len(other.asked)
    other.add(json.dumps(ITEM | {"name": "Last"}))
    kafka.produce(topic, [Record(b"\0\0\0\0\x07\x0e\0")])
    password = "x" * 9_000_000  # more than libcurl takes
    db.query(f"CREATE USER MAPPING FOR CURRENT_USER SERVER k OPTIONS (registry_username 'app', registry_password '{password}')")
    with pytest.raises(psycopg.errors.OperationalError, match="is not asked, for libcurl refuses registry.password"):
        db.query(run)
    assert len(other.asked) == asked
    other.stop()


def test_addresses_in_turn(db: Database, kafka: Client, registry: Registry, unique: Callable[[str], str]) -> None:
    """Each address has its turn for a schema, whichever has answered for another one meanwhile."""
    other = Registry().start()
    topic = kafka.create_topic(unique("topic"), 2)
    make_server(db, kafka, f"{registry.url}, {other.url}")
    subscribe(db, topic)
    slow = threading.Event()
    find = registry._find

    def find_late(method: str, parts: list[str], body: dict[str, Any]) -> Answer:
        if parts[-1] == "1":
            slow.wait(20)
        return find(method, parts, body)

    registry._find = find_late  # type: ignore[method-assign]
    for number in (1, 2):
        other.add(json.dumps(ITEM | {"name": f"Item{number}"}))
        kafka.produce(topic, [Record(b"\0" + number.to_bytes(4, "big") + bytes([2 * number, 0]), partition=number - 1)])
        wait_until(lambda: f"/schemas/ids/{number}" in registry.asked)
    wait_value(db, "SELECT array_agg(id) FROM item", [2])
    slow.set()
    wait_value(db, "SELECT array_agg(id ORDER BY id) FROM item", [1, 2])
    assert registry.asked.count("/schemas/ids/1") == 1
    other.stop()


def test_tls(db: Database, kafka: Client, topic: str, tmp_path: Path) -> None:
    """The registry is verified, by its address too, and may want to know who asks."""
    authority, _ = make_certificate(tmp_path, "authority")
    stranger, _ = make_certificate(tmp_path, "stranger")
    ours, our_key = make_certificate(tmp_path, "ours", "authority")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*make_certificate(tmp_path, "elsewhere", "authority", "10.0.0.1"))
    registry = Registry(tls=tls).start()
    registry.add(json.dumps(ITEM))
    make_server(db, kafka, registry)
    subscribe(db, topic, enabled="false")
    kafka.produce(topic, [Record(b"\0\0\0\0\x01\x02\0")])
    run = "SELECT applied, dead FROM djkafka_run('c', until => 'eof')"

    def fails(what: str) -> None:
        with pytest.raises(psycopg.errors.OperationalError, match=what):
            db.query(run)

    fails("certificate")
    db.query("ALTER SERVER k OPTIONS (ADD registry_ssl_ca_location '/nowhere.pem')", user="postgres")
    fails("certificate")
    db.query("ALTER SERVER k OPTIONS (DROP registry_ssl_ca_location)", user="postgres")
    db.query(f"ALTER SERVER k OPTIONS (ADD registry_ssl_ca_pem '{stranger.read_text()}')")
    fails("certificate")
    db.query(f"ALTER SERVER k OPTIONS (SET registry_ssl_ca_pem '{authority.read_text()}')")
    fails("127.0.0.1")
    tls.load_cert_chain(*make_certificate(tmp_path, "here", "authority"))
    tls.load_verify_locations(authority)
    tls.verify_mode = ssl.CERT_REQUIRED
    fails("cannot be fetched")  # in many words
    db.query(
        f"CREATE USER MAPPING FOR CURRENT_USER SERVER k OPTIONS (registry_ssl_certificate_pem '{ours.read_text()}',"
        f" registry_ssl_key_pem '{our_key.read_text()}')"
    )
    assert db.query(run) == [(1, 0)]
    registry.stop()

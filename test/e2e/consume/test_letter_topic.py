"""Dead letters that go to a topic: once, byte for byte, with django-kafka's headers; and when they cannot."""

import os
import re
import signal
from collections.abc import Callable

import pytest
from confluent_kafka import Message
from lib.djkafka import assert_audit, status, to_json, wait_caught_up, wait_count, wait_value, workers
from lib.kafka import Client, Record
from lib.outbox import read_topic, wait_sent
from lib.postgres import Database

OTHER_KEY = b"\x00\xff\xfe key"
OTHER_VALUE = b"\xc3\x28 not UTF-8 \x00\xff" * 3
HEADERS = [(f"name {n % 300}", None if n % 7 == 0 else bytes([n % 256, 0, 255])) for n in range(1000)]
TIME = 1_769_860_800_123
# The five of django-kafka, which reads the first of a name.
PEER = ["DEAD_LETTER_MESSAGE_TOPIC", "DEAD_LETTER_MESSAGE_PARTITION", "DEAD_LETTER_MESSAGE_OFFSET", "DEAD_LETTER_SUMMARY", "DEAD_LETTER_DETAIL"]


@pytest.fixture
def group(unique: Callable[[str], str]) -> str:
    return unique("letters")


def create(db: Database, group: str, letters: str = "topic", **options: object) -> None:
    names = "".join(f", {name} => %s" for name in options)
    db.query(f"SELECT djkafka_create_consumer('default', group_id => %s, dead_letters => %s{names})", group, letters, *options.values())


def added(message: Message, own: int = 0) -> dict[str, str]:
    """The headers that the letter has besides those of its message, which come first."""
    headers = message.headers()[own:]
    assert [name for name, _ in headers[:5]] == PEER
    return {name: value.decode() for name, value in headers}


def test_byte_for_byte(db: Database, kafka: Client, topic: str, group: str) -> None:
    """A binary key, a value that is no text, null and empty, 1,000 headers, names that repeat and that are ours, hostile names."""
    db.query("CREATE TABLE raw (key bytea, value bytea, CONSTRAINT none CHECK (false))")
    create(db, group)
    db.query("SELECT djkafka_subscribe(%s, 'raw', operation => 'insert', format => 'raw')", topic)
    letters = kafka.create_topic(f"{group}.{topic}.dlt", 3)
    hostile = [("a", b""), ("a", None), ("é", b"\xc3\xa9"), ("DEAD_LETTER_SUMMARY", b"forged"), ("RETRY_TIMESTAMP", b"nan"), ("DJKAFKA_OFFSET", None)]
    records = [
        Record(OTHER_VALUE, OTHER_KEY, headers=HEADERS, timestamp=TIME),
        Record(None, None, timestamp=TIME),
        Record(b"", b"", headers=hostile, timestamp=TIME),
        Record(b"v" * 900_000, b"large"),
    ]
    kafka.produce(topic, records)
    wait_caught_up(db, kafka, topic)
    wait_sent(db)
    found = sorted(read_topic(kafka, letters), key=lambda m: int(dict(m.headers())["DJKAFKA_OFFSET"]))
    assert [(m.key(), m.value()) for m in found] == [(OTHER_KEY, OTHER_VALUE), (None, None), (b"", b""), (b"large", b"v" * 900_000)]
    assert [m.timestamp()[1] for m in found[:3]] == [TIME] * 3
    assert found[0].headers()[:1000] == HEADERS
    assert found[2].headers()[:4] == [("a", b""), ("a", None), ("é", b"\xc3\xa9"), ("RETRY_TIMESTAMP", b"nan")]
    headers = added(found[0], own=1000)
    assert re.match(r'new row for relation "raw" violates check constraint "none"$', headers["DEAD_LETTER_SUMMARY"])
    assert headers.pop("DEAD_LETTER_DETAIL").startswith("ERROR:  23514: new row")
    del headers["DEAD_LETTER_SUMMARY"]
    assert headers == {
        "DEAD_LETTER_MESSAGE_TOPIC": topic, "DEAD_LETTER_MESSAGE_PARTITION": "0", "DEAD_LETTER_MESSAGE_OFFSET": "0",
        "DJKAFKA_TOPIC": topic, "DJKAFKA_PARTITION": "0", "DJKAFKA_OFFSET": "0", "DJKAFKA_TIMESTAMP": str(TIME),
        "DJKAFKA_CONSUMER": "default", "DJKAFKA_SQLSTATE": "23514", "DJKAFKA_ATTEMPTS": "1",
    }  # fmt: skip
    assert added(found[2], own=4)["DJKAFKA_OFFSET"] == "2"
    assert db.value("SELECT count(*) FROM djkafka_dead_letter") == 0
    now = status(db)
    assert (now["dead"], now["dead_sent"]) == (4, 4)
    assert db.query("SELECT dead, dead_sent, holds FROM djkafka_audit()") == [(4, 4, True)]
    assert_audit(db, 4)


def test_once(db: Database, kafka: Client, topic: str, group: str) -> None:
    """Each letter is there once, though workers end in between; a batch that is taken apart sends what is bad of it."""
    db.query("CREATE TABLE t (id bigint PRIMARY KEY, n int CHECK (n >= 0))")
    create(db, group, batch_messages=50)
    db.query("SELECT djkafka_subscribe(%s, 't')", topic)
    letters = kafka.create_topic(f"{group}.{topic}.dlt")
    count = 2000
    kafka.produce(topic, [Record(to_json(id=n, n=-(n % 10 == 0)), str(n)) for n in range(count)])
    for applied in (300, 900):
        wait_value(db, f"SELECT sum(applied) >= {applied} FROM djkafka_status", True, timeout=60)
        for pid in workers(db).values():
            os.kill(pid, signal.SIGTERM)
    wait_caught_up(db, kafka, topic, timeout=60)
    wait_sent(db)
    found = [m.key().decode() for m in read_topic(kafka, letters)]
    assert found == [str(n) for n in range(0, count, 10)]
    assert status(db)["dead_sent"] == count // 10
    assert_audit(db, count)


def test_kept(db: Database, kafka: Client, topic: str, group: str) -> None:
    """Both; and what cannot be sent, for its size, is in the table with the reason. What waits for its topic is in the outbox."""
    db.query("CREATE TABLE t (id bigint PRIMARY KEY, n int CHECK (n >= 0), v text)")
    create(db, group, letters="both")
    db.query("SELECT djkafka_subscribe(%s, 't')", topic)
    letters = f"{group}.{topic}.dlt"
    kafka.produce(topic, [Record(to_json(id=1, n=-1), "1"), Record(to_json(id=2, n=-1, v="x" * 999_800), "2")])
    wait_count(db, "djkafka_dead_letter", 2)
    reasons = db.query('SELECT not_sent FROM djkafka_dead_letter ORDER BY "offset"')
    assert reasons == [(None,), (f'the message is too large for topic "{letters}" with its headers',)]
    assert (status(db)["dead"], status(db)["dead_sent"]) == (2, 1)
    # the topic is not there yet
    wait_value(db, "SELECT held FROM djkafka_outbox_status", 1)
    kafka.create_topic(letters)
    wait_sent(db)
    assert [m.key() for m in read_topic(kafka, letters)] == [b"1"]
    # and back, as its message was, to the topic that it is from
    db.query("ALTER TABLE t DROP CONSTRAINT t_n_check")
    assert db.query("SELECT result FROM djkafka_replay(sqlstate => '23514', consumer => 'default', to_topic => %s) ORDER BY 1", topic)[-1] == ("sent",)
    wait_value(db, "SELECT n FROM t WHERE id = 1", -1)

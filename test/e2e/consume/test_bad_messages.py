"""Everything that a message can contain is data: a dead letter or the documented result, never a crash."""

from typing import NamedTuple

import psycopg
import pytest
from lib.djkafka import assert_audit, dead_letters, to_json, wait_caught_up, wait_state, wait_value, workers
from lib.kafka import Client, Record, send
from lib.postgres import Database
from lib.process import private_memory

DEEP = 100_000
MANY_HEADERS = [(f"h{number}", b"x" * (number % 7)) for number in range(1000)]
MALFORMED = {"22KF0"}
NUMBER = {"22003", "22P02"}


class Case(NamedTuple):
    """A message, and either the codes its dead letter may have, or the row (name, n, data) it leaves."""

    name: str
    value: bytes | str | None
    dead: set[str] | None = None
    row: tuple | None = None
    key: bytes | str | None = None
    headers: list[tuple[str, bytes | None]] | None = None


def nested(opening: bytes, closing: bytes) -> bytes:
    return b'{"id": 1, "data": ' + opening * DEEP + b"1" + closing * DEEP + b"}"


# Each is sent with the id 1; "row" is what stands there after it.
CASES = [
    Case("empty value", b"", MALFORMED),
    Case("no JSON", b"{", MALFORMED),
    Case("JSON and more", b'{"id": 1} x', MALFORMED),
    Case("two documents", b'{"id": 1}{"id": 1}', MALFORMED),
    Case("NUL byte", b"\x00", MALFORMED | {"22021"}),
    Case("NUL inside", b'{"id": 1, "name": "a\x00b"}', MALFORMED | {"22021"}),
    Case("escaped NUL", rb'{"id": 1, "name": "a\u0000b"}', MALFORMED | {"22P05", "22021"}),
    Case("escaped NUL in jsonb", rb'{"id": 1, "data": "a\u0000b"}', MALFORMED | {"22P05", "22021"}),
    Case("invalid UTF-8", b'{"id": 1, "name": "\xff\xfe"}', MALFORMED | {"22021"}),
    Case("overlong UTF-8", b'{"id": 1, "name": "\xc0\x80"}', MALFORMED | {"22021"}),
    Case("UTF-8 cut off", b'{"id": 1, "name": "\xe2\x82', MALFORMED | {"22021"}),
    Case("byte order mark", b'\xef\xbb\xbf{"id": 1}', MALFORMED),
    Case("lone high surrogate", rb'{"id": 1, "name": "\ud800"}', MALFORMED | {"22P02"}),
    Case("lone low surrogate", rb'{"id": 1, "name": "\udc00x"}', MALFORMED | {"22P02"}),
    Case("surrogates reversed", rb'{"id": 1, "name": "\udc00\ud800"}', MALFORMED | {"22P02"}),
    Case("surrogate pair", rb'{"id": 1, "name": "\ud83d\ude00"}', row=("😀", None, None)),
    Case("arrays nested deep", nested(b"[", b"]"), MALFORMED | {"54001"}),
    Case("objects nested deep", nested(b'{"a":', b"}"), MALFORMED | {"54001"}),
    Case("deep and never closed", b"[" * DEEP, MALFORMED | {"54001"}),
    Case("10 MB value", to_json(id=1, name="x" * 10_000_000), row=("x" * 10_000_000, None, None)),
    Case("10 MB of nothing", b" " * 10_000_000, MALFORMED),
    Case("integer beyond bigint", b'{"id": 123456789012345678901234567890}', NUMBER),
    Case("integer beyond int", to_json(id=1, n=2**31), NUMBER),
    Case("fraction for an integer", b'{"id": 1, "n": 1.5}', NUMBER),
    Case("beyond every type", b'{"id": 1, "n": 1e400}', NUMBER),
    Case("a number of 100,000 digits", b'{"id": 1, "amount": ' + b"9" * 100_000 + b"}", NUMBER),
    Case("an exponent beyond numeric", b'{"id": 1, "amount": 1e999999999}', NUMBER),
    Case("NaN", b'{"id": 1, "amount": NaN}', MALFORMED),
    Case("leading zero", b'{"id": 01}', MALFORMED),
    Case("duplicate fields", b'{"id": 1, "name": "a", "name": "b"}', row=("b", None, None)),
    Case("duplicate null", b'{"id": 1, "name": "a", "name": null}', row=(None, None, None)),
    Case("scalar", b"42", MALFORMED),
    Case("string", b'"text"', MALFORMED),
    Case("null document: a tombstone without a key", b"null", {"22KF2"}),
    Case("array", b'[{"id": 1}]', MALFORMED),
    Case("object for text", b'{"id": 1, "name": {"a": 1}}', row=('{"a": 1}', None, None)),
    Case("array for an integer", b'{"id": 1, "n": [1]}', {"22P02"}),
    Case("unknown fields", b'{"id": 1, "name": "c", "": 1, "\\u0041": 2, "nme": 3}', row=("c", None, None)),
    Case("key column is null", b'{"id": null}', {"22KF2", "23502"}),
    Case("no key at all", b"{}", {"22KF2", "23502"}),
    Case("tombstone without a key", None, {"22KF2"}),
    Case("tombstone with a bad key", None, {"22KF2", "22P02"}, key=b"\xff\x00"),
    Case("tombstone with an empty key", None, {"22KF2", "22P02"}, key=b""),
    Case("tombstone", None, key="1"),
    Case("key alone identifies", b'{"name": "k"}', row=("k", None, None), key="1"),
    Case("null key", b'{"id": 1, "name": "n"}', row=("n", None, None)),
    Case("deep key", b'{"name": "k"}', MALFORMED | {"22KF2", "22P02", "54001"}, key=b"[" * DEEP),
    Case("1,000 headers", b'{"id": 1, "name": "h"}', row=("h", None, None), headers=MANY_HEADERS),
    Case("1,000 headers, dead", b"{", MALFORMED, headers=MANY_HEADERS),
    Case("binary headers", b"{", MALFORMED, headers=[("\u0001", b"\xff\x00"), ("a", None), ("", b"")]),
]


@pytest.fixture
def table(db: Database, topic: str) -> Database:
    db.query("CREATE TABLE t (id bigint PRIMARY KEY, name text, n int, amount numeric(12, 2), data jsonb)")
    db.query("SELECT djkafka_subscribe(%s, 't')", topic)
    return db


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_case(case: Case, table: Database, kafka: Client, topic: str) -> None:
    """Alone in its topic, between two good messages."""
    kafka.produce(topic, [Record(to_json(id=7, name="before"))])
    kafka.produce(topic, [Record(case.value, case.key, headers=case.headers), Record(to_json(id=8, name="after"))])
    wait_caught_up(table, kafka, topic)
    letters = dead_letters(table, topic)
    rows = table.query("SELECT name, n, data FROM t WHERE id = 1")
    if case.dead is None:
        assert letters == {}
        assert rows == ([case.row] if case.row else [])
    else:
        assert list(letters) == [(0, 1)] and not rows
        letter = letters[0, 1]
        raw = case.value.encode() if isinstance(case.value, str) else case.value
        key = case.key.encode() if isinstance(case.key, str) else case.key
        assert (letter["value"], letter["key"]) == (raw, key)
        assert letter["sqlstate"] in case.dead, letter
        assert letter["headers"] == (len(case.headers) if case.headers else None) or not letter["headers"]
    assert table.query("SELECT id, name FROM t WHERE id <> 1 ORDER BY id") == [(7, "before"), (8, "after")]
    assert_audit(table, 3)


def test_all_in_one_batch(table: Database, kafka: Client, topic: str) -> None:
    """Every case at once, each between good messages: the same ones are dead, in the same worker."""
    table.query("SELECT djkafka_pause('default')")
    records, expected = [], {}
    for number, case in enumerate(CASES):
        records.append(Record(to_json(id=1000 + number, name=case.name)))
        if case.dead is not None:
            expected[0, len(records)] = case.dead
        records.append(Record(case.value, case.key, headers=case.headers))
    kafka.produce(topic, records)
    table.query("SELECT djkafka_resume('default')")
    wait_caught_up(table, kafka, topic, timeout=120)
    letters = dead_letters(table, topic)
    assert set(letters) == set(expected)
    wrong = {at: letter["sqlstate"] for at, letter in letters.items() if letter["sqlstate"] not in expected[at]}
    assert not wrong
    assert table.value("SELECT count(*) FROM t WHERE id >= 1000") == len(CASES)
    assert_audit(table, len(records))


def test_no_leak(table: Database, kafka: Client, topic: str) -> None:
    """The worker's memory does not grow with what it has thrown away."""
    table.query("SELECT djkafka_alter_consumer('default', storm_share => 1)")
    bad = [case for case in CASES if case.dead is not None and len(case.value or b"") < 1000]
    rounds = [Record(case.value, case.key, headers=case.headers) for case in bad]
    # What the library's buffers need for such a load they have after the first rounds.
    for _ in range(2):
        kafka.produce(topic, rounds * 40)
        wait_caught_up(table, kafka, topic, timeout=120)
    before = workers(table)
    (pid,) = before.values()
    start = private_memory(pid)
    for _ in range(3):
        kafka.produce(topic, rounds * 40)
        wait_caught_up(table, kafka, topic, timeout=120)
    assert workers(table) == before, "the worker was restarted"
    assert private_memory(pid) - start < 16 * 1024 * 1024


def test_errors_that_quote_the_message(db: Database, kafka: Client, topic: str, cluster) -> None:
    """The server's texts hold the value that they speak of; who sends it fills neither the tables twice nor the log."""
    db.query("CREATE TYPE mood AS ENUM ('good')")
    db.query("CREATE TABLE item (id bigint PRIMARY KEY, r int4range, m mood, v int, w text)")
    db.query(
        "CREATE FUNCTION check_w() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF left(NEW.w, 1) = 'i' THEN EXECUTE format('SELECT %L::int', NEW.w); END IF;"
        " RAISE EXCEPTION USING MESSAGE = 'no', DETAIL = NEW.w, HINT = NEW.w; END $$"
    )
    db.query(
        "CREATE TRIGGER check_w BEFORE INSERT ON item FOR EACH ROW WHEN (NEW.w IS NOT NULL) EXECUTE FUNCTION check_w()"
    )
    db.query("SELECT djkafka_subscribe(%s, 'item', columns => %s)", topic, to_json(v="(value->>'v')::int"))
    long = "é" * 200_000
    fields: list[dict] = [{"r": long}, {"m": long}, {"v": long}, {"w": f"i{long}"}, {"w": f"x{long}"}]
    before = cluster.log_size()
    kafka.produce(topic, [Record(to_json(id=number, **each)) for number, each in enumerate(fields)])
    wait_caught_up(db, kafka, topic)
    assert db.value("SELECT count(*) FROM djkafka_dead_letter WHERE octet_length(value) > 400000") == len(fields)
    longest = "max(octet_length(concat(message, detail, hint, context)))"
    assert 1000 < db.value(f"SELECT {longest} FROM djkafka_dead_letter") < 10_000

    db.query("UPDATE djkafka_route SET on_error = 'stop'")
    kafka.produce(topic, [Record(to_json(id=9, v=long))])
    wait_state(db, "broken")
    wait_value(db, "SELECT max(attempt) >= 2 FROM djkafka_worker_status() WHERE kind = 'consumer'", True)
    assert cluster.log_size() - before < 100_000
    assert_audit(db)


def test_constraint_that_changes_its_mind(db: Database, kafka: Client, topic: str) -> None:
    """A constraint that passes when a piece is checked and fails in the end is not asked for ever."""
    db.query("CREATE TABLE item (id bigint PRIMARY KEY, name text)")
    db.query("CREATE SEQUENCE asked")
    db.query(
        "CREATE FUNCTION moody() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.name = 'moody' AND nextval('public.asked') % 2 = 0 THEN RAISE check_violation; END IF;"
        " RETURN NULL; END $$"
    )
    db.query(
        "CREATE CONSTRAINT TRIGGER moody AFTER INSERT ON item DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION moody()"
    )
    db.query("SELECT nextval('asked')")
    db.query("SELECT djkafka_subscribe(%s, 'item')", topic)
    kafka.produce(topic, [Record(to_json(id=1, name="moody")), Record(to_json(id=2, name="x"))])
    wait_caught_up(db, kafka, topic)
    wait_state(db, "running")
    assert db.query("SELECT id FROM item ORDER BY id") == [(1,), (2,)]
    assert_audit(db, 2)


def test_what_cannot_be_unpacked(db: Database, kafka: Client, unique) -> None:
    """The library refuses what becomes too large, again and again: its partition says so, and others go on."""
    topic = kafka.create_topic(unique("topic"), partitions=2)
    db.query("CREATE TABLE item (id bigint PRIMARY KEY)")
    db.query("SELECT djkafka_subscribe(%s, 'item')", topic)
    kafka.produce(topic, [Record(to_json(id=1), partition=0), Record(to_json(id=2), partition=1)])
    wait_value(db, "SELECT count(*) FROM item", 2)

    zeros = Record(b"\0" * 110_000_000, partition=0)
    send(kafka.producer(compression_type="zstd", message_max_bytes=200_000_000), topic, [zeros])
    kafka.produce(topic, [Record(to_json(id=3), partition=0), Record(to_json(id=4), partition=1)])
    wait_value(db, "SELECT count(*) FROM item WHERE id = 4", 1)
    found = wait_state(db, "broken")
    assert topic in found["reason"] and "djkafka_seek" in found["hint"], found
    with pytest.raises(psycopg.Error):
        db.query("SELECT djkafka_run('default', until => 'eof', timeout => '10 s')")

    db.query("SELECT djkafka_seek('default', %s, '2', 0)", topic)
    wait_value(db, "SELECT count(*) FROM item WHERE id = 3", 1)
    wait_state(db, "running")

"""One bad message never costs another."""

import time
from collections.abc import Callable

import pytest
from lib.djkafka import assert_audit, dead_letters, status, to_json, wait_caught_up, wait_state
from lib.kafka import Client, Record
from lib.postgres import Database

MESSAGES = 100_000
POISON_EVERY = 10_000


def poison(number: int) -> tuple[str | bytes, str]:
    """A value that cannot be applied, and the code of its error; of several kinds, by turns."""
    kinds: list[tuple[str | bytes, str]] = [
        (b'{"id": ' + str(number).encode(), "22KF0"),  # no JSON, found before SQL
        (to_json(id=number, n="many"), "22P02"),  # not the column's type
        (to_json(id=number, n=-1), "23514"),  # found by a constraint
        (to_json(id=number, n=None), "23502"),
        (b'{"id": %d, "n": 1, "name": "\xff"}' % number, "22KF0"),  # not UTF-8
    ]
    return kinds[number // POISON_EVERY % len(kinds)]


def test_one_in_ten_thousand(db: Database, kafka: Client, topic: str) -> None:
    """Exactly the poisoned messages are dead letters, byte for byte; all others are applied."""
    records, expected = [], {}
    for number in range(MESSAGES):
        key, headers = f"key-{number}", [("n", b"%d" % number)]
        value: str | bytes = to_json(id=number, n=number)
        if number % POISON_EVERY == POISON_EVERY // 2:
            value, code = poison(number)
            raw = value.encode() if isinstance(value, str) else value
            expected[0, number] = {"key": key.encode(), "value": raw, "sqlstate": code, "headers": 1}
        records.append(Record(value, key, headers=headers))
    db.query("CREATE TABLE t (id bigint PRIMARY KEY, n bigint NOT NULL CHECK (n >= 0), name text)")
    kafka.produce(topic, records)
    db.query("SELECT djkafka_subscribe(%s, 't')", topic)
    wait_caught_up(db, kafka, topic, timeout=120)

    letters = dead_letters(db, topic)
    found = {
        position: {name: letter[name] for name in ("key", "value", "sqlstate", "headers")}
        for position, letter in letters.items()
    }
    assert found == expected
    assert all(letter["message"] for letter in letters.values())
    dead = [number for _, number in expected]
    assert db.query("SELECT count(*), count(*) FILTER (WHERE id = n) FROM t") == [(MESSAGES - len(dead),) * 2]
    assert db.value("SELECT count(*) FROM t WHERE id = ANY(%s)", dead) == 0
    assert_audit(db, MESSAGES)
    assert status(db)["dead"] == len(expected)


def test_nothing_but_poison(db: Database, kafka: Client, topic: str, record_property) -> None:
    """Batches in which every message fails, in SQL and before it."""
    count = 5000
    db.query("CREATE TABLE t (id bigint PRIMARY KEY, n bigint NOT NULL CHECK (n >= 0), name text)")
    kafka.produce(topic, [Record(to_json(id=number, n=-1)) for number in range(count)])
    kafka.produce(topic, [Record("no JSON") for _ in range(count)])
    kafka.produce(topic, [Record(to_json(id=1, n=1))])
    start = time.monotonic()
    db.query("SELECT djkafka_create_consumer('default', storm_share => 1)")
    db.query("SELECT djkafka_subscribe(%s, 't')", topic)
    wait_caught_up(db, kafka, topic, timeout=120)
    rate = 2 * count / (time.monotonic() - start)
    print(f"nothing but poison: {rate:.0f} messages a second")
    record_property("poison_per_second", rate)
    codes = db.query("SELECT sqlstate, count(*) FROM djkafka_dead_letter GROUP BY 1 ORDER BY 1")
    assert codes == [("22KF0", count), ("23514", count)]
    assert db.query("SELECT id FROM t") == [(1,)]
    assert_audit(db, 2 * count + 1)


def rate_of(db: Database, kafka: Client, topic: str, consumer: str, count: int, poison_every: int) -> float:
    """Messages a second, of which one in so many cannot be applied."""
    bad = [poison(number * POISON_EVERY) for number in range(5)]
    kafka.produce(
        topic,
        [
            Record(bad[number // poison_every % 5][0] if poison_every and number % poison_every == 0 else to_json(id=number, n=number))
            for number in range(count)
        ],
    )
    db.query(f"CREATE TABLE {consumer} (id bigint PRIMARY KEY, n bigint NOT NULL CHECK (n >= 0), name text)")
    start = time.monotonic()
    db.query(f"SELECT djkafka_subscribe(%s, '{consumer}', consumer => '{consumer}')", topic)
    wait_caught_up(db, kafka, topic, consumer, timeout=300)
    return count / (time.monotonic() - start)


def check_one_in_ten(
    db: Database, kafka: Client, unique: Callable[[str], str], count: int, record_property
) -> tuple[float, float]:
    """Each of many fails alone, and it is measured what they cost the others: messages a second with and without them."""
    clean = rate_of(db, kafka, kafka.create_topic(unique("clean")), "clean", count, 0)
    poisoned = rate_of(db, kafka, kafka.create_topic(unique("poisoned")), "poisoned", count, 10)
    print(f"one in ten is poison: {poisoned:.0f} messages a second, of clean ones {clean:.0f}")
    record_property("poisoned_per_second", poisoned)
    record_property("clean_per_second", clean)
    assert db.value("SELECT count(*) FROM djkafka_dead_letter") == count // 10
    assert_audit(db, 2 * count)
    return poisoned, clean


def test_one_in_ten(db: Database, kafka: Client, unique: Callable[[str], str], record_property) -> None:
    check_one_in_ten(db, kafka, unique, 10_000, record_property)


@pytest.mark.long
@pytest.mark.alone
def test_one_in_ten_of_many(db: Database, kafka: Client, unique: Callable[[str], str], record_property) -> None:
    poisoned, clean = check_one_in_ten(db, kafka, unique, 100_000, record_property)
    assert poisoned >= clean / 5


def make_family(db: Database, topic: str) -> None:
    """Parent and child as Django makes them: the foreign key is checked at the end of the transaction."""
    db.query("CREATE TABLE parent (id bigint PRIMARY KEY)")
    db.query(
        "CREATE TABLE child (id bigint PRIMARY KEY, n int CHECK (n >= 0),"
        " parent_id bigint NOT NULL REFERENCES parent DEFERRABLE INITIALLY DEFERRED)"
    )
    db.query("SELECT djkafka_create_consumer('default', enabled => false)")
    db.query("SELECT djkafka_subscribe(%s, 'child', filter => 'value ? ''parent_id''')", topic)
    db.query("SELECT djkafka_subscribe(%s, 'parent', filter => 'NOT value ? ''parent_id''', route_order => 1)", topic)


def resume(db: Database, kafka: Client, topic: str) -> None:
    """All that was produced before is one batch then."""
    db.query("SELECT djkafka_resume('default')")
    wait_caught_up(db, kafka, topic)


def test_child_before_parent(db: Database, kafka: Client, topic: str) -> None:
    make_family(db, topic)
    kafka.produce(topic, [Record(to_json(id=number, n=1, parent_id=number % 10)) for number in range(100)])
    kafka.produce(topic, [Record(to_json(id=number)) for number in range(10)])
    resume(db, kafka, topic)
    assert dead_letters(db, topic) == {}
    assert db.query("SELECT count(*), (SELECT count(*) FROM parent) FROM child") == [(100, 10)]
    assert_audit(db, 110)


def test_child_before_parent_beside_poison(db: Database, kafka: Client, topic: str) -> None:
    """The poison message is alone dead, whether it stands before, between or after the family."""
    make_family(db, topic)
    bad = Record(to_json(id=1000, n=-1, parent_id=1))
    records: list[Record] = [bad]
    for number in range(20):
        records += [Record(to_json(id=number, n=1, parent_id=number)), Record("{"), Record(to_json(id=number))]
    records.append(bad)
    kafka.produce(topic, records)
    resume(db, kafka, topic)
    codes = [letter["sqlstate"] for _, letter in sorted(dead_letters(db, topic).items())]
    assert codes == ["23514", *["22KF0"] * 20, "23514"]
    assert db.query("SELECT count(*), (SELECT count(*) FROM parent) FROM child") == [(20, 20)]
    assert_audit(db, len(records))


def test_orphan_is_dead_alone(db: Database, kafka: Client, topic: str) -> None:
    """A violation that only the end of the transaction shows costs its own message alone."""
    make_family(db, topic)
    db.query("UPDATE djkafka_route SET parent_timeout = '0'")
    records = []
    for number in range(200):
        records += [Record(to_json(id=number, n=1, parent_id=number)), Record(to_json(id=number))]
    orphans = {(0, 100): 1000, (0, 301): 1001}
    for (_, offset), number in sorted(orphans.items()):
        records.insert(offset, Record(to_json(id=number, n=1, parent_id=77_777)))
    kafka.produce(topic, records)
    resume(db, kafka, topic)
    letters = dead_letters(db, topic)
    assert {position: letter["sqlstate"] for position, letter in letters.items()} == dict.fromkeys(orphans, "23503")
    assert db.query("SELECT count(*), (SELECT count(*) FROM parent) FROM child") == [(200, 200)]
    assert_audit(db, len(records))


def test_policies(db: Database, kafka: Client, topic: str) -> None:
    """on_error: skip counts, stop waits for a person."""
    db.query("CREATE TABLE t (id bigint PRIMARY KEY)")
    db.query("SELECT djkafka_subscribe(%s, 't', on_error => 'skip')", topic)
    kafka.produce(topic, [Record(to_json(id=1)), Record("{"), Record(to_json(id="x")), Record(to_json(id=2))])
    wait_caught_up(db, kafka, topic)
    assert (status(db)["skipped"], status(db)["dead"]) == (2, 0)
    assert not dead_letters(db, topic)

    db.query("UPDATE djkafka_route SET on_error = 'stop'")
    kafka.produce(topic, [Record(to_json(id=3)), Record("{"), Record(to_json(id=4))])
    stopped = wait_state(db, "broken")
    assert topic in stopped["reason"] and "offset 5" in stopped["reason"], "the reason names the message"
    assert stopped["hint"]
    assert db.query("SELECT id FROM t ORDER BY id") == [(1,), (2,), (3,)], "what stood before it is applied"
    assert_audit(db, 5)
    db.query("SELECT djkafka_seek('default', %s, '6')", topic)
    wait_caught_up(db, kafka, topic)
    assert db.value("SELECT max(id) FROM t") == 4

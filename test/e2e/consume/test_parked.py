"""A message that lacks nothing but a row that it refers to waits for it, and what is behind it of its key does too."""

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from lib.djkafka import (
    PARKED,
    assert_audit,
    dead_letters,
    explain,
    status,
    to_json,
    wait_caught_up,
    wait_count,
    wait_resting,
    wait_state,
    wait_value,
    workers,
)
from lib.kafka import Client, Record
from lib.postgres import TEST_BINDIR, Cluster, Database
from lib.process import cpu_seconds, kill_and_wait, private_kb
from lib.wait import wait_until

Own = Callable[..., Cluster]

TABLES = [
    "CREATE TABLE parent (id bigint PRIMARY KEY, v text)",
    "CREATE TABLE child (id bigint PRIMARY KEY, parent_id bigint NOT NULL REFERENCES parent {deferrable}, v text)",
    "CREATE TABLE written (n bigint GENERATED ALWAYS AS IDENTITY, id bigint, v text)",
    "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN INSERT INTO written (id, v) VALUES (NEW.id, NEW.v); RETURN NULL; END $$",
    "CREATE TRIGGER note AFTER INSERT OR UPDATE ON child FOR EACH ROW EXECUTE FUNCTION note()",
]


def make_tables(db: Database, deferrable: str = "") -> None:
    for statement in TABLES:
        db.query(statement.format(deferrable=deferrable))


def subscribe(db: Database, topics: dict[str, str], **options: str) -> None:
    """Table → topic; options of all routes."""
    given = "".join(f", {name} => {value}" for name, value in options.items())
    for table, topic in topics.items():
        db.query(f"SELECT djkafka_subscribe(%s, '{table}'{given})", topic)


def parents(ids: range) -> list[Record]:
    return [Record(to_json(id=n, v="p"), str(n)) for n in ids]


def children(ids: range) -> list[Record]:
    return [Record(to_json(id=n, parent_id=n, v="c"), str(n)) for n in ids]


def child(id: int, parent: int, v: str) -> Record:
    return Record(to_json(id=id, parent_id=parent, v=v), str(id))


def assert_all_once(db: Database, count: int) -> None:
    """Each child was written once, nothing waits, and nothing is dead."""
    wait_count(db, "child", count, timeout=90)
    assert db.value("SELECT count(*) FROM written") == count
    wait_value(db, PARKED, 0)
    assert db.value("SELECT count(*) FROM djkafka_parked") == 0
    assert db.value("SELECT count(*) FROM djkafka_dead_letter") == 0
    assert_audit(db)


@pytest.fixture
def topics(kafka: Client, unique: Callable[[str], str]) -> dict[str, str]:
    return {"parent": kafka.create_topic(unique("parent"), 2), "child": kafka.create_topic(unique("child"), 2)}


@pytest.mark.parametrize("first", ["parent", "child"])
@pytest.mark.parametrize("count", [1, 2], ids=["one-worker", "two-workers"])
@pytest.mark.parametrize("deferrable", ["", "DEFERRABLE INITIALLY DEFERRED"], ids=["immediate", "deferred"])
def test_backlog(
    db: Database, kafka: Client, unique: Callable[[str], str], first: str, count: int, deferrable: str
) -> None:
    """Parents and children that were all sent before: none of them is lost, whichever topic comes first."""
    second = "child" if first == "parent" else "parent"
    topics = {first: kafka.create_topic(unique("a"), 2), second: kafka.create_topic(unique("b"), 2)}
    kafka.produce(topics["parent"], parents(range(5000)))
    kafka.produce(topics["child"], children(range(5000)))
    make_tables(db, deferrable)
    db.query("SELECT djkafka_create_consumer('default', workers => %s)", count)
    subscribe(db, topics)
    assert_all_once(db, 5000)
    assert db.value("SELECT sum(applied) FROM djkafka_status") == 10000
    assert_audit(db, 10000)


def test_live(db: Database, kafka: Client, topics: dict[str, str]) -> None:
    """Pairs that are sent while they are read, the child before its parent."""
    make_tables(db)
    db.query("SELECT djkafka_create_consumer('default', workers => 2)")
    subscribe(db, topics)
    wait_state(db, "running")
    for n in range(0, 1000, 10):
        kafka.produce(topics["child"], children(range(n, n + 10)))
        kafka.produce(topics["parent"], parents(range(n, n + 10)))
    assert_all_once(db, 1000)


def test_order_of_a_key(db: Database, kafka: Client, topics: dict[str, str]) -> None:
    """What is behind a message that waits is applied after it; what is not of its key at once."""
    make_tables(db)
    db.query("INSERT INTO parent VALUES (1, 'here')")
    subscribe(db, topics)
    wait_state(db, "running")
    kafka.produce(topics["child"], [child(7, 99, "first"), child(8, 1, "other")])
    wait_count(db, "child", 1)
    # Of its key, in the same batch and in later ones; the second could be applied by itself.
    kafka.produce(topics["child"], [child(7, 1, "second"), child(9, 1, "other")])
    kafka.produce(topics["child"], [child(7, 99, "third")])
    wait_value(db, PARKED, 3)
    wait_count(db, "child", 2)
    assert db.query("SELECT sqlstate FROM djkafka_parked ORDER BY id") == [("23503",), (None,), (None,)]
    assert_audit(db)
    kafka.produce(topics["parent"], parents(range(99, 100)))
    wait_value(db, "SELECT v FROM child WHERE id = 7", "third")
    assert [v for (v,) in db.query("SELECT v FROM written WHERE id = 7 ORDER BY n")] == ["first", "second", "third"]
    wait_value(db, PARKED, 0)
    assert_audit(db, 6)


def test_look_up(db: Database, kafka: Client, topics: dict[str, str]) -> None:
    """What a look-up does not find is waited for too, and what is behind it of its row."""
    make_tables(db)
    db.query("INSERT INTO parent VALUES (1, 'here')")
    subscribe(db, {"parent": topics["parent"]})
    lookup = '{"parent_id": {"table": "parent", "column": "v", "field": "parent"}}'
    subscribe(db, {"child": topics["child"]}, lookups=f"'{lookup}'")
    wait_state(db, "running")
    # The rows' keys are in the values alone.
    given = [(7, "late", "first"), (8, "here", "other"), (7, "here", "second")]
    kafka.produce(topics["child"], [Record(to_json(id=n, parent=p, v=v), partition=0) for n, p, v in given])
    wait_count(db, "child", 1)
    wait_value(db, PARKED, 2)
    kafka.produce(topics["parent"], [Record(to_json(id=99, v="late"), "99")])
    wait_value(db, "SELECT v FROM child WHERE id = 7", "second")
    assert [v for (v,) in db.query("SELECT v FROM written WHERE id = 7 ORDER BY n")] == ["first", "second"]
    assert_audit(db, 4)


def test_handler(db: Database, kafka: Client, topics: dict[str, str]) -> None:
    """For a handler, which has no rows, it is the message's key that counts; one without is behind none."""
    make_tables(db)
    db.query(
        "CREATE FUNCTION take(djkafka_message) RETURNS void LANGUAGE sql AS $$ INSERT INTO child"
        " SELECT ($1).\"offset\", (v->>'parent')::int, v->>'v' FROM (SELECT convert_from(($1).value, 'UTF8')::jsonb) m (v) $$"
    )
    db.query("INSERT INTO parent VALUES (1, 'here')")
    db.query("SELECT djkafka_subscribe(%s, handler => 'take(djkafka_message)')", topics["child"])
    wait_state(db, "running")
    given = [("a", 99, "a1"), ("b", 1, "b1"), ("a", 1, "a2"), (None, 99, "n1"), (None, 1, "n2")]
    kafka.produce(topics["child"], [Record(to_json(parent=p, v=v), key, partition=0) for key, p, v in given])
    wait_value(db, PARKED, 3)
    assert [v for (v,) in db.query("SELECT v FROM written ORDER BY n")] == ["b1", "n2"]
    db.query("INSERT INTO parent VALUES (99, 'late')")
    wait_value(db, PARKED, 0)
    written = [v for (v,) in db.query("SELECT v FROM written ORDER BY n")]
    written.remove("n1")  # the parent may have come when a1 had just been tried, and n1 not yet
    assert written == ["b1", "n2", "a1", "a2"]
    assert_audit(db, 5)


@pytest.mark.long
def test_parent_amid_a_round(db: Database, kafka: Client, topics: dict[str, str]) -> None:
    """What a handler waits for is looked for after the batch that brought it, though all that waits was just being tried."""
    make_tables(db)
    db.query(
        "CREATE FUNCTION take(djkafka_message) RETURNS void LANGUAGE sql AS $$ SELECT pg_sleep(0.5);"
        " INSERT INTO child SELECT ($1).\"offset\", convert_from(($1).value, 'UTF8')::int, 'c' $$"
    )
    # The error of a handler says nothing of a constraint that is the target's.
    db.query(
        "CREATE FUNCTION ask() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NOT EXISTS (SELECT FROM parent p WHERE p.id = NEW.parent_id)"
        " THEN RAISE 'no parent' USING ERRCODE = '23503'; END IF; RETURN NEW; END $$"
    )
    db.query("CREATE TRIGGER ask BEFORE INSERT ON child FOR EACH ROW EXECUTE FUNCTION ask()")
    subscribe(db, {"parent": topics["parent"]})
    db.query("SELECT djkafka_subscribe(%s, handler => 'take(djkafka_message)', parent_timeout => '1 h')", topics["child"])
    kafka.produce(topics["child"], [Record("7")])
    wait_value(db, PARKED, 1)
    time.sleep(11)  # looked for after 1, 2 and 4 s; next after 8
    kafka.produce(topics["parent"], parents(range(1, 2)))
    wait_count(db, "parent", 1)
    time.sleep(1)
    kafka.produce(topics["parent"], parents(range(7, 8)))
    wait_count(db, "child", 1, timeout=7)
    assert_audit(db)


def test_deletion_waits_behind(db: Database, kafka: Client, topics: dict[str, str]) -> None:
    make_tables(db)
    subscribe(db, topics)
    wait_state(db, "running")
    kafka.produce(topics["child"], [child(7, 99, "first"), Record(None, "7"), child(8, 99, "stays")])
    wait_value(db, PARKED, 3)
    kafka.produce(topics["parent"], parents(range(99, 100)))
    wait_value(db, PARKED, 0)
    # Which first is open: the parent may have come when 7 had just been tried, and 8 not yet.
    assert db.query("SELECT id, v FROM written ORDER BY id") == [(7, "first"), (8, "stays")]
    assert db.query("SELECT id FROM child") == [(8,)]
    assert_audit(db, 4)


def test_parent_from_elsewhere(db: Database, kafka: Client, topics: dict[str, str]) -> None:
    """It need not be djkafka that brings the parent, and a worker that is started again knows what waits."""
    make_tables(db)
    subscribe(db, topics)
    kafka.produce(topics["child"], children(range(20)))
    wait_value(db, PARKED, 20)
    db.query("SELECT djkafka_pause('default')")
    wait_state(db, "paused")
    db.query("INSERT INTO parent SELECT g, 'p' FROM generate_series(0, 19) g")
    assert db.value(PARKED) == 20
    db.query("SELECT djkafka_resume('default')")
    assert_all_once(db, 20)


@pytest.mark.parametrize("timeout", ["'0'", "'1.5 s'"])
def test_timeout(db: Database, kafka: Client, topics: dict[str, str], timeout: str) -> None:
    """What waits in vain becomes a dead letter, and what is behind it is tried then."""
    make_tables(db)
    db.query("INSERT INTO parent VALUES (1, 'here')")
    subscribe(db, topics, parent_timeout=timeout)
    started = time.monotonic()
    kafka.produce(topics["child"], [child(7, 99, "orphan"), child(7, 1, "second"), child(8, 98, "orphan")])
    wait_value(db, "SELECT v FROM child WHERE id = 7", "second")
    wait_value(db, "SELECT count(*) FROM djkafka_dead_letter", 2)
    wait_value(db, PARKED, 0)
    assert timeout == "'0'" or time.monotonic() - started >= 1.5
    letters = dead_letters(db, topics["child"])
    assert {letter["sqlstate"] for letter in letters.values()} == {"23503"}
    assert {("parent_timeout" in (letter["hint"] or "")) for letter in letters.values()} == {timeout != "'0'"}
    assert_audit(db, 3)


def test_stop(db: Database, kafka: Client, topics: dict[str, str]) -> None:
    """Under on_error = stop a message waits too, and stops when it has waited in vain."""
    make_tables(db)
    subscribe(db, topics, parent_timeout="'1 s'", on_error="'stop'")
    kafka.produce(topics["child"], children(range(1)))
    shown = wait_state(db, "broken")
    assert "foreign key" in shown["reason"]
    assert f"SELECT djkafka_skip('default', '{topics['child']}', " in shown["hint"]
    assert shown["parked"] == 1
    db.query("INSERT INTO parent VALUES (0, 'late')")
    db.query("SELECT djkafka_restart('default')")
    assert_all_once(db, 1)


def test_what_fails_now_and_then(own_cluster: Own, kafka: Client, unique: Callable[[str], str], topics: dict[str, str]) -> None:
    """Errors here and there cost no message its patience, and those far behind their turn."""
    cluster = own_cluster(djkafka__bootstrap_servers=kafka.address, djkafka__max_retry_interval="1s")
    db = Database(cluster, unique("db"))
    db.query("CREATE EXTENSION djkafka")
    make_tables(db)
    db.query("CREATE SEQUENCE tries")
    db.query(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF nextval('tries') % 13 = 0 THEN"
        " RAISE 'not now' USING ERRCODE = '40001'; END IF; RETURN NEW; END $$"
    )
    db.query("CREATE TRIGGER fail BEFORE INSERT ON child FOR EACH ROW EXECUTE FUNCTION fail()")
    db.query("SELECT djkafka_create_consumer('default', batch_messages => 1)")
    subscribe(db, topics, parent_timeout="'10 min'")
    kafka.produce(topics["child"], [Record(to_json(id=n, parent_id=n, v="c"), str(n), partition=0) for n in range(30)])
    wait_value(db, PARKED, 30)
    before = db.value("SELECT last_value FROM tries")

    def has_tried() -> bool:
        """More errors than a message in vain is tried; any parent makes the worker look."""
        db.query("INSERT INTO parent SELECT max(id) + 1000, 'other' FROM (SELECT id FROM parent UNION ALL SELECT 0) p")
        return db.value("SELECT last_value FROM tries") > before + 25 * 13

    wait_until(has_tried, 120, lambda: explain(db))
    kafka.produce(topics["parent"], parents(range(29, 30)))
    wait_count(db, "child", 1)
    assert db.value("SELECT count(*) FROM djkafka_dead_letter") == 0
    assert_audit(db)


@pytest.mark.long
def test_slow_turn(db: Database, kafka: Client, topics: dict[str, str]) -> None:
    """What a turn leaves because it takes too long is tried in the next."""
    make_tables(db)
    db.query(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " PERFORM pg_sleep(0.5) FROM parent WHERE id = NEW.parent_id; RETURN NEW; END $$"
    )
    db.query("CREATE TRIGGER slow BEFORE INSERT ON child FOR EACH ROW EXECUTE FUNCTION slow()")
    limits = '{"max.poll.interval.ms": "10000", "session.timeout.ms": "10000"}'
    db.query("SELECT djkafka_create_consumer('default', options => %s)", limits)
    subscribe(db, topics, parent_timeout="'1 h'")
    kafka.produce(topics["child"], children(range(9)))
    wait_resting(db, 9)
    db.query("INSERT INTO parent SELECT g, 'p' FROM generate_series(0, 8) g")
    assert_all_once(db, 9)


def test_bound(own_cluster: Own, kafka: Client, unique: Callable[[str], str], topics: dict[str, str]) -> None:
    """No more than djkafka.max_parked wait; what is behind one of them and cannot wait is not applied before it."""
    cluster = own_cluster(djkafka__bootstrap_servers=kafka.address, djkafka__max_parked=10)
    db = Database(cluster, unique("db"))
    db.query("CREATE EXTENSION djkafka")
    make_tables(db)
    db.query("INSERT INTO parent VALUES (100, 'here')")
    subscribe(db, topics)
    # One partition: what comes first waits.
    kafka.produce(topics["child"], [Record(to_json(id=n, parent_id=n, v="c"), "k") for n in range(12)])
    kafka.produce(topics["child"], [Record(to_json(id=0, parent_id=100, v="behind"), "k")])
    wait_value(db, "SELECT count(*) FROM djkafka_dead_letter", 3)
    wait_value(db, PARKED, 10)
    assert db.value("SELECT count(*) FROM child") == 0
    states = db.query('SELECT sqlstate, hint FROM djkafka_dead_letter ORDER BY "offset"')
    assert [sqlstate for sqlstate, _ in states] == ["23503", "23503", "53400"]
    assert all("djkafka.max_parked" in hint for _, hint in states)
    kafka.produce(topics["parent"], parents(range(12)))
    wait_count(db, "child", 10)
    wait_value(db, PARKED, 0)
    assert_audit(db)


def test_seek(db: Database, kafka: Client, topics: dict[str, str]) -> None:
    """A partition that is sought leaves what waited of it as dead letters: nothing is lost, and nothing applied twice."""
    make_tables(db)
    subscribe(db, topics)
    kafka.produce(topics["child"], children(range(30)))
    wait_value(db, PARKED, 30)
    db.query("SELECT djkafka_seek('default', %s, 'latest')", topics["child"])
    wait_value(db, "SELECT count(*) FROM djkafka_dead_letter", 30)
    assert db.value("SELECT count(*) FROM djkafka_parked") == 0
    assert "sought" in db.value("SELECT DISTINCT detail FROM djkafka_dead_letter")
    kafka.produce(topics["parent"], parents(range(30)))
    wait_count(db, "parent", 30)
    wait_caught_up(db, kafka, topics["child"])
    assert db.value("SELECT count(*) FROM child") == 0
    db.query("SELECT djkafka_replay((SELECT array_agg(id) FROM djkafka_dead_letter))", user=db.value("SELECT owner::text FROM djkafka_consumer"))
    assert db.value("SELECT count(*) FROM child") == 30
    assert_audit(db)


def test_dropped(db: Database, kafka: Client, topics: dict[str, str]) -> None:
    """What waits is a dead letter once its consumer is dropped; of a dropped route it waits for another one."""
    make_tables(db)
    subscribe(db, topics)
    kafka.produce(topics["child"], children(range(5)))
    wait_value(db, PARKED, 5)
    db.query("SELECT djkafka_drop_route(id) FROM djkafka_route WHERE topic = %s", topics["child"])
    kafka.produce(topics["parent"], parents(range(5)))
    wait_count(db, "parent", 5)
    assert db.value(PARKED) == 5
    subscribe(db, {"child": topics["child"]})
    assert_all_once(db, 5)
    kafka.produce(topics["child"], children(range(10, 15)))
    wait_value(db, PARKED, 5)
    db.query("SELECT djkafka_drop_consumer('default')")
    assert db.value("SELECT count(*) FROM djkafka_parked") == 0
    # and is given to the next one of its group, which does not read it again
    subscribe(db, topics)
    kafka.produce(topics["parent"], parents(range(10, 15)))
    wait_count(db, "parent", 10)
    assert db.query("SELECT DISTINCT result FROM djkafka_replay((SELECT array_agg(id) FROM djkafka_dead_letter))") == [("applied",)]
    assert db.query("SELECT count(*), count(DISTINCT id) FROM child") == [(10, 10)]


def test_run(db: Database, kafka: Client, topics: dict[str, str]) -> None:
    """djkafka_run tries what waits at its end, and says what waits still."""
    make_tables(db)
    db.query("SELECT djkafka_create_consumer('default', enabled => false)")
    subscribe(db, topics)
    kafka.produce(topics["child"], children(range(3)))
    owner = db.value("SELECT owner::text FROM djkafka_consumer")
    run = "SELECT applied, dead, parked, reason FROM djkafka_run('default', until => 'eof')"
    assert db.query(run, user=owner) == [(0, 0, 3, "eof")]
    assert_audit(db, 3)
    kafka.produce(topics["parent"], parents(range(2)))
    assert db.query(run, user=owner) == [(4, 0, 1, "eof")]
    assert db.query("SELECT id FROM child ORDER BY id") == [(0,), (1,)]
    assert_audit(db, 5)


@pytest.mark.parametrize("then", ["stop", "dead_letter"])
def test_run_makes_room(db: Database, kafka: Client, topics: dict[str, str], then: str) -> None:
    """What waits is tried before messages are read for which there may be no room otherwise."""
    make_tables(db)
    db.query("SELECT djkafka_create_consumer('default', enabled => false)")
    subscribe(db, {"child": topics["child"]}, max_lane_messages="2", on_full_lane=f"'{then}'")
    kafka.produce(topics["child"], [child(1, 1, "a"), child(1, 1, "b")])
    run = "SELECT applied, dead, parked, reason FROM djkafka_run('default', until => 'eof')"
    assert db.query(run) == [(0, 0, 2, "eof")]
    db.query("INSERT INTO parent VALUES (1)")
    kafka.produce(topics["child"], [child(1, 1, "c")])
    assert db.query(run) == [(3, 0, 0, "eof")]
    assert db.query("SELECT v FROM child") == [("c",)]
    assert_audit(db, 3)


def test_lock_amid_traffic(db: Database, kafka: Client, topics: dict[str, str]) -> None:
    """What others bring meanwhile costs one that waits none of its patience with a lock."""
    make_tables(db)
    db.query("INSERT INTO parent VALUES (1, 'here')")
    db.query("INSERT INTO child VALUES (7, 1, 'before')")
    db.query(f"ALTER ROLE {db.owner} SET lock_timeout = '20ms'", user="postgres")
    subscribe(db, topics)
    kafka.produce(topics["child"], [child(7, 99, "waited")])
    wait_value(db, PARKED, 1)
    with db.connect() as holder:
        with holder.transaction():
            holder.execute("SELECT FROM child WHERE id = 7 FOR UPDATE")
            db.query("INSERT INTO parent VALUES (99, 'late')")
            begun = time.monotonic()
            for n in range(100, 200):
                kafka.produce(topics["child"], [child(n, 1, "traffic")])
                time.sleep(max(begun + (n - 99) * 0.1 - time.monotonic(), 0))
            assert db.query("SELECT sqlstate FROM djkafka_dead_letter") == []
    wait_value(db, "SELECT v FROM child WHERE id = 7", "waited", timeout=60)
    wait_count(db, "child", 101)
    assert_audit(db, 101)


LOOKS_UP = "CREATE FUNCTION look(text) RETURNS bigint LANGUAGE plpgsql STABLE AS $$ DECLARE found bigint;"
LOOKS_UP += " BEGIN SELECT id INTO found FROM parent WHERE v = $1; IF found IS NULL THEN"
LOOKS_UP += " RAISE foreign_key_violation; END IF; RETURN found; END $$"
LOOKUP = """{"id": {"lookup": {"table": "parent", "column": "v", "field": "name"}}}"""


@pytest.mark.parametrize("case", ["key", "expression", "routes", "remade", "type", "key_columns", "handlers"])
def test_order_of_what_is_not_known(db: Database, kafka: Client, unique: Callable[[str], str], case: str) -> None:
    """A key that cannot be known, is another route's too, or was known in another way: the order stays."""
    topic = kafka.create_topic(unique("t"), 1)
    db.query("CREATE TABLE parent (id bigint PRIMARY KEY, v text)")
    db.query("INSERT INTO parent VALUES (1, 'here')")
    db.query("CREATE TABLE child (id bigint PRIMARY KEY, parent_id bigint REFERENCES parent, n int, code int UNIQUE DEFAULT 5)")
    db.query(LOOKS_UP)
    if case == "handlers":
        db.query("CREATE FUNCTION handle(jsonb) RETURNS void BEGIN ATOMIC INSERT INTO child SELECT j.id, j.parent_id, j.n"
                 " FROM jsonb_to_record($1) j(id bigint, parent_id bigint, n int)"
                 " ON CONFLICT (id) DO UPDATE SET (n, parent_id) = (EXCLUDED.n, EXCLUDED.parent_id); END")
    db.query("SELECT djkafka_create_consumer('default', enabled => false)")
    options = {
        "key": f"columns => '{LOOKUP}'",
        "expression": """columns => '{"parent_id": "look(value->>''name'')"}'""",
        "routes": "filter => $$value->>'n' = '1'$$",
    }.get(case, "notify => 'off'")
    if case == "handlers":
        db.query("SELECT djkafka_create_route('default', %s, handler => 'handle(jsonb)', filter => $$value->>'n' = '1'$$)", topic)
        db.query("SELECT djkafka_create_route('default', %s, handler => 'handle(jsonb)')", topic)
    else:
        db.query(f"SELECT djkafka_create_route('default', %s, 'child', {options})", topic)
    if case == "routes":
        db.query("SELECT djkafka_create_route('default', %s, 'child')", topic)
    owner = db.value("SELECT owner::text FROM djkafka_consumer")
    run = "SELECT applied, dead, parked FROM djkafka_run('default', until => 'eof')"
    kafka.produce(topic, [Record(to_json(id=7, code=5, parent_id=9, name="late", n=1), "7")])
    assert db.query(run, user=owner) == [(0, 0, 1)]
    if case == "remade":
        db.query("SELECT djkafka_drop_route(id) FROM djkafka_route")
        db.query("SELECT djkafka_create_route('default', %s, 'child')", topic)
    elif case == "type":
        db.query("ALTER TABLE child ALTER id TYPE text")
    elif case == "key_columns":
        db.query("UPDATE djkafka_route SET key_columns = '{code}'")
    if case == "key":
        db.query("INSERT INTO parent VALUES (9, 'late')")
    kafka.produce(topic, [Record(to_json(id=7, code=5, parent_id=1, name="late" if case == "key" else "here", n=2), "7")])
    assert db.query(run, user=owner) == [(2, 0, 0) if case == "key" else (0, 0, 2)]
    db.query("INSERT INTO parent VALUES (9, 'late') ON CONFLICT DO NOTHING")
    assert db.query(run, user=owner) == [(0, 0, 0) if case == "key" else (2, 0, 0)]
    assert db.query("SELECT n FROM child") == [(2,)]
    assert_audit(db, 2)


READY = "database system is ready to accept connections"


@pytest.mark.parametrize("victim", ["worker", "server"])
def test_kill(own_cluster: Own, kafka: Client, unique: Callable[[str], str], topics: dict[str, str], victim: str) -> None:
    """Killed again and again while messages begin to wait and cease to: each child is written once."""
    cluster = own_cluster(djkafka__bootstrap_servers=kafka.address)
    db = Database(cluster, unique("db"))
    db.query("CREATE EXTENSION djkafka")
    make_tables(db)
    db.query("SELECT djkafka_create_consumer('default', workers => 2, batch_messages => 200)")
    subscribe(db, topics, parent_timeout="'10 min'")
    count = 2000
    for n in range(0, count, 500):
        kafka.produce(topics["child"], children(range(n, n + 500)))
        kafka.produce(topics["parent"], parents(range(n, n + 500)))
        wait_until(lambda: answering(db, "SELECT count(*) FROM child", n), 60, lambda: explain(db))
        if victim == "server":
            cluster.kill()
            cluster.start()
            db.disconnect()
        else:
            before = cluster.log().count(READY)
            kill_and_wait(next(iter(workers(db).values())))
            # The server ends all sessions, and not at once.
            wait_until(lambda before=before: cluster.log().count(READY) > before)
            db.disconnect()
    wait_until(lambda: answering(db, "SELECT count(*) FROM child", count - 1), 90, lambda: explain(db))
    assert_all_once(db, count)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_random(db: Database, kafka: Client, topics: dict[str, str], size: int) -> None:
    """However many are a batch: of each key every message is applied, in its order, once its parent is there."""
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    make_tables(db, dice.choice(["", "DEFERRABLE INITIALLY DEFERRED"]))
    live = dice.random() < 0.7
    db.query("SELECT djkafka_create_consumer('default', batch_messages => %s, enabled => %s)", size, live)
    subscribe(db, topics, parent_timeout="'10 min'")
    wanted: dict[int, list[str]] = {}
    stays: dict[int, str] = {}
    records = []
    for n in range(400):
        key = dice.randrange(30)
        if dice.random() < 0.15:
            records.append(Record(None, str(key)))
            stays.pop(key, None)
        else:
            records.append(child(key, dice.randrange(12), f"v{n}"))
            wanted.setdefault(key, []).append(f"v{n}")
            stays[key] = f"v{n}"
    left = list(range(12))
    dice.shuffle(left)
    while records:
        some = dice.randrange(1, 120)
        kafka.produce(topics["child"], records[:some])
        records = records[some:]
        kafka.produce(topics["parent"], [record for id in left[:2] for record in parents(range(id, id + 1))])
        left = left[2:]
    kafka.produce(topics["parent"], [record for id in left for record in parents(range(id, id + 1))])
    if not live:
        db.query("SELECT djkafka_resume('default')")
    wait_caught_up(db, kafka, topics["child"])
    wait_caught_up(db, kafka, topics["parent"])
    wait_value(db, PARKED, 0)
    seen: dict[int, list[str]] = {}
    for key, v in db.query("SELECT id, v FROM written ORDER BY n"):
        seen.setdefault(key, []).append(v)
    assert seen == wanted, f"seed {seed}"
    assert dict(db.query("SELECT id, v FROM child")) == stays, f"seed {seed}"
    assert db.value("SELECT count(*) FROM djkafka_dead_letter") == 0
    assert_audit(db, 412)


CRASHING = [
    "CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    " IF NEW.v = 'bad' THEN PERFORM crash(); END IF; RETURN NEW; END $$",
    "CREATE CONSTRAINT TRIGGER zz_look AFTER INSERT ON child FOR EACH ROW EXECUTE FUNCTION look()",
]


def test_crash(own_cluster: Own, kafka: Client, unique: Callable[[str], str], topics: dict[str, str]) -> None:
    """One that takes the server down as soon as its parent is there is known among those that wait, as any other."""
    cluster = own_cluster(bindir=TEST_BINDIR, djkafka__bootstrap_servers=kafka.address)
    db = Database(cluster, unique("db"))
    db.query("CREATE EXTENSION djkafka")
    db.query("CREATE FUNCTION crash() RETURNS void LANGUAGE c AS 'djkafka', 'djkafka_test_crash'", user="postgres")
    make_tables(db)
    for statement in CRASHING:
        db.query(statement)
    subscribe(db, topics, parent_timeout="'10 min'")
    given = [child(n, 99, "bad" if n == 20 else "c") for n in range(40)]
    kafka.produce(topics["child"], [record._replace(partition=0) for record in given])
    wait_value(db, PARKED, 40)
    kafka.produce(topics["parent"], parents(range(99, 100)))
    wait_until(lambda: answering(db, "SELECT count(*) FROM child", 38), 90, lambda: explain(db))
    wait_value(db, PARKED, 0)
    assert db.query('SELECT "offset", sqlstate FROM djkafka_dead_letter') == [(20, "22KF4")]
    assert db.value("SELECT count(*) FROM written") == 39
    assert db.cluster.log().count("all server processes terminated; reinitializing") == 3
    assert_audit(db)


def answering(db: Database, query: str, above: int) -> bool:
    """Whether a value is above a limit, through restarts of the server."""
    try:
        return db.value(query) > above
    except Exception:  # noqa: BLE001 - the server is down or restarts
        db.disconnect()
        return False


def test_flow(db: Database, kafka: Client, topics: dict[str, str], unique: Callable[[str], str]) -> None:
    """Many that wait in vain do not hold up what does not wait."""
    make_tables(db)
    other = kafka.create_topic(unique("other"))
    db.query("CREATE TABLE other (id bigint PRIMARY KEY, v text)")
    subscribe(db, {**topics, "other": other})
    kafka.produce(topics["child"], children(range(3000)))
    wait_value(db, PARKED, 3000)
    started = time.monotonic()
    kafka.produce(other, [Record(to_json(id=n, v="o"), str(n)) for n in range(50000)])
    wait_count(db, "other", 50000, timeout=60)
    print(f"50,000 messages beside 3,000 that wait: {time.monotonic() - started:.1f} s")
    assert status(db)["parked"] == 3000
    assert_audit(db)


def test_many_partitions(db: Database, kafka: Client, unique: Callable[[str], str]) -> None:
    """However many partitions have messages that wait for ever, those of the others are tried."""
    count = 200
    topics = {"child": kafka.create_topic(unique("child"), count)}
    make_tables(db)
    subscribe(db, topics, parent_timeout="'1 h'")
    kafka.produce(topics["child"], [Record(r.value, r.key, partition=n) for n, r in enumerate(children(range(count)))])
    wait_value(db, PARKED, count, timeout=60)
    db.query(f"INSERT INTO parent SELECT n, 'late' FROM generate_series(0, {count - 1}, 2) n")
    wait_count(db, "child", count // 2, timeout=30)
    wait_value(db, PARKED, count // 2)
    assert_audit(db)
    # Their time is over in the same round.
    db.query("UPDATE djkafka_route SET parent_timeout = '1 s'")
    wait_value(db, PARKED, 0, timeout=30)
    assert db.value("SELECT count(*) FROM djkafka_dead_letter") == count // 2
    assert_audit(db, count)


# ---------- woken by whoever brings the parent ----------

def write_parents(db: Database, how: str) -> None:
    """Parents 0 to 9, in one of the ways in which rows come."""
    everything = "SELECT g, 'p' FROM generate_series(0, 9) g"
    if how == "insert":
        db.query(f"INSERT INTO parent {everything}")
    elif how == "copy":
        with db.connect() as connection, connection.cursor().copy("COPY parent FROM STDIN") as copy:
            copy.write("".join(f"{n}\tp\n" for n in range(10)))
    elif how == "update":
        db.query("UPDATE parent SET id = id - 1000")
    elif how == "merge":
        db.query(f"MERGE INTO parent p USING ({everything}) s (id, v) ON p.id = s.id WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.v)")
    elif how == "trigger":
        db.query("INSERT INTO source VALUES (1)")
    elif how == "function":
        db.query("SELECT bring()")
    elif how == "savepoint":
        with db.connect() as connection, connection.transaction():
            with connection.transaction():
                connection.execute(f"INSERT INTO parent {everything}")
    elif how == "many-tables":
        # More than a transaction remembers.
        with db.connect() as connection, connection.transaction():
            for n in range(40):
                connection.execute(f"CREATE TEMP TABLE t{n} ON COMMIT DROP AS SELECT 1 AS x")
                connection.execute(f"INSERT INTO t{n} VALUES (2)")
            connection.execute(f"INSERT INTO parent {everything}")
    elif how == "other-column":
        db.query("ALTER TABLE child DROP CONSTRAINT child_parent_id_fkey, ADD COLUMN other bigint")
        db.query("ALTER TABLE child ADD CONSTRAINT child_parent_id_fkey FOREIGN KEY (other) REFERENCES parent")
    elif how == "other-name":
        db.query("ALTER TABLE child RENAME parent_id TO other_id; ALTER TABLE child ADD COLUMN parent_id bigint")
    elif how == "excluded":
        db.query("UPDATE djkafka_route SET exclude = '{parent_id}' WHERE target = 'child'::regclass")
    elif how == "disabled":
        db.query("ALTER TABLE child DISABLE TRIGGER ALL", user="postgres")
    elif how == "constraint":
        db.query("ALTER TABLE child DROP CONSTRAINT child_parent_id_fkey")


WAYS = ["insert", "copy", "update", "merge", "trigger", "function", "savepoint", "many-tables"]
CHANGES = ["other-column", "other-name", "excluded", "disabled", "constraint"]


def test_woken(db: Database, kafka: Client, topics: dict[str, str]) -> None:
    """However the parent comes, its children are applied when it is committed, and not when a worker looks again."""
    make_tables(db)
    db.query("CREATE TABLE source (n int)")
    db.query(
        "CREATE FUNCTION bring() RETURNS void LANGUAGE sql AS"
        " $$ INSERT INTO parent SELECT g, 'p' FROM generate_series(0, 9) g $$"
    )
    db.query("CREATE FUNCTION bring_rows() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM bring(); RETURN NULL; END $$")
    db.query("CREATE TRIGGER bring AFTER INSERT ON source FOR EACH STATEMENT EXECUTE FUNCTION bring_rows()")
    subscribe(db, topics, parent_timeout="'1 h'")
    for how in WAYS:
        db.query("TRUNCATE child, parent")
        if how == "update":
            db.query("INSERT INTO parent SELECT g, 'p' FROM generate_series(1000, 1009) g")
        kafka.produce(topics["child"], children(range(10)))
        wait_resting(db, 10)
        write_parents(db, how)
        wait_count(db, "child", 10, timeout=30)
        wait_value(db, PARKED, 0)
    assert_audit(db)


@pytest.mark.parametrize("change", CHANGES)
def test_no_parent_needed(db: Database, kafka: Client, topics: dict[str, str], change: str) -> None:
    """Where the parent is not asked for any more, what waited for it is applied without it."""
    make_tables(db)
    db.query("DROP TRIGGER note ON child")
    db.query("ALTER TABLE child ALTER parent_id DROP NOT NULL")
    subscribe(db, topics, parent_timeout="'1 h'")
    kafka.produce(topics["child"], children(range(10)))
    wait_value(db, PARKED, 10)
    write_parents(db, change)
    wait_count(db, "child", 10, timeout=30)
    assert db.value("SELECT count(*) FROM parent") == 0
    assert_audit(db)


def test_what_waits_is_shown(db: Database, kafka: Client, topics: dict[str, str]) -> None:
    make_tables(db)
    subscribe(db, topics, parent_timeout="'1 h'")
    kafka.produce(topics["child"], [child(7, 99, "first"), child(7, 98, "behind")])
    wait_value(db, PARKED, 2)
    shown = db.query("SELECT constraint_name, parent::text, missing_key FROM djkafka_parked ORDER BY id")
    assert shown == [("child_parent_id_fkey", "parent", {"id": "99"}), (None, None, None)]
    db.query("INSERT INTO parent VALUES (99, 'late')")
    wait_value(db, PARKED, 1)
    shown = db.query("SELECT constraint_name, parent::text, missing_key, sqlstate FROM djkafka_parked")
    assert shown == [("child_parent_id_fkey", "parent", {"id": "98"}, "23503")]


def test_rolled_back(own_cluster: Own, kafka: Client, unique: Callable[[str], str], topics: dict[str, str]) -> None:
    """A parent that is rolled back wakes nobody; a prepared one does when it is committed, by whomever."""
    cluster = own_cluster(djkafka__bootstrap_servers=kafka.address, max_prepared_transactions=5)
    db = Database(cluster, unique("db"))
    db.query("CREATE EXTENSION djkafka")
    make_tables(db)
    subscribe(db, topics, parent_timeout="'1 h'")
    kafka.produce(topics["child"], children(range(1)))
    wait_resting(db, 1)
    with db.connect() as connection:
        connection.execute("BEGIN")
        connection.execute("INSERT INTO parent VALUES (0, 'p')")
        connection.execute("ROLLBACK")
        connection.execute("BEGIN")
        connection.execute("INSERT INTO parent VALUES (0, 'p')")
        connection.execute("PREPARE TRANSACTION 'late'")
    assert db.value(PARKED) == 1
    db.query("COMMIT PREPARED 'late'")
    assert_all_once(db, 1)


def test_locked_partition_of_parents(db: Database, kafka: Client, topics: dict[str, str], unique: Callable[[str], str]) -> None:
    """Who alters a part of the parents keeps the worker from what waits for them, and from nothing else."""
    db.query("CREATE TABLE parent (id bigint PRIMARY KEY, v text) PARTITION BY RANGE (id)")
    db.query("CREATE TABLE low PARTITION OF parent FOR VALUES FROM (0) TO (100)")
    db.query("CREATE TABLE high PARTITION OF parent FOR VALUES FROM (100) TO (200)")
    db.query("CREATE TABLE child (id bigint PRIMARY KEY, parent_id bigint NOT NULL REFERENCES parent, v text)")
    db.query("CREATE TABLE other (id bigint PRIMARY KEY, v text)")
    db.query(f"ALTER ROLE {db.owner} SET lock_timeout = '100ms'", user="postgres")
    topics["other"] = kafka.create_topic(unique("other"), 1)
    subscribe(db, topics, parent_timeout="'1 h'")
    kafka.produce(topics["child"], [child(1, 5, "c"), child(2, 105, "c")])
    wait_resting(db, 2)
    with db.connect() as holder, holder.transaction():
        holder.execute("LOCK TABLE high IN ACCESS EXCLUSIVE MODE")
        db.query("INSERT INTO parent VALUES (5, 'p')")
        wait_waiting(db, 1)
        kafka.produce(topics["other"], parents(range(100)))
        wait_count(db, "other", 100)
    wait_count(db, "child", 1)
    assert_audit(db, 102)


@pytest.mark.parametrize("into", ["root", "leaf", "new leaf"])
def test_partitioned_parent(db: Database, kafka: Client, topics: dict[str, str], into: str) -> None:
    db.query("CREATE TABLE parent (id bigint PRIMARY KEY, v text) PARTITION BY RANGE (id)")
    db.query("CREATE TABLE low PARTITION OF parent FOR VALUES FROM (0) TO (100)")
    for statement in TABLES[1:]:
        db.query(statement.format(deferrable=""))
    subscribe(db, topics, parent_timeout="'1 h'")
    kafka.produce(topics["child"], [child(1, 5, "c"), child(2, 105, "c")])
    wait_resting(db, 2)
    if into == "new leaf":
        db.query("CREATE TABLE high PARTITION OF parent FOR VALUES FROM (100) TO (200)")
        wait_resting(db, 2)
        db.query("INSERT INTO high VALUES (105, 'p')")
        wait_value(db, PARKED, 1)
        into = "leaf"
    db.query(f"INSERT INTO {'parent' if into == 'root' else 'low'} VALUES (5, 'p')")
    wait_until(lambda: db.value("SELECT count(*) FROM child WHERE id = 1") == 1, 30, lambda: explain(db))
    assert_audit(db)


def test_chain(db: Database, kafka: Client, unique: Callable[[str], str]) -> None:
    """Grandchildren, and children of two parents, by two consumers: each is there when the last that it lacks is."""
    topics = {table: kafka.create_topic(unique(table), 2) for table in ["a", "b", "c"]}
    db.query("CREATE TABLE a (id bigint PRIMARY KEY)")
    db.query("CREATE TABLE b (id bigint PRIMARY KEY, a_id bigint REFERENCES a)")
    db.query("CREATE TABLE c (id bigint PRIMARY KEY, b_id bigint REFERENCES b DEFERRABLE INITIALLY DEFERRED, a_id bigint REFERENCES a)")
    for table, consumer in [("a", "one"), ("b", "two"), ("c", "one")]:
        db.query(f"SELECT djkafka_subscribe(%s, '{table}', consumer => '{consumer}', parent_timeout => '1 h')", topics[table])
    kafka.produce(topics["c"], [Record(to_json(id=n, b_id=n, a_id=1000 + n), str(n)) for n in range(20)])
    kafka.produce(topics["b"], [Record(to_json(id=n, a_id=n), str(n)) for n in range(20)])
    wait_value(db, "SELECT sum(parked)::bigint FROM djkafka_status", 40)
    kafka.produce(topics["a"], [Record(to_json(id=n), str(n)) for n in range(20)])
    wait_count(db, "b", 20)
    db.query("INSERT INTO a SELECT g FROM generate_series(1000, 1019) g")
    wait_count(db, "c", 20)
    wait_value(db, "SELECT sum(parked)::bigint FROM djkafka_status", 0)
    assert db.value("SELECT count(*) FROM djkafka_dead_letter") == 0


def test_idle(db: Database, kafka: Client, topics: dict[str, str]) -> None:
    """A thousand that wait for their parents cost nothing until somebody brings one, and then that one's children alone are tried."""
    make_tables(db)
    db.query("DROP TRIGGER note ON child")
    db.query("ALTER TABLE child ADD n bigint GENERATED ALWAYS AS IDENTITY")
    subscribe(db, topics, parent_timeout="'1 h'")
    kafka.produce(topics["child"], children(range(1000)))
    wait_resting(db, 1000)
    pid = next(iter(workers(db).values()))
    before = cpu_seconds(pid)
    time.sleep(4)
    assert cpu_seconds(pid) - before <= 0.04
    tried = "SELECT last_value FROM child_n_seq"
    before = db.value(tried)
    db.query("VACUUM child")  # which is no other table by that
    db.query("INSERT INTO parent VALUES (7, 'late')")
    wait_count(db, "child", 1)
    db.query("INSERT INTO parent SELECT g, 'late' FROM generate_series(500, 999) g")
    wait_count(db, "child", 501)
    assert db.value(tried) == before + 501
    wait_value(db, PARKED, 499)
    assert_audit(db, 1000)


def test_whose_code(db: Database, kafka: Client, topics: dict[str, str]) -> None:
    """What a table that was altered computes by itself is evaluated as the owner, though it is for what waits."""
    make_tables(db)
    db.query("DROP TRIGGER note ON child")
    db.query("CREATE SEQUENCE as_owner; CREATE SEQUENCE as_another")
    db.query(
        "CREATE FUNCTION whose() RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN"
        f" PERFORM nextval(CASE current_user WHEN '{db.owner}' THEN 'as_owner' ELSE 'as_another' END); RETURN 'v'; END $$"
    )
    subscribe(db, topics, parent_timeout="'1 h'")
    kafka.produce(topics["child"], children(range(2)))
    wait_resting(db, 2)
    db.query("ALTER TABLE child ALTER v SET DEFAULT whose()")
    db.query("INSERT INTO parent VALUES (0, 'late')")
    wait_count(db, "child", 1)
    assert db.query("SELECT a.is_called, b.is_called FROM as_owner a, as_another b") == [(True, False)]
    assert_audit(db, 2)


def test_row_by_another(db: Database, kafka: Client, topics: dict[str, str]) -> None:
    """Who only adds needs no parent where the row is there by now."""
    make_tables(db)
    db.query("DROP TRIGGER note ON child")
    subscribe(db, topics, parent_timeout="'1 h'", operation="'insert_new'")
    kafka.produce(topics["child"], [child(1, 5, "first"), child(1, 6, "behind")])
    wait_resting(db, 2)
    db.query("INSERT INTO parent VALUES (7, 'p'); INSERT INTO child VALUES (1, 7, 'by hand')")
    wait_value(db, PARKED, 0)
    assert status(db)["duplicates"] == 2
    assert_audit(db, 2)


def test_large_headers(db: Database, kafka: Client, topics: dict[str, str]) -> None:
    """Of what waits no more is in memory at once than a batch may hold, with its headers."""
    make_tables(db)
    db.query("SELECT djkafka_create_consumer('default', enabled => false)")
    subscribe(db, topics, parent_timeout="'1 h'")
    headers = [("h", b"x" * 5_000_000)]
    kafka.produce(topics["child"], [Record(to_json(id=n, parent_id=n, v="c"), str(n), headers=headers) for n in range(20)])
    db.query("SELECT djkafka_run('default', until => 'eof')")
    assert db.value("SELECT count(*) FROM djkafka_parked") == 20
    session = db.connect()
    session.execute("SELECT djkafka_run('default', until => 'eof')")
    grown = private_kb(session.info.backend_pid)
    session.close()
    assert grown < 60_000, "all of them are 100 MB"


# ---------- all children before all parents ----------

IDLE_CPU_LIMIT = 0.03  # of a core; once in a minute the worker looks at what waits


def wait_waiting(db: Database, n: int) -> None:
    """So many processes wait for a lock."""
    wait_value(db, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'", n)


def test_column_dropped_between(db: Database, kafka: Client, topic: str) -> None:
    """Children that lack their parents are not taken for rows of what their table has become since they failed."""
    db.query("CREATE TABLE parent (id bigint PRIMARY KEY)")
    db.query("INSERT INTO parent VALUES (1)")
    db.query("CREATE TABLE child (a int, id text PRIMARY KEY, parent_id bigint REFERENCES parent)")
    db.query("SELECT djkafka_subscribe(%s, 'child', parent_timeout => '1 h')", topic)
    # What follows a batch in which some failed is tried by pieces at once.
    kafka.produce(topic, [Record(to_json(a=n, id=f"early {n}", parent_id=98)) for n in range(2)])
    wait_value(db, PARKED, 2)
    log = db.cluster.log_size()
    with ThreadPoolExecutor(1) as pool:
        with db.connect() as holder, holder.transaction():
            holder.execute("DELETE FROM parent")
            kafka.produce(topic, [Record(to_json(a=n, id=f"late {n}", parent_id=1)) for n in range(20)])
            wait_waiting(db, 1)
            altered = pool.submit(db.connect().execute, "ALTER TABLE child DROP COLUMN a")
            wait_waiting(db, 2)
        altered.result()
    wait_value(db, PARKED, 22)
    shown = db.query("SELECT DISTINCT missing_key->>'id', count(*) FROM djkafka_parked GROUP BY 1 ORDER BY 1")
    assert shown == [("1", 20), ("98", 2)] and not db.cluster.crashes(log)
    db.query("INSERT INTO parent VALUES (1), (98)")
    wait_count(db, "child", 22)
    assert_audit(db, 22)


def load_in_order(db: Database, kafka: Client, topics: dict[str, str], given: dict[str, list[Record]]) -> float:
    """How long a consumer of its own takes for parents and then their children."""
    seconds = 0.0
    for table in ("parent", "child"):
        kafka.produce(topics[table], given[table])
        started = time.monotonic()
        db.query(f"SELECT djkafka_subscribe(%s, 'ordered_{table}', consumer => 'ordered')", topics[table])
        wait_caught_up(db, kafka, topics[table], "ordered", timeout=120)
        seconds += time.monotonic() - started
    return seconds


def check_children_first(
    db: Database, kafka: Client, unique: Callable[[str], str], nchildren: int, nparents: int, idle: float
) -> tuple[float, float]:
    """
    Children in any order, then parents by another topic and by the application; seconds so and in order.
    Between them the worker rests for so many seconds.
    """
    for prefix in ("", "ordered_"):
        db.query(f"CREATE TABLE {prefix}parent (id bigint PRIMARY KEY, v text)")
        db.query(
            f"CREATE TABLE {prefix}child (id bigint PRIMARY KEY, parent_id bigint NOT NULL REFERENCES {prefix}parent, v text)"
        )
    given = {
        "parent": parents(range(nparents)),
        "child": [child(n, n % nparents, "c") for n in random.Random(1).sample(range(nchildren), nchildren)],
    }
    topics = {name: kafka.create_topic(unique(name)) for name in ("parent", "child", "ordered_parent", "ordered_child")}
    in_order = load_in_order(db, kafka, {name: topics[f"ordered_{name}"] for name in given}, given)

    kafka.produce(topics["child"], given["child"])
    started = time.monotonic()
    subscribe(db, {name: topics[name] for name in given}, parent_timeout="'1 h'")
    wait_value(db, PARKED, nchildren, timeout=120)
    parked = time.monotonic() - started
    wait_resting(db, nchildren)
    pid = next(iter(workers(db).values()))
    before = cpu_seconds(pid)
    time.sleep(idle)
    used = (cpu_seconds(pid) - before) / idle
    assert used < IDLE_CPU_LIMIT

    started = time.monotonic()
    kafka.produce(topics["parent"], given["parent"][: nparents // 2])
    for first in range(nparents // 2, nparents, 500):
        db.query("INSERT INTO parent SELECT g, 'p' FROM generate_series(%s::int, %s) g", first, min(first + 500, nparents) - 1)
    wait_count(db, "child", nchildren, timeout=300)
    woken = time.monotonic() - started
    wait_value(db, PARKED, 0)
    assert db.value("SELECT count(*) FROM child JOIN ordered_child USING (id, parent_id, v)") == nchildren
    assert db.query("SELECT (SELECT count(*) FROM djkafka_parked), (SELECT count(*) FROM djkafka_dead_letter)") == [(0, 0)]
    assert_audit(db, 2 * nchildren + nparents + nparents // 2)
    print(f"{nchildren} children in order: {in_order:.1f} s; first: {parked:.1f} s to wait, {woken:.1f} s to be applied")
    print(f"while they wait: {100 * used:.2f} % of a core")
    return parked + woken, in_order


def test_children_first(db: Database, kafka: Client, unique: Callable[[str], str]) -> None:
    check_children_first(db, kafka, unique, 5_000, 500, 2)


@pytest.mark.long
@pytest.mark.alone
def test_many_children_first(db: Database, kafka: Client, unique: Callable[[str], str], record_property) -> None:
    first, in_order = check_children_first(db, kafka, unique, 100_000, 10_000, 10)
    record_property("seconds_first", first)
    record_property("seconds_in_order", in_order)
    assert first < 3 * in_order

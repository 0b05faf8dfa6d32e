"""However messages are cut into batches, what lands is what it is one by one.

DJK_APPLY_SEED repeats a run (it is printed, and part of the failure), DJK_APPLY_CASES makes
it longer or shorter, DJK_APPLY_DIR says where the script of a case that differs is written,
DJK_APPLY_WITH lets in what lib/applying/shapes.py keeps out.
"""

import json
import os
import random
from collections.abc import Callable

import pytest
from lib import applying
from lib.postgres import TEST_BINDIR, Cluster, Database

# Run side by side, each with a seed of its own.
PARTS = 2
LONG_PARTS = 8

Own = Callable[..., Cluster]


def run(database: Database, way: applying.Way, part: int, cases: int) -> None:
    seed = int(os.environ.get("DJK_APPLY_SEED", random.SystemRandom().getrandbits(24)))
    cases = int(os.environ.get("DJK_APPLY_CASES", cases))
    print(f"DJK_APPLY_SEED={seed}, part {part}, {cases} cases")
    try:
        shapes = applying.check(database.connection(database.owner), way, seed + part, cases)
    except applying.Difference as difference:
        path = applying.write_script(difference.case)
        told = f"DJK_APPLY_SEED={seed}, part {part}, differs in {difference}\n\npsql -f {path}\n\n"
        pytest.fail(told + difference.case.script(), pytrace=False)
    print(f"{shapes} shapes")
    assert not database.cluster.crashes()


def run_in_session(own_cluster: Own, part: int, cases: int) -> None:
    # What fails by design would fill the log.
    cluster = own_cluster(log_min_messages="log", djkafka__registry_url=applying.REGISTRY)
    database = Database(cluster, "db", listed=False)
    database.query("CREATE EXTENSION djkafka")
    database.query(applying.KNOW, user="postgres")
    run(database, applying.InSession(), part, cases)


def by_worker(own_cluster: Own) -> Database:
    cluster = own_cluster(bindir=TEST_BINDIR, log_min_messages="log", djkafka__registry_url=applying.REGISTRY)
    database = Database(cluster, "db", listed=False)
    database.query("CREATE EXTENSION djkafka")
    database.query(applying.KNOW, user="postgres")
    database.query(applying.ByWorker.FUNCTION, user="postgres")
    return database


def run_by_worker(own_cluster: Own, part: int, cases: int) -> None:
    run(by_worker(own_cluster), applying.ByWorker(), part, cases)


def messages_of(keys: list[str]) -> str:
    return json.dumps([{"topic": "t", "key": json.dumps({"k": key}), "value": {"v": n}} for n, key in enumerate(keys)])


TELLING = {
    "duplicates of each other": ("k text PRIMARY KEY", [], ["b", "b", "a", "b", "c"], ["b", "a", "c"]),
    "rows that are there": ("k text PRIMARY KEY", ["a", "c"], ["a", "b", "c", "d"], ["b", "d"]),
    "a key that cannot be hashed": ("k varbit PRIMARY KEY", ["1"], ["1", "10", "1", "0"], ["10", "0"]),
    "keys that are equal and differ": ("k numeric PRIMARY KEY", [], ["1.0", "2", "1", "3"], ["1.0", "2", "3"]),
    "rows that a trigger leaves out": ("k text PRIMARY KEY", [], ["x", "a", "x", "b"], ["a", "b"]),
    "the first of equal keys, that a trigger leaves out": ("k numeric PRIMARY KEY", [], ["7.0", "7", "7.00", "1"], ["7", "1"]),
}


@pytest.mark.parametrize("name", TELLING)
def test_keys_of_new_rows_are_told(own_cluster: Own, name: str) -> None:
    column, there, keys, wanted = TELLING[name]
    database = by_worker(own_cluster)
    database.query(f"CREATE TABLE t ({column}, v int)")
    database.query(
        "CREATE FUNCTION leave() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN IF NEW.k::text IN ('x', '7.0') THEN RETURN NULL; END IF; RETURN NEW; END $$"
    )
    database.query("CREATE TRIGGER leave BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION leave()")
    database.query("SELECT djkafka_subscribe('t', 't', operation => 'insert_new')")
    database.query("UPDATE djkafka_consumer SET notify = 'keys', enabled = false")
    for key in there:
        database.query(f"INSERT INTO t VALUES ('{key}')")
    told: list = []
    database.connection(database.owner).add_notify_handler(lambda notify: told.append(json.loads(notify.payload)))
    database.query("LISTEN djkafka")
    answer = database.value("SELECT djkafka_test_apply('default', ARRAY[%s])", messages_of(keys))
    assert answer["counts"][:6] == [len(wanted), 0, len(keys) - len(wanted), 0, 0, 0]
    assert [key["k"] for notice in told for key in notice.get("keys", [])] == wanted


def test_what_is_unique_at_the_end_of_a_statement(own_cluster: Own) -> None:
    """Rows that would pass together are refused one by one."""
    database = by_worker(own_cluster)
    database.query("CREATE TABLE t (k text PRIMARY KEY, v int UNIQUE DEFERRABLE)")
    database.query("INSERT INTO t VALUES ('a', 1), ('b', 0)")
    database.query("SELECT djkafka_subscribe('t', 't')")
    database.query("UPDATE djkafka_consumer SET enabled = false")
    answer = database.value("SELECT djkafka_test_apply('default', ARRAY[%s])", messages_of(["a", "b"]))
    assert answer["counts"][4] == 2
    assert database.query("SELECT k, v FROM t ORDER BY k") == [("a", 1), ("b", 0)]


# What takes no large value → what follows one; the second message of the key, or its deletion.
INDEXES = {
    "of one column": ("CREATE INDEX ON t (a)", {"a": "x"}),
    "of two columns": ("CREATE INDEX ON t (b, a)", {"a": "x"}),
    "of included columns": ("CREATE INDEX ON t (b) INCLUDE (a)", {"a": "x"}),
    "of elements": ("CREATE INDEX ON t USING gin (c)", {"c": ["x"]}),
    "of a row that is deleted": ("CREATE INDEX ON t (a)", None),
    "of the key": ("", None),
}


@pytest.mark.parametrize("name", INDEXES)
def test_an_index_judges_each_message(own_cluster: Own, name: str) -> None:
    index, after = INDEXES[name]
    database = by_worker(own_cluster)
    database.query(f"CREATE TABLE t (k text PRIMARY KEY, a text, b text, c text[], v int); {index}")
    database.query("SELECT djkafka_subscribe('t', 't')")
    database.query("UPDATE djkafka_consumer SET enabled = false")
    key = applying.LARGE if name == "of the key" else "k"
    large: dict = {"c": [applying.LARGE]} if name == "of elements" else {"a": applying.LARGE} if index else {}
    # What follows is merged otherwise: the last of a value that fits.
    values = [{"v": 1, "a": "y"}, large | {"v": 2}, after, {"a": "z"}] if index else [{"v": 1}, None]
    messages = [{"topic": "t", "key": key, "value": value} for value in values]
    answer = database.value("SELECT djkafka_test_apply('default', ARRAY[%s])", json.dumps(messages))
    assert answer["counts"][4] == 1, answer
    assert database.value("SELECT sqlstate FROM djkafka_dead_letter") == "54000"
    rows = [] if not index else [("k", "z", None if after is None else 1)]
    assert database.query("SELECT k, a, v FROM t") == rows


def waiting(own_cluster: Own) -> Database:
    database = by_worker(own_cluster)
    for function in applying.Waiting.FUNCTIONS:
        database.query(function, user="postgres")
    return database


FIND = """CREATE FUNCTION find(given text) RETURNS int LANGUAGE plpgsql AS $$ DECLARE found int; BEGIN
  SELECT id INTO found FROM parent WHERE code = given;
  IF found IS NULL THEN RAISE 'no %', given USING ERRCODE = '23503'; END IF;
  RETURN found; END $$"""

# The table's columns, and the options of its routes.
ORDERS = {
    "a column of the key is looked up": (
        "c int, k int, v text, PRIMARY KEY (c, k)",
        [{"lookups": {"c": {"table": "parent", "column": "code", "field": "code"}}}],
    ),
    "an expression raises": ("c int, k int PRIMARY KEY, v text", [{"columns": {"c": "find(value->>'code')"}}]),
    "two routes": (
        "c int REFERENCES parent, k int PRIMARY KEY, v text",
        [{"filter": "value->>'v' = 'old'", "columns": {"c": {"field": "id"}}}, {"columns": {"c": {"field": "id"}}}],
    ),
}


@pytest.mark.parametrize("key", ["1", None], ids=["keyed", "keyless"])
@pytest.mark.parametrize("name", ORDERS)
def test_no_newer_message_overtakes(own_cluster: Own, name: str, key: str | None) -> None:
    """One that waits, and whose row may not be known until then, stays before those behind it."""
    columns, routes = ORDERS[name]
    database = waiting(own_cluster)
    database.query("CREATE TABLE parent (id int PRIMARY KEY, code text)")
    database.query(f"CREATE TABLE t ({columns})")
    database.query(FIND)
    database.query("SELECT djkafka_create_consumer('c', enabled => false)")
    database.query("SELECT djkafka_create_route('c', 'p', 'parent')")
    for number, options in enumerate(routes):
        given = "".join(f", {option} => {applying.literal(value)}" for option, value in options.items())
        database.query(f"SELECT djkafka_create_route('c', '{['t', '^t$'][number]}', 't', route_order => {number}{given})")
    value = {"k": 1, "id": 7, "code": "x"}
    old = {"topic": "t", "partition": 0, "offset": 0, "key": key, "value": value | {"v": "old"}}
    new = {"topic": "t", "partition": 0, "offset": 1, "key": key, "value": value | {"v": "new"}}
    parent = {"topic": "p", "partition": 0, "offset": 0, "key": "7", "value": {"id": 7, "code": "x"}}
    batches = [json.dumps([old]), json.dumps([parent, new])]
    answer = database.value("SELECT djkafka_test_apply_waiting('c', %s)", batches)
    assert answer["counts"][0] == 3
    assert database.query("SELECT c, k, v FROM t") == [(7, 1, "new")]


def run_waiting(own_cluster: Own, part: int, cases: int) -> None:
    database = waiting(own_cluster)
    seed = int(os.environ.get("DJK_APPLY_SEED", random.SystemRandom().getrandbits(24))) + part
    cases = int(os.environ.get("DJK_APPLY_CASES", cases))
    print(f"DJK_APPLY_SEED={seed}, {cases} cases")
    difference = applying.Waiting(database.connection(database.owner)).check(seed, cases)
    if difference is not None:
        pytest.fail(f"DJK_APPLY_SEED={seed} differs in {difference}", pytrace=False)
    assert not database.cluster.crashes()


def test_messages_wait_in_batches_as_alone(own_cluster: Own) -> None:
    run_waiting(own_cluster, 0, 20)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(PARTS))
def test_many_messages_wait_in_batches_as_alone(own_cluster: Own, part: int) -> None:
    run_waiting(own_cluster, part, 500)


@pytest.mark.parametrize("part", range(PARTS))
def test_batches_apply_as_single_messages(own_cluster: Own, part: int) -> None:
    run_in_session(own_cluster, part, 400)


def test_a_worker_applies_batches_as_single_messages(own_cluster: Own) -> None:
    run_by_worker(own_cluster, 0, 80)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(LONG_PARTS))
def test_many_batches_apply_as_single_messages(own_cluster: Own, part: int) -> None:
    run_in_session(own_cluster, part, 100_000 // LONG_PARTS)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(PARTS))
def test_a_worker_applies_many_batches_as_single_messages(own_cluster: Own, part: int) -> None:
    run_by_worker(own_cluster, part, 500)

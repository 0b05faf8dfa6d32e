"""A broken definition stops its consumer in a state that names the fix; what passes is waited for."""

import os
import signal

import psycopg
import pytest
from confluent_kafka.admin import AclOperation, ResourceType
from lib import process
from lib.djkafka import (
    assert_audit,
    dead_letters,
    explain,
    status,
    to_json,
    wait_caught_up,
    wait_count,
    wait_state,
    wait_value,
    workers,
)
from lib.kafka import Client, Record
from lib.outbox import make_server, outbox_worker
from lib.postgres import Database
from lib.wait import stays_true, wait_until


@pytest.fixture
def items(db: Database, kafka: Client, topic: str) -> Database:
    """A consumer that has applied one message."""
    db.query("CREATE TABLE item (id bigint PRIMARY KEY, name text, price numeric)")
    db.query("SELECT djkafka_subscribe(%s, 'item', columns => %s)", topic, to_json(name="value->>'name'"))
    kafka.produce(topic, [Record(to_json(id=1, name="a", price=1))])
    wait_count(db, "item", 1)
    return db


def broken(db: Database, kafka: Client, topic: str, named: str) -> None:
    """Messages come, the consumer stops; it names what is wrong, what to do, and loses nothing."""
    kafka.produce(topic, [Record(to_json(id=number, name="b", price=2)) for number in range(2, 12)])
    found = wait_state(db, "broken")
    assert named in found["reason"], found
    assert found["hint"], found
    assert not dead_letters(db, topic), "a broken definition is no message's fault"
    verdicts = db.query("SELECT verdict, consumer, reason IS NOT NULL FROM djkafka_health()")
    assert ("critical", "default", True) in verdicts


def fixed(db: Database, kafka: Client, topic: str, table: str = "item") -> None:
    """It goes on by itself, with every message."""
    wait_caught_up(db, kafka, topic, timeout=90)
    wait_state(db, "running")
    assert db.value(f"SELECT count(*) FROM {table} WHERE id > 1") == 10
    assert not dead_letters(db, topic)
    assert_audit(db, 11)


def test_column_dropped(items: Database, kafka: Client, topic: str) -> None:
    items.query("ALTER TABLE item DROP COLUMN name")
    broken(items, kafka, topic, "name")
    items.query("ALTER TABLE item ADD COLUMN name text")
    fixed(items, kafka, topic)


def test_table_dropped(items: Database, kafka: Client, topic: str) -> None:
    items.query("DROP TABLE item")
    broken(items, kafka, topic, "item")
    items.query("CREATE TABLE item (id bigint PRIMARY KEY, name text, price numeric)")
    items.query("UPDATE djkafka_route SET target = 'item'")
    fixed(items, kafka, topic)


def test_right_revoked(items: Database, kafka: Client, topic: str) -> None:
    items.query(f"REVOKE INSERT, UPDATE ON item FROM {items.owner}")
    broken(items, kafka, topic, "item")
    items.query(f"GRANT INSERT, UPDATE ON item TO {items.owner}")
    fixed(items, kafka, topic)


def test_key_dropped(items: Database, kafka: Client, topic: str) -> None:
    items.query("ALTER TABLE item DROP CONSTRAINT item_pkey")
    broken(items, kafka, topic, "item")
    items.query("ALTER TABLE item ADD PRIMARY KEY (id)")
    fixed(items, kafka, topic)


def test_function_of_a_mapping_dropped(db: Database, kafka: Client, topic: str) -> None:
    make = "CREATE FUNCTION shout(text) RETURNS text LANGUAGE sql AS 'SELECT upper($1)'"
    db.query("CREATE TABLE item (id bigint PRIMARY KEY, name text)")
    db.query(make)
    db.query("SELECT djkafka_subscribe(%s, 'item', columns => %s)", topic, to_json(name="shout(value->>'name')"))
    kafka.produce(topic, [Record(to_json(id=1, name="a"))])
    wait_count(db, "item", 1)
    db.query("DROP FUNCTION shout(text)")
    broken(db, kafka, topic, "shout")
    db.query(make)
    fixed(db, kafka, topic)
    assert db.value("SELECT name FROM item WHERE id = 5") == "B"


def test_table_renamed_and_altered(items: Database, kafka: Client, topic: str) -> None:
    """What still fits goes on without a stop."""
    items.query("ALTER TABLE item RENAME TO thing")
    items.query("ALTER TABLE thing ADD COLUMN extra text DEFAULT 'x'")
    items.query("ALTER TABLE thing ALTER COLUMN price TYPE double precision")
    kafka.produce(topic, [Record(to_json(id=number, name="b", price=2, extra="y")) for number in range(2, 12)])
    fixed(items, kafka, topic, "thing")
    assert items.value("SELECT count(*) FROM thing WHERE extra = 'y'") == 10


def test_columns_renamed(items: Database, kafka: Client, topic: str) -> None:
    """While messages come: the route follows, and its producer may or may not."""
    items.query("UPDATE djkafka_route SET columns = NULL, include = '{id,name,price}', unknown_fields = 'error'")
    wait_state(items, "running")
    first = 2
    for old, new in (("name", "title"), ("price", "cost"), ("id", "code")):
        kafka.produce(topic, [Record(to_json(id=first + number, name="x", price=1)) for number in range(50)])
        items.query(f"ALTER TABLE item RENAME {old} TO {new}")
        kafka.produce(topic, [Record(to_json(id=first + 50 + number, name="x", price=1)) for number in range(50)])
        first += 100
    kafka.produce(topic, [Record(to_json(code=5000, title="new", cost=7))])
    wait_until(lambda: items.value("SELECT count(*) FROM item WHERE code = 5000") == 1, message="what is named again has come")
    assert items.query("SELECT count(*), count(title), count(cost) FROM item") == [(302, 302, 302)]
    assert items.query("SELECT * FROM djkafka_dead_letter") == []
    assert items.value("SELECT include FROM djkafka_route") == ["code", "title", "cost"]


def test_fields_without_a_column(items: Database, kafka: Client, topic: str) -> None:
    """A column is dropped, its messages go on: what had no field but the key is counted, and forgotten with a seek."""
    items.query("UPDATE djkafka_route SET columns = NULL")
    items.query("ALTER TABLE item DROP COLUMN name")
    kafka.produce(topic, [Record(to_json(id=1, name="b")), Record(to_json(id=2, name="b")), Record(to_json(id=1, name="b", price=2))])
    wait_caught_up(items, kafka, topic)
    query = "SELECT applied, key_only FROM {}"
    assert items.query(query.format("djkafka_offset")) == [(4, 2)]
    assert items.query(query.format("djkafka_partition_status")) == [(4, 2)]
    assert items.query(query.format("djkafka_status")) == [(4, 2)]
    assert_audit(items, 4)
    items.query("SELECT djkafka_seek('default', %s, 'latest')", topic)
    wait_until(lambda: items.query(query.format("djkafka_offset")) == [(0, 0)], message="counters begin again")


def test_transient_error_waits(items: Database, kafka: Client, topic: str) -> None:
    """A lock that is not to be had: visible attempts, no dead letter, and on it goes."""
    items.query(f"ALTER ROLE {items.owner} SET lock_timeout = '100ms'")
    items.query("SELECT djkafka_restart('default')")
    wait_state(items, "running")
    blocker = items.connect()
    blocker.execute("BEGIN")
    blocker.execute("LOCK TABLE item IN ACCESS EXCLUSIVE MODE")
    kafka.produce(topic, [Record(to_json(id=number, name="b", price=2)) for number in range(2, 12)])
    wait_state(items, "backoff")
    # While it tries there is no next time.
    wait_until(
        lambda: (found := status(items))["next_retry"] and found["attempt"] >= 2 and found["last_error"],
        message=lambda: f"it tries again: {status(items)}",
    )
    blocker.execute("COMMIT")
    blocker.close()
    fixed(items, kafka, topic)


def test_serialization_and_cancel(items: Database, kafka: Client, topic: str) -> None:
    """Errors that pass are no message's fault, whoever raises them."""
    items.query("CREATE SEQUENCE tries")
    items.query(
        "CREATE FUNCTION fail_twice() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF nextval('tries') <= 2 THEN RAISE 'once more' USING ERRCODE = '40001'; END IF; RETURN NEW; END $$"
    )
    items.query("CREATE TRIGGER fail BEFORE INSERT ON item FOR EACH ROW EXECUTE FUNCTION fail_twice()")
    kafka.produce(topic, [Record(to_json(id=number, name="b", price=2)) for number in range(2, 12)])
    fixed(items, kafka, topic)
    assert items.value("SELECT last_value FROM tries") >= 12


def test_consumer_dropped_and_made_again(items: Database, kafka: Client, topic: str) -> None:
    (pid,) = workers(items).values()
    items.query("SELECT djkafka_drop_consumer('default')")
    query = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
    wait_until(lambda: items.value(query, pid) == 0, message="the worker has left")
    assert items.query("SELECT * FROM djkafka_offset") == []
    items.query("SELECT djkafka_subscribe(%s, 'item')", topic)
    kafka.produce(topic, [Record(to_json(id=2, name="b", price=2))])
    wait_count(items, "item", 2)


def test_broker_unreachable(own_cluster, unique) -> None:
    """Nobody listens: a state with its reason, and SQL goes on as ever."""
    cluster = own_cluster(djkafka__bootstrap_servers="127.0.0.1:1")
    db = Database(cluster, unique("db"))
    db.query("CREATE EXTENSION djkafka")
    db.query("CREATE TABLE item (id bigint PRIMARY KEY)")
    db.query("SELECT djkafka_subscribe('nowhere', 'item')")
    found = wait_state(db, "unreachable")
    assert "127.0.0.1:1" in f"{found['reason']} {found['last_error']}"
    assert not cluster.crashes()
    cluster.stop(timeout=20)


def test_wrong_password(db: Database, kafka: Client, topic: str, secure_address: str) -> None:
    secure = {"security_protocol": "sasl_plaintext", "sasl_mechanism": "PLAIN"}
    server = make_server(db, secure_address, "at_least_once", **secure)
    mapping = "USER MAPPING FOR %s SERVER %s OPTIONS" % (db.owner, server)
    db.query(f"CREATE {mapping} (sasl_username 'app', sasl_password 'wrong')", user="postgres")
    db.query("CREATE TABLE item (id bigint PRIMARY KEY)")
    db.query("SELECT djkafka_create_consumer('default', server => %s, group_id => %s)", server, topic)
    db.query("SELECT djkafka_subscribe(%s, 'item')", topic)
    found = wait_state(db, "broken")
    assert "uthentication" in found["reason"] and "user mapping" in found["hint"]

    kafka.allow("app", ResourceType.GROUP, topic, AclOperation.READ)
    kafka.allow("app", ResourceType.TOPIC, topic, AclOperation.READ)
    kafka.produce(topic, [Record(to_json(id=1))])
    db.query(f"ALTER {mapping} (SET sasl_password 'secret')", user="postgres")
    wait_count(db, "item", 1)
    wait_state(db, "running")


RIGHTS = {"Group authorization": ResourceType.GROUP, "Topic authorization": ResourceType.TOPIC}


@pytest.mark.parametrize("first", RIGHTS)
def test_denied_one_after_the_other(db: Database, kafka: Client, topic: str, secure_address: str, first: str) -> None:
    """Neither the group nor the topic is allowed, then one of them: the reason is always what is denied now."""
    (second,) = set(RIGHTS) - {first}
    secure = {"security_protocol": "sasl_plaintext", "sasl_mechanism": "PLAIN"}
    server = make_server(db, secure_address, "at_least_once", **secure)
    options = "OPTIONS (sasl_username 'app', sasl_password 'secret')"
    db.query(f"CREATE USER MAPPING FOR {db.owner} SERVER {server} {options}", user="postgres")
    db.query("CREATE TABLE item (id bigint PRIMARY KEY)")
    db.query("SELECT djkafka_create_consumer('default', server => %s, group_id => %s)", server, topic)
    db.query("SELECT djkafka_subscribe(%s, 'item')", topic)
    found = wait_state(db, "broken")
    assert any(denial in found["reason"] for denial in RIGHTS), found

    def names_second() -> bool:
        found = status(db)
        return found["state"] == "broken" and second in found["reason"]

    kafka.allow("app", RIGHTS[first], topic, AclOperation.READ)
    wait_until(names_second, 30, lambda: explain(db))
    stays_true(names_second, 5, lambda: explain(db))
    kafka.allow("app", RIGHTS[second], topic, AclOperation.READ)
    kafka.produce(topic, [Record(to_json(id=1))])
    wait_count(db, "item", 1)
    wait_state(db, "running")


def test_topic_may_not_be_read_any_more(db: Database, kafka: Client, topic: str, secure_address: str) -> None:
    """Everything about it may be asked but for its messages: the state says so, and when that is over."""
    secure = {"security_protocol": "sasl_plaintext", "sasl_mechanism": "PLAIN"}
    server = make_server(db, secure_address, "at_least_once", **secure)
    options = "OPTIONS (sasl_username 'app', sasl_password 'secret')"
    db.query(f"CREATE USER MAPPING FOR {db.owner} SERVER {server} {options}", user="postgres")
    kafka.allow("app", ResourceType.GROUP, topic, AclOperation.READ)
    other = kafka.create_topic(f"{topic}-other")
    for number, name in enumerate((topic, other)):
        kafka.allow("app", ResourceType.TOPIC, name, AclOperation.READ, AclOperation.DESCRIBE)
        kafka.produce(name, [Record(to_json(id=number))])
    db.query("CREATE TABLE item (id bigint PRIMARY KEY)")
    db.query("SELECT djkafka_create_consumer('default', server => %s, group_id => %s)", server, topic)
    for name in (topic, other):
        db.query("SELECT djkafka_subscribe(%s, 'item')", name)
    wait_count(db, "item", 2)
    wait_state(db, "running")
    states = "SELECT state FROM djkafka_event WHERE kind = 'state' ORDER BY id"
    told = db.query(states)

    def is_told() -> bool:
        found = status(db)
        named = f'partition 0 of topic "{topic}"' in (found["reason"] or "") and "Topic authorization" in found["reason"]
        return found["state"] == "broken" and named and found["lag"] is None

    kafka.forbid("app", ResourceType.TOPIC, topic, AclOperation.READ)
    wait_until(is_told, 30, lambda: explain(db))
    kafka.produce(other, [Record(to_json(id=10))])
    wait_count(db, "item", 3)
    stays_true(is_told, 7, lambda: explain(db))
    kafka.allow("app", ResourceType.TOPIC, topic, AclOperation.READ)
    wait_state(db, "running", timeout=30)
    assert db.query(states) == [*told, ("broken",), ("running",)]
    kafka.produce(topic, [Record(to_json(id=20))])
    wait_count(db, "item", 4)
    assert_audit(db, 4)


def test_processes_that_stand_still(db: Database, kafka: Client, topic: str) -> None:
    """One that is stopped, or hangs, cannot say so: whoever asks is told."""
    db.query("CREATE TABLE item (id bigint PRIMARY KEY)")
    db.query("SELECT djkafka_subscribe(%s, 'item')", topic)
    kafka.produce(topic, [Record(to_json(id=1))])
    wait_count(db, "item", 1)
    wait_state(db, "running")
    db.query("SELECT djkafka_produce('nothing', 'x')")
    outbox = outbox_worker(db)["pid"]
    (worker,) = workers(db).values()
    (supervisor,) = db.workers("djkafka supervisor")
    unseen = "SELECT count(*), count(DISTINCT hint) FROM djkafka_health() WHERE state = 'unseen' AND verdict = 'critical'"
    pids = [worker, outbox, supervisor]
    try:
        for pid in pids:
            process.stop_and_wait(pid)
        db.query("SELECT djkafka_produce('nothing', 'y')")
        db.query("SELECT djkafka_create_consumer('other')")
        wait_until(lambda: db.query(unseen) == [(3, 3)], 60, lambda: explain(db))
        found = status(db)
        assert found["state"] == "unseen" and found["lag"] is None
        assert "has not been seen since" in found["reason"] and str(worker) in found["hint"]
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    kafka.produce(topic, [Record(to_json(id=2))])
    wait_count(db, "item", 2, timeout=60)
    wait_state(db, "running", timeout=60)
    wait_until(lambda: db.query(unseen) == [(0, 0)], message=lambda: explain(db))


@pytest.mark.parametrize("function", ["pg_terminate_backend", "pg_cancel_backend"])
def test_supervisor_that_is_ended(db: Database, cluster, function: str) -> None:
    """It is missed at once, however soon after its start: nobody else would start workers again."""

    def supervisors() -> list[int]:
        return list(db.workers("djkafka supervisor"))

    for _ in range(2):
        old = wait_until(supervisors, message="there is a supervisor")
        cluster.query(f"SELECT {function}(%s)", old[0])
        wait_until(lambda: set(supervisors()) - set(old), 10, "there is another one")


def test_database_without_connections(db: Database, cluster) -> None:
    """No supervisor is started, again and again, that could not connect."""

    def supervisors() -> list[int]:
        return list(db.workers("djkafka supervisor"))

    (old,) = wait_until(supervisors, message="there is a supervisor")
    cluster.query(f"ALTER DATABASE {db.name} ALLOW_CONNECTIONS false")
    start = cluster.log_size()
    try:
        cluster.query("SELECT pg_terminate_backend(%s, 10000)", old)
        cluster.reload()  # wakes the launcher
        refused = "is not currently accepting connections"
        stays_true(lambda: refused not in cluster.log(start), 2, "somebody has tried to connect")
    finally:
        cluster.query(f"ALTER DATABASE {db.name} ALLOW_CONNECTIONS true")
    cluster.reload()
    wait_until(supervisors, 10, "there is another one")


def test_out_of_worker_slots(own_cluster, kafka: Client, topic: str, unique) -> None:
    cluster = own_cluster(djkafka__bootstrap_servers=kafka.address, max_worker_processes=3)
    db = Database(cluster, unique("db"))
    db.query("CREATE EXTENSION djkafka")
    db.query("CREATE TABLE item (id bigint PRIMARY KEY)")
    db.query("SELECT djkafka_create_consumer('default', workers => 3)")
    db.query("SELECT djkafka_subscribe(%s, 'item')", topic)
    found = wait_state(db, "no_worker_slot")
    assert "max_worker_processes" in f"{found['reason']} {found['hint']}"


def test_no_worker_slot_for_the_supervisor(own_cluster, unique) -> None:
    """PostgreSQL's own launcher takes a slot and djkafka's the other."""
    cluster = own_cluster(max_worker_processes=2)
    db = Database(cluster, unique("db"))
    db.query("CREATE EXTENSION djkafka")
    db.query("CREATE TABLE item (id bigint PRIMARY KEY)")
    db.query("SELECT djkafka_subscribe('topic', 'item')")
    found = wait_state(db, "no_worker_slot")
    assert "no free background worker slot" in found["reason"] and "max_worker_processes" in found["hint"]
    wait_value(db, "SELECT count(*) FROM djkafka_health() WHERE verdict = 'critical' AND state = 'no_worker_slot'", 2)
    cluster.configure(max_worker_processes=8)
    db.disconnect()
    cluster.restart()
    wait_until(lambda: status(db)["state"] != "no_worker_slot", message=lambda: explain(db))


def test_database_dropped(db: Database, cluster, kafka: Client, topic: str, unique) -> None:
    """A listed database that is not there is a state of the launcher's, not a loop of errors."""
    missing = unique("missing")
    cluster.list_database(missing)
    start = cluster.log_size()
    try:
        db.query("CREATE TABLE item (id bigint PRIMARY KEY)")
        db.query("SELECT djkafka_subscribe(%s, 'item')", topic)
        kafka.produce(topic, [Record(to_json(id=1))])
        wait_count(db, "item", 1)
        assert "FATAL" not in cluster.log(start)
    finally:
        cluster.unlist_database(missing)


Refusal = tuple[str, tuple, str]


def refusals() -> list[Refusal]:
    """Statements that are refused, their parameters and the code."""
    subscribe = "SELECT djkafka_subscribe('other', 'item'"
    return [
        ("SELECT djkafka_subscribe('bad topic', 'item')", (), "42602"),
        ("SELECT djkafka_subscribe('', 'item')", (), "42602"),
        ("SELECT djkafka_subscribe(NULL, 'item')", (), "22004"),
        ("SELECT djkafka_subscribe(%s, 'item')", ("x" * 250,), "42602"),
        ("SELECT djkafka_subscribe('^(', 'item')", (), "2201B"),
        ("SELECT djkafka_subscribe('other')", (), "22023"),
        ("SELECT djkafka_subscribe('other', 'nothing')", (), "42P01"),
        (f"{subscribe}, operation => 'replace')", (), "22023"),
        (f"{subscribe}, format => 'xml')", (), "22023"),
        (f"{subscribe}, key_columns => '{{}}')", (), "22023"),
        (f"{subscribe}, key_columns => '{{nothing}}')", (), "42703"),
        (f"{subscribe}, include => '{{nothing}}')", (), "42703"),
        (f"{subscribe}, columns => '{{\"nothing\": \"1\"}}')", (), "42703"),
        (f"{subscribe}, columns => '{{\"name\": \"no such column\"}}')", (), "42601"),
        (f"{subscribe}, columns => '[1]')", (), "22023"),
        (f"{subscribe}, filter => 'value->>')", (), "42601"),
        (f"{subscribe}, filter => 'now()')", (), "42804"),
        (f"{subscribe}, filter => 'true; DROP TABLE item')", (), "42601"),
        (f"{subscribe}, on_error => 'ignore')", (), "22023"),
        (f"{subscribe}, time_zone => 'Mars/Olympus')", (), "22023"),
        (f"{subscribe}, consumer => %s)", ("x" * 64,), "42602"),
        ("SELECT djkafka_subscribe('other', 'keyless')", (), "42P16"),
        ("SELECT djkafka_create_consumer('default')", (), "23505"),
        ("SELECT djkafka_create_consumer('')", (), "42602"),
        ("SELECT djkafka_create_consumer('c', workers => 0)", (), "22023"),
        ("SELECT djkafka_create_consumer('c', start_from => 'middle')", (), "22023"),
        ("SELECT djkafka_create_consumer('c', start_from => '-9223372036854775808')", (), "22003"),
        ("SELECT djkafka_create_consumer('c', options => '{\"no.such\": \"1\"}')", (), "42KF2"),
        ("SELECT djkafka_create_consumer('c', options => '{\"enable.auto.commit\": \"true\"}')", (), "42KF2"),
        ("SELECT djkafka_create_consumer('c', options => '{\"plugin.library.paths\": \"x\"}')", (), "42KF2"),
        ("SELECT djkafka_create_consumer('c', server => 'nothing')", (), "42704"),
        ("SELECT djkafka_pause('nothing')", (), "42704"),
        ("SELECT djkafka_seek('default', 'nothing', 'earliest')", (), "42704"),
        ("SELECT djkafka_drop_route(-1)", (), "42704"),
        ("UPDATE djkafka_offset SET next_offset = 0", (), "42501"),
    ]


def test_bad_definitions_are_refused(items: Database) -> None:
    """Each with its code, and nothing has changed after it."""
    # The last that a worker writes by itself.
    wait_value(items, "SELECT count(*) > 0 FROM djkafka_event WHERE kind = 'state' AND state = 'running'", True)
    items.query("CREATE TABLE keyless (id bigint)")
    tables = ("djkafka_consumer", "djkafka_route", "djkafka_event")

    def contents() -> list:
        return [items.query(f"SELECT * FROM {table} ORDER BY id") for table in tables]

    before, wrong = contents(), []
    for statement, parameters, code in refusals():
        try:
            items.query(statement, *parameters)
            wrong.append(f"accepted: {statement}")
        except psycopg.Error as error:
            if error.sqlstate != code or not error.diag.message_primary:
                wrong.append(f"{error.sqlstate} instead of {code}: {statement}: {error}")
    assert not wrong, "\n".join(wrong)
    assert contents() == before


@pytest.mark.parametrize(
    ("statement", "sqlstate", "kind"),
    [
        ("SELECT djkafka_produce('t', repeat('x', 2000000))", "22KF9", psycopg.DataError),
        ("SELECT djkafka_produce('t', 'x', key => repeat('k', 70000000))", "22KF9", psycopg.DataError),
        ("SELECT djkafka_topics('nobody', timeout => '100 ms')", "08KF1", psycopg.OperationalError),
        ("ALTER SERVER nobody OPTIONS (ADD message_max_bytes 'x')", "42KF2", psycopg.ProgrammingError),
        ("SELECT djkafka_create_consumer('c', options => '{\"no.such\": 1}')", "42KF2", psycopg.ProgrammingError),
    ],
)
def test_class_of_an_exception(db: Database, statement: str, sqlstate: str, kind: type[psycopg.Error]) -> None:
    """What code that tries again catches is what may pass by itself."""
    make_server(db, "127.0.0.1:1", "at_least_once", name="nobody")
    with pytest.raises(kind) as raised:
        db.query(statement, user="postgres")
    assert raised.value.sqlstate == sqlstate

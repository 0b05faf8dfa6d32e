"""The time limits that an administrator gives to sessions: djkafka's processes live with all of them, at every level."""

import pytest
from lib.djkafka import wait_count, wait_value
from lib.kafka import Client, Record
from lib.outbox import outbox_worker
from lib.postgres import Cluster, Database
from lib.wait import wait_until

# Far less than anybody would choose, but for the limits on work: what is done within those is done.
LIMITS = {
    "idle_in_transaction_session_timeout": "1ms",
    "idle_session_timeout": "1ms",
    "lock_timeout": "50ms",
    "statement_timeout": "400ms",
    "transaction_timeout": "400ms",
}

# More than all of these limits.
WAITS_LONG = (
    "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = %s AND waitstart < clock_timestamp() - interval '600 ms'"
)


def known_limits(cluster: Cluster) -> list[str]:
    """Those that this version of PostgreSQL has."""
    rows = cluster.query("SELECT name FROM pg_settings WHERE name = ANY (%s) ORDER BY name", list(LIMITS))
    return [name for (name,) in rows]


@pytest.fixture
def unlimited(monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> None:
    """The test's own sessions have none, whatever their role or database has."""
    monkeypatch.setenv("PGOPTIONS", " ".join(f"-c {name}=0" for name in known_limits(cluster)))


def limit(db: Database, level: str) -> None:
    """Sets all limits, for the processes that start from now on."""
    for name in known_limits(db.cluster):
        value = f"SET {name} = '{LIMITS[name]}'"
        if level == "database":
            db.cluster.query(f"ALTER DATABASE {db.name} {value}")
        elif level == "role":
            db.cluster.query(f"ALTER ROLE {db.owner} {value}")
            db.cluster.query(f"ALTER ROLE postgres IN DATABASE {db.name} {value}")
        else:
            db.cluster.query(f"ALTER SYSTEM {value}")
    if level == "server":
        db.cluster.reload()


def restart_processes(db: Database) -> None:
    kinds = {"djkafka supervisor", "djkafka consumer", "djkafka outbox"}
    old = wait_until(lambda: kinds == set(db.workers().values()) and set(db.workers()), message="all are there")
    db.cluster.query("SELECT pg_terminate_backend(pid) FROM unnest(%s) pid", list(old))
    wait_until(
        lambda: kinds == set(db.workers().values()) and not old & set(db.workers()), message="new processes have started"
    )


@pytest.mark.parametrize(
    "level", ["database", pytest.param("role", marks=pytest.mark.long), pytest.param("server", marks=pytest.mark.long)]
)
def test_waiting_for_a_lock(level: str, unlimited, cluster, own_cluster, kafka: Client, topic: str, unique) -> None:
    """Supervisor and outbox worker wait for as long as it takes; neither ends and begins again."""
    if level == "server":
        cluster = own_cluster(djkafka__bootstrap_servers=kafka.address)
    db = Database(cluster, unique("db"))
    db.query("CREATE EXTENSION djkafka")
    db.query("CREATE TABLE item (id bigint PRIMARY KEY)")
    db.query("SELECT djkafka_subscribe(%s, 'item')", topic)
    db.query("SELECT djkafka_produce(%s, '{\"id\": 1}')", topic)
    wait_count(db, "item", 1)
    limit(db, level)
    restart_processes(db)
    outbox = outbox_worker(db)["pid"]
    supervisor = next(pid for pid, kind in db.workers().items() if kind == "djkafka supervisor")

    with db.connect(user="postgres") as holder:
        holder.execute("BEGIN; SELECT FROM djkafka_outbox_server FOR UPDATE")
        db.query("SELECT djkafka_produce(%s, '{\"id\": 2}')", topic)
        wait_until(lambda: cluster.query(WAITS_LONG, outbox) == [(1,)], message="the outbox worker waits")
    wait_count(db, "item", 2)
    assert outbox_worker(db)["pid"] == outbox

    with db.connect(user="postgres") as holder:
        holder.execute("BEGIN; LOCK TABLE djkafka_outbox_server IN ACCESS EXCLUSIVE MODE")
        cluster.query("SELECT pg_reload_conf()")  # which has it look
        wait_until(lambda: cluster.query(WAITS_LONG, supervisor) == [(1,)], message="the supervisor waits")
    db.query("SELECT djkafka_produce(%s, '{\"id\": 3}')", topic)
    wait_count(db, "item", 3)
    assert db.workers().get(supervisor) == "djkafka supervisor"
    wait_value(db, "SELECT state FROM djkafka_status", "running")
    assert db.value("SELECT count(*) FROM djkafka_dead_letter") == 0
    db.destroy()


@pytest.mark.parametrize("name", ["statement_timeout", "transaction_timeout"])
def test_batch_is_halved(name: str, unlimited, db: Database, kafka: Client, topic: str) -> None:
    """A limit on the owner's work makes batches smaller; the one message that takes longer by itself is told of it."""
    if name not in known_limits(db.cluster):
        pytest.skip(f"this PostgreSQL has no {name}")
    db.query(f"ALTER ROLE {db.owner} SET {name} = '500ms'", user="postgres")
    db.query("CREATE TABLE item (id bigint PRIMARY KEY, slept text)")
    db.query(
        "SELECT djkafka_subscribe(%s, 'item', columns => %s)", topic, '{"slept": "pg_sleep((value->>\'ms\')::float / 1000)"}'
    )
    kafka.produce(topic, [Record(f'{{"id": {number}, "ms": {1200 if number == 20 else 30}}}') for number in range(40)])
    wait_count(db, "item", 39)
    wait_value(db, "SELECT count(*) FROM djkafka_dead_letter", 1)
    letter = db.record('SELECT "offset", sqlstate, message, hint FROM djkafka_dead_letter')
    assert (letter["offset"], letter["sqlstate"]) == (20, "22KF3")
    assert "longer than 500 ms" in letter["message"]
    assert name in letter["hint"] and "max.poll" not in letter["hint"]


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param([], id="all are good"),
        pytest.param([12], id="one fails", marks=pytest.mark.long),
        pytest.param([0, 20, 51], id="some fail", marks=pytest.mark.long),
    ],
)
def test_slow_rows_do_not_cost_the_group(bad: list[int], db: Database, kafka: Client, topic: str) -> None:
    """A batch that takes longer than max.poll.interval.ms as a whole is no silence to Kafka, from the first one on."""
    db.query("CREATE TABLE item (id bigint PRIMARY KEY)")
    db.query(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" PERFORM pg_sleep(0.25); IF NEW.id = ANY ('{{{','.join(map(str, bad))}}}') THEN RAISE 'bad'; END IF; RETURN NEW; END $$"
    )
    db.query("CREATE TRIGGER slow BEFORE INSERT ON item FOR EACH ROW EXECUTE FUNCTION slow()")
    kafka.produce(topic, [Record(f'{{"id": {number}}}', partition=0) for number in range(52)])
    log = db.cluster.log_size()
    db.query(
        "SELECT djkafka_create_consumer('slow', options => %s)",
        '{"max.poll.interval.ms": "10000", "session.timeout.ms": "10000"}',
    )
    db.query("SELECT djkafka_create_route('slow', %s, 'item')", topic)
    wait_count(db, "item", 52 - len(bad), timeout=90)
    wait_value(db, "SELECT applied FROM djkafka_offset", 52 - len(bad))
    wait_value(db, "SELECT array_agg(\"offset\" ORDER BY \"offset\") FROM djkafka_dead_letter", bad or None)
    assert db.cluster.log(log).count("was assigned") == 1
    assert db.value("SELECT batches FROM djkafka_status") > 1


TOOK = """
    CREATE TABLE took (ms float);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_sleep(0.03);
        INSERT INTO took VALUES (extract(epoch FROM clock_timestamp() - transaction_timestamp()) * 1000);
        RETURN NULL;
    END $$
"""


def test_limit_of_deferred_constraints(unlimited, db: Database, kafka: Client, topic: str) -> None:
    """It holds while they are checked in a batch that is taken apart: what takes too long is no violation."""
    db.query(f"ALTER ROLE {db.owner} SET statement_timeout = '500ms'", user="postgres")
    db.query("CREATE TABLE item (id bigint PRIMARY KEY, v text NOT NULL)")
    db.query(TOOK)
    db.query(
        "CREATE CONSTRAINT TRIGGER note AFTER INSERT ON item DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION note()"
    )
    values = [f'{{"id": {number}, "v": {"null" if number == 25 else 1}}}' for number in range(40)]
    kafka.produce(topic, [Record(value, partition=0) for value in values])
    db.query("SELECT djkafka_subscribe(%s, 'item')", topic)
    wait_count(db, "item", 39)
    assert db.query('SELECT "offset", sqlstate FROM djkafka_dead_letter') == [(25, "23502")]
    assert db.value("SELECT max(ms) FROM took") < 900


@pytest.mark.long
def test_limit_where_a_row_stays_locked(unlimited, own_cluster, kafka: Client, topic: str, unique) -> None:
    """The one message is found within the limits, however long each of the others takes."""
    cluster = own_cluster(djkafka__bootstrap_servers=kafka.address, djkafka__max_retry_interval="1s")
    db = Database(cluster, unique("db"))
    db.query("CREATE EXTENSION djkafka")
    db.query(f"ALTER ROLE {db.owner} SET statement_timeout = '500ms'", user="postgres")
    db.query("CREATE TABLE item (id bigint PRIMARY KEY, v text)")
    db.query("INSERT INTO item VALUES (3, 'locked')")
    db.query(TOOK)
    db.query("CREATE TRIGGER note AFTER INSERT ON item FOR EACH ROW EXECUTE FUNCTION note()")
    with db.connect() as holder:
        holder.execute("BEGIN; SELECT FROM item FOR UPDATE")
        kafka.produce(topic, [Record(f'{{"id": {number}, "v": "new"}}', partition=0) for number in range(40)])
        db.query("SELECT djkafka_subscribe(%s, 'item')", topic)
        wait_count(db, "item", 40, timeout=120)
    assert db.query('SELECT "offset", sqlstate FROM djkafka_dead_letter') == [(3, "55P03")]
    assert db.value("SELECT max(ms) FROM took") < 900
    db.destroy()

"""The owner of a consumer never runs anything as another role, least of all as the one that writes the catalogs.

Each trick leaves a trace of who it ran as.  The owner's own name is the only one that may be found.
"""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from lib.djkafka import assert_audit, to_json, wait_caught_up, wait_state, wait_value
from lib.kafka import Client, Record
from lib.postgres import Database

# Tries what a superuser could do; each attempt on its own.
TRAP = """
CREATE FUNCTION trap(how text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    attempt text;
BEGIN
    INSERT INTO public.trace VALUES (how, current_user, session_user, pg_has_role(current_user, 'postgres', 'member'));
    FOREACH attempt IN ARRAY ARRAY[
        'ALTER ROLE ' || quote_ident(current_setting('trap.owner')) || ' SUPERUSER',
        'SET ROLE postgres', 'SET SESSION AUTHORIZATION postgres', 'SET LOCAL ROLE postgres',
        'SELECT set_config(''role'', ''postgres'', true)',
        'SELECT set_config(''session_authorization'', ''postgres'', true)',
        'RESET ROLE', 'RESET SESSION AUTHORIZATION'] LOOP
        BEGIN
            EXECUTE attempt;
            INSERT INTO public.trace VALUES (how || ': ' || attempt, current_user, session_user,
                pg_has_role(current_user, 'postgres', 'member'));
        EXCEPTION WHEN OTHERS THEN
            NULL;
        END;
    END LOOP;
END $$
"""

TRIGGER = """
CREATE FUNCTION spring() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM public.trap(TG_ARGV[0]); RETURN NULL; END $$
"""


@pytest.fixture
def hostile(db: Database) -> Database:
    db.query("CREATE TABLE trace (how text, who text, session text, is_super boolean)")
    db.query(TRAP)
    db.query(TRIGGER)
    db.cluster.query(f"ALTER ROLE {db.owner} SET trap.owner = '{db.owner}'")
    db.disconnect()
    db.query("CREATE TABLE item (id bigint PRIMARY KEY, name text)")
    return db


def assert_harmless(db: Database, *tricks: str) -> None:
    seen = db.query("SELECT how, who, session, is_super FROM trace")
    for trick in tricks:
        assert any(row[0].startswith(trick) for row in seen), f"{trick} never ran: nothing was tested: {seen}"
    assert {row[1:] for row in seen} == {(db.owner, db.owner, False)}
    supers = db.cluster.query("SELECT rolname FROM pg_roles WHERE rolsuper")
    assert supers == [("postgres",)]
    assert_audit(db)


def messages(count: int = 3) -> list[Record]:
    return [Record(to_json(id=number, name="x"), key=str(number)) for number in range(count)]


def test_triggers(hostile: Database, kafka: Client, topic: str) -> None:
    """Of rows, of statements, and deferred to the commit."""
    hostile.query("CREATE TRIGGER a AFTER INSERT ON item FOR EACH ROW EXECUTE FUNCTION spring('row')")
    hostile.query("CREATE TRIGGER b AFTER INSERT ON item FOR EACH STATEMENT EXECUTE FUNCTION spring('statement')")
    hostile.query(
        "CREATE CONSTRAINT TRIGGER c AFTER INSERT ON item DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION spring('deferred')"
    )
    hostile.query("SELECT djkafka_subscribe(%s, 'item')", topic)
    kafka.produce(topic, messages())
    wait_caught_up(hostile, kafka, topic)
    assert_harmless(hostile, "row", "statement", "deferred")


def test_held_cursor_and_set_constraints(hostile: Database, kafka: Client, topic: str) -> None:
    """What runs at the commit (a WITH HOLD cursor) or at an odd moment (SET CONSTRAINTS)."""
    hostile.query("CREATE FUNCTION bait() RETURNS int LANGUAGE sql VOLATILE AS $$ SELECT public.trap('cursor'); SELECT 1 $$")
    hostile.query("CREATE TABLE side (id bigint)")
    hostile.query(
        "CREATE CONSTRAINT TRIGGER c AFTER INSERT ON side DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION spring('constraint')"
    )
    hostile.query(
        "CREATE FUNCTION handle(jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN"
        " IF NOT EXISTS (SELECT FROM pg_cursors WHERE name = 'c') THEN"
        " EXECUTE 'DECLARE c CURSOR WITH HOLD FOR SELECT public.bait()'; END IF;"
        " INSERT INTO public.side VALUES (1); SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED;"
        " INSERT INTO public.side VALUES (2); END $$"
    )
    hostile.query("SELECT djkafka_subscribe(%s, handler => 'handle(jsonb)')", topic)
    kafka.produce(topic, messages())
    wait_caught_up(hostile, kafka, topic)
    assert_harmless(hostile, "cursor", "constraint")


def test_shadowed_names(hostile: Database, kafka: Client, topic: str) -> None:
    """Functions and operators that hide built-ins, temporary tables that hide the catalogs."""
    hostile.query("CREATE SCHEMA evil")
    for name in ("now()", "clock_timestamp()", "transaction_timestamp()"):
        hostile.query(
            f"CREATE FUNCTION evil.{name} RETURNS timestamptz LANGUAGE sql AS"
            f" $$ SELECT public.trap('function'); SELECT pg_catalog.{name} $$"
        )
    for type_ in ("bigint", "text", "int", "uuid"):
        hostile.query(
            f"CREATE FUNCTION evil.equal({type_}, {type_}) RETURNS boolean LANGUAGE plpgsql AS"
            f" $$ BEGIN PERFORM public.trap('operator'); RETURN $1 OPERATOR(pg_catalog.=) $2; END $$"
        )
        hostile.query(f"CREATE OPERATOR evil.= (LEFTARG = {type_}, RIGHTARG = {type_}, FUNCTION = evil.equal)")
    hostile.query(f"ALTER ROLE {hostile.owner} SET search_path = evil, public, pg_catalog")
    tables = ("djkafka_offset", "djkafka_consumer", "djkafka_route", "djkafka_dead_letter", "djkafka_event")
    shadow = "".join(f"CREATE TEMP TABLE IF NOT EXISTS {table} (LIKE public.{table});" for table in tables)
    hostile.query(
        f"CREATE FUNCTION handle(jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN {shadow}"
        " SET LOCAL search_path = pg_temp, evil, public, pg_catalog;"
        " PERFORM set_config('search_path', 'pg_temp, evil, public, pg_catalog', false);"
        " PERFORM public.trap('handler'); END $$"
    )
    hostile.disconnect()
    hostile.query("SELECT public.djkafka_subscribe(%s, handler => 'public.handle(jsonb)')", topic)
    kafka.produce(topic, [*messages(), Record("{"), *messages()])
    hostile.query("SET search_path = pg_catalog, public")
    wait_caught_up(hostile, kafka, topic)
    kafka.produce(topic, [*messages(), Record("{"), *messages()])
    wait_caught_up(hostile, kafka, topic)
    assert hostile.value("SELECT count(*) FROM djkafka_dead_letter") == 2, "the catalogs were written, not their shadows"
    assert_harmless(hostile, "handler")


def test_mapping_defaults_and_policies(hostile: Database, kafka: Client, topic: str) -> None:
    """Expressions, filters, column defaults, domains and row security are the owner's too."""
    lure = (
        "CREATE FUNCTION {0}(bigint) RETURNS bigint LANGUAGE plpgsql VOLATILE AS"
        " $$ BEGIN PERFORM public.trap('{0}'); RETURN 1; END $$"
    )
    for name in ("mapping", "filtering", "defaulting", "checking", "policing"):
        hostile.query(lure.format(name))
    hostile.query("CREATE DOMAIN positive AS bigint CHECK (public.checking(VALUE) > 0)")
    hostile.query("CREATE TABLE lured (id bigint PRIMARY KEY, a bigint, b bigint DEFAULT public.defaulting(1), c positive)")
    hostile.query("ALTER TABLE lured ENABLE ROW LEVEL SECURITY")
    hostile.query("ALTER TABLE lured FORCE ROW LEVEL SECURITY")
    hostile.query("CREATE POLICY p ON lured USING (public.policing(id) > 0)")
    hostile.query(
        "SELECT djkafka_subscribe(%s, 'lured', columns => %s, filter => 'public.filtering(1) > 0')",
        topic,
        to_json(a="public.mapping(1)", c="5"),
    )
    kafka.produce(topic, messages())
    wait_caught_up(hostile, kafka, topic)
    assert hostile.value("SELECT count(*) FROM lured") == 3
    assert_harmless(hostile, "mapping", "filtering", "defaulting", "checking", "policing")


def test_settings_of_the_role(hostile: Database, kafka: Client, topic: str) -> None:
    """Settings that the owner gives its role cannot break what a worker must hold."""
    for name, value in {
        "default_transaction_isolation": "serializable",
        "default_transaction_read_only": "on",
        "default_transaction_deferrable": "on",
        "DateStyle": "'SQL, DMY'",
        "IntervalStyle": "sql_standard",
        "statement_timeout": "'30s'",
        "TimeZone": "'Asia/Kathmandu'",
    }.items():
        hostile.cluster.query(f"ALTER ROLE {hostile.owner} SET {name} = {value}")
    hostile.query("CREATE TABLE moment (id bigint PRIMARY KEY, at timestamptz, day date)")
    hostile.query("SELECT djkafka_subscribe(%s, 'moment')", topic)
    kafka.produce(topic, [Record(to_json(id=1, at="2026-02-03T04:05:06", day="2026-02-03"))])
    wait_caught_up(hostile, kafka, topic)
    wait_state(hostile, "running")
    row = hostile.query("SELECT (at AT TIME ZONE 'UTC')::text, day::text FROM moment", user="postgres")
    assert row == [("2026-02-03 04:05:06", "2026-02-03")]


def test_catalogs_are_closed_to_others(hostile: Database, topic: str) -> None:
    """A role without a grant can neither read nor change anything of djkafka's."""
    hostile.query("SELECT djkafka_subscribe(%s, 'item')", topic)
    stranger = f"{hostile.name}_stranger"
    hostile.cluster.query(f"CREATE ROLE {stranger} LOGIN")
    connection = hostile.connect(stranger)
    try:
        objects = hostile.query(
            "SELECT format('SELECT * FROM %I', relname) FROM pg_class"
            " WHERE relname LIKE 'djkafka%%' AND relkind IN ('r', 'v')"
        )
        assert len(objects) >= 8
        for (statement,) in [
            *objects,
            ("SELECT djkafka_pause('default')",),
            ("SELECT djkafka_drop_consumer('default')",),
            ("SELECT * FROM djkafka_audit()",),
            ("SELECT djkafka_subscribe('t', 'item')",),
        ]:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
    finally:
        connection.close()
        hostile.cluster.query(f"DROP ROLE {stranger}")


def test_own_offsets(hostile: Database, kafka: Client, topic: str) -> None:
    """What is applied does not move the offsets by which it is applied: not a message is lost, or applied twice."""
    hostile.query("CREATE TABLE act (id bigint PRIMARY KEY, what text)")
    hostile.query("CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN EXECUTE NEW.what; RETURN NULL; END $$")
    hostile.query(
        "CREATE CONSTRAINT TRIGGER act AFTER INSERT ON act DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW WHEN (NEW.id % 2 = 0) EXECUTE FUNCTION act()"
    )
    hostile.query("CREATE TRIGGER act_now AFTER INSERT ON act FOR EACH ROW WHEN (NEW.id % 2 = 1) EXECUTE FUNCTION act()")
    # Each alone, since one that deletes the consumer would be the others' misfortune.
    hostile.query("SELECT djkafka_create_consumer('default', batch_messages => 1)")
    hostile.query("SELECT djkafka_subscribe(%s, 'act', operation => 'insert')", topic)
    acts = [
        f"SELECT djkafka_seek('default', '{topic}', 'earliest')",
        f"SELECT djkafka_seek('default', '{topic}', '0', 0)",
        f"SELECT djkafka_seek('default', '{topic}', 'latest')",
        "DELETE FROM djkafka_consumer WHERE name = 'default'",
        "SELECT djkafka_run('default', timeout => '1 s')",
        "SELECT djkafka_run('default', until => 'eof')",
        "SELECT djkafka_run('default', max_messages => 1)",
    ]
    records = [Record(to_json(id=number, what="SELECT 1")) for number in range(100, 120)]
    for number, act in enumerate([act for act in acts for _ in range(2)]):
        records.insert(number * 2, Record(to_json(id=number, what=act)))
    kafka.produce(topic, records)
    wait_caught_up(hostile, kafka, topic)
    assert hostile.query("SELECT DISTINCT sqlstate FROM djkafka_dead_letter") == [("27000",)]
    assert hostile.value("SELECT count(*) FROM djkafka_dead_letter") == 2 * len(acts)
    assert hostile.query("SELECT count(*), min(id) FROM act") == [(20, 100)]
    assert_audit(hostile, len(records))
    wait_state(hostile, "running")


@pytest.mark.parametrize("place", ["column", "filter"])
@pytest.mark.parametrize("rows", [(2, 0), (0, 2), (2, 2)])
def test_function_becomes_a_set(hostile: Database, kafka: Client, topic: str, place: str, rows: tuple[int, int]) -> None:
    """A plan that is made again gives no message the row of another."""
    scalar = "CREATE FUNCTION pick(jsonb) RETURNS {} LANGUAGE plpgsql AS $$ BEGIN RETURN {}; END $$"
    answer = ("text", "$1->>'name'") if place == "column" else ("boolean", "true")
    hostile.query(scalar.format(*answer))
    use = {"columns": to_json(name="pick(value)")} if place == "column" else {"filter": "pick(value)"}
    hostile.query(f"SELECT djkafka_subscribe(%s, 'item', {next(iter(use))} => %s)", topic, next(iter(use.values())))
    kafka.produce(topic, [Record(to_json(id=0, name="first"))])
    wait_caught_up(hostile, kafka, topic)

    count = f"CASE ($1->>'id')::int WHEN 1 THEN {rows[0]} ELSE {rows[1]} END"
    hostile.query(
        f"DROP FUNCTION pick; CREATE FUNCTION pick(jsonb) RETURNS SETOF {answer[0]} LANGUAGE plpgsql AS"
        f" $$ BEGIN RETURN QUERY SELECT {answer[1]} FROM generate_series(1, {count}); END $$"
    )
    kafka.produce(topic, [Record(to_json(id=1, name="one")), Record(to_json(id=2, name="two"))])
    assert "return sets" in wait_state(hostile, "broken")["reason"]
    hostile.query("DROP FUNCTION pick; " + scalar.format(*answer))
    wait_caught_up(hostile, kafka, topic)
    assert hostile.query("SELECT id, name FROM item ORDER BY id") == [(0, "first"), (1, "one"), (2, "two")]
    assert hostile.value("SELECT count(*) FROM djkafka_dead_letter") == 0
    assert_audit(hostile, 3)


def test_more_places(hostile: Database, kafka: Client, topic: str) -> None:
    """Whatever else an owner can hang onto a table, its view or its partitions, and what a route or a publication names."""
    lures = ("generated", "indexed", "checked", "viewed", "casting", "operating", "defining", "published")
    for name in lures:
        hostile.query(
            f"CREATE FUNCTION {name}(text) RETURNS text LANGUAGE plpgsql IMMUTABLE"
            f" AS $$ BEGIN PERFORM public.trap('{name}'); RETURN $1; END $$"
        )
    for statement in (
        "CREATE TABLE root (id bigint PRIMARY KEY, name text CHECK (checked(name) = name),"
        " g text GENERATED ALWAYS AS (generated(name)) STORED) PARTITION BY RANGE (id)",
        "CREATE TABLE leaf PARTITION OF root FOR VALUES FROM (0) TO (1000)",
        "CREATE INDEX ON root (indexed(name))",
        "CREATE TRIGGER leaf AFTER INSERT OR UPDATE ON leaf FOR EACH ROW EXECUTE FUNCTION spring('leaf')",
        "CREATE VIEW glass WITH (security_barrier) AS SELECT id, name FROM root WHERE viewed(name) = name",
        "CREATE TABLE child (id bigint PRIMARY KEY REFERENCES root ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED)",
        "CREATE TYPE pair AS (a text, b text)",
        "CREATE FUNCTION pair_text(pair) RETURNS text LANGUAGE sql AS $$ SELECT public.casting($1.a) $$",
        "CREATE CAST (pair AS text) WITH FUNCTION pair_text(pair)",
        "CREATE FUNCTION same(text, text) RETURNS boolean LANGUAGE sql AS $$ SELECT public.operating($1) = $2 $$",
        "CREATE OPERATOR === (LEFTARG = text, RIGHTARG = text, FUNCTION = same)",
        "ALTER FUNCTION defining(text) SECURITY DEFINER SET search_path = public",
    ):
        hostile.query(statement)
    hostile.query(
        "SELECT djkafka_subscribe(%s, 'glass', operation => 'upsert', key_columns => '{id}', columns => %s, filter => %s)",
        topic,
        to_json(name="ROW(value->>'name', 'x')::pair::text"),
        "value->>'name' === 'x' AND defining('y') = 'y'",
    )
    hostile.query(
        "SELECT djkafka_publish('root', %s, republish => true, columns => %s)", f"{topic}_out", to_json(x="published(name)")
    )
    kafka.produce(topic, [*messages(), *messages()])
    wait_caught_up(hostile, kafka, topic)
    assert hostile.value("SELECT count(*) FROM root") == 3, hostile.query("SELECT message FROM djkafka_dead_letter")
    assert_harmless(hostile, "leaf", *lures)


def test_role_that_stays_set(hostile: Database, kafka: Client, topic: str) -> None:
    """What a handler leaves behind in the worker's session is not what the next batch begins with."""
    mate = f"{hostile.name}_mate"
    hostile.cluster.query(f"CREATE ROLE {mate}")
    hostile.cluster.query(f"GRANT {mate} TO {hostile.owner}")
    leave = (
        f"SET ROLE {mate}",
        "SET DateStyle = ''SQL, DMY''",
        "SET IntervalStyle = sql_standard",
        "SET default_transaction_read_only = on",
        "SET default_transaction_isolation = serializable",
        "SET search_path = pg_temp",
        "SET TimeZone = ''Asia/Tokyo''",
        "SET lock_timeout = 1",
        "CREATE TEMP TABLE IF NOT EXISTS djkafka_offset (id bigint)",
        "CREATE TEMP TABLE IF NOT EXISTS seen (a int)",
        "SELECT pg_advisory_lock(1)",
        "CLOSE ALL",
        "DEALLOCATE ALL",
        "DISCARD PLANS",
        "RESET ALL",
    )
    hostile.query("CREATE TABLE seen (what text, who name, style text, zone text, isolation text, read_only text)")
    hostile.query(
        "CREATE FUNCTION handle(jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.seen SELECT"
        " $1->>'what', current_user, current_setting('DateStyle'), current_setting('TimeZone'),"
        " current_setting('transaction_isolation'), current_setting('transaction_read_only'); EXECUTE $1->>'what'; END $$"
    )
    hostile.query("SELECT djkafka_create_consumer('default', batch_messages => 1)")
    hostile.query("SELECT djkafka_subscribe(%s, handler => 'handle(jsonb)')", topic)
    statements = [statement.replace("''", "'") for statement in leave]
    kafka.produce(topic, [Record(to_json(what=statement)) for statement in [*statements, "SELECT 1", *statements, "SELECT 1"]])
    try:
        wait_caught_up(hostile, kafka, topic)
        assert hostile.query("SELECT message FROM djkafka_dead_letter") == []
        seen = hostile.query("SELECT DISTINCT who, style, zone, isolation, read_only FROM public.seen")
        assert seen == [(hostile.owner, "ISO, MDY", "UTC", "read committed", "off")]
        assert hostile.value("SELECT count(*) FROM public.seen") == 2 * len(leave) + 2
        assert_audit(hostile, 2 * len(leave) + 2)
    finally:
        hostile.query("SELECT djkafka_drop_consumer('default')")
        hostile.cluster.query(f"DROP ROLE {mate}")


# -- the number of a consumer that is gone, under which its dead letters are

LETTER = """SELECT djkafka_run('theirs', messages => '[{"topic": "t", "value": {"id": "secret"}}]')"""
TAKE = "INSERT INTO djkafka_consumer (id, name, enabled) VALUES (%s, 'mine', false)"
TAKEN = "was another consumer's, which has left dead letters"


@pytest.fixture
def theirs(db: Database) -> int:
    """A consumer that reads the messages given to it."""
    db.query("CREATE TABLE account (id int PRIMARY KEY)")
    db.query("SELECT djkafka_create_consumer('theirs', enabled => false)")
    db.query("SELECT djkafka_create_route('theirs', 't', 'account')")
    return db.value("SELECT djkafka_consumer_id('theirs')")


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_number_taken_under_an_old_snapshot(db: Database, theirs: int, level: str) -> None:
    with db.connect() as taker:
        taker.execute(f"BEGIN ISOLATION LEVEL {level}")
        taker.execute("SELECT count(*) FROM djkafka_dead_letter")
        db.query(LETTER)
        db.query("SELECT djkafka_drop_consumer('theirs')")
        with pytest.raises(psycopg.errors.UniqueViolation, match=TAKEN):
            taker.execute(TAKE, (theirs,))
        taker.rollback()


def test_number_taken_while_it_is_given_up(db: Database, theirs: int) -> None:
    """Who takes it has looked for letters, and waits for who drops the consumer, when one comes."""
    with db.connect() as reader, db.connect() as dropper, db.connect() as taker, ThreadPoolExecutor() as pool:
        reader.execute("BEGIN")
        reader.execute(LETTER)
        dropper.execute("BEGIN")
        dropper.execute("SELECT djkafka_drop_consumer('theirs')")
        taken = pool.submit(taker.execute, TAKE, (theirs,))
        wait_value(db, "SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s", "Lock", taker.info.backend_pid)
        reader.execute("COMMIT")
        dropper.execute("COMMIT")
        with pytest.raises(psycopg.errors.UniqueViolation, match=TAKEN):
            taken.result(30)


def test_number_without_letters(db: Database, theirs: int) -> None:
    db.query("SELECT djkafka_drop_consumer('theirs')")
    db.query(TAKE, theirs)


# -- what somebody else takes over meanwhile


def test_route_of_a_consumer_that_gets_another_owner(db: Database) -> None:
    """Who adds the route was the owner when he began, and waits for the row of the consumer."""
    db.query("CREATE TABLE item (id bigint PRIMARY KEY)")
    db.query("SELECT djkafka_create_consumer('c', enabled => false)")
    add = "SELECT djkafka_create_route('c', %s, 'item')"
    db.query(add, "first")
    change = "UPDATE djkafka_route SET filter = 'true' WHERE topic = 'first'"
    with db.connect("postgres") as taker, db.connect() as adder, db.connect() as changer, ThreadPoolExecutor() as pool:
        taker.execute("BEGIN")
        taker.execute("UPDATE djkafka_consumer SET owner = 'postgres'")
        added = pool.submit(adder.execute, add, ("second",))
        changed = pool.submit(changer.execute, change)
        for each in (adder, changer):
            wait_value(db, "SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s", "Lock", each.info.backend_pid)
        taker.execute("COMMIT")
        for result in (added, changed):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="must be a member of role"):
                result.result(30)
    assert db.query("SELECT topic, filter FROM djkafka_route") == [("first", None)]


def test_publication_of_a_table_that_gets_another_owner(db: Database) -> None:
    db.query("CREATE TABLE item (id bigint PRIMARY KEY)")
    with db.connect("postgres") as taker, db.connect() as publisher, ThreadPoolExecutor() as pool:
        taker.execute("BEGIN")
        taker.execute("ALTER TABLE item OWNER TO postgres")
        published = pool.submit(publisher.execute, "SELECT djkafka_publish('item', 't')")
        wait_value(db, "SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s", "Lock", publisher.info.backend_pid)
        taker.execute("COMMIT")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="must be owner"):
            published.result(30)
    assert not db.query("SELECT id FROM djkafka_publication")

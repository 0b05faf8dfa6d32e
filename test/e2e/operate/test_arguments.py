"""Every function takes every argument by its name, with the untyped parameters that psycopg sends."""

import psycopg
from lib.kafka import Client
from lib.postgres import Database

# What an argument of this name is given; one that is not here fails the test.
VALUES = {
    "name": "second",
    "consumer": "default",
    "group_id": "some-group",
    "server": None,
    "workers": 1,
    "start_from": "latest",
    "enabled": False,
    "options": '{"fetch.wait.max.ms": "100"}',
    "on_error": "skip",
    "notify": "batch",
    "assignment": "roundrobin",
    "batch_messages": 100,
    "batch_bytes": 100_000,
    "synchronous_commit": True,
    "on_new_topic": "earliest",
    "owner": None,
    "target": "item",
    "handler": None,
    "operation": "upsert",
    "format": "json",
    "key_format": "json",
    "key_columns": ["id"],
    "columns": '{"note": "upper(value->>\'x\')"}',
    "include": ["id", "note"],
    "exclude": ["other"],
    "filter": "true",
    "route_order": 7,
    "deleted_field": "gone",
    "unknown_fields": "error",
    "time_zone": "Europe/Vienna",
    "types": "strict",
    "time_unit": "ms",
    "naming": "snake_case",
    "root": "after",
    "message_types": None,
    "unknown_types": "error",
    "unchanged_value": "?",
    "version_column": "note",
    "partial_deletes": False,
    "on_referenced": "wait",
    "max_lane_messages": None,
    "max_lane_bytes": None,
    "max_lane_age": None,
    "on_full_lane": "stop",
    "parent_timeout": "10 s",
    "retry": '{"max_retries": 3}',
    "storm_share": 0.5,
    "storm_window": 100,
    "ordering": "none",
    "dead_letters": "both",
    "dead_letter_topic": "{group}.{topic}.dead",
    "retries_of": None,
    "retry_suffix": None,
    "invalid_text": "error",
    "lookups": None,
    "remember_deleted": None,
    "deleted_when": "value->>'op' = 'd'",
    "start_at": "earliest",
    "partition": 0,
    "max_messages": 1,
    "until": "eof",
    "idle": "1 s",
    "timeout": "5 s",
    "messages": "[]",
    "home": "00000000-0000-0000-0000-000000000000",
    "headers": None,
    "value": "v",
    "key": "k",
    "at_time": "2026-01-02T03:04:05+01:00",
    "server_id": 1,
    "skip_column": None,
    "relation": "item",
    "topic_prefix": "outbox.event.",
    "delete_rows": False,
    "republish": False,
    "origin": False,
    "topic_name": None,
    "cascade": True,
    "new_name": None,
    "new_topic": None,
    "new_target": None,
    "new_handler": None,
    "reset": None,
    "key_spelling": "lower",
    "omit_nulls": ["note"],
    "skip_too_large": True,
    "topics": ["quiet"],
    "token": 1,
    "ids": None,
    "reason": "r",
    "sqlstate": None,
    "since": "2020-01-01T00:00:00Z",
    "max_letters": 10,
    "to_topic": None,
    "force": True,
    "at_offset": 1000,
}

# Called in this order; those that are not named come after, by name.
FIRST = ("djkafka_create_consumer", "djkafka_create_route", "djkafka_subscribe", "djkafka_run")
LAST = ("djkafka_drop_route", "djkafka_drop_consumer", "djkafka_uninstall")

FUNCTIONS = """
SELECT p.proname, p.proargnames[1:p.pronargs], p.prorettype::regtype::text
  FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
  JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'djkafka'
 WHERE p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype, 'fdw_handler'::regtype)
   AND has_function_privilege(p.oid, 'EXECUTE') AND p.prokind = 'f'
 ORDER BY p.proname
"""


def in_order(function: tuple) -> tuple:
    name = function[0]
    return (FIRST.index(name) if name in FIRST else len(FIRST)) + (len(LAST) if name in LAST else 0), name


def test_arguments_by_name(plain_db: Database, kafka: Client, topic: str) -> None:
    plain_db.cluster.unlist_database(plain_db.name)
    plain_db.query("CREATE EXTENSION djkafka")
    plain_db.query("CREATE TABLE item (id bigint PRIMARY KEY, note text, other text)")
    plain_db.query("CREATE TABLE outbox (id uuid, aggregatetype text, aggregateid text, type text, payload jsonb, part int, note text)")
    plain_db.query("CREATE FUNCTION handle(jsonb) RETURNS void LANGUAGE sql AS 'SELECT'")
    plain_db.query("SELECT djkafka_create_consumer('default', enabled => false)")
    functions = sorted(plain_db.query(FUNCTIONS), key=in_order)
    assert len(functions) > 15, functions
    kafka.create_topic(f"{topic}.other")
    route = None
    for name, arguments, _ in functions:
        if name in ("djkafka_consumer_state", "djkafka_outbox_is_sent", "djkafka_header", "djkafka_fdw_validator"):
            continue  # helpers of views and of mappings, called by position
        if name in ("djkafka_outbox_decide", "djkafka_adopt"):
            continue  # refused while there is nothing to decide, or to adopt
        if name in ("djkafka_outbox_resend", "djkafka_outbox_discard"):
            plain_db.query("ALTER TABLE djkafka_outbox_dead DISABLE TRIGGER USER", user="postgres")
            plain_db.query(
                "INSERT INTO djkafka_outbox_dead (id, txid, message_time, topic, error, message)"
                " VALUES (7, '1', now(), 't', 'E', 'e')",
                user="postgres",
            )
        values = {argument: VALUES.get(argument) for argument in arguments or []}
        unknown = [argument for argument in values if argument not in VALUES and argument not in ("topic", "id", "name", "message_id")]
        assert not unknown, f"{name} has arguments that this test does not know: {unknown}"
        if name == "djkafka_publish":
            values["columns"] = None  # of a route's expressions
        if name == "djkafka_publish_outbox":
            values |= {"relation": "outbox", "columns": '{"partition": "part"}', "headers": ["note"]}
        if "topic" in values:
            values["topic"] = f"{topic}.other" if name in ("djkafka_subscribe", "djkafka_unsubscribe") else topic
        if "message_id" in values:
            values["message_id"] = 7
        if "id" in values:
            values["id"] = route
        if name == "djkafka_alter_consumer":
            values |= {"name": "default", "group_id": None}
        if name in ("djkafka_replay", "djkafka_discard"):
            values |= {"consumer": "default", "until": None}
            values["ids"] = plain_db.value(
                "INSERT INTO djkafka_dead_letter (consumer_id, consumer, topic, partition, \"offset\", value, sqlstate, message)"
                " VALUES (djkafka_consumer_id('default'), 'default', %s, 0, 0, '{\"id\": 8}', '22000', 'm') RETURNING ARRAY[id]",
                topic,
            )
        if name in ("djkafka_seek", "djkafka_run"):
            values["name"] = "default"
        if name in ("djkafka_seek", "djkafka_skip"):  # only what was read once can be sought in
            plain_db.query("SELECT djkafka_run('default', until => 'eof')")
        call = ", ".join(f"{argument} => %s" for argument in values)
        try:
            rows = plain_db.query(f"SELECT * FROM {name}({call})", *values.values())
        except psycopg.Error as error:
            raise AssertionError(f"{name}({call}) with {values}: {error.sqlstate} {error}") from error
        if name == "djkafka_create_route":
            route = rows[0][0]


def test_no_argument_is_a_keyword(db: Database) -> None:
    """name => value fails for a reserved word, and for some that look harmless."""
    reserved = {word for (word,) in db.query("SELECT word FROM pg_get_keywords() WHERE catcode IN ('C', 'R')")}
    reserved |= {"timestamp", "position", "limit", "offset"}
    for name, arguments, _ in db.query(FUNCTIONS):
        assert name.startswith("djkafka_")
        assert not reserved & set(arguments or []), f"{name}: {reserved & set(arguments or [])}"


def test_every_object_has_a_comment(db: Database) -> None:
    bare = db.query(
        "SELECT pg_describe_object(d.classid, d.objid, 0) FROM pg_depend d"
        " JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid"
        " WHERE e.extname = 'djkafka' AND d.deptype = 'e'"
        " AND d.classid IN ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_type'::regclass, 'pg_event_trigger'::regclass)"
        " AND obj_description(d.objid, d.classid::regclass::name) IS NULL"
        " AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = d.objid AND c.relkind IN ('S', 'c'))"
        # types that tables and other types have with them: PostgreSQL 18 counts them as the extension's
        " AND NOT EXISTS (SELECT FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid WHERE t.oid = d.objid"
        "                 AND (t.typcategory = 'A' OR c.relkind <> 'c'))"
    )
    assert not bare

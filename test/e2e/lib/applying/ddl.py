"""A shape as SQL, and what is seen of it."""

import json
from typing import Any

from .shapes import CHECKS, DEFAULTS, KEY_TYPES, NUMBER, Shape, has_marks, of_type, stands_apart

# What is no part of a shape; once for a database.
COMMON = [
    "CREATE SCHEMA x",
    "SET search_path = x, public",
    "CREATE TYPE mood AS ENUM ('sad', 'ok')",
    "CREATE DOMAIN positive AS int CHECK (VALUE > 0)",
    "CREATE TYPE pair AS (x int, y text)",
    "CREATE SEQUENCE numbers",
    "CREATE SEQUENCE attempts",
    "CREATE TABLE poison (id int PRIMARY KEY CHECK (id IS NULL))",
    "CREATE TABLE parent AS SELECT 1 AS id UNION SELECT 2",
    "ALTER TABLE parent ADD PRIMARY KEY (id)",
    "CREATE TABLE log (id serial, kind text, target text, op text, old jsonb, new jsonb)",
    # "once" is nobody's fault, and gone when it is tried again.
    """CREATE FUNCTION marked(mark text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
  IF mark = 'once' THEN
    IF nextval('attempts') <= 2 THEN RAISE EXCEPTION 'once' USING ERRCODE = '40001'; END IF;
  ELSIF mark <> '' THEN RAISE EXCEPTION 'marked %', mark USING ERRCODE = mark; END IF;
  RETURN true; END $$""",
    "CREATE FUNCTION raise_mark() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM marked(NEW.m); RETURN NEW; END $$",
    """CREATE FUNCTION raise_always() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  RAISE EXCEPTION 'it stays' USING ERRCODE = '23503'; END $$""",
    """CREATE FUNCTION few() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT count(*) < 3 FROM t); END $$""",
    """CREATE FUNCTION few_stable() RETURNS boolean LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN (SELECT count(*) < 3 FROM t); END $$""",
    """CREATE FUNCTION how_many() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT count(*) FROM t); END $$""",
    """CREATE FUNCTION log_statement() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$""",
    """CREATE FUNCTION log_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO log (kind, target, op, old, new) SELECT 'row', TG_TABLE_NAME, TG_OP,
    CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END, CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
  RETURN NULL; END $$""",
    """CREATE FUNCTION log_new() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO log (kind, target, op, new) SELECT 'statement', 't', TG_OP, to_jsonb(news) FROM news; RETURN NULL; END $$""",
    """CREATE FUNCTION log_old() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO log (kind, target, op, old) SELECT 'statement', 't', TG_OP, to_jsonb(olds) FROM olds; RETURN NULL; END $$""",
    # As a worker does: what is nobody's fault is tried again.
    """CREATE FUNCTION run(consumer text, messages jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ DECLARE r record; BEGIN
  FOR attempt IN 1..4 LOOP
    BEGIN
      SELECT * INTO r FROM djkafka_run(consumer, messages => messages);
      RETURN jsonb_build_array(r.applied, r.filtered, r.duplicates, r.stale, r.dead, r.skipped, r.key_only);
    EXCEPTION WHEN serialization_failure THEN NULL; END;
  END LOOP;
  RAISE 'four attempts'; END $$""",
    "SELECT djkafka_create_consumer('single', enabled => false, batch_messages => 1)",
    "SELECT djkafka_create_consumer('batch', enabled => false, batch_messages => 1000)",
    *(f"SELECT djkafka_create_route('{consumer}', 'poison', 'poison')" for consumer in ("single", "batch")),
]

CONSUMERS = ("single", "batch")


def quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, dict):
        return quote(json.dumps(value))
    return quote("{" + ",".join(value) + "}" if isinstance(value, list) else value)


def is_partitioned(shape: Shape) -> bool:
    return "hash" in shape["features"] or "range" in shape["features"]


# ---------- tables ----------


def column_sql(column: dict[str, Any]) -> str:
    parts = [column["name"], column["type"]]
    if column["not_null"]:
        parts.append("NOT NULL")
    if column["default"]:
        parts.append("DEFAULT " + DEFAULTS[column["type"]])
    if column["check"]:
        parts.append(f"CHECK ({CHECKS[column['type']].format(column['name'])})")
    return " ".join(parts)


def reference(shape: Shape, feature: str, column: str, to: str) -> list[str]:
    actions = {"": "", "_cascade": " ON DELETE CASCADE", "_deferred": " DEFERRABLE INITIALLY DEFERRED", "_acts": f" {shape['action']}"}
    return [
        f"{column} int REFERENCES {to}{action}"
        for suffix, action in actions.items()
        if feature + suffix in shape["features"]
    ]


def special_columns(shape: Shape) -> list[str]:
    features, ints = shape["features"], of_type(shape, "int")
    lines = []
    if "sequence" in features:
        lines.append("s bigint DEFAULT nextval('numbers')")
    if "before_counts" in features:
        lines.append("s bigint")
    if "identity" in features:
        lines.append("i bigint GENERATED BY DEFAULT AS IDENTITY")
    if "identity_always" in features:
        lines.append("i bigint GENERATED ALWAYS AS IDENTITY")
    if "generated" in features:
        lines.append(f"g int GENERATED ALWAYS AS ({ints[0]} * 2) STORED")
    if has_marks(shape):
        lines.append("m text" + (" CHECK (marked(m))" if "mark_check" in features else ""))
    if "skip_column" in features:
        lines.append("sk boolean")
    if "default_reads" in features:
        lines.append("o int DEFAULT how_many()")
    return lines + reference(shape, "self", "up", "t") + reference(shape, "parent", "p", "parent")


def constraints(shape: Shape) -> list[str]:
    features, ints = shape["features"], of_type(shape, "int")
    lines = []
    if "heap" not in features:
        lines.append("PRIMARY KEY (" + ", ".join(key["name"] for key in shape["key"]) + ")")
    if "pair_check" in features:
        lines.append(f"CHECK ({ints[0]} <= {ints[1]})")
    if "exclusion" in features:
        lines.append(f"EXCLUDE USING gist ({of_type(shape, 'int4range')[0]} WITH &&)")
    if "exclusion_at_end" in features:
        lines.append(f"EXCLUDE USING gist ({of_type(shape, 'int4range')[0]} WITH &&) DEFERRABLE")
    # Beside a key's own index none may be checked later.
    if "unique_at_end" in features and all(route.get("key_columns") != [ints[0]] for route in shape["routes"]):
        lines.append(f"UNIQUE ({ints[0]}) DEFERRABLE")
    if "nulls_not_distinct" in features:
        lines.append(f"UNIQUE NULLS NOT DISTINCT ({ints[0]})")
    if "check_reads" in features:
        lines.append("CHECK (few())")
    if "check_reads_stable" in features:
        lines.append("CHECK (few_stable())")
    for column in shape["columns"]:
        if column["unique"]:
            lines.append(f"UNIQUE {'NULLS NOT DISTINCT ' * column['one_null']}({column['name']}{', k' if is_partitioned(shape) else ''})")
    return lines


def table_sql(shape: Shape) -> list[str]:
    features, ints = shape["features"], of_type(shape, "int")
    lines = [f"{key['name']} {key['type']}" + (f" DEFAULT {key['default']}" if "default" in key else "") for key in shape["key"]]
    columns = [column_sql(column) for column in shape["columns"]]
    lines = ["gone int"] * ("dropped" in features) + (columns + lines if "key_last" in features else lines + columns)
    lines += special_columns(shape) + constraints(shape)
    kind = " PARTITION BY HASH (k)" if "hash" in features else " PARTITION BY RANGE (k)" if "range" in features else ""
    sql = [f"CREATE TABLE t ({', '.join(lines)}){kind}"]
    if "hash" in features:
        sql += [f"CREATE TABLE t{n} PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER {n})" for n in range(2)]
    if "range" in features:
        sql += [f"CREATE TABLE t{n} PARTITION OF t FOR VALUES FROM ({n}) TO ({n + 1})" for n in (1, 2)]
    if "expression_index" in features:
        sql.append(f"CREATE UNIQUE INDEX ON t (lower({of_type(shape, 'text', 'varchar(3)')[0]}))")
    if "partial_unique" in features:
        sql.append(f"CREATE UNIQUE INDEX ON t ({ints[0]}) WHERE {ints[0]} > 1")
    if "index" in features:
        sql.append(f"CREATE INDEX ON t ({of_type(shape, 'text')[0]})")
    if "index_of_two" in features:
        sql.append(f"CREATE INDEX ON t ({of_type(shape, 'text')[0]}, {shape['columns'][-1]['name']})")
    if "dropped" in features:
        sql.append("ALTER TABLE t DROP gone")
    if "inherits" in features:
        sql.append("CREATE TABLE heir () INHERITS (t)")
    kids = reference(shape, "kid", "t_k", "t")
    return sql + [f"CREATE TABLE kid ({kid})" for kid in kids]


def heir_rows(shape: Shape) -> list[str]:
    return ["INSERT INTO heir (k) VALUES (2)", "TRUNCATE log"] * ("inherits" in shape["features"])


def kid_rows(shape: Shape) -> list[str]:
    """None where a trigger keeps its parent out."""
    if not reference(shape, "kid", "t_k", "t"):
        return []
    return ["INSERT INTO t (k) VALUES (3)", "INSERT INTO kid SELECT k FROM t WHERE k = 3", "TRUNCATE log"]


def handler_sql(kind: str) -> list[str]:
    """Each message is a line; the table t is counted beside it."""
    line = "INSERT INTO u (v) SELECT to_jsonb({}) || jsonb_build_object('rows', (SELECT count(*) FROM t))"
    bodies = {
        "jsonb": line.format("given"),
        "djkafka_message": line.format("given.offset"),
        "djkafka_message[]": line.format('g."offset"') + " FROM unnest(given) WITH ORDINALITY g ORDER BY ordinality",
    }
    body = bodies[kind].replace("given.offset", '(given)."offset"')
    return [
        "CREATE TABLE u (n serial, v jsonb)",
        f"CREATE FUNCTION take(given {kind}) RETURNS void LANGUAGE plpgsql AS $$ BEGIN {body}; END $$",
    ]


def second_sql(shape: Shape) -> list[str]:
    second = shape["second"]
    if not second:
        return []
    if second["relation"] == "handler":
        return handler_sql(second["handler"])
    if second["relation"] == "text":
        kind = {"text": "text", "raw": "bytea"}[second["format"]]
        return [f'CREATE TABLE u (key {kind} PRIMARY KEY, value {kind}, "offset" bigint, n serial)']
    kind = shape["key"][0]["type"]
    columns = [f"k {kind} PRIMARY KEY", "v text NOT NULL", "n int CHECK (n > 0)"]
    if second["relation"] == "child":
        columns[0] += " REFERENCES t"
    if second["relation"] == "part":
        columns.append(f"of_t {kind} REFERENCES t {shape['action']}")
    if second["counts"]:
        columns.append("s bigint" + f" DEFAULT {NUMBER}" * (second["counts"] == "default"))
    sql = [f"CREATE TABLE u ({', '.join(columns)})"]
    if second["relation"] == "parent":
        sql.append("ALTER TABLE t ADD FOREIGN KEY (k) REFERENCES u")
    if second["relation"] == "whole":
        sql.append(f"ALTER TABLE t ADD of_u {kind} REFERENCES u {shape['action']}")
    if second["relation"] == "log" or not second["quiet"]:
        sql.append(trigger("AFTER INSERT OR UPDATE OR DELETE", "log_row()", "u"))
    return sql


# ---------- triggers and policies ----------


def trigger(when: str, function: str, table: str = "t", each: str = "ROW", more: str = "") -> str:
    name = "z" + function.split("(")[0] + when.split()[0].lower() + when.split()[1].lower()
    return f"CREATE TRIGGER {name} {when} ON {table} {more} FOR EACH {each} EXECUTE FUNCTION {function}"


def changing(name: str, statement: str) -> list[str]:
    return [
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {statement}; RETURN NEW; END $$",
        trigger("BEFORE INSERT" if name == "counts" else "BEFORE INSERT OR UPDATE", f"{name}()"),
    ]


def triggers_sql(shape: Shape) -> list[str]:
    features, ints = shape["features"], of_type(shape, "int")
    sql = []
    if "log" in features:
        sql.append(trigger("AFTER INSERT OR UPDATE OR DELETE", "log_row()"))
    if "log_statement" in features:
        new, old = "REFERENCING NEW TABLE AS news", "REFERENCING OLD TABLE AS olds"
        sql += [trigger(f"AFTER {op}", "log_new()", each="STATEMENT", more=new) for op in ("INSERT", "UPDATE")]
        sql.append(trigger("AFTER DELETE", "log_old()", each="STATEMENT", more=old))
    if "before" in features:
        sql += changing("adds", f"NEW.{ints[0]} := coalesce(NEW.{ints[0]}, 0) + 1")
    if "before_counts" in features:
        sql += changing("counts", "NEW.s := nextval('numbers')")
    if "before_skips" in features:
        sql += changing("skips", f"IF NEW.{ints[0]} = 2 THEN RETURN NULL; END IF")
    if "before_others" in features:
        others = f"UPDATE t SET {ints[0]} = 0 WHERE k <> NEW.k AND {ints[0]} = 1"
        sql += changing("others", f"IF NEW.{ints[0]} = 1 THEN {others}; END IF")
    if "mark_before" in features:
        sql.append(trigger("BEFORE INSERT OR UPDATE", "raise_mark()"))
    if "mark_after" in features:
        sql.append(trigger("AFTER INSERT OR UPDATE", "raise_mark()"))
    if "mark_deferred" in features:
        made = trigger("AFTER INSERT OR UPDATE", "raise_mark()", more="DEFERRABLE INITIALLY DEFERRED")
        sql.append(made.replace("CREATE TRIGGER z", "CREATE CONSTRAINT TRIGGER zz"))
    if "log_some" in features:
        sql.append(trigger(f"AFTER UPDATE OF {shape['columns'][0]['name']}", "log_row()", more="").replace("EXECUTE", "WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE"))
    if "before_statement" in features:
        sql.append(trigger("BEFORE INSERT OR UPDATE OR DELETE", "log_statement()", each="STATEMENT"))
    if "no_delete" in features:
        last = literal(str(KEY_TYPES[shape["key"][0]["type"]][-1]))
        sql.append(trigger("BEFORE DELETE", "raise_always()", more="").replace("EXECUTE", f"WHEN (OLD.k = {last}) EXECUTE"))
    return sql


def policies_sql(shape: Shape) -> list[str]:
    features, ints = shape["features"], of_type(shape, "int")
    if not {"rls_delete", "rls_check", "policy_reads"} & set(features):
        return []
    first = literal(str(KEY_TYPES[shape["key"][0]["type"]][0]))
    check = f"{ints[0]} IS DISTINCT FROM 2" if ints else f"k <> {first}"
    check = "few()" if "policy_reads" in features else check if "rls_check" in features else "true"
    return [
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE t FORCE ROW LEVEL SECURITY",
        "CREATE POLICY s ON t FOR SELECT USING (true)",
        f"CREATE POLICY i ON t FOR INSERT WITH CHECK ({check})",
        f"CREATE POLICY u ON t FOR UPDATE USING (true) WITH CHECK ({check})",
        f"CREATE POLICY d ON t FOR DELETE USING ({f'k <> {first}' if 'rls_delete' in features else 'true'})",
    ]


def instead_sql(shape: Shape) -> list[str]:
    names = [column["name"] for column in shape["columns"]]
    keys = " AND ".join(f"t.{key['name']} = OLD.{key['name']}" for key in shape["key"])
    inserted = [key["name"] for key in shape["key"]] + names
    body = (
        f"IF TG_OP = 'INSERT' THEN INSERT INTO t ({', '.join(inserted)}) VALUES ({', '.join(f'NEW.{name}' for name in inserted)}); RETURN NEW;"
        f" ELSIF TG_OP = 'UPDATE' THEN UPDATE t SET {', '.join(f'{name} = NEW.{name}' for name in names)} WHERE {keys}; RETURN NEW;"
        f" ELSE DELETE FROM t WHERE {keys}; RETURN OLD; END IF"
    )
    return [
        f"CREATE FUNCTION instead() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; END $$",
        trigger("INSTEAD OF INSERT OR UPDATE OR DELETE", "instead()", "w"),
    ]


def view_sql(shape: Shape) -> list[str]:
    if "instead" in shape["features"]:
        return ["CREATE VIEW w AS SELECT * FROM t", *instead_sql(shape)]
    if "view" in shape["features"]:
        return ["CREATE VIEW w AS SELECT * FROM t"]
    if "view_check" in shape["features"]:
        ints = of_type(shape, "int")
        return [f"CREATE VIEW w AS SELECT * FROM t WHERE {ints[0]} IS DISTINCT FROM 2 WITH CHECK OPTION"]
    return []


# ---------- routes ----------


def all_routes(shape: Shape, consumer: str) -> list[tuple[str, dict[str, Any]]]:
    """Target and options of each route, in the order in which they are tried."""
    is_view = bool(view_sql(shape))
    routes = []
    decoys = [shape["decoy"]] if shape["decoy"] and consumer == "batch" else []
    for route in [*decoys, *shape["routes"]]:
        made = dict(route)
        if is_view and "key_columns" not in made:
            made["key_columns"] = [key["name"] for key in shape["key"]]
        if "skip_column" in shape["features"]:
            made["skip_column"] = "sk"
        routes.append(("w" if is_view else "t", made))
    second = shape["second"]
    if second:
        route = {"topic": second["topic"], "operation": second["operation"], "filter": "value->>'to' = 'u'"}
        if second["relation"] == "handler":
            route = {"topic": second["topic"], "filter": second["filter"]}
        if second["relation"] == "text":
            route |= {"format": second["format"], "filter": "msg_offset % 2 = 0"}
        if second["counts"] == "columns":
            route["columns"] = {"s": NUMBER}
        route["on_error"] = second["on_error"]
        routes.insert(0 if second["first"] else len(routes), ("u", route))
    return routes


def routes_sql(shape: Shape) -> list[str]:
    sql = []
    for consumer in CONSUMERS:
        for number, (target, route) in enumerate(all_routes(shape, consumer)):
            topic = route.get("topic", "t")
            # A topic has a target only once.
            topic = f"^{topic}.{{0,{number}}}$" if number else topic
            options = "".join(f", {name} => {literal(value)}" for name, value in route.items() if name != "topic")
            to = f"'{target}'"
            if target == "u" and shape["second"]["relation"] == "handler":
                to = f"handler => 'take({shape['second']['handler']})'"
            sql.append(
                f"SELECT djkafka_create_route('{consumer}', '{topic}', {to}, route_order => {number}{options}, parent_timeout => '0')"
            )
    return sql


# ---------- what is seen ----------


def counted(shape: Shape) -> list[str]:
    """Columns whose numbers may have gaps: what counts is their order."""
    features = set(shape["features"])
    return ["s"] * bool(features & {"sequence", "before_counts"}) + ["i"] * bool(features & {"identity", "identity_always"})


def second_counts(shape: Shape) -> bool:
    return bool(shape["second"]) and bool(shape["second"]["counts"])


def log_sql(shape: Shape, where: str, order: str) -> str:
    names = counted(shape)
    if "s" not in names and second_counts(shape):
        names.append("s")
    hidden = " - ".join(["", *(f"'{name}'" for name in names)])
    ranks = "".join(f", rank() OVER (ORDER BY (new->>'{name}')::bigint)" for name in names)
    return (
        f"(SELECT jsonb_agg(line ORDER BY {order}) FROM (SELECT id, coalesce(new, old)->>'k' AS k, coalesce(new, old)->>'l' AS l,"
        f" jsonb_build_array(op, old{hidden}, new{hidden}{ranks}) AS line FROM log WHERE {where}) l)"
    )


def see_sql(shape: Shape) -> str:
    """A function that makes one JSON value of all that may not depend on batches."""
    ranks = "".join(f" || jsonb_build_object('{name}', rank() OVER (ORDER BY {name}))" for name in counted(shape))
    # The detail of an error may show a number that a batch takes another one of, or the row's place in the table.
    detail = "" if counted(shape) or second_counts(shape) or stands_apart(shape) else ", CASE WHEN sqlstate <> '54000' THEN detail END"
    parts = {
        "rows": f"(SELECT jsonb_agg(r ORDER BY r) FROM (SELECT to_jsonb(t){ranks} AS r FROM t) y)",
        "log": log_sql(shape, "kind = 'row' AND target <> 'u'", "id"),
        # A statement's triggers see what it inserted before what it updated.
        "statements": log_sql(shape, "kind = 'statement'", "k, l, id"),
        "dead": f'(SELECT jsonb_agg(jsonb_build_array(topic, "partition", "offset", sqlstate, message, hint{detail})'
        " ORDER BY \"offset\") FROM djkafka_dead_letter WHERE topic <> 'poison')",
    }
    parts["remembered"] = (
        "(SELECT jsonb_agg(jsonb_build_array(target, columns, key, d.version) ORDER BY target::text, columns, key) FROM djkafka_deleted d)"
    )
    parts["poisons"] = "(SELECT count(*) FROM djkafka_dead_letter WHERE topic = 'poison')"
    if shape["second"]:
        parts["second"] = "(SELECT jsonb_agg(to_jsonb(u) ORDER BY to_jsonb(u)) FROM u)"
        if stands_apart(shape):
            ranked = "to_jsonb(u) || jsonb_build_object('n', rank() OVER (ORDER BY n))"
            parts["second"] = f"(SELECT jsonb_agg(r ORDER BY r) FROM (SELECT {ranked} AS r FROM u) y)"
        if second_counts(shape):
            ranked = "to_jsonb(u) || jsonb_build_object('s', rank() OVER (ORDER BY s))"
            parts["second"] = f"(SELECT jsonb_agg(r ORDER BY r) FROM (SELECT {ranked} AS r FROM u) y)"
            if "s" in counted(shape):
                both = "SELECT to_jsonb(t)->'k' AS k, 't' AS of, s FROM t UNION ALL SELECT to_jsonb(u)->'k', 'u', s FROM u"
                parts["numbers"] = f"(SELECT jsonb_agg(jsonb_build_array(of, k) ORDER BY s, of, k) FROM ({both}) y)"
        parts["log_of_second"] = log_sql(shape, "target = 'u'", "id")
        if shape["second"]["relation"] == "log":
            parts["log"] = log_sql(shape, "kind = 'row'", "id")
    if reference(shape, "kid", "t_k", "t"):
        parts["kids"] = "(SELECT jsonb_agg(to_jsonb(kid)) FROM kid)"
    body = ", ".join(f"'{name}', {value}" for name, value in parts.items())
    return f"CREATE FUNCTION see() RETURNS jsonb LANGUAGE sql AS $see$ SELECT jsonb_build_object({body}) $see$"


def reset_sql(shape: Shape) -> list[str]:
    """All rows are again as ddl() leaves them; one statement after the other, each committed."""
    tables = "t, u" if shape["second"] else "t"
    return ["DELETE FROM djkafka_dead_letter", "DELETE FROM djkafka_deleted", f"TRUNCATE {tables} CASCADE", "TRUNCATE log", *kid_rows(shape), *heir_rows(shape)]


def ddl(shape: Shape) -> list[str]:
    made = [table_sql, second_sql, triggers_sql, policies_sql, view_sql, routes_sql, kid_rows, heir_rows]
    return [statement for make in made for statement in make(shape)] + [see_sql(shape)]

"""Random tables, routes and messages, and whether it matters how the messages are cut into batches.

A case is a shape (what is made by DDL) and a list of messages.  Its messages are
applied one by one, as one batch, in batches with random boundaries, and among
messages that always fail; what is seen afterwards must be the same.  A shape and
a message are plain dicts and lists, so that a case can be printed and shrunk.
"""

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import psycopg

Shape = dict[str, Any]
Message = dict[str, Any]

# Type → values that it takes, values that it refuses.
TYPES: dict[str, tuple[list, list]] = {
    "int": ([0, 1, 2, 3, "2"], ["x", 99999999999, 1.5, {"a": 1}]),
    "varchar(3)": (["a", "b", "", "abc", 1], ["abcd"]),
    "text": (["a", "b", "", 1, True], []),
    "numeric(4,2)": ([1, 2.5, "3.25"], ["x", 99999]),
    "boolean": ([True, False, "t"], ["maybe", 7]),
    "date": (["2024-01-01", "2024-02-29"], ["2023-02-29", "x"]),
    "jsonb": ([{"x": 1}, [1], "s", 5], []),
    "int[]": ([[1, 2], [], [None]], [["x"], "{y}"]),
    "mood": (["sad", "ok"], ["angry", ""]),
    "positive": ([1, 2, 3], [0, -1, "x"]),
}

CHECKS = {"int": "{} < 3", "varchar(3)": "{} <> 'b'", "text": "{} <> ''", "numeric(4,2)": "{} > 1"}
UNIQUE = ["int", "varchar(3)", "mood"]
DEFAULTS = {"int": "1", "varchar(3)": "'d'", "text": "'d'", "boolean": "true", "date": "'2020-02-02'"}

FEATURES = {
    "log": 0.3,  # a trigger that logs each row
    "sequence": 0.3,  # a column whose default is a sequence
    "identity": 0.15,
    "generated": 0.15,
    "partitioned": 0.12,
    "pair_check": 0.15,  # a CHECK over two columns
    "self": 0.15,  # a foreign key to the table itself
    "parent": 0.15,  # a foreign key to another table
}


# ---------- generating ----------


def make_column(rnd: random.Random, name: str) -> dict[str, Any]:
    kind = rnd.choice(list(TYPES)) if rnd.random() < 0.6 else "int"
    return {
        "name": name,
        "type": kind,
        "not_null": rnd.random() < 0.15,
        "check": kind in CHECKS and rnd.random() < 0.2,
        "unique": kind in UNIQUE and rnd.random() < 0.12,
        "default": kind in DEFAULTS and rnd.random() < 0.25,
    }


def make_route(rnd: random.Random, shape: Shape) -> dict[str, Any]:
    route: dict[str, Any] = {"operation": rnd.choice(["insert", "insert_new", "upsert", "mirror", "mirror", "mirror"])}
    if rnd.random() < 0.2:
        route["filter"] = rnd.choice(["value->>'a' IS DISTINCT FROM '2'", "value->>'c' = 'a'", "(value->>'a')::int < 2"])
    if rnd.random() < 0.2:
        column = rnd.choice(shape["columns"])
        expression = {"int": "(value->>'a')::int", "mood": "lower(value->>'a')::mood"}
        route["columns"] = {column["name"]: expression.get(column["type"], f"CAST(value->>'a' AS {column['type']})")}
    if rnd.random() < 0.1:
        route["unknown_fields"] = "error"
    if rnd.random() < 0.1:
        route["on_error"] = "skip"
    return route


def make_shape(rnd: random.Random) -> Shape:
    shape: Shape = {
        "key": ["k"] if rnd.random() < 0.75 else ["k", "l"],
        "columns": [make_column(rnd, name) for name in "abcde"[: rnd.randint(1, 5)]],
        "features": [name for name, chance in FEATURES.items() if rnd.random() < chance],
    }
    if len(shape["key"]) > 1 and "self" in shape["features"]:
        shape["features"].remove("self")
    shape["routes"] = [make_route(rnd, shape)]
    while rnd.random() < 0.2:
        shape["routes"].append(make_route(rnd, shape))
    return shape


def make_value(rnd: random.Random, kind: str, bad: float) -> Any:
    good, refused = TYPES[kind]
    if refused and rnd.random() < bad:
        return rnd.choice(refused)
    return None if rnd.random() < 0.1 else rnd.choice(good)


def make_message(rnd: random.Random, shape: Shape, bad: float, partial: float) -> Message:
    key = {name: rnd.randint(1, 3) for name in shape["key"]}
    message: Message = {"key": key if len(key) > 1 else key["k"]}
    if rnd.random() < 0.15:
        message["value"] = None
        return message
    value: dict[str, Any] = dict(key) if rnd.random() < 0.8 else {}
    for column in shape["columns"]:
        if rnd.random() >= partial:
            value[column["name"]] = make_value(rnd, column["type"], bad)
    for feature, name in (("self", "up"), ("parent", "p")):
        if feature in shape["features"] and rnd.random() >= partial:
            value[name] = rnd.choice([None, 1, 2, 3])
    if rnd.random() < 0.05:
        value["unknown"] = 1
    if rnd.random() < 0.08:
        value["__deleted"] = rnd.choice([True, "true", False])
    if rnd.random() < bad * 0.3:
        value["k"] = rnd.choice(["x", None])
    message["value"] = value
    return message


def make_messages(rnd: random.Random, shape: Shape) -> list[Message]:
    bad = rnd.choice([0, 0, 0.05, 0.2])
    partial = rnd.choice([0, 0.2, 0.5])
    return [make_message(rnd, shape, bad, partial) for _ in range(rnd.randint(2, rnd.choice([4, 8, 16])))]


# ---------- DDL ----------


def quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def column_sql(column: dict[str, Any]) -> str:
    parts = [column["name"], column["type"]]
    if column["not_null"]:
        parts.append("NOT NULL")
    if column["default"]:
        parts.append("DEFAULT " + DEFAULTS[column["type"]])
    if column["check"]:
        parts.append(f"CHECK ({CHECKS[column['type']].format(column['name'])})")
    return " ".join(parts)


def table_sql(shape: Shape) -> list[str]:
    features = shape["features"]
    partitioned = "partitioned" in features
    lines = [f"{name} int" for name in shape["key"]] + [column_sql(column) for column in shape["columns"]]
    ints = [column["name"] for column in shape["columns"] if column["type"] == "int"]
    if "sequence" in features:
        lines.append("s bigint DEFAULT nextval('numbers')")
    if "identity" in features and not partitioned:
        lines.append("i bigint GENERATED BY DEFAULT AS IDENTITY")
    if "generated" in features and ints:
        lines.append(f"g int GENERATED ALWAYS AS ({ints[0]} * 2) STORED")
    if "pair_check" in features and len(ints) > 1:
        lines.append(f"CHECK ({ints[0]} <= {ints[1]})")
    if "self" in features:
        lines.append("up int REFERENCES t")
    if "parent" in features:
        lines.append("p int REFERENCES parent")
    lines.append(f"PRIMARY KEY ({', '.join(shape['key'])})")
    for column in shape["columns"]:
        if column["unique"]:
            lines.append(f"UNIQUE ({column['name']}{', k' if partitioned else ''})")
    sql = [f"CREATE TABLE t ({', '.join(lines)})" + (" PARTITION BY HASH (k)" if partitioned else "")]
    if partitioned:
        sql += [f"CREATE TABLE t{n} PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER {n})" for n in range(2)]
    return sql


# What is no part of a shape.
COMMON = [
    "CREATE SCHEMA x",
    "SET LOCAL search_path = x, public",
    "CREATE TYPE mood AS ENUM ('sad', 'ok')",
    "CREATE DOMAIN positive AS int CHECK (VALUE > 0)",
    "CREATE SEQUENCE numbers",
    "CREATE TABLE poison (id int PRIMARY KEY CHECK (id IS NULL))",
    "CREATE TABLE parent AS SELECT 1 AS id UNION SELECT 2",
    "ALTER TABLE parent ADD PRIMARY KEY (id)",
    "CREATE TABLE log (id serial, op text, old jsonb, new jsonb)",
    "CREATE FUNCTION logs() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    " INSERT INTO log (op, old, new) SELECT TG_OP,"
    " CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) - '{s,i}'::text[] END,"
    " CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) - '{s,i}'::text[] END; RETURN NULL; END $$",
]

CONSUMERS = ("single", "batch")


def ddl(shape: Shape) -> list[str]:
    sql = COMMON + table_sql(shape)
    if "log" in shape["features"]:
        sql.append("CREATE TRIGGER logs AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION logs()")
    for consumer in CONSUMERS:
        size = 1 if consumer == "single" else 1000
        sql.append(f"SELECT djkafka_create_consumer('{consumer}', enabled => false, batch_messages => {size})")
        sql.append(f"SELECT djkafka_create_route('{consumer}', 'poison', 'poison')")
        for number, route in enumerate(shape["routes"]):
            options = ""
            for name, value in route.items():
                options += f", {name} => {quote(json.dumps(value) if isinstance(value, dict) else value)}"
            topic = f"^t.{{0,{number}}}$" if number else "t"  # a topic has a target only once
            sql.append(f"SELECT djkafka_create_route('{consumer}', '{topic}', 't', route_order => {number}{options})")
    return sql


# ---------- applying ----------


def run_sql(consumer: str, messages: list[Message]) -> str:
    return f"SELECT * FROM djkafka_run('{consumer}', messages => {quote(json.dumps(messages))})"


def see_sql(shape: Shape) -> str:
    """One JSON value of all that may not depend on batches."""
    hidden = [name for feature, name in (("sequence", "s"), ("identity", "i")) if feature in shape["features"]]
    if "partitioned" in shape["features"] and "i" in hidden:
        hidden.remove("i")
    ranks = "".join(f" || jsonb_build_object('{name}', rank() OVER (ORDER BY {name}))" for name in hidden)
    # The detail of an error may show a number that a batch takes another one of.
    detail = "" if hidden else ", detail"
    return (
        "SELECT jsonb_build_object("
        f"'rows', (SELECT jsonb_agg(r ORDER BY r) FROM (SELECT to_jsonb(t){ranks} AS r FROM t) u),"
        "'log', (SELECT jsonb_agg(jsonb_build_array(op, old, new) ORDER BY id) FROM log),"
        f"'dead', (SELECT jsonb_agg(jsonb_build_array(topic, \"offset\", sqlstate, message{detail}) ORDER BY \"offset\")"
        " FROM djkafka_dead_letter WHERE topic <> 'poison'))"
    )


class Variant:
    """A way to apply: calls of djkafka_run."""

    def __init__(self, name: str, calls: list[tuple[str, list[Message]]]):
        self.name = name
        self.calls = calls

    def sql(self, shape: Shape) -> list[str]:
        begin = "SAVEPOINT v; SELECT setval('numbers', 1, false)"
        return [begin] + [run_sql(*call) for call in self.calls] + [see_sql(shape), "ROLLBACK TO v"]

    def run(self, connection: psycopg.Connection, shape: Shape) -> dict[str, Any]:
        cursor = connection.execute("; ".join(self.sql(shape)))
        results = []
        more: bool | None = True
        while more:
            results.append(cursor.fetchall() if cursor.description else [])
            more = cursor.nextset()
        seen = results[-2][0][0]
        poisons = sum(message["topic"] == "poison" for _, messages in self.calls for message in messages)
        counts = [sum(row[0][n] for row in results[2:-2]) for n in range(5)]
        counts[3] -= poisons
        seen["counts"] = counts
        return seen


def number(messages: list[Message]) -> list[Message]:
    return [{"topic": "t", "offset": offset} | message for offset, message in enumerate(messages)]


def variants(rnd: random.Random, messages: list[Message]) -> list[Variant]:
    given = number(messages)
    poison = {"topic": "poison", "value": {"id": 1}}
    made = [Variant("one by one", [("single", given)]), Variant("one batch", [("batch", given)])]
    cuts = sorted(rnd.sample(range(len(given) + 1), min(2, len(given) + 1)))
    parts = [given[from_:to] for from_, to in zip([0, *cuts], [*cuts, len(given)])]
    made.append(Variant("cut", [("batch", part) for part in parts if part]))
    mixed = list(given)
    for _ in range(rnd.randint(1, 2)):
        mixed.insert(rnd.randint(0, len(mixed)), poison)
    made.append(Variant("poisoned", [("batch", mixed)]))
    return made


class Difference(Exception):
    def __init__(self, case: "Case", what: str):
        super().__init__(what)
        self.case = case


class Case:
    def __init__(self, shape: Shape, messages: list[Message], seed: int):
        self.shape = shape
        self.messages = messages
        self.seed = seed

    def variants(self) -> list[Variant]:
        return variants(random.Random(self.seed), self.messages)

    def difference(self, connection: psycopg.Connection) -> str | None:
        """How the variants differ, or None.  The shape's tables exist."""
        first: dict[str, Any] | None = None
        for variant in self.variants():
            try:
                seen = variant.run(connection, self.shape)
            except psycopg.Error as error:
                connection.execute("ROLLBACK TO v")
                return f"{variant.name}: {error}"
            if first is None:
                first = seen
            for name, value in seen.items():
                if value != first[name]:
                    return f"{name}\n  one by one: {json.dumps(first[name])}\n  {variant.name}: {json.dumps(value)}"
        return None

    def script(self) -> str:
        """A psql script that shows each variant."""
        lines = ["BEGIN;"] + [f"{statement};" for statement in ddl(self.shape)]
        for variant in self.variants():
            lines += [f"\\echo == {variant.name}"] + [f"{statement};" for statement in variant.sql(self.shape)]
        return "\n".join([*lines, "ROLLBACK;", ""])


# ---------- shrinking ----------


def smaller_shapes(shape: Shape) -> Iterator[Shape]:
    for name in ("features", "columns", "routes"):
        for n in range(len(shape[name])):
            if name == "features" or len(shape[name]) > 1:
                made = copy.deepcopy(shape)
                del made[name][n]
                yield made
    for n, column in enumerate(shape["columns"]):
        for name in ("not_null", "check", "unique", "default"):
            if column[name]:
                made = copy.deepcopy(shape)
                made["columns"][n][name] = False
                yield made
    for n, route in enumerate(shape["routes"]):
        for name in route:
            if name != "operation":
                made = copy.deepcopy(shape)
                del made["routes"][n][name]
                yield made


def smaller_messages(messages: list[Message]) -> Iterator[list[Message]]:
    for size in (len(messages) // 2, len(messages) // 4, 1):
        for n in range(0, len(messages), max(size, 1)):
            if len(messages) > size > 0:
                yield messages[:n] + messages[n + size :]
    for n, message in enumerate(messages):
        for name in message.get("value") or {}:
            value = {other: field for other, field in message["value"].items() if other != name}
            yield messages[:n] + [message | {"value": value}] + messages[n + 1 :]


def fails(connection: psycopg.Connection, case: Case) -> bool:
    """Whether a case of a shape of its own differs still."""
    connection.execute("ROLLBACK")
    try:
        make(connection, case.shape)
    except psycopg.Error:
        return False
    return case.difference(connection) is not None


def shrink(connection: psycopg.Connection, case: Case) -> Case:
    going = True
    while going:
        going = False
        candidates = [lambda c: (Case(c.shape, m, c.seed) for m in smaller_messages(c.messages)),
                      lambda c: (Case(s, c.messages, c.seed) for s in smaller_shapes(c.shape))]  # fmt: skip
        for candidate in candidates:
            for smaller in candidate(case):
                if fails(connection, smaller):
                    case = smaller
                    going = True
                    break
    return case


# ---------- the whole ----------


def make(connection: psycopg.Connection, shape: Shape) -> None:
    connection.execute("BEGIN; " + "; ".join(ddl(shape)))


def check(connection: psycopg.Connection, seed: int, cases: int, lists: int = 20, report: Callable = print) -> int:
    """Runs so many cases; raises Difference with the first that differs, shrunk.  Returns the number of shapes."""
    rnd = random.Random(seed)
    shapes = 0
    while cases > 0:
        shape = make_shape(rnd)
        try:
            make(connection, shape)
        except psycopg.Error:
            connection.execute("ROLLBACK")
            raise
        shapes += 1
        for _ in range(min(lists, cases)):
            case = Case(shape, make_messages(rnd, shape), rnd.getrandbits(32))
            if case.difference(connection) is not None:
                case = shrink(connection, case)
                connection.execute("ROLLBACK")
                make(connection, case.shape)
                what = case.difference(connection) or "it did not differ again"
                connection.execute("ROLLBACK")
                raise Difference(case, what)
            cases -= 1
        connection.execute("ROLLBACK")
    return shapes

"""Random shapes: a table with what constrains and watches it, and the routes that lead to it.

A shape is made of dicts, lists and strings, so that it can be printed and shrunk: each of
its features, columns, routes and options can be taken away and leaves a shape.
"""

import os
import random
import string
from typing import Any

Shape = dict[str, Any]

# What is known to depend on batches and is kept out.  DJK_APPLY_WITH=name,name lets it in.
EXCLUDED = {
    # A message that is refused alone by a deferred constraint passes in a piece with a later one
    # of its key that fixes it, so who is to blame depends on where halving cuts.  Without it a
    # case whose constraints are deferred is compared where its batch fails no message at all.
    "deferred_culprits": "batches with deferred constraints that fail some messages",
}


def allowed(name: str) -> bool:
    assert name in EXCLUDED
    return name in os.environ.get("DJK_APPLY_WITH", "").split(",")


# Type → values that it takes, values that it refuses.
TYPES: dict[str, tuple[list, list]] = {
    "int": ([0, 1, 2, 3, "2"], ["x", 99999999999, 1.5, {"a": 1}, [1]]),
    "smallint": ([1, 2, "3"], [40000, "x", True]),
    "bigint": ([1, 2, 9007199254740993], [1e30, "x"]),
    "numeric(4,2)": ([1, 2.5, "3.25"], ["x", 99999, [1]]),
    "double precision": ([1, 2.5, "1e3"], ["x", "1e999", {}]),
    "boolean": ([True, False, "t"], ["maybe", 7]),
    "text": (["a", "b", "", 1, True, {"x": 1}], ["\0", "\ud83d"]),
    "varchar(3)": (["a", "b", "", "abc", 1], ["abcd", "\0"]),
    "char(2)": (["a", "a ", "b", "ab"], ["abc"]),
    "date": (["2024-01-01", "2024-02-29"], ["2023-02-29", "x", 5, "infinity"]),
    "timestamptz": (["2024-01-01T00:00:00Z", "2024-01-01T02:00:00+02:00"], ["x", 1700000000, "infinity"]),
    "time": (["10:00", "23:59:59.5"], ["24:00:00", "25:00", 5]),
    "interval": (["1 day", "PT1H"], ["x", 5, {"hours": 1}]),
    "uuid": (["00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-00000000000A"], ["x", 1]),
    "bytea": (["", "\\x00ff", "YWI="], ["\\xzz", 1]),
    "jsonb": ([{"x": 1}, [1], "s", 5, {"x": {"y": None}}], ["\0"]),
    "int[]": ([[1, 2], [], [None]], [["x"], "{y}", 1]),
    "text[]": ([["a"], [], ["a", None]], [[["a"], ["b", "c"]], 1]),
    "int4range": (["[1,3)", "[2,5)", "empty"], ["[3,1)", 1, "x"]),
    "inet": (["10.0.0.1", "::1"], ["10.0.0.256", 1]),
    "mood": (["sad", "ok"], ["angry", "", 1]),
    "positive": ([1, 2, 3], [0, -1, "x"]),
    "pair": ([{"x": 1, "y": "a"}, {"x": 2}], [{"x": "z"}, [1]]),
}

CHECKS = {
    "int": "{} < 3",
    "varchar(3)": "{} <> 'b'",
    "text": "{} <> ''",
    "numeric(4,2)": "{} > 1",
    "date": "{} > '2024-01-15'",
    "boolean": "{}",
}
UNIQUE = ["int", "varchar(3)", "char(2)", "mood", "date", "uuid"]
DEFAULTS = {
    "int": "1",
    "varchar(3)": "'d'",
    "text": "'d'",
    "boolean": "true",
    "date": "'2024-02-02'",
    "jsonb": "'{}'",
    "int[]": "'{7}'",
    "positive": "4",
    "mood": "'ok'",
}

# Keys: pairs that are equal and look different are of one key.
KEY_TYPES: dict[str, list] = {
    "int": [1, 2, 3],
    "text": ["a", "b", "1"],
    "numeric": [1, "1.0", 2],
    "char(2)": ["a", "a ", "b"],
    "uuid": ["00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000A"],
    "double precision": [0, "-0", 1],
    "interval": ["1 day", "24:00:00", "PT1H"],
    "timestamptz": ["2024-01-01T00:00:00Z", "2024-01-01T02:00:00+02:00", "2024-01-02T00:00:00Z"],
    "boolean": [True, False],
    "bytea": ["\\x61", "YQ==", "\\x62"],
    "varbit": ["1", "10", "0"],
}

# More than an index takes, whatever of it is compressed.
LARGE = "".join(random.Random(1).choices(string.ascii_letters + string.digits, k=6000))

# What a table has besides its columns → how often.
FEATURES = {
    "log": 0.25,  # a trigger that logs each row
    "log_statement": 0.1,  # one that logs what a statement has written
    "before": 0.08,  # a trigger that changes the row
    "before_counts": 0.05,  # one that numbers rows
    "before_skips": 0.05,  # one that leaves rows out
    "sequence": 0.25,  # a column whose default is a sequence
    "identity": 0.15,
    "identity_always": 0.05,
    "generated": 0.12,
    "expression_index": 0.08,  # a unique index over an expression
    "partial_unique": 0.06,
    "exclusion": 0.06,
    "nulls_not_distinct": 0.05,
    "unique_at_end": 0.06,  # a unique constraint that is checked at a statement's end
    "exclusion_at_end": 0.05,
    "before_others": 0.05,  # a trigger that changes other rows
    "hash": 0.08,  # partitions
    "range": 0.06,  # partitions, and none for the last key
    "pair_check": 0.12,  # a CHECK over two columns
    "self": 0.1,  # a foreign key to the table itself
    "self_cascade": 0.05,
    "self_deferred": 0.08,
    "self_acts": 0.12,  # a foreign key with the shape's action
    "parent": 0.12,  # a foreign key to another table
    "parent_deferred": 0.08,
    "kid": 0.06,  # a row that another table refers to
    "kid_cascade": 0.05,
    "kid_deferred": 0.05,
    "kid_acts": 0.04,
    "rls_delete": 0.06,  # a policy that hides rows from DELETE
    "rls_check": 0.06,  # a policy that refuses rows
    "no_delete": 0.06,  # a trigger that refuses to delete a row
    "mark_before": 0.1,  # a trigger, constraint or filter that raises what a message's mark says
    "mark_after": 0.08,
    "mark_check": 0.1,
    "mark_deferred": 0.08,
    "view": 0.06,  # the target is a view
    "view_check": 0.04,  # … with a condition that rows must meet
    "skip_column": 0.05,
    "heap": 0.1,  # no key at all
    "index": 0.08,  # an index, which refuses large values
    "index_of_two": 0.05,
    "dropped": 0.08,  # a column that is gone
    "key_last": 0.08,
    "inherits": 0.05,  # a child with a row of its own
    "default_reads": 0.05,  # a default that reads the table
    "check_reads": 0.05,  # a CHECK that does
    "check_reads_stable": 0.05,
    "policy_reads": 0.04,  # a policy that does
    "instead": 0.04,  # a view with INSTEAD OF triggers
    "log_some": 0.05,  # a trigger for some changes of some rows
    "before_statement": 0.04,
}

DEFERRED = ["self_deferred", "parent_deferred", "kid_deferred", "mark_deferred"]

# Of another table to the first: it refers to it, is referred to, with the shape's action or without, …
RELATIONS = ["none", "child", "parent", "part", "part", "part", "whole", "whole", "log", "handler", "handler", "handler", "text", "text"]

# What happens to rows with those that they refer to, at once whatever is deferred; or what a route's on_referenced does.
ACTIONS = [""] * 3 + ["ON DELETE CASCADE"] * 4 + ["ON DELETE SET NULL"] * 2 + ["ON DELETE SET DEFAULT", "ON DELETE RESTRICT", "ON UPDATE CASCADE"]

# At most one of each.
ALTERNATIVES = [
    ["self", "self_cascade", "self_deferred", "self_acts"],
    ["parent", "parent_deferred"],
    ["kid", "kid_cascade", "kid_deferred", "kid_acts"],
    ["identity", "identity_always"],
    ["hash", "range"],
    ["view", "view_check", "instead"],
    ["check_reads", "check_reads_stable"],
    ["rls_check", "policy_reads"],
    ["index", "index_of_two"],
    # What a BEFORE trigger writes is told before the rows of its statement, so that the log differs by nature.
    ["before_others", "log", "log_some", "log_statement"],
    ["sequence", "before_counts"],
]

MARKS = ["P0001", "22012", "23503", "23514", "42501", "42P01", "0A000", "XX000", "once", "once"]


def is_deferred(shape: Shape) -> bool:
    deferred_action = has_action(shape) and shape["action"].endswith("DEFERRED")
    return deferred_action or any(feature in DEFERRED for feature in shape["features"])


def has_marks(shape: Shape) -> bool:
    return any(name.startswith("mark_") for name in shape["features"]) or any(
        "marked" in (route.get("filter") or "") for route in shape["routes"]
    )


def has_action(shape: Shape) -> bool:
    """Whether a foreign key has the shape's action."""
    between = bool(shape["second"]) and shape["second"]["relation"] in ("part", "whole")
    return between or any(name.endswith("_acts") for name in shape["features"])


def stands_apart(shape: Shape) -> bool:
    """Whether the second target is no table like the first: its rows are numbered."""
    return bool(shape["second"]) and shape["second"]["relation"] in ("handler", "text")


def make_column(rnd: random.Random, name: str) -> dict[str, Any]:
    kind = rnd.choice(list(TYPES)) if rnd.random() < 0.6 else "int"
    return {
        "name": name,
        "type": kind,
        "not_null": rnd.random() < 0.15,
        "check": kind in CHECKS and rnd.random() < 0.2,
        "unique": kind in UNIQUE and rnd.random() < 0.1,
        "one_null": rnd.random() < 0.3,
        "default": kind in DEFAULTS and rnd.random() < 0.25,
    }


def of_type(shape: Shape, *types: str) -> list[str]:
    return [column["name"] for column in shape["columns"] if column["type"] in types]


# ---------- features that go together ----------


def fits(shape: Shape, feature: str) -> bool:
    """Whether a table of these columns and other features can have this one."""
    features = shape["features"]
    plain_key = len(shape["key"]) == 1 and shape["key"][0]["type"] == "int"
    partitioned = "hash" in features or "range" in features
    match feature:
        case "hash" | "range":
            kinds = ["int"] if feature == "range" else [name for name in KEY_TYPES if name != "varbit"]
            keyed = "heap" not in features and all("key_columns" not in route for route in shape["routes"])
            return keyed and shape["key"][0]["type"] in kinds
        case (
            "identity" | "identity_always" | "expression_index" | "partial_unique" | "exclusion" | "nulls_not_distinct"
            | "unique_at_end" | "exclusion_at_end"
        ):
            wanted = {"exclusion": ("int4range",), "exclusion_at_end": ("int4range",), "expression_index": ("text", "varchar(3)")}.get(feature, ("int",))
            if feature.startswith("identity") and "inherits" in features:
                return False  # which a child does not inherit
            return not partitioned and (feature.startswith("identity") or bool(of_type(shape, *wanted)))
        case "generated":
            return bool(of_type(shape, "int"))
        case "pair_check":
            return len(of_type(shape, "int")) > 1
        case "self" | "self_cascade" | "self_deferred" | "self_acts":
            return plain_key and "heap" not in features
        case "kid" | "kid_cascade" | "kid_deferred" | "kid_acts":
            needed = any(column["not_null"] and not column["default"] for column in shape["columns"])
            # the defaults, perhaps, with which the row is made, and what a trigger makes of them
            refused = "pair_check" in features or {"before", "rls_check"} <= set(features)
            return plain_key and "heap" not in features and not partitioned and not needed and not refused
        case "before" | "before_skips" | "before_others":
            # One that changes a key is an exception by nature.
            ints = of_type(shape, "int")
            return bool(ints) and all(ints[0] not in route.get("key_columns", []) for route in shape["routes"])
        case "heap":
            return all(route["operation"] == "insert" for route in shape["routes"])
        case "index" | "index_of_two":
            return bool(of_type(shape, "text"))
        case "inherits":
            if {"identity", "identity_always"} & set(features):
                return False
            needed = any(column["not_null"] and not column["default"] for column in shape["columns"])
            return plain_key and "heap" not in features and not partitioned and not needed and "pair_check" not in features
        case "default_reads":
            return not partitioned
        case "view" | "view_check" | "instead":
            return all(route["operation"] != "insert_new" for route in shape["routes"]) and (
                feature == "view" or bool(of_type(shape, "int"))
            )
    return True


def make_features(rnd: random.Random, shape: Shape) -> list[str]:
    second = shape["second"]
    more = {"sequence": 0.6} if second and second["counts"] else {}
    names = [name for name, chance in (FEATURES | more).items() if rnd.random() < chance]
    if "heap" in names and rnd.random() < 0.5:
        for route in shape["routes"]:
            route["operation"] = "insert"
            route.pop("version_column", None)
            route.pop("remember_deleted", None)
            route.pop("partial_deletes", None)
    if "skip_column" in names and "log" not in names and rnd.random() < 0.7:
        names.append("log")
    if has_action(shape | {"features": names}) and rnd.random() < 0.6:
        # Most others keep the order of messages anyway.
        names = [name for name in names if name.endswith("_acts")]
        shape["routes"] = [{"operation": "mirror"}]
    for group in ALTERNATIVES:
        there = [name for name in group if name in names]
        for name in there[1:]:
            names.remove(name)
    # Those that others ask for come first.
    names.sort(key=lambda name: (name not in ("heap", "hash", "range"), name.startswith("kid") or name == "inherits"))
    shape["features"] = []
    for name in names:
        if fits(shape, name):
            shape["features"].append(name)
    return shape["features"]


# ---------- routes ----------

FILTERS = [
    "value->>'a' IS DISTINCT FROM '2'",
    "value->>'c' = 'a'",
    "(value->>'a')::int < 2",
    "msg_offset % 3 <> 1",
    "key IS NOT NULL",
    "marked(value->>'m')",
    "NOT value ? 'b'",
    "djkafka_header(headers, 'h') IS NULL",
    # what messages before it have written counts
    "NOT EXISTS (SELECT FROM t o WHERE o.k::text = value->>'k')",
    "(SELECT count(*) FROM t) < 2",
    "(SELECT count(*) FROM log) % 2 = 0",
]

DELETIONS = [
    "value->>'c' = 'a'",
    "(value->>'a')::int = 2",
    "value ? 'b' AND NOT value ? 'a'",
    "marked(value->>'m') IS NULL",
    "EXISTS (SELECT FROM t o WHERE o.k::text = value->>'k')",
    "(SELECT count(*) FROM t) > 2",
]

EXPRESSIONS = {
    "int": ["(value->>'a')::int", "(value->>'a')::int / (value->>'b')::int", "msg_offset::int", "length(value->>'b')"]
    + ["(SELECT count(*)::int FROM t)", "(SELECT p.id FROM parent p WHERE p.id::text = value->>'p')"],
    "text": ["upper(value->>'b')", "topic || msg_offset", "coalesce(value->>'a', 'none')"]
    + ["convert_from(djkafka_header(headers, 'h'), 'UTF8')", "cardinality(headers)::text || partition"],
    "mood": ["lower(value->>'a')::mood"],
    "timestamptz": ["msg_time"],
    "jsonb": ["value", "key"],
    "varchar(3)": ["(value->>'a')::text", "topic"],
}


# For a column that counts, of which the order alone is seen.
NUMBER = "nextval('numbers')"


def make_mapping(rnd: random.Random, shape: Shape) -> dict[str, Any]:
    """Some columns, from what their message has or whatever it has, for new rows alone or always."""
    mapping: dict[str, Any] = {}
    for column in rnd.sample(shape["columns"], rnd.randint(1, min(2, len(shape["columns"])))):
        given = EXPRESSIONS.get(column["type"], []) + [f"CAST(value->>'a' AS {column['type']})"]
        field = rnd.choice(["a", "b", column["name"], "c.x"])
        expression = rnd.choice(given)
        forms = [{"field": field}, {"field": field, "value": expression}, {"insert": expression}, {"always": expression}]
        if column["type"] == "int" and rnd.random() < 0.3:
            forms = [{"lookup": make_lookup(rnd, shape)}]
        mapping[column["name"]] = rnd.choice([expression, {"insert": expression}, *forms, *forms])
    return mapping


def make_lookup(rnd: random.Random, shape: Shape) -> dict[str, str]:
    """In a table that is there, or in the one that the batch writes."""
    lookup = {"table": "parent", "column": "id"}
    if shape["columns"][0]["type"] == "int" and rnd.random() < 0.5:
        # Written so that it is not taken for a route's target, whose topics would come first.
        lookup = {"table": '"t"', "column": rnd.choice(["k", "a"]), "returns": "a"}
    lookup["missing"] = rnd.choice(["error", "null"])
    found = [{"field": "a"}, {"field": "k"}, {"value": "value->>'b'"}, {"value": "key #>> '{}'"}]
    # a number is no value of every type that a key may have
    if lookup["column"] != "k":
        found.append({"value": "(value->>'a')::numeric"})
    return lookup | rnd.choice(found)


def make_version(rnd: random.Random, shape: Shape, route: dict[str, Any]) -> str | None:
    """A column that orders what is said of a row; most messages are newer."""
    names = [column["name"] for column in shape["columns"] if column["type"] != "pair"]
    names = [name for name in names if name not in route.get("exclude", []) + route.get("key_columns", [])]
    names = [name for name in names if name in route.get("include", names)]
    names = [name for name in names if "insert" not in route.get("columns", {}).get(name, "")]
    if route["operation"] not in ("upsert", "mirror") or not names:
        return None
    name = rnd.choice(names)
    if "int" in [column["type"] for column in shape["columns"] if column["name"] == name] and rnd.random() < 0.4:
        route["columns"] = {name: rnd.choice(["msg_offset::int", "(msg_offset % 3)::int"])}
    return name


def make_route(rnd: random.Random, shape: Shape, stops: float) -> dict[str, Any]:
    route: dict[str, Any] = {"operation": rnd.choice(["insert", "insert_new", "upsert", "mirror", "mirror", "mirror"])}
    names = [column["name"] for column in shape["columns"]]
    unique = [column["name"] for column in shape["columns"] if column["unique"]]
    if rnd.random() < 0.2:
        route["filter"] = rnd.choice(FILTERS)
    if rnd.random() < 0.3:
        route["columns"] = make_mapping(rnd, shape)
    if rnd.random() < 0.08:
        route["include"] = [key["name"] for key in shape["key"]] + rnd.sample(names, rnd.randint(0, len(names)))
    elif rnd.random() < 0.08 and len(names) > len(route.get("columns", {})):
        route["exclude"] = [rnd.choice([name for name in names if name not in route.get("columns", {})])]
    if unique and rnd.random() < 0.3 and not {"include", "exclude"} & set(route):
        route["key_columns"] = [rnd.choice(unique)]
    version = make_version(rnd, shape, route) if rnd.random() < 0.15 else None
    if version:
        route["version_column"] = version
        if route["operation"] == "mirror" and rnd.random() < 0.5:
            route["remember_deleted"] = "1 day"
    if rnd.random() < 0.1:
        route["unknown_fields"] = "error"
    if rnd.random() < 0.1:
        route["on_error"] = "skip"
    elif rnd.random() < stops:
        route["on_error"] = "stop"
    if rnd.random() < 0.1:
        route["types"] = "postgres"
    if rnd.random() < 0.1:
        route["deleted_field"] = rnd.choice(["gone", None])
    if rnd.random() < 0.1:
        route["deleted_when"] = rnd.choice(DELETIONS)
    if route["operation"] == "mirror" and not version and rnd.random() < (0.6 if len(shape["key"]) > 1 else 0.05):
        route["partial_deletes"] = "true"
    if rnd.random() < 0.1:
        route["naming"] = rnd.choice(["snake_case", "insensitive"])
    if rnd.random() < 0.08:
        route["root"] = "in"
        if rnd.random() < 0.3:
            route["format"] = "avro"
    elif rnd.random() < 0.15:
        route["format"] = rnd.choice(["debezium", "debezium", "debezium_flat", "json_schema", "avro", "avro", "logpipe", "logpipe", "cloudevents"])
    if route.get("format") == "logpipe" and rnd.random() < 0.7:
        route["message_types"] = rnd.choice([{"a": True, "b": True}, {"a": [1, "2"]}, {"a": 1, "b": False}])
        route["unknown_types"] = rnd.choice(["error", "ignore"])
    if rnd.random() < 0.1:
        route["invalid_text"] = "replace"
    if rnd.random() < 0.1:
        route["key_format"] = rnd.choice(["json", "text", "avro"])
    if rnd.random() < 0.1:
        route["time_unit"] = rnd.choice(["s", "ms", "days"])
    if rnd.random() < 0.1:
        route["time_zone"] = "Europe/Berlin" if "types" in route else rnd.choice(["Europe/Berlin", "error"])
    if rnd.random() < 0.05:
        route["unchanged_value"] = rnd.choice([None, "a"])
    if rnd.random() < 0.35:
        route["notify"] = rnd.choice(["keys", "keys", "batch"])
    if rnd.random() < 0.1:
        route["topic"] = "o"
    return route


def make_decoy(rnd: random.Random, shape: Shape) -> dict[str, Any] | None:
    """A route that takes nothing, before the others of the consumer with larger batches."""
    if rnd.random() >= 0.15:
        return None
    # What is no JSON at all is the first route's to refuse.
    alike = ("operation", "topic", "key_columns", "on_error", "key_format", "format", "root", "naming", "invalid_text")
    route = shape["routes"][0]
    decoy = {name: route[name] for name in alike if name in route}
    decoy |= {"filter": "msg_offset < 0", "columns": make_mapping(rnd, shape)}
    for name in of_type(shape, "int")[:1]:
        if rnd.random() < 0.5:
            decoy["columns"][name] = "length(value->>'unknown')"  # of a field that it alone asks for
    if rnd.random() < 0.2:
        decoy["unknown_fields"] = "error"
    if rnd.random() < 0.2:
        decoy["types"] = "postgres"
    return decoy


def make_second(rnd: random.Random, stops: float) -> dict[str, Any] | None:
    """Another table, with a route on the same topic or another one."""
    if rnd.random() >= 0.3:
        return None
    relation = rnd.choice(RELATIONS)
    handled = relation == "handler"
    return {
        "topic": rnd.choice(["t", "t", "t", "o"]),
        "operation": rnd.choice(["insert", "upsert", "mirror", "mirror"]),
        "relation": relation,
        "counts": rnd.choice([None, None, "default", "columns"]),
        # The latter leaves it to the handler to find out that a value cannot be read.
        "filter": rnd.choice(["value->>'to' = 'u'", "msg_offset % 2 = 0"]),
        "handler": rnd.choice(["jsonb", "jsonb", "djkafka_message", "djkafka_message[]"]),
        "format": rnd.choice(["text", "raw"]),
        "quiet": rnd.random() < 0.5,
        "first": rnd.random() < 0.6,
        "on_error": "stop" if rnd.random() < stops * (1 + handled) else "dead_letter",
    }


def take_along(rnd: random.Random, shape: Shape) -> None:
    """What refers to a row that a message deletes."""
    features = set(shape["features"])
    if features & {"view", "view_check", "instead"}:
        return
    referred = has_action(shape) or any(name.split("_")[0] in ("self", "kid") for name in features)
    for route in shape["routes"]:
        if route["operation"] == "mirror" and rnd.random() < (0.5 if referred else 0.05):
            route["on_referenced"] = rnd.choice(["cascade", "cascade", "set_null"])


def count(rnd: random.Random, shape: Shape) -> None:
    """Numbers that expressions take, perhaps from the sequence of another route or of a default."""
    second = shape["second"]
    topics = {route.get("topic", "t") for route in shape["routes"]}
    if second and (stands_apart(shape) or topics != {second["topic"]} or shape["partitions"] > 1):
        second["counts"] = None
    # Between messages of two topics no order is promised.
    if "sequence" not in shape["features"] or len(topics) > 1:
        return
    for route in shape["routes"]:
        if rnd.random() < (0.5 if second and second["counts"] else 0.1) and not {"include", "exclude"} & set(route):
            route["columns"] = route.get("columns", {}) | {"s": NUMBER}


def make_key(rnd: random.Random) -> list[dict[str, str]]:
    kind = "int" if rnd.random() < 0.8 else rnd.choice(list(KEY_TYPES))
    key = [{"name": "k", "type": kind}]
    if rnd.random() < 0.2:
        key.append({"name": "l", "type": "int" if rnd.random() < 0.7 else "text"})
        if rnd.random() < 0.3:
            key[1]["default"] = "'1'"
    return key


def make_shape(rnd: random.Random, stops: float) -> Shape:
    """'stops' is how many routes stop at a message that fails."""
    shape: Shape = {
        "key": make_key(rnd),
        "columns": [make_column(rnd, name) for name in "abcde"[: rnd.randint(1, 5)]],
        "features": [],
        "routes": [],
        "second": make_second(rnd, stops),
        "decoy": None,
        "action": rnd.choice(ACTIONS) + rnd.choice(["", *[" DEFERRABLE INITIALLY DEFERRED"] * 3]),
        "partitions": 1,
    }
    shape["routes"] = [make_route(rnd, shape, stops)]
    while rnd.random() < 0.2 and len(shape["routes"]) < 4:
        shape["routes"].append(make_route(rnd, shape, stops))
    features = make_features(rnd, shape)
    shape["decoy"] = make_decoy(rnd, shape)
    take_along(rnd, shape)
    second = shape["second"]
    kids = any(name.startswith("kid") for name in features)
    if second and not stands_apart(shape) and (len(shape["key"]) > 1 or "heap" in features or (kids and second["relation"] == "parent")):
        second["relation"] = "none"
    # Between topics there is no order.
    if second and {route.get("topic", "t") for route in shape["routes"]} != {second["topic"]}:
        second["relation"] = "none"
    # Which partition comes first is nobody's to say, and shows where keys are not the same.
    if all(route["operation"] != "insert_new" for route in shape["routes"]) and rnd.random() < 0.25 and not stands_apart(shape):
        shape["partitions"] = rnd.randint(2, 3)
    count(rnd, shape)
    return shape

"""Random messages that wait for rows they refer to, and whether it matters how they are cut into batches.

Tables t and u refer to parents, to each other and to themselves.  What their messages lack
comes later, or never.  What waits is tried after each batch; in the end it has waited too long.
Some fail so and so often until they pass, and are tried again when that is due.
Between messages somebody replays, edits and discards dead letters, and skips messages.
Then all is what it is with batches of one message: rows, what became of each key's row one
after the other, dead letters, counts, keys that were told, and what still waited.

Rows that others refer to are deleted too, and wait for those to go.

Kept out is what is other by nature (docs/concepts.md, "Batches"): rows that are deleted while
others may wait for them, and a want that a later message of the batch may fix, where the
constraint is deferred.
"""

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import psycopg

from .ddl import literal, quote
from .ways import results

Shape = dict[str, Any]
Message = dict[str, Any]

# Of what t has and its routes do → how often.
FEATURES = {
    "deferred": 0.4,  # foreign keys are
    "missing": 0.4,  # some parents never come
    "q": 0.4,  # a second foreign key to the same table
    "r": 0.4,  # one to another one
    "lookup": 0.3,  # a parent by its code
    "key_lookup": 0.15,  # a column of the key is one of these
    "raises": 0.1,  # an expression that raises what a missing parent does
    "up": 0.3,  # a foreign key to the table itself
    "u": 0.4,  # a table that refers to t
    "log": 0.6,  # a trigger: messages are not merged
    "bad": 0.4,  # messages that fail by themselves
    "not_null": 0.3,
    "default": 0.3,  # of a column that no message needs to have
    "filter": 0.3,
    "version": 0.25,
    "remember": 0.5,  # with version
    "skip": 0.15,  # on_error of t
    "stop": 0.15,  # … and whoever is on call skips the message
    "one_topic": 0.25,  # of parents and t
    "two_routes": 0.2,  # to t
    "bits": 0.1,  # a key that cannot be hashed
    "two_keys": 0.2,  # columns of the key, of which a deletion may have one
    "parts_by_one": 0.3,  # of two routes, the last alone deletes
    "handler": 0.1,  # in place of the table t
    "insert_new": 0.1,
    "retries": 0.4,  # messages of t that fail, and are tried again
    "blocking": 0.3,  # … while their partition waits
    "taken": 0.4,  # rows are deleted with what refers to them, or that lets go of them; without held
    "nulls": 0.5,  # … the latter
    "held": 0.4,  # rows that others refer to are deleted, before those let go of them or after
    "deeds": 0.6,  # what others do between messages
}

COMMON = [
    "SET client_min_messages = warning",
    "CREATE SCHEMA x",
    "SET search_path = x, public",
    "CREATE TABLE log (id bigint GENERATED ALWAYS AS IDENTITY, target text, op text, row jsonb)",
    """CREATE FUNCTION log_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO log (target, op, row) SELECT TG_TABLE_NAME, TG_OP, to_jsonb(CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END);
  RETURN NULL; END $$""",
    "CREATE TABLE parent (id int PRIMARY KEY, code text UNIQUE, v int)",
    "CREATE TABLE other (id int PRIMARY KEY, v int)",
    """CREATE FUNCTION find(given text) RETURNS int LANGUAGE plpgsql AS $$ DECLARE found int; BEGIN
  SELECT id INTO found FROM parent WHERE code = given;
  IF found IS NULL THEN RAISE 'no %', given USING ERRCODE = '23503'; END IF;
  RETURN found; END $$""",
]

# What others do.
DEEDS = {
    "replay": "x.replay('{consumer}', false)",
    "force": "x.replay('{consumer}', true)",
    "edit": "x.edit()",
    "discard": "x.discard()",
    "skip": "x.skip_waiting('{consumer}')",
    "skip next": "x.skip_next('{consumer}')",
    "due": "public.wait_due()",
}

DEEDS_SQL = [
    "CREATE TABLE seen (id bigint GENERATED ALWAYS AS IDENTITY, what text, there jsonb)",
    """CREATE FUNCTION replay(consumer text, by_force bool) RETURNS void LANGUAGE sql SET search_path = x, public AS $$
  WITH l AS MATERIALIZED (SELECT * FROM djkafka_dead_letter),
    r AS MATERIALIZED (SELECT * FROM djkafka_replay(consumer => $1, force => $2))
  INSERT INTO seen (what, there) SELECT 'replay', jsonb_agg(jsonb_build_array(l.topic, l."partition", l."offset", r.result, r.code, r.error, r.hint)
    ORDER BY l.topic, l."partition", l."offset") FROM r JOIN l USING (id) $$""",
    """CREATE FUNCTION edit() RETURNS void LANGUAGE sql SET search_path = x, public AS $$
  UPDATE djkafka_dead_letter SET value = convert_to((convert_from(value, 'UTF8')::jsonb || '{"a": 1}')::text, 'UTF8')
   WHERE topic = 't' AND value IS NOT NULL AND "offset" % 2 = 0 $$""",
    """CREATE FUNCTION discard() RETURNS void LANGUAGE sql SET search_path = x, public AS $$
  SELECT djkafka_discard((SELECT array_agg(id) FROM djkafka_dead_letter WHERE "offset" % 3 = 0), 'unwanted')
   FROM djkafka_dead_letter WHERE "offset" % 3 = 0 LIMIT 1 $$""",
    """CREATE FUNCTION skip_waiting(consumer text) RETURNS void LANGUAGE sql SET search_path = x, public AS $$
  SELECT djkafka_skip($1, topic, "partition", "offset") FROM djkafka_parked WHERE "offset" % 3 = 0 ORDER BY topic, "partition", "offset" $$""",
    # What comes next, or a gap.
    """CREATE FUNCTION skip_next(consumer text) RETURNS void LANGUAGE sql SET search_path = x, public AS $$
  SELECT djkafka_skip($1, topic, "partition", next_offset + 1) FROM djkafka_offset WHERE topic = 't' AND start_at IS NULL $$""",
    "CREATE FUNCTION note() RETURNS void LANGUAGE sql SET search_path = x, public AS $$ INSERT INTO seen (what, there) SELECT 'all', see() $$",
]

# How often a message fails it says itself; its offset tells how often it was tried again.
RETRIES = [
    """CREATE FUNCTION wants_more() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.w > coalesce((SELECT attempt FROM djkafka_parked WHERE topic = 't' AND "offset" = NEW.o),
    (SELECT retry_attempt FROM djkafka_offset WHERE topic = 't' AND retry_offset = NEW.o), 0) THEN
    RAISE 'try % again', NEW.o USING ERRCODE = 'KFR01';
  END IF;
  RETURN NEW; END $$""",
    "CREATE TRIGGER wants_more BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION wants_more()",
]
ROUNDS = 5  # until whatever is tried again has passed or is dead

KEYS = [1, 2, 3, 4, 5, 6]
REFERRED = [1, 2, 3]  # keys of t that up and u may refer to: never deleted then
FREE = [5, 6]  # … whose messages refer to nothing where some hold their partition


def make_shape(rnd: random.Random) -> Shape:
    features = {name for name, chance in FEATURES.items() if rnd.random() < chance}
    if "missing" in features:
        features -= {"deferred", "up", "u"}
    if features & {"up", "u", "handler"}:
        features -= {"bits", "two_keys"}
    if "bits" in features or "key_lookup" in features:
        features -= {"two_keys"}
    if features & {"up", "u", "handler", "insert_new"}:
        features -= {"key_lookup"}
    if "key_lookup" in features:
        features |= {"lookup"}
    if "handler" in features:
        features -= {"retries"}
        features -= {"lookup", "raises", "two_keys", "version", "insert_new", "default", "two_routes"}
    if "insert_new" in features:
        features -= {"version", "two_keys"}
    if "two_keys" in features and rnd.random() < 0.3:
        features |= {"two_routes"}
    if "version" in features:
        features -= {"two_keys", "two_routes"}
    else:
        features -= {"remember"}
    if "skip" in features:
        features -= {"stop"}
    if "retries" not in features:
        features -= {"blocking"}
    if "blocking" in features:
        features -= {"bits", "two_keys", "key_lookup"}
    if "held" in features:
        features -= {"taken"}
    if holds_or_waits(features):
        features -= {"deeds"}
    if "deferred" in features:
        features -= {"deeds"}  # letters that are replayed together may need each other
    return {"features": sorted(features), "partitions": rnd.choice([1, 1, 2])}


def holds_or_waits(features: list[str] | set[str]) -> bool:
    """
    What fails holds its partition, but not if it has waited for its parent before, or behind one
    that has. Whether it has depends on which of two topics comes first, and so does when it is
    applied.
    """
    return "blocking" in features and bool({"lookup", "raises"} & set(features))


# ---------- SQL ----------


def table_sql(features: list[str]) -> list[str]:
    deferred = " DEFERRABLE INITIALLY DEFERRED" if "deferred" in features else ""
    kind = "varbit" if "bits" in features else "int"
    columns = [f"k {kind}", f"p int REFERENCES parent{deferred}"]
    if "two_keys" in features:
        columns.append("l int")
    if "q" in features:
        columns.append(f"q int REFERENCES parent{deferred}")
    if "r" in features:
        columns.append(f"r int REFERENCES other{deferred}")
    if "up" in features:
        columns.append(f"up int REFERENCES t{deferred}")
    if "lookup" in features:
        columns.append("c int")
    if "raises" in features:
        columns.append("f int")
    columns.append("a int CHECK (a < 3)" + (" NOT NULL" if "not_null" in features else ""))
    columns.append("b text" + (" DEFAULT 'd'" if "default" in features else ""))
    columns.append("v int")
    if "retries" in features:
        columns.append("w int")
        columns.append("o bigint")
    columns.append(f"PRIMARY KEY (k{', l' * ('two_keys' in features)}{', c' * ('key_lookup' in features)})")
    made = [f"CREATE TABLE t ({', '.join(columns)})"]
    if "retries" in features:
        made += RETRIES
    if "u" in features:
        made.append(f"CREATE TABLE u (k int PRIMARY KEY, t_k int NOT NULL REFERENCES t{deferred}, a int)")
    if "held" in features:
        made.append("CREATE TABLE h (k int PRIMARY KEY, o int REFERENCES other)")
    if "taken" in features:
        made.append(f"CREATE TABLE w (k int PRIMARY KEY, o int REFERENCES other{deferred}, w int REFERENCES w{deferred})")
    for table in ["t"] + ["u"] * ("u" in features) + ["h"] * ("held" in features) + ["w"] * ("taken" in features):
        if "log" in features:
            made.append(
                f"CREATE TRIGGER log AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION log_row()"
            )
    return made


def handler_sql(features: list[str]) -> str:
    names = ["k", "p", *(name for name in ("q", "r", "up") if name in features), "a", "b", "v"]
    given = ", ".join(f"n.{name}" for name in names)
    updated = ", ".join(f"{name} = EXCLUDED.{name}" for name in names[1:])
    return f"""CREATE FUNCTION take(m djkafka_message) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
  IF m.value IS NULL THEN DELETE FROM t WHERE k = convert_from(m.key, 'UTF8')::int;
  ELSE INSERT INTO t ({', '.join(names)}) SELECT {given} FROM jsonb_populate_record(NULL::t, convert_from(m.value, 'UTF8')::jsonb) n
    ON CONFLICT (k) DO UPDATE SET {updated};
  END IF; END $$"""


def routes(shape: Shape) -> list[tuple[str, str, dict[str, Any]]]:
    """Topic, target and options."""
    features = shape["features"]
    one = "one_topic" in features
    options: dict[str, Any] = {"operation": "insert_new" if "insert_new" in features else "mirror"}
    filters = ["value->>'to' = 't'"] * one + ["value->>'b' IS DISTINCT FROM 'f'"] * ("filter" in features)
    if "lookup" in features:
        options["lookups"] = {"c": {"table": "parent", "column": "code", "field": "code"}}
    if "raises" in features:
        options["columns"] = {"f": "find(value->>'g')"}
    if "retries" in features:
        options["columns"] = options.get("columns", {}) | {"o": "msg_offset"}
        options["retry"] = {"max_retries": 2, "delay": "1 hour", "blocking": "blocking" in features}
    if "version" in features:
        options["version_column"] = "v"
    if "remember" in features:
        options["remember_deleted"] = "1 day"
    for policy in ("skip", "stop"):
        if policy in features:
            options["on_error"] = policy
    if "two_keys" in features:
        options["partial_deletes"] = "true"
    made = []
    if "two_routes" in features:
        first = options | {"filter": " AND ".join([*filters, "value->>'b' = 'x'"])}
        if "parts_by_one" in features and "insert_new" not in features:
            first["operation"] = "upsert"
            first.pop("partial_deletes", None)
        made.append(("^t.{0,0}$", "t", first))
    made.append(("t", "t", options | ({"filter": " AND ".join(filters)} if filters else {})))
    if "handler" in features:
        made = [("t", "take", {"filter": " AND ".join(filters)} if filters else {})]
    if one:
        made.append(("^t.{0,1}$", "parent", {"filter": "value->>'to' = 'parent'", "operation": "upsert"}))
    else:
        made.append(("parent", "parent", {}))
    way = "set_null" if "nulls" in features else "cascade"
    made.append(("other", "other", {"on_referenced": way} if "taken" in features else {}))
    if "u" in features:
        made.append(("u", "u", {}))
    if "held" in features:
        made.append(("h", "h", {}))
    return made


def routes_sql(shape: Shape) -> list[str]:
    made = []
    for name, size in (("single", 1), ("batch", 1000)):
        made.append(f"SELECT djkafka_create_consumer('{name}', enabled => false, batch_messages => {size})")
        for number, (topic, target, options) in enumerate(routes(shape)):
            kind = "handler => 'take(djkafka_message)'" if target == "take" else f"target => '{target}'"
            given = "".join(f", {option} => {literal(value)}" for option, value in options.items())
            made.append(
                f"SELECT djkafka_create_route('{name}', '{topic}', {kind}, route_order => {number}, notify => 'keys',"
                f" parent_timeout => '1 hour'{given})"
            )
    return made


def see_sql(shape: Shape) -> str:
    more = {"u": "u", "h": "held", "w": "taken"}
    tables = ["t", "parent", "other", *(table for table, feature in more.items() if feature in shape["features"])]
    counts = ["applied", "key_only", "cascaded", "retries", "filtered", "duplicates", "stale", "dead", "parked", "gaps", "skipped", "next_offset"]
    parts = {table: f"(SELECT jsonb_agg(to_jsonb({table}) ORDER BY to_jsonb({table})) FROM {table})" for table in tables}
    key = "row->'k', row->'l', row->'c'" if "key_lookup" in shape["features"] else "row->'k', row->'l'"
    parts["log"] = (
        f"(SELECT jsonb_agg(line ORDER BY line) FROM (SELECT jsonb_build_array(target, {key},"
        f" jsonb_agg(jsonb_build_array(op, row) ORDER BY id)) AS line FROM log GROUP BY target, {key}) l)"
    )
    parts["dead"] = (
        '(SELECT jsonb_agg(jsonb_build_array(topic, "partition", "offset", sqlstate, message, hint, detail, attempts, newer_offset)'
        ' ORDER BY topic, "partition", "offset") FROM djkafka_dead_letter)'
    )
    parts["parked"] = (
        '(SELECT jsonb_agg(jsonb_build_array(topic, "partition", "offset", attempt, due_at IS NOT NULL)'
        ' ORDER BY topic, "partition", "offset") FROM djkafka_parked)'
    )
    parts["counts"] = (
        f"(SELECT jsonb_agg(jsonb_build_array(topic, \"partition\", {', '.join(counts)}) ORDER BY topic, \"partition\") FROM djkafka_offset)"
    )
    parts["remembered"] = "(SELECT jsonb_agg(jsonb_build_array(columns, key, version) ORDER BY columns, key) FROM djkafka_deleted)"
    body = ", ".join(f"'{name}', {value}" for name, value in parts.items())
    return f"CREATE FUNCTION see() RETURNS jsonb LANGUAGE sql AS $see$ SELECT jsonb_build_object({body}) $see$"


def ddl(shape: Shape) -> list[str]:
    made = [*COMMON, *table_sql(shape["features"])]
    if "handler" in shape["features"]:
        made.append(handler_sql(shape["features"]))
    return [*made, *routes_sql(shape), see_sql(shape), *DEEDS_SQL]


# What is there before the first message: rows that refer to others.
TAKEN = [
    "INSERT INTO other VALUES (7, 0), (8, 0)",
    "INSERT INTO w VALUES (1, 7, NULL), (2, NULL, 1), (3, 8, 2), (4, 8, NULL), (5, NULL, NULL)",
    "UPDATE w SET w = 3 WHERE k = 1",
    "TRUNCATE log",
]
HELD = ["INSERT INTO other VALUES (7, 0), (8, 0)", "INSERT INTO h VALUES (1, 7), (2, 7), (3, 8)"]
RESET = [
    "SELECT forget_all()",
    "DELETE FROM djkafka_dead_letter",
    "TRUNCATE t, parent, other, log, seen CASCADE",
]
FORGET = ["SET client_min_messages = warning", "DROP SCHEMA IF EXISTS x CASCADE", "DELETE FROM djkafka_consumer", "DELETE FROM djkafka_dead_letter",
          "DELETE FROM djkafka_offset_left"]


# ---------- messages ----------


def parent_message(shape: Shape, rnd: random.Random, id: int) -> Message:
    value = {"id": id, "code": f"c{id}", "v": rnd.randint(1, 9)}
    if "one_topic" in shape["features"]:
        return {"topic": "t", "key": f"p{id}", "value": value | {"to": "parent"}}
    return {"topic": "parent", "key": str(id), "value": value}


def other_message(shape: Shape, rnd: random.Random, id: int) -> Message:
    return {"topic": "other", "key": str(id), "value": {"id": id, "v": rnd.randint(1, 9)}}


def key_of(features: list[str], rnd: random.Random) -> tuple[dict[str, Any], str]:
    k = rnd.choice(KEYS)
    if "bits" in features:
        return {"k": format(k, "b")}, format(k, "b")
    if "two_keys" in features:
        whole = {"k": k % 3, "l": k % 2}
        return whole, json.dumps(whole)
    return {"k": k}, str(k)


def t_message(shape: Shape, rnd: random.Random) -> Message:
    features = shape["features"]
    key, text = key_of(features, rnd)
    message: Message = {"topic": "t", "key": text}
    referred = features_refer(features) and key["k"] in REFERRED
    if rnd.random() < 0.15 and not referred and not {"one_topic", "key_lookup"} & set(features):
        if "two_keys" in features and rnd.random() < 0.5:
            message["key"] = json.dumps({"k": key["k"]})
        return message | {"value": None}
    value: dict[str, Any] = dict(key)
    free = "blocking" in features and key["k"] in FREE
    if rnd.random() < 0.85:
        value["p"] = rnd.choice([1, 2, 3, 4, None])
    if "q" in features and rnd.random() < 0.5:
        value["q"] = rnd.choice([1, 2, 3, 4, None])
    if "r" in features and rnd.random() < 0.5:
        value["r"] = rnd.choice([1, 2, None])
    if "up" in features and rnd.random() < 0.5:
        value["up"] = rnd.choice([None, *(n for n in REFERRED if n < key["k"])])
    if "key_lookup" in features:
        value["code"] = rnd.choice(["c1", "c1", "c2"])
    elif "lookup" in features and rnd.random() < 0.5:
        value["code"] = rnd.choice(["c1", "c2", "c3", None])
    if "raises" in features and rnd.random() < 0.3:
        value["g"] = rnd.choice(["c1", "c2"])
    if "not_null" in features or rnd.random() < 0.6:
        value["a"] = rnd.choice([0, 1, 2])
    if rnd.random() < 0.5:
        value["b"] = rnd.choice(["x", "y", "z"])
    if "filter" in features and rnd.random() < 0.15:
        value["b"] = "f"
    if "version" in features or rnd.random() < 0.3:
        value["v"] = rnd.randint(1, 12)
    if "bad" in features and rnd.random() < 0.2 and not referred:
        value["a"] = rnd.choice([3, "x", None])
    if "version" in features and rnd.random() < 0.1 and not referred:
        value["__deleted"] = True
    if free:
        value = {name: v for name, v in value.items() if name not in ("p", "q", "r", "up", "code", "g")}
    if "retries" in features:
        fails = not referred and (free or "blocking" not in features) and rnd.random() < 0.3
        value["w"] = rnd.choice([1, 2, 3]) if fails else 0
    if "one_topic" in features:
        value["to"] = "t"
    return message | {"value": value}


def features_refer(features: list[str]) -> bool:
    return "up" in features or "u" in features


def u_message(shape: Shape, rnd: random.Random) -> Message:
    k = rnd.choice([1, 2, 3])
    if rnd.random() < 0.15:
        return {"topic": "u", "key": str(k), "value": None}
    return {"topic": "u", "key": str(k), "value": {"k": k, "t_k": rnd.choice(REFERRED), "a": rnd.randint(1, 9)}}


def held_message(rnd: random.Random) -> Message:
    """One that lets go of a row, or deletes that, or brings it again."""
    if rnd.random() < 0.5:
        k = rnd.choice([1, 2, 3])
        return {"topic": "h", "key": str(k), "value": rnd.choice([None, {"k": k, "o": None}])}
    id = rnd.choice([7, 8])
    return {"topic": "other", "key": str(id), "value": rnd.choice([None, None, {"id": id, "v": rnd.randint(1, 9)}])}


def taken_message(rnd: random.Random) -> Message:
    id = rnd.choice([7, 8])
    return {"topic": "other", "key": str(id), "value": rnd.choice([None, {"id": id, "v": rnd.randint(1, 9)}])}


def make_messages(rnd: random.Random, shape: Shape) -> list[Message]:
    features = shape["features"]
    made = [t_message(shape, rnd) for _ in range(rnd.randint(2, rnd.choice([5, 10, 20])))]
    if "u" in features:
        made += [u_message(shape, rnd) for _ in range(rnd.randint(0, 5))]
    if "held" in features:
        made += [held_message(rnd) for _ in range(rnd.randint(2, 10))]
    if "taken" in features:
        made += [taken_message(rnd) for _ in range(rnd.randint(1, 6))]
    made += [parent_message(shape, rnd, rnd.randint(1, 4)) for _ in range(rnd.randint(0, 2))]
    rnd.shuffle(made)
    late = rnd.random() < 0.5
    for make, ids in ((parent_message, [1, 2, 3, 4]), (other_message, [1, 2])):
        for id in ids:
            if "missing" not in features or rnd.random() < 0.6:
                made.insert(rnd.randint(len(made) // 2 if late else 0, len(made)), make(shape, rnd, id))
    if "missing" not in features and features_refer(features):
        # Whatever is referred to is there in the end.
        for k in REFERRED:
            value = {"k": k, "a": 1, "b": "y", "p": 1, "v": 20} | ({"to": "t"} if "one_topic" in features else {})
            made.insert(rnd.randint(0, len(made)), {"topic": "t", "key": str(k), "value": value})
    if "deeds" in features:
        for _ in range(rnd.randint(1, 4)):
            made.insert(rnd.randint(1, len(made)), {"deed": rnd.choice(list(DEEDS))})
    for message in made:
        if "deed" in message:
            continue
        if shape["partitions"] > 1 and message["topic"] == "t" and "bits" not in features and "two_keys" not in features:
            message["partition"] = int(message["key"].lstrip("p")) % shape["partitions"]
    return made


def given(messages: list[Message]) -> list[dict[str, Any]]:
    """With their offsets; and what others do between them."""
    made = []
    for message in messages:
        offset = sum("deed" not in other for other in made)
        place = {"partition": 0, "offset": offset, "timestamp": f"2024-01-01 00:00:{offset % 60:02}Z"}
        made.append(message if "deed" in message else place | message)
    return made


# ---------- cases ----------


def cut(messages: list[dict], cuts: list[int]) -> list[list[dict]]:
    """Batches end at 'cuts', and where somebody does something, who stands alone."""
    parts: list[list[dict]] = [[]]
    for n, message in enumerate(messages):
        if n in cuts or "deed" in message or (parts[-1] and "deed" in parts[-1][-1]):
            parts.append([])
        parts[-1].append(message)
    return [part for part in parts if part]


def some(rnd: random.Random, messages: list[dict]) -> list[int]:
    return rnd.sample(range(len(messages) + 1), min(rnd.randint(1, 4), len(messages) + 1))


def variants(messages: list[Message], seed: int) -> list[tuple[str, str, list[list[dict]]]]:
    """Name, consumer, batches; the first is what the others must be like."""
    rnd = random.Random(seed)
    made = given(messages)
    return [
        ("one by one", "single", [[message] for message in made]),
        ("one batch", "batch", cut(made, [])),
        ("cut", "batch", cut(made, some(rnd, made))),
        ("cut elsewhere", rnd.choice(["single", "batch"]), cut(made, some(rnd, made))),
    ]


def step(consumer: str, batch: list[dict]) -> str:
    """Messages, or what somebody does, as the test's process takes them."""
    return "SELECT " + DEEDS[batch[0]["deed"]].format(consumer=consumer) if "deed" in batch[0] else json.dumps(batch)


class Waiting:
    # By a superuser, in a server of the test build.
    FUNCTIONS = [
        "CREATE FUNCTION djkafka_test_apply_waiting(consumer text, batches text[]) RETURNS jsonb"
        " LANGUAGE c STRICT AS 'djkafka', 'djkafka_test_apply_waiting'",
        "CREATE FUNCTION wait_long() RETURNS void LANGUAGE sql SECURITY DEFINER SET session_replication_role = replica"
        " AS $$ UPDATE djkafka_parked SET parked_at = parked_at - interval '1 day', due_at = due_at - interval '1 day' $$",
        "CREATE FUNCTION wait_due() RETURNS void LANGUAGE sql SECURITY DEFINER SET session_replication_role = replica"
        " AS $$ UPDATE djkafka_parked SET due_at = due_at - interval '1 day' $$",
        "CREATE FUNCTION forget_all() RETURNS void LANGUAGE sql SECURITY DEFINER SET session_replication_role = replica"
        " AS $$ DELETE FROM djkafka_parked; DELETE FROM djkafka_offset; DELETE FROM djkafka_deleted $$",
    ]

    def __init__(self, connection: psycopg.Connection):
        self.connection = connection
        self.told: list[str] = []
        self.looks_first = True
        self.any_key = False
        self.tells_each = True
        self.first: list[str] = []
        connection.add_notify_handler(lambda notify: self.told.append(notify.payload))
        connection.execute("LISTEN djkafka")

    def make(self, shape: Shape) -> None:
        self.looks_first = not holds_or_waits(shape["features"])
        # By a part of a key, or by one without a hash, all may wait behind each other: one that takes one at a time
        # tries one in two turns.
        self.any_key = not {"two_keys", "bits"}.isdisjoint(shape["features"])
        self.tells_each = "log" in shape["features"] and "held" not in shape["features"]
        self.connection.execute("; ".join(ddl(shape)))
        self.first = HELD if "held" in shape["features"] else TAKEN if "taken" in shape["features"] else []

    def forget(self) -> None:
        self.connection.execute("; ".join(FORGET))

    def statements(self, consumer: str, batches: list[list[dict]]) -> list[str]:
        """In the end what waits is due several times, and then has waited for too long."""
        steps = [*(step(consumer, batch) for batch in batches), *["SELECT x.note()"] * self.looks_first]
        longer = max(ROUNDS, 2 * sum(map(len, batches)) + 2) if self.any_key else ROUNDS
        for wait, rounds in (("wait_due", ROUNDS), ("wait_long", longer)):
            steps += [f"SELECT public.{wait}()"] * rounds + ["SELECT x.note()"]
        run = f"SELECT djkafka_test_apply_waiting('{consumer}', ARRAY[{', '.join(map(quote, steps))}]::text[])"
        return [run, "SELECT jsonb_agg(jsonb_build_object(what, there) ORDER BY id) FROM seen", *RESET]

    def apply(self, consumer: str, batches: list[list[dict]]) -> dict[str, Any]:
        self.told.clear()
        for statement in self.first:
            self.connection.execute(statement)
        answers = results(self.connection.execute("; ".join(self.statements(consumer, batches))))
        keys: dict[str, list[str]] = {}
        for told in map(json.loads, self.told):
            if "keys" in told:
                keys.setdefault(told["topic"], []).extend(map(json.dumps, told["keys"]))
        # How many are superseded before they are told depends on when they were tried.
        told_keys = {topic: sorted(keys[topic] if self.tells_each else set(keys[topic])) for topic in keys}
        return {"state": answers[0][0][0]["state"], "seen": answers[1][0][0], "told": told_keys}

    def difference(self, messages: list[Message], seed: int) -> str | None:
        reference: dict[str, Any] = {}
        for name, consumer, batches in variants(messages, seed):
            seen = self.apply(consumer, batches)
            if not reference:
                reference = seen
            if seen["state"] != "done":
                return f"{name}: {seen['state']}"
            for n, (there, wanted) in enumerate(zip(seen["seen"] or [], reference["seen"] or [])):
                if there != wanted:
                    return self.tell(n, name, wanted, there)
            for part in ("state", "seen", "told"):
                if seen[part] != reference[part]:
                    return f"{part}\n  one by one: {json.dumps(reference[part])}\n  {name}: {json.dumps(seen[part])}"
        return None

    def tell(self, n: int, name: str, wanted: dict[str, Any], there: dict[str, Any]) -> str:
        """Of the first two looks that differ the first part that does."""
        what = "replay" if "replay" in there else "all"
        if what == "replay" or what not in wanted:
            return f"look {n}\n  one by one: {json.dumps(wanted)}\n  {name}: {json.dumps(there)}"
        part = next(part for part in there[what] if there[what][part] != wanted[what][part])
        return f"look {n}, {part}\n  one by one: {json.dumps(wanted[what][part])}\n  {name}: {json.dumps(there[what][part])}"

    # -- a case that differs, made smaller as long as it does

    def smaller(self, shape: Shape, messages: list[Message]) -> Iterator[tuple[Shape, list[Message]]]:
        for size in (len(messages) // 2, len(messages) // 4, 1):
            for n in range(0, len(messages), max(size, 1)):
                if len(messages) > size > 0:
                    yield shape, messages[:n] + messages[n + size :]
        for feature in shape["features"]:
            yield shape | {"features": [other for other in shape["features"] if other != feature]}, messages
        for n, message in enumerate(messages):
            for name in message.get("value") or {}:
                made = copy.deepcopy(messages)
                del made[n]["value"][name]
                yield shape, made
            if message.get("partition"):
                made = copy.deepcopy(messages)
                del made[n]["partition"]
                yield shape, made

    def differs(self, shape: Shape, messages: list[Message], seed: int) -> str | None:
        try:
            self.make(shape)
            return self.difference(messages, seed)
        except (psycopg.Error, KeyError, IndexError):
            return None
        finally:
            self.forget()

    def shrink(self, shape: Shape, messages: list[Message], seed: int) -> tuple[Shape, list[Message], int]:
        going = True
        while going:
            going = False
            for fewer_features, fewer in self.smaller(shape, messages):
                found = [other for other in range(seed, seed + 3) if self.differs(fewer_features, fewer, other)]
                if found:
                    shape, messages, seed, going = fewer_features, fewer, found[0], True
                    break
        return shape, messages, seed

    def check(self, seed: int, cases: int, lists: int = 5) -> str | None:
        """Runs so many cases, some lists of messages for each shape; how the first differs that does."""
        rnd = random.Random(seed)
        while cases > 0:
            shape = make_shape(rnd)
            self.make(shape)
            for _ in range(min(lists, cases)):
                messages, case_seed = make_messages(rnd, shape), rnd.getrandbits(32)
                if self.difference(messages, case_seed) is not None:
                    self.forget()
                    shape, messages, case_seed = self.shrink(shape, messages, case_seed)
                    self.make(shape)
                    what = self.difference(messages, case_seed)
                    told = [json.dumps(message) for message in given(messages)]
                    return "\n".join([what or "it did not differ again", *ddl(shape), *told])
                cases -= 1
            self.forget()
        return None

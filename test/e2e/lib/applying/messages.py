"""Random messages for a shape."""

import json
import random
from typing import Any

from . import avro
from .shapes import KEY_TYPES, LARGE, MARKS, TYPES, Shape, has_action, has_marks, stands_apart

# A message: key (a JSON value, or None), value (None; a list of [field, value], so that a field
# may be there twice; or a string, as it stands), topic, partition.
Message = dict[str, Any]

MALFORMED = ["", "{", '{"k": 1', "[1]", "5", '"x"', "null", "{}", '{"k": tru}']


# Of a value that was not sent.
UNCHANGED = ["__debezium_unavailable_value", ["__debezium_unavailable_value"], "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="]


def make_value(rnd: random.Random, kind: str, bad: float) -> Any:
    good, refused = TYPES[kind]
    if rnd.random() < 0.03:
        return rnd.choice(UNCHANGED)
    if refused and rnd.random() < bad:
        return rnd.choice(refused)
    return None if rnd.random() < 0.1 else rnd.choice(good)


def make_reference(rnd: random.Random) -> Any:
    return rnd.choice([None, 1, 2, 3])


def fields_of_second(rnd: random.Random, shape: Shape) -> list[list]:
    """Whose row is often refused, but for one that should be there when others go or change with it."""
    fields = [["to", rnd.choice(["t", "u"])]]
    name = {"part": "of_t", "whole": "of_u"}.get(shape["second"]["relation"])
    if name and rnd.random() < 0.8:
        fields += [["v", rnd.choice(["x", "y"])], ["n", rnd.choice([1, 2])], [name, rnd.choice(KEY_TYPES[shape["key"][0]["type"]])]]
    elif rnd.random() < 0.8:
        fields += [["v", rnd.choice(["x", "y", None])], ["n", rnd.choice([1, 2, 0])]]
    return fields


def make_fields(rnd: random.Random, shape: Shape, style: dict[str, Any]) -> list[list]:
    fields = []
    for column in shape["columns"]:
        if rnd.random() >= style["partial"] * (0.3 if column["not_null"] else 1):
            value = make_value(rnd, column["type"], style["bad"])
            if value is None and column["not_null"] and rnd.random() < 0.8:
                value = TYPES[column["type"]][0][0]
            if column["type"] == "text" and style["large"] and rnd.random() < style["large"]:
                value = LARGE
            fields.append([column["name"], value])
    for feature, name in (("self", "up"), ("parent", "p")):
        if any(other.split("_")[0] == feature for other in shape["features"]) and rnd.random() >= style["partial"]:
            fields.append([name, make_reference(rnd)])
    if has_marks(shape) and rnd.random() < 0.2:
        fields.append(["m", rnd.choice(MARKS) if rnd.random() < 0.6 else rnd.choice(["", None])])
    if shape["second"]:
        fields += fields_of_second(rnd, shape)
    if rnd.random() < style.get("unknown", 0.05):
        fields.append(["unknown", rnd.choice([1, "\0", "\0"])])
    if rnd.random() < (0.15 if has_action(shape) else 0.08):
        fields.append([rnd.choice(["__deleted", "__deleted", "gone"]), rnd.choice([True, "true", "TRUE", False, None])])
    return fields


def repeat_field(rnd: random.Random, shape: Shape, fields: list[list]) -> None:
    """The last of a field that is there twice counts."""
    name = rnd.choice(fields)[0]
    types = {column["name"]: column["type"] for column in shape["columns"]}
    value = make_value(rnd, types[name], 0.3) if name in types else rnd.choice([1, 2, None])
    if name == "m":
        value = rnd.choice(MARKS)
    fields.insert(rnd.randint(0, len(fields)), [name, value])


def make_message(rnd: random.Random, shape: Shape, style: dict[str, Any]) -> Message:
    key = {part["name"]: rnd.choice(KEY_TYPES[part["type"]]) for part in shape["key"]}
    message: Message = {"key": key if len(key) > 1 or rnd.random() < 0.1 else key["k"]}
    by_part = len(key) > 1 and any("partial_deletes" in route for route in shape["routes"])
    if len(key) > 1 and rnd.random() < (0.5 if by_part else 0.2):
        # the other part has a default, will do for a deletion, or is missing
        message["key"] = {name: value for name, value in key.items() if name == rnd.choice(["k", "l"])}
    topics = {route.get("topic", "t") for route in shape["routes"]} | ({shape["second"]["topic"]} if shape["second"] else set())
    if len(topics) > 1 and rnd.random() < 0.4:
        message["topic"] = "o"
    elif topics == {"o"}:
        message["topic"] = "o"
    if shape["partitions"] > 1:
        message["partition"] = hash_of(key["k"]) % shape["partitions"]
    if rnd.random() < (0.3 if by_part or has_action(shape) else 0.15):
        message["value"] = None
        return message
    if rnd.random() < style["malformed"]:
        message["value"] = rnd.choice(MALFORMED)
        return message
    fields = [[name, value] for name, value in key.items()] if rnd.random() < 0.8 else []
    fields += make_fields(rnd, shape, style)
    if rnd.random() < style["bad"] * 0.3:
        fields.append(["k", rnd.choice(["x", None])])
    if rnd.random() < 0.1:
        rnd.shuffle(fields)
    if rnd.random() < style["renamed"]:
        fields = [[name.upper() if rnd.random() < 0.5 else name, value] for name, value in fields]
    if fields and rnd.random() < style["repeated"]:
        repeat_field(rnd, shape, fields)
    if rnd.random() < 0.05:
        message["key"] = None
    message["value"] = fields
    if rnd.random() < style["headers"]:
        message["headers"] = {"h": rnd.choice(["1", "x", None])}
    if any("root" in route for route in shape["routes"]) and rnd.random() < 0.8:
        message["in"] = True
    if any("debezium" in route.get("format", "") for route in shape["routes"]) and rnd.random() < 0.9:
        message["envelope"] = {"op": rnd.choice(["c", "u", "u", "r", "d", "d", "t", "x"]), "before": rnd.random() < 0.7, "schema": rnd.random() < 0.3}
    if any(route.get("format") == "json_schema" for route in shape["routes"]) and rnd.random() < 0.7:
        message["framed"] = True
    for name in ("format", "key_format"):
        if any(route.get(name) == "avro" for route in shape["routes"]) and rnd.random() < 0.9:
            message["avro_" + name] = rnd.choice(avro.STYLES)
    if any(route.get("format") == "logpipe" for route in shape["routes"]) and rnd.random() < 0.9:
        message["logpipe"] = {"type": rnd.choice(["a", "a", "b", "c", None]), "version": rnd.choice([1, 1, 1.0, 2, "2"])}
        if rnd.random() < 0.2:
            message["key"] = ""
    if any(route.get("format") == "cloudevents" for route in shape["routes"]) and rnd.random() < 0.9:
        event = {"specversion": rnd.choice(["1.0", "1.0", "1.0", "0.3"]), "id": "e", "source": "s", "type": rnd.choice(["a", "a", "b"])}
        message["event"] = event
        if rnd.random() < 0.5:
            message["headers"] = message.get("headers", {}) | {"ce_" + name: value for name, value in event.items()}
    return message


def hash_of(key: Any) -> int:
    """Equal keys are in one partition."""
    alike = [["1", "1.0"], ["a", "a "], ["0", "-0"], ["1 day", "24:00:00"], ["\\x61", "YQ=="]]
    alike.append(["2024-01-01T00:00:00Z", "2024-01-01T02:00:00+02:00"])
    first = next((names[0] for names in alike if str(key).lower() in map(str.lower, names)), str(key).lower())
    return sum(first.encode())


def make_row(rnd: random.Random, shape: Shape, to: str, key: Any) -> Message:
    sure = {"bad": 0.0, "partial": 0.0, "large": 0.0}
    fields = dict(make_fields(rnd, shape, sure)) | {"to": to, "v": "x", "n": 1, "of_t": key, "of_u": key}
    keys = {part["name"]: rnd.choice(KEY_TYPES[part["type"]]) for part in shape["key"]} | {"k": key}
    unwanted = {"__deleted", "gone", "unknown", "m", "up"}
    message = {"key": keys, "value": [[name, value] for name, value in (keys | fields).items() if name not in unwanted]}
    if any(name.startswith("self") for name in shape["features"]):
        message["value"].append(["up", rnd.choice([None, *range(1, key)])])
    if shape["partitions"] > 1:
        message["partition"] = hash_of(key) % shape["partitions"]
    return message


def make_rows(rnd: random.Random, shape: Shape) -> list[Message]:
    """Some that others refer to, and those."""
    between = shape["second"] and shape["second"]["relation"] in ("part", "whole")
    targets = ["t", "u"] if between else ["t"]
    if between and shape["second"]["relation"] == "whole":
        targets.reverse()
    return [make_row(rnd, shape, to, key) for to in targets for key in KEY_TYPES[shape["key"][0]["type"]] if rnd.random() < 0.8]


def make_messages(rnd: random.Random, shape: Shape) -> list[Message]:
    style = {
        "bad": rnd.choice([0, 0, 0.05, 0.2]),
        "partial": rnd.choice([0, 0.2, 0.5]),
        "malformed": rnd.choice([0, 0, 0.1]),
        "repeated": rnd.choice([0, 0, 0.2]),
        "large": 0.15 if {"index", "index_of_two"} & set(shape["features"]) else 0,
        "headers": rnd.choice([0, 0.5]),
        # What a handler cannot take it may be the first to find out.
        "unknown": rnd.choice([0.05, 0.3]) if stands_apart(shape) else 0.05,
        "renamed": 0.5 if any("naming" in route for route in shape["routes"]) else 0,
    }
    made = [make_message(rnd, shape, style) for _ in range(rnd.randint(2, rnd.choice([4, 8, 16])))]
    if has_action(shape) and rnd.random() < 0.8:
        made = make_rows(rnd, shape) + made
    if has_action(shape) and rnd.random() < 0.5:
        # What was deleted is there again, and what went with it is not.
        made += make_rows(rnd, shape)[: len(KEY_TYPES[shape["key"][0]["type"]])]
    return made


def text_of(message: Message) -> str | dict[str, str] | None:
    """The bytes of a message's value."""
    value = message["value"]
    if not isinstance(value, list):
        return value
    if "avro_format" in message:
        return avro.value_of(value, message["avro_format"], message.get("in", False))
    text = "{" + ", ".join(f"{json.dumps(name)}: {json.dumps(field)}" for name, field in value) + "}"
    if "envelope" in message:
        text = envelope_of(message["envelope"], text)
    if message.get("in"):
        text = f'{{"in": {text}}}'
    if "event" in message and "ce_id" not in message.get("headers", {}):
        text = json.dumps(message["event"])[:-1] + f', "data": {text}}}'
    if "logpipe" in message:
        return "json:" + json.dumps(message["logpipe"])[:-1] + f', "message": {text}}}'
    return "\x01GUID of 16 bytes" + text if message.get("framed") else text


def envelope_of(envelope: dict[str, Any], text: str) -> str:
    """As Debezium has a row; its fields are there for expressions too."""
    row = text if envelope["before"] else "null"
    before, after = ("null", text) if envelope["op"] in "cr" else (row, "null") if envelope["op"] == "d" else (row, text)
    whole = f'{{"op": "{envelope["op"]}", "before": {before}, "after": {after}, {text[1:]}' if text != "{}" else "{}"
    schema = '{"type": "struct", "fields": [{"field": "after", "type": "struct", "fields": [{"field": "d", "name": "io.debezium.time.Date"}]}]}'
    return f'{{"schema": {schema}, "payload": {whole}}}' if envelope["schema"] else whole


def key_of(message: Message) -> str | dict[str, str] | None:
    key = message["key"]
    if "avro_key_format" in message and key is not None:
        return avro.key_of(key, message["avro_key_format"])
    return key if key is None or isinstance(key, str) else json.dumps(key)


def given(messages: list[Message]) -> list[dict[str, Any]]:
    """Messages as djkafka_run takes them."""
    made = []
    for offset, message in enumerate(messages):
        made.append(
            {
                "topic": message.get("topic", "t"),
                "partition": message.get("partition", 0),
                "offset": offset,
                "timestamp": f"2024-01-01 00:00:{offset % 60:02}Z",
                "key": key_of(message),
                "value": text_of(message),
                **({"headers": message["headers"]} if "headers" in message else {}),
            }
        )
    return made

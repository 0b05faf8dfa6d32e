"""A case that differs, made smaller as long as it differs."""

import copy
from collections.abc import Iterator

import psycopg

from .case import Case
from .messages import Message
from .shapes import Shape


def without(shape: Shape, *path: str | int) -> Shape:
    made = copy.deepcopy(shape)
    inner = made
    for step in path[:-1]:
        inner = inner[step]
    del inner[path[-1]]
    return made


def having(shape: Shape, value: object, *path: str | int) -> Shape:
    made = copy.deepcopy(shape)
    inner = made
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return made


def smaller_shapes(shape: Shape) -> Iterator[Shape]:
    for name, least in (("features", 0), ("routes", 1), ("columns", 1), ("key", 1)):
        for n in reversed(range(least, len(shape[name]))):
            yield without(shape, name, n)
        if name in ("routes", "columns") and len(shape[name]) > 1:
            yield without(shape, name, 0)
    if shape["second"]:
        yield having(shape, None, "second")
    if shape["decoy"]:
        yield having(shape, None, "decoy")
        for name in ("columns", "unknown_fields", "types"):
            if name in shape["decoy"]:
                yield without(shape, "decoy", name)
    if shape["partitions"] > 1:
        yield having(shape, 1, "partitions")
    for n, column in enumerate(shape["columns"]):
        for name in ("not_null", "check", "unique", "default"):
            if column[name]:
                yield having(shape, False, "columns", n, name)
        if column["type"] != "int" and not column["check"] and not column["default"]:
            yield having(shape, "int", "columns", n, "type")
    for n, route in enumerate(shape["routes"]):
        for name in route:
            if name != "operation":
                yield without(shape, "routes", n, name)
        if route["operation"] != "mirror":
            yield having(shape, "mirror", "routes", n, "operation")


def smaller_messages(messages: list[Message]) -> Iterator[list[Message]]:
    for size in (len(messages) // 2, len(messages) // 4, 1):
        for n in range(0, len(messages), max(size, 1)):
            if len(messages) > size > 0:
                yield messages[:n] + messages[n + size :]
    for n, message in enumerate(messages):
        fields = message["value"] if isinstance(message["value"], list) else []
        for f in range(len(fields)):
            yield messages[:n] + [message | {"value": fields[:f] + fields[f + 1 :]}] + messages[n + 1 :]
        for name in ("topic", "partition", "headers"):
            if name in message:
                yield messages[:n] + [{other: message[other] for other in message if other != name}] + messages[n + 1 :]


def differs(connection: psycopg.Connection, case: Case) -> Case | None:
    """The case, perhaps with other cuts, if it differs still."""
    try:
        case.way.make(connection, case.shape)
        for seed in range(case.seed, case.seed + 3):
            tried = case.like(seed=seed)
            if tried.difference(connection) is not None:
                return tried
    except (psycopg.Error, KeyError, IndexError):
        pass  # it is no shape any more
    finally:
        case.way.forget(connection)
    return None


def candidates(case: Case) -> Iterator[Case]:
    yield from (case.like(messages=messages) for messages in smaller_messages(case.messages))
    yield from (case.like(shape=shape) for shape in smaller_shapes(case.shape))


def shrink(connection: psycopg.Connection, case: Case) -> Case:
    going = True
    while going:
        going = False
        for smaller in candidates(case):
            found = differs(connection, smaller)
            if found is not None:
                case = found
                going = True
                break
    return case

"""A case: a shape and messages, which are applied in several ways."""

import json
import random
from typing import Any

import psycopg

from .ddl import COMMON, ddl, quote
from .messages import Message, given
from .shapes import Shape, is_deferred

POISON = {"topic": "poison", "value": {"id": 1}}


class Variant:
    """A way to apply: calls of djkafka_run."""

    def __init__(self, name: str, calls: list[tuple[str, list[dict]]]):
        self.name = name
        self.calls = calls

    def sql(self) -> list[str]:
        runs = [f"SELECT run('{consumer}', {quote(json.dumps(messages))})" for consumer, messages in self.calls]
        begin = ["SAVEPOINT v", "SELECT setval('attempts', 1, false)"]
        return [*begin, *runs, "SELECT see()", "ROLLBACK TO v"]

    def run(self, connection: psycopg.Connection) -> dict[str, Any]:
        """What is seen; where the consumer would stop or break, with which error."""
        try:
            cursor = connection.execute("; ".join(self.sql()))
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            connection.execute("ROLLBACK TO v")
            return {"stopped": [error.diag.sqlstate, error.diag.message_primary]}
        results = []
        more: bool | None = True
        while more:
            results.append(cursor.fetchall() if cursor.description else [])
            more = cursor.nextset()
        seen = results[-2][0][0]
        poisons = sum(message["topic"] == "poison" for _, messages in self.calls for message in messages)
        seen["counts"] = [sum(row[0][0][n] for row in results[2:-2]) for n in range(5)]
        seen["counts"][3] -= poisons
        return seen


def cut(rnd: random.Random, messages: list[dict]) -> list[tuple[str, list[dict]]]:
    cuts = sorted(rnd.sample(range(len(messages) + 1), min(2, len(messages) + 1)))
    parts = [messages[start:end] for start, end in zip([0, *cuts], [*cuts, len(messages)])]
    return [("batch", part) for part in parts if part]


def poison(rnd: random.Random, messages: list[dict]) -> list[dict]:
    """With messages among them that always fail."""
    mixed = list(messages)
    for _ in range(rnd.randint(1, 3)):
        mixed.insert(rnd.randint(0, len(mixed)), POISON)
    return mixed


def may_stop(shape: Shape) -> bool:
    return any(route.get("on_error") == "stop" for route in shape["routes"])


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
        """The first is what the others must be like."""
        rnd = random.Random(self.seed)
        messages = given(self.messages)
        made = [Variant("one batch", [("batch", messages)]), Variant("poisoned", [("batch", poison(rnd, messages))])]
        if is_deferred(self.shape):
            return made
        made.insert(0, Variant("one by one", [("single", messages)]))
        made.append(Variant("cut", cut(rnd, messages)))
        if rnd.random() < 0.5:
            made.append(Variant("poisoned and cut", cut(rnd, poison(rnd, messages))))
        return made

    def difference(self, connection: psycopg.Connection) -> str | None:
        """How the variants differ, or None.  The shape's tables exist."""
        first: dict[str, Any] | None = None
        for variant in self.variants():
            seen = variant.run(connection)
            if first is None:
                first = seen
                reference = variant.name
            if "stopped" in seen and not may_stop(self.shape):
                return f"{variant.name}: {seen['stopped']}"
            for name in first.keys() | seen.keys():
                if seen.get(name) != first.get(name):
                    values = [json.dumps(value.get(name)) for value in (first, seen)]
                    return f"{name}\n  {reference}: {values[0]}\n  {variant.name}: {values[1]}"
        return None

    def script(self) -> str:
        """A psql script that shows each variant."""
        lines = ["\\set ON_ERROR_ROLLBACK on", "BEGIN;"]
        lines += [f"{statement};" for statement in [*COMMON, *ddl(self.shape)]]
        for variant in self.variants():
            lines += [f"\\echo == {variant.name}"] + [f"{statement};" for statement in variant.sql()]
        return "\n".join([*lines, "ROLLBACK;", ""])


def make(connection: psycopg.Connection, shape: Shape) -> None:
    """In a transaction that is never committed."""
    connection.execute("BEGIN; " + "; ".join(ddl(shape)))

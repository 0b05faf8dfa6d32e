"""A case: a shape and messages, which are cut into batches in several ways."""

import json
import random
from typing import Any

import psycopg

from .avro import know_sql
from .messages import Message, given
from .shapes import Shape, allowed, is_deferred
from .ways import Variant, Way

POISON = {"topic": "poison", "value": {"id": 1}}


def cut(rnd: random.Random, messages: list[dict]) -> list[list[dict]]:
    cuts = sorted(rnd.sample(range(len(messages) + 1), min(2, len(messages) + 1)))
    parts = [messages[start:end] for start, end in zip([0, *cuts], [*cuts, len(messages)])]
    return [part for part in parts if part]


def poison(rnd: random.Random, messages: list[dict]) -> list[dict]:
    """With messages among them that always fail."""
    mixed = list(messages)
    for _ in range(rnd.randint(1, 3)):
        mixed.insert(rnd.randint(0, len(mixed)), POISON)
    return mixed


def may_stop(shape: Shape) -> bool:
    routes = [*shape["routes"], *filter(None, [shape["second"]])]
    return any(route.get("on_error") == "stop" for route in routes)


def fails_some(seen: dict[str, Any]) -> bool:
    return "error" in seen or seen["counts"][4] + seen["counts"][5] > 0


class Difference(Exception):
    def __init__(self, case: "Case", what: str):
        super().__init__(what)
        self.case = case


class Case:
    def __init__(self, way: Way, shape: Shape, messages: list[Message], seed: int):
        self.way = way
        self.shape = shape
        self.messages = messages
        self.seed = seed

    def like(self, shape: Shape | None = None, messages: list[Message] | None = None, seed: int | None = None) -> "Case":
        """The same, but for what is given."""
        seed = self.seed if seed is None else seed
        return Case(self.way, shape or self.shape, self.messages if messages is None else messages, seed)

    def passing(self, connection: psycopg.Connection, tries: int = 4) -> "Case":
        """Without the messages that fail alone, where that can be seen.  The shape has been made."""
        case = self
        case.know(connection)
        for _ in range(tries):
            seen = self.way.apply(connection, case.variants()[0])
            dead = {letter[2] for letter in seen.get("dead") or []}
            if not dead or len(dead) == len(case.messages):
                break
            case = case.like(messages=[message for n, message in enumerate(case.messages) if n not in dead])
        return case

    def variants(self) -> list[Variant]:
        """The first is what the others must be like."""
        rnd = random.Random(self.seed)
        messages = given(self.messages)
        made = [Variant("one batch", [messages]), Variant("poisoned", [poison(rnd, messages)])]
        made.insert(0, Variant("one by one", [[message] for message in messages]))
        made.append(Variant("cut", cut(rnd, messages)))
        if rnd.random() < 0.5:
            made.append(Variant("poisoned and cut", cut(rnd, poison(rnd, messages))))
        return made

    def know(self, connection: psycopg.Connection) -> None:
        """The schemas of its messages."""
        for statement in know_sql(given(self.messages)):
            connection.execute(statement)

    def difference(self, connection: psycopg.Connection) -> str | None:
        """How the variants differ, or None.  The shape has been made."""
        self.know(connection)
        first: dict[str, Any] | None = None
        deferred = is_deferred(self.shape)
        for variant in self.variants():
            seen = self.way.apply(connection, variant)
            if first is None:
                if deferred and variant.name == "one by one" and fails_some(seen):
                    continue  # which may pass together
                first, reference = seen, variant.name
                if deferred and not allowed("deferred_culprits") and fails_some(seen):
                    return None
            if deferred and "cut" in variant.name and reference != "one by one":
                continue
            if "error" in seen and not may_stop(self.shape):
                return f"{variant.name}: {seen['error']}"
            for name in first.keys() | seen.keys():
                if seen.get(name) != first.get(name):
                    values = [json.dumps(value.get(name)) for value in (first, seen)]
                    return f"{name}\n  {reference}: {values[0]}\n  {variant.name}: {values[1]}"
        return None

    def script(self) -> str:
        """A psql script that shows each variant."""
        lines = [*self.way.before(self.shape), *know_sql(given(self.messages))]
        for variant in self.variants():
            lines += [f"\\echo == {variant.name}", *self.way.statements(variant)]
        return "".join(f"{line}\n" if line.startswith("\\") else f"{line};\n" for line in [*lines, *self.way.after()])

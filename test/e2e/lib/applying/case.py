"""A case: a shape and messages, which are cut into batches in several ways."""

import json
import random
from typing import Any

import psycopg

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
    return any(route.get("on_error") == "stop" for route in shape["routes"])


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

    def variants(self) -> list[Variant]:
        """The first is what the others must be like."""
        rnd = random.Random(self.seed)
        messages = given(self.messages)
        made = [Variant("one batch", [messages]), Variant("poisoned", [poison(rnd, messages)])]
        if is_deferred(self.shape):
            return made
        made.insert(0, Variant("one by one", [[message] for message in messages]))
        made.append(Variant("cut", cut(rnd, messages)))
        if rnd.random() < 0.5:
            made.append(Variant("poisoned and cut", cut(rnd, poison(rnd, messages))))
        return made

    def difference(self, connection: psycopg.Connection) -> str | None:
        """How the variants differ, or None.  The shape has been made."""
        first: dict[str, Any] | None = None
        for variant in self.variants():
            seen = self.way.apply(connection, variant)
            if first is None:
                first, reference = seen, variant.name
                if is_deferred(self.shape) and not allowed("deferred_culprits") and fails_some(seen):
                    return None
            if "error" in seen and not may_stop(self.shape):
                return f"{variant.name}: {seen['error']}"
            for name in first.keys() | seen.keys():
                if seen.get(name) != first.get(name):
                    values = [json.dumps(value.get(name)) for value in (first, seen)]
                    return f"{name}\n  {reference}: {values[0]}\n  {variant.name}: {values[1]}"
        return None

    def script(self) -> str:
        """A psql script that shows each variant."""
        lines = [*self.way.before(self.shape)]
        for variant in self.variants():
            lines += [f"\\echo == {variant.name}", *self.way.statements(variant)]
        return "".join(f"{line}\n" if line.startswith("\\") else f"{line};\n" for line in [*lines, *self.way.after()])

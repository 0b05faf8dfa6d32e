"""The decoder of Avro beside fastavro's encoder: random schemas, random values; DJK_SEED repeats a run."""

import io
import json
import math
import random
import struct
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from pathlib import Path
from typing import Any

import fastavro
import pytest

from lib.chance import choose_seed
from lib.postgres import Database

FUNCTIONS = Path(__file__).resolve().parents[2] / "sql" / "include" / "avro.sql"

EPOCH = datetime(1970, 1, 1)
EXACT = Context(prec=100)

Schema = Any
# What is given to fastavro, and what must be in the JSON.
Value = tuple[Any, Any]


class Number(str):
    """A number as JSON has it."""


class Real(float):
    """A double, or what a float holds, whichever digits stand for it."""


def drop_zeros(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def clock(usecs: int) -> str:
    return drop_zeros((EPOCH + timedelta(microseconds=usecs)).strftime("%H:%M:%S.%f"))


def moment(usecs: int, zone: str) -> str:
    day = (EPOCH + timedelta(microseconds=usecs)).date().isoformat()
    return f"{day}T{clock(usecs)}{zone}"


def nearest(number: int) -> int:
    """Of nanoseconds, to the microsecond, halves away from zero."""
    return (abs(number) + 500) // 1000 * (1 if number >= 0 else -1)


class Chance:
    """Schemas and their values."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.full: dict[str, str] = {}
        self.records: dict[str, Schema] = {}
        self.space = ""

    # -- schemas

    def schema(self) -> Schema:
        return self.record(0) if self.random.random() < 0.8 else self.type(0)

    def name(self) -> dict[str, str]:
        """Of a type; without a namespace of its own it is in that of the record around it."""
        short = f"T{len(self.full)}"
        spaces = {} if self.random.random() < 0.7 else {"namespace": self.random.choice(["a", "a.b", "shop.orders"])}
        space = spaces.get("namespace", self.space)
        self.full[short] = f"{space}.{short}" if space else short
        return {"name": short, **spaces}

    def type(self, depth: int) -> Schema:
        nested = [self.record, self.array, self.map, self.union] if depth < 4 else []
        return self.random.choice([self.primitive, self.logical, self.logical, self.enum, self.fixed, *nested])(depth)

    def primitive(self, depth: int) -> Schema:
        name = self.random.choice(["null", "boolean", "int", "long", "float", "double", "bytes", "string"])
        return name if self.random.random() < 0.7 else {"type": name, "doc": "of nothing"}

    def logical(self, depth: int) -> Schema:
        kind = self.random.choice(list(LOGICALS))
        schema = {"type": LOGICALS[kind], "logicalType": kind}
        if kind == "decimal":
            schema["precision"] = self.random.randrange(1, 40)
            schema["scale"] = self.random.randrange(0, schema["precision"] + 1)
            if self.random.random() < 0.3:
                schema |= {"type": "fixed", "size": 17}
        if schema["type"] == "fixed":
            schema |= self.name()
            schema.setdefault("size", {"duration": 12, "uuid": 16}.get(kind, 0))
        return schema

    def enum(self, depth: int) -> Schema:
        return {"type": "enum", **self.name(), "symbols": [f"S{n}" for n in range(self.random.randrange(1, 200))]}

    def fixed(self, depth: int) -> Schema:
        return {"type": "fixed", **self.name(), "size": self.random.randrange(0, 40)}

    def array(self, depth: int) -> Schema:
        return {"type": "array", "items": self.type(depth + 1)}

    def map(self, depth: int) -> Schema:
        return {"type": "map", "values": self.type(depth + 1)}

    def union(self, depth: int) -> Schema:
        """Of one type of each kind, as the specification has it."""
        branches = {}
        for _ in range(self.random.randrange(1, 5)):
            known = dict(self.records)
            branch = self.type(depth + 1)
            if isinstance(branch, list) or self.branch_name(branch) in branches:
                self.records = known
            else:
                branches[self.branch_name(branch)] = branch
        return list(branches.values()) or ["null"]

    def record(self, depth: int) -> Schema:
        record: Schema = {"type": "record", **self.name(), "fields": []}
        full = self.full[record["name"]]
        self.records[full] = record
        around, self.space = self.space, full.rpartition(".")[0]
        for n in range(self.random.randrange(0 if depth else 1, 8 if depth < 2 else 4)):
            record["fields"].append({"name": f"f{n}", "type": self.type(depth + 1)})
        known = [name for name in self.records if "." in name or not self.space]
        if known and self.random.random() < 0.3:
            record["fields"].append({"name": "again", "type": ["null", self.random.choice(known)]})
        self.space = around
        return record

    # -- values

    def value(self, schema: Schema, depth: int = 0) -> Value:
        if isinstance(schema, list):
            return self.branch(schema, depth)
        kind = schema if isinstance(schema, str) else schema["type"]
        if isinstance(schema, dict) and "logicalType" in schema:
            return self.logical_value(schema)
        if kind in self.records:
            return self.value(self.records[kind], depth)
        return getattr(self, f"{kind}_value")(schema, depth)

    def branch(self, union: list[Schema], depth: int) -> Value:
        chosen = union[0] if depth > 8 and union[0] == "null" else self.random.choice(union)
        given, expected = self.value(chosen, depth)
        return (None if self.branch_name(chosen) == "null" else (self.branch_name(chosen), given)), expected

    def branch_name(self, schema: Schema) -> str:
        if isinstance(schema, str):
            return schema
        return self.full[schema["name"]] if "name" in schema else schema["type"]

    def null_value(self, schema: Schema, depth: int) -> Value:
        return None, None

    def boolean_value(self, schema: Schema, depth: int) -> Value:
        given = self.random.random() < 0.5
        return given, given

    def integer(self, bits: int) -> int:
        most = 2 ** (bits - 1)
        return self.random.choice(
            [0, 1, -1, 63, 64, -64, -65, most - 1, -most, self.random.randrange(-most, most), self.random.randrange(-1000, 1000)]
        )

    def int_value(self, schema: Schema, depth: int) -> Value:
        given = self.integer(32)
        return given, Number(given)

    def long_value(self, schema: Schema, depth: int) -> Value:
        given = self.integer(64)
        return given, Number(given)

    def real(self, code: str) -> Value:
        size = struct.calcsize(code)
        given = struct.unpack(code, self.random.randbytes(size))[0]
        given = self.random.choice([0.0, -0.0, 1.5, 0.1, math.inf, -math.inf, math.nan, given, given])
        given = struct.unpack(code, struct.pack(code, given))[0]
        if math.isfinite(given):
            return given, Real(given)
        return given, "NaN" if math.isnan(given) else "Infinity" if given > 0 else "-Infinity"

    def float_value(self, schema: Schema, depth: int) -> Value:
        return self.real("<f")

    def double_value(self, schema: Schema, depth: int) -> Value:
        return self.real("<d")

    def bytes_value(self, schema: Schema, depth: int) -> Value:
        given = self.random.randbytes(self.random.choice([0, 1, 5, 100]))
        return given, "\\x" + given.hex()

    def string_value(self, schema: Schema, depth: int) -> Value:
        letters = ["a", "z", '"', "\\", "\n", "\x01", "é", "€", "😀", "/", " "]
        given = "".join(self.random.choices(letters, k=self.random.choice([0, 1, 5, 70])))
        return given, given

    def fixed_value(self, schema: Schema, depth: int) -> Value:
        given = self.random.randbytes(schema["size"])
        return given, "\\x" + given.hex()

    def enum_value(self, schema: Schema, depth: int) -> Value:
        given = self.random.choice(schema["symbols"])
        return given, given

    def array_value(self, schema: Schema, depth: int) -> Value:
        items = [self.value(schema["items"], depth + 1) for _ in range(self.count(depth))]
        return [given for given, _ in items], [expected for _, expected in items]

    def map_value(self, schema: Schema, depth: int) -> Value:
        values = {self.string_value(None, 0)[0]: self.value(schema["values"], depth + 1) for _ in range(self.count(depth))}
        return {key: value[0] for key, value in values.items()}, {key: value[1] for key, value in values.items()}

    def count(self, depth: int) -> int:
        return self.random.choice([0, 1, 2, 3]) if depth < 6 else 0

    def record_value(self, schema: Schema, depth: int) -> Value:
        values = {field["name"]: self.value(field["type"], depth + 1) for field in schema["fields"]}
        return {key: value[0] for key, value in values.items()}, {key: value[1] for key, value in values.items()}

    def logical_value(self, schema: Schema) -> Value:
        kind = schema["logicalType"]
        if kind == "decimal":
            digits = self.random.randrange(10 ** self.random.randrange(1, schema["precision"] + 1))
            given = EXACT.scaleb(Decimal(digits * self.random.choice([1, -1])), -schema["scale"])
            return given, Number(format(abs(given) if digits == 0 else given, "f"))
        if kind == "uuid":
            made = uuid.UUID(bytes=self.random.randbytes(16))
            return (made.bytes if schema["type"] == "fixed" else str(made)), str(made)
        if kind == "duration":
            return self.fixed_value(schema, 0)[0], None
        unit, zone = UNITS[kind]
        if kind == "date":
            given = self.random.randrange(-719_000, 2_900_000)
            return given, (date(1970, 1, 1) + timedelta(days=given)).isoformat()
        if kind.startswith("time-"):
            given = self.random.randrange(86_400_000_000 // unit)
            return given, clock(given * unit)
        given = self.random.randrange(int(-62e15 / unit), int(253e15 / unit)) if unit else self.integer(63)
        usecs = given * unit if unit else nearest(given)
        return given, moment(usecs, zone)


LOGICALS = {
    "date": "int", "time-millis": "int", "time-micros": "long",
    "timestamp-millis": "long", "timestamp-micros": "long", "timestamp-nanos": "long",
    "local-timestamp-millis": "long", "local-timestamp-micros": "long", "local-timestamp-nanos": "long",
    "decimal": "bytes", "uuid": "string",
}  # fmt: skip

# Microseconds, none of a nanosecond; and the zone that is shown.
UNITS = {
    "date": (0, ""), "time-millis": (1000, ""), "time-micros": (1, ""),
    "timestamp-millis": (1000, "+00:00"), "timestamp-micros": (1, "+00:00"), "timestamp-nanos": (0, "+00:00"),
    "local-timestamp-millis": (1000, ""), "local-timestamp-micros": (1, ""), "local-timestamp-nanos": (0, ""),
}  # fmt: skip


def encode(parsed: Schema, value: Any) -> bytes:
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, parsed, value)
    return buffer.getvalue()


def is_same(found: Any, expected: Any) -> bool:
    if isinstance(expected, dict):
        return isinstance(found, dict) and list(found) == list(expected) and all(is_same(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return isinstance(found, list) and len(found) == len(expected) and all(map(is_same, found, expected))
    if isinstance(expected, Real):
        as_float = struct.pack("<f", float(found)) == struct.pack("<f", expected) if abs(expected) < 3.4e38 else False
        return isinstance(found, Number) and (float(found).hex() == expected.hex() or as_float)
    return type(found) is type(expected) and found == expected


@pytest.fixture
def decode(plain_db: Database) -> Callable[[Schema, list[bytes]], list[str]]:
    plain_db.query(FUNCTIONS.read_text(), user="postgres")

    def call(schema: Schema, messages: list[bytes]) -> list[str]:
        return plain_db.value("SELECT test_avro_json(%s, %s::bytea[])", json.dumps(schema), messages, user="postgres")

    return call


def compare(decode: Callable[[Schema, list[bytes]], list[str]], schemas: int, values: int) -> None:
    seed = choose_seed()
    for number in range(schemas):
        chance = Chance(seed * 1000 + number)
        schema = chance.schema()
        parsed = fastavro.parse_schema(json.loads(json.dumps(schema)))
        made = [chance.value(schema) for _ in range(values)]
        shown = decode(schema, [encode(parsed, given) for given, _ in made])
        for (given, expected), text in zip(made, shown, strict=True):
            where = f"schema {number} of seed {seed}: {json.dumps(schema)}\n{given!r}\n{text}"
            assert not text.startswith("22KF0: "), where
            found = json.loads(text, parse_int=Number, parse_float=Number)
            assert is_same(found, expected), where


def test_beside_fastavro(decode: Callable[[Schema, list[bytes]], list[str]]) -> None:
    compare(decode, 50, 20)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_beside_fastavro_long(decode: Callable[[Schema, list[bytes]], list[str]]) -> None:
    compare(decode, 500, 200)

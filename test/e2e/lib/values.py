"""The tables of docs/values.md: what each kind of JSON value becomes in a column of each type."""

import json
import re

from .postgres import Database

SCHEMA = [
    "CREATE TYPE mood AS ENUM ('sad', 'ok')",
    "CREATE DOMAIN positive AS int CHECK (VALUE > 0)",
    "CREATE TYPE pair AS (a int, b text)",
]

TYPES = [
    "smallint", "integer", "bigint", "numeric", "numeric(6,2)", "real", "double precision", "money", "oid", "boolean",
    "text", "varchar(8)", "char(8)", "bytea", "json", "jsonb", "uuid", "xml", "tsvector",
    "date", "time", "timetz", "timestamp", "timestamptz", "timestamptz(0)", "interval",
    "inet", "cidr", "macaddr", "pg_lsn", "bit(3)", "varbit",
    "int4range", "numrange", "daterange", "tstzrange", "int4multirange", "point", "box",
    "mood", "positive", "pair",
    "integer[]", "numeric[]", "text[]", "date[]", "timestamptz[]", "uuid[]", "bytea[]", "jsonb[]", "pair[]",
]  # fmt: skip

# The values as they stand in the message.
GROUPS = {
    "Numbers": ["42", "-1", "1", "5.0", "1.5", "50e-1", "1e30", "1767225600"],
    "Strings that say a number, a truth or nothing": ['"42"', '"5.0"', '"1e3"', '" 7 "', '"NaN"', '"true"', '""', '"abc"'],
    "Dates and times": [
        '"2026-01-31"', '"2026-01-31T12:30:00"', '"2026-01-31T12:30:00.5+02:00"', '"12:30:00"', '"24:00:00"',
        '"P1DT2H"', '"31.1.2026"', '"20260131"', '"epoch"',
    ],
    "true, null, arrays and objects": ["true", "null", "[]", "[1,2]", '["2026-01-31",null]', "{}", '{"a":1,"b":"x"}'],
    "Strings of other forms": [
        '"aGk="', '"\\\\x6869"', '"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"', '"10.0.0.1"', '"[1,5)"', '"{1,2}"', '"101"',
        '"ok"', '"(1,x)"', '"(1,2)"', '"a\\u0000"',
    ],
}  # fmt: skip

UNITS = ["s", "ms", "days"]
TIMED = ["1767225600", "1767225600.5", '"1767225600"', "20454", "-1", '"2026-01-31"']
TIMED_TYPES = ["integer", "text", "date", "time", "timestamp", "timestamptz", "interval", "timestamptz[]"]

HEAD = """# Values

What each kind of JSON value becomes in a column of each type; the rules are in [concepts](concepts.md#from-message-to-row). A cell is the text of the value that is stored, or the SQLSTATE of the [message's own error](reference.md#errors). Where `types => 'postgres'` does otherwise than `types => 'strict'`, the default, that stands behind a slash; of two errors the first alone is told. Long values end with an ellipsis.

The types `mood`, `positive` and `pair` are examples: an enum (`sad`, `ok`), a domain over `integer` with `CHECK (VALUE > 0)`, and a composite type `(a int, b text)`.

The tables are what a server has done with these messages, with `time_zone => 'UTC'` and no other option (`test/e2e/consume/test_values.py`, which fails when they are not right; `scripts/values` writes them again).
"""

TIMED_HEAD = """
## Numbers with a time_unit

With `time_unit => '{unit}'`:
"""

CELL = 32


class Runner:
    """Gives each value to a column of each type, a route for each way of reading them."""

    def __init__(self, db: Database):
        self.db = db
        self.tables: dict[str, str] = {}
        for statement in SCHEMA:
            db.query(statement)
        db.query("SELECT djkafka_create_consumer('values', enabled => false, batch_messages => 1000)")

    def table(self, type_name: str) -> str:
        if type_name not in self.tables:
            self.tables[type_name] = f"t{len(self.tables)}"
            self.db.query(f"CREATE TABLE {self.tables[type_name]} (n int PRIMARY KEY, v {type_name})")
        return self.tables[type_name]

    def run(self, types: list[str], values: list[str], way: str, options: str) -> dict[tuple[str, str], str]:
        """(type, value) → what was stored, or the SQLSTATE."""
        messages = []
        for type_name in types:
            table = self.table(type_name)
            topic = f"{way}.{table}"
            self.db.query(f"TRUNCATE {table}")
            self.db.query(f"SELECT djkafka_create_route('values', %s, %s, {options})", topic, table)
            messages += [
                {"topic": topic, "offset": n, "value": f'{{"n": {n}, "v": {value}}}'} for n, value in enumerate(values)
            ]
        given = json.dumps(messages)
        self.db.query("SELECT djkafka_run('values', messages => %s, timeout => '1 min')", given)
        dead = self.db.query('SELECT topic, "offset", sqlstate FROM djkafka_dead_letter')
        self.db.query("DELETE FROM djkafka_dead_letter")
        cells = {}
        for type_name in types:
            topic = f"{way}.{self.table(type_name)}"
            stored = self.db.query(f"SELECT n, v::text FROM {self.table(type_name)}")
            cells |= {(type_name, values[n]): shown(text) for n, text in stored}
            cells |= {(type_name, values[n]): state for where, n, state in dead if where == topic}
        assert len(cells) == len(types) * len(values)
        return cells


def code(text: str) -> str:
    """As code in a cell of a table."""
    ticks = "``" if "`" in text else "`"
    return ticks + text.replace("|", "\\|") + ticks


def is_error(cell: str) -> bool:
    return re.fullmatch("[0-9A-Z]{5}", cell) is not None


def shown(text: str | None) -> str:
    if text is None:
        return "null"
    if text == "" or text.strip() != text:
        return "'" + text + "'" if text == "" else code(f"'{text}'")
    return code(text if len(text) <= CELL else text[: CELL - 1] + "…")


def markdown(types: list[str], values: list[str], strict: dict[tuple[str, str], str], loose: dict[tuple[str, str], str]) -> str:
    lines = ["| column | " + " | ".join(map(code, values)) + " |", "|---" * (len(values) + 1) + "|"]
    for type_name in types:
        cells = []
        for value in values:
            one, other = strict[type_name, value], loose[type_name, value]
            is_same = one == other or (is_error(one) and is_error(other))
            cells.append(one if is_same else f"{one} / {other}")
        lines.append(f"| {code(type_name)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def document(db: Database) -> str:
    runner = Runner(db)
    every = [value for values in GROUPS.values() for value in values]
    strict = runner.run(TYPES, every, "strict", "types => 'strict'")
    loose = runner.run(TYPES, every, "postgres", "types => 'postgres'")
    text = HEAD
    for title, values in GROUPS.items():
        text += f"\n## {title}\n\n" + markdown(TYPES, values, strict, loose)
    for unit in UNITS:
        options = f"time_unit => '{unit}'"
        strict = runner.run(TIMED_TYPES, TIMED, f"strict.{unit}", options)
        loose = runner.run(TIMED_TYPES, TIMED, f"postgres.{unit}", f"{options}, types => 'postgres'")
        head = TIMED_HEAD if unit == UNITS[0] else "\nWith `time_unit => '{unit}'`:\n"
        text += head.format(unit=unit) + "\n" + markdown(TIMED_TYPES, TIMED, strict, loose)
    return text

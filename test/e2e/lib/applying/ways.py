"""The two ways through apply/: djkafka_run in a session, and a process like a worker."""

import json
from typing import Any

import psycopg

from .ddl import COMMON, ddl, quote, reset_sql
from .shapes import Shape


class Variant:
    """A way to cut messages into batches."""

    def __init__(self, name: str, batches: list[list[dict]]):
        self.name = name
        self.batches = batches


class Way:
    stops: float  # how many routes stop at a message that fails: what a stop leaves can be seen or not

    def prepare(self, connection: psycopg.Connection) -> None:
        """Once for a database."""
        raise NotImplementedError

    def make(self, connection: psycopg.Connection, shape: Shape) -> None:
        raise NotImplementedError

    def forget(self, connection: psycopg.Connection) -> None:
        """What was made for a shape is gone."""
        raise NotImplementedError

    def apply(self, connection: psycopg.Connection, variant: Variant) -> dict[str, Any]:
        """What is seen, with "error" where the consumer stops or breaks; all is as before."""
        raise NotImplementedError

    def before(self, shape: Shape) -> list[str]:
        """What a script begins with, in statements and commands of psql."""
        raise NotImplementedError

    def statements(self, variant: Variant) -> list[str]:
        raise NotImplementedError

    def after(self) -> list[str]:
        raise NotImplementedError


def results(cursor: psycopg.Cursor) -> list[list[tuple]]:
    """Of each statement."""
    made = []
    more: bool | None = True
    while more:
        made.append(cursor.fetchall() if cursor.description else [])
        more = cursor.nextset()
    return made


class InSession(Way):
    """Each call of djkafka_run is a batch.  A shape is made in a transaction that is never committed."""

    stops = 0.05

    def prepare(self, connection: psycopg.Connection) -> None:
        connection.execute("; ".join(COMMON))

    def make(self, connection: psycopg.Connection, shape: Shape) -> None:
        connection.execute("BEGIN; " + "; ".join(ddl(shape)))

    def forget(self, connection: psycopg.Connection) -> None:
        connection.execute("ROLLBACK")

    def apply(self, connection: psycopg.Connection, variant: Variant) -> dict[str, Any]:
        try:
            made = results(connection.execute("; ".join(self.statements(variant))))
        except psycopg.Error as error:
            if isinstance(error, psycopg.OperationalError) and not isinstance(error, psycopg.errors.ProgramLimitExceeded):
                raise
            connection.execute("ROLLBACK TO v")
            return {"error": [error.diag.sqlstate, error.diag.message_primary]}
        seen = made[-2][0][0]
        seen["counts"] = [sum(row[0][0][n] for row in made[2:-2]) for n in range(7)]
        seen["counts"][4] -= seen.pop("poisons")
        return seen

    def before(self, shape: Shape) -> list[str]:
        return ["\\set ON_ERROR_ROLLBACK on", "BEGIN", *COMMON, *ddl(shape)]

    def statements(self, variant: Variant) -> list[str]:
        calls = [("batch", batch) for batch in variant.batches]
        if all(len(batch) == 1 for batch in variant.batches):
            calls = [("single", [batch[0] for batch in variant.batches])]
        runs = [f"SELECT run('{consumer}', {quote(json.dumps(messages))})" for consumer, messages in calls]
        begin = ["SAVEPOINT v", "SELECT setval('attempts', 1, false)"]
        return [*begin, *runs, "SELECT see()", "ROLLBACK TO v"]

    def after(self) -> list[str]:
        return ["ROLLBACK"]


class ByWorker(Way):
    """djkafka_test_apply works through the batches in a process, with transactions of its own."""

    stops = 0.3

    # By a superuser, in a server of the test build.
    FUNCTION = (
        "CREATE FUNCTION public.djkafka_test_apply(consumer text, batches text[]) RETURNS jsonb"
        " LANGUAGE c STRICT AS 'djkafka', 'djkafka_test_apply'"
    )

    def prepare(self, connection: psycopg.Connection) -> None:
        self.shape: Shape = {}
        self.told: list[dict[str, Any]] = []
        connection.add_notify_handler(lambda notify: self.told.append(json.loads(notify.payload)))
        connection.execute("; ".join(["LISTEN djkafka", *COMMON]))

    def make(self, connection: psycopg.Connection, shape: Shape) -> None:
        self.shape = shape
        connection.execute("; ".join(ddl(shape)))

    def forget(self, connection: psycopg.Connection) -> None:
        connection.execute("; ".join([*self.after(), *COMMON]))

    def apply(self, connection: psycopg.Connection, variant: Variant) -> dict[str, Any]:
        self.told.clear()
        answer, seen = (rows[0][0] for rows in results(connection.execute("; ".join(self.statements(variant))))[1:3])
        seen["counts"] = answer["counts"]
        seen["counts"][4] -= seen.pop("poisons")
        seen["told"] = self.sum_of_told()
        if answer["state"] != "done":
            seen["error"] = [answer["state"], answer["sqlstate"], answer["message"]]
        return seen

    def sum_of_told(self) -> dict[str, list]:
        """By topic: how many rows, and the keys in their order; none where one may be missing that is no text."""
        made: dict[str, list] = {}
        routes = self.shape["routes"]
        bytes_may_be_keys = any(route.get("key_format") == "avro" for route in routes)
        for told in self.told:
            if "rows" in told:
                rows, keys = made.get(told["topic"], (0, []))
                if bytes_may_be_keys and ("keys" not in told or any(route.get("notify") == "batch" for route in routes)):
                    keys = None
                made[told["topic"]] = [rows + told["rows"], None if keys is None else keys + told.get("keys", [])]
        return made

    def before(self, shape: Shape) -> list[str]:
        return ["LISTEN djkafka", self.FUNCTION, *COMMON, *ddl(shape)]

    def statements(self, variant: Variant) -> list[str]:
        batches = ", ".join(quote(json.dumps(batch)) for batch in variant.batches)
        run = f"SELECT djkafka_test_apply('batch', ARRAY[{batches}]::text[])"
        return ["SELECT setval('attempts', 1, false)", run, "SELECT see()", *reset_sql(self.shape)]

    def after(self) -> list[str]:
        return ["SET client_min_messages = warning", "DROP SCHEMA x CASCADE", "DELETE FROM djkafka_consumer", "DELETE FROM djkafka_offset_left"]

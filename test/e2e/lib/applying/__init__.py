"""Random tables, routes and messages, and whether it matters how the messages are cut into batches.

A case is a shape (tables, triggers, policies and routes: shapes.py, ddl.py) and a list of
messages (messages.py).  Its messages are applied one by one, as one batch, in batches with
random boundaries, and among messages that always fail (case.py); what is seen afterwards
must be the same: rows, the order of numbers given out, what triggers have logged, dead
letters, counts, and where the consumer stops with which error.  A case that differs is made
as small as can be (shrink.py) and written out as a psql script.

All runs through djkafka_run in one session, so a case costs some milliseconds.
"""

import os
import random
import tempfile

import psycopg

from .case import Case, Difference, make
from .ddl import COMMON
from .messages import make_messages
from .shapes import make_shape
from .shrink import shrink

__all__ = ["Case", "Difference", "check", "write_script"]


def prepare(connection: psycopg.Connection) -> None:
    connection.execute("; ".join(COMMON))


def examine(connection: psycopg.Connection, case: Case) -> None:
    """Raises Difference with a smaller case if this one differs."""
    if case.difference(connection) is None:
        return
    case = shrink(connection, case)
    connection.execute("ROLLBACK")
    make(connection, case.shape)
    what = case.difference(connection) or "it did not differ again"
    connection.execute("ROLLBACK")
    raise Difference(case, what)


def check(connection: psycopg.Connection, seed: int, cases: int, lists: int = 10) -> int:
    """Runs so many cases, some lists of messages for each shape; returns the number of shapes."""
    rnd = random.Random(seed)
    shapes = 0
    while cases > 0:
        shape = make_shape(rnd)
        make(connection, shape)
        shapes += 1
        for _ in range(min(lists, cases)):
            examine(connection, Case(shape, make_messages(rnd, shape), rnd.getrandbits(32)))
            cases -= 1
        connection.execute("ROLLBACK")
    return shapes


def write_script(case: Case) -> str:
    """The path of a psql script that shows the case."""
    folder = os.environ.get("DJK_APPLY_DIR") or tempfile.gettempdir()
    with tempfile.NamedTemporaryFile("w", prefix="djk-apply-", suffix=".sql", dir=folder, delete=False) as script:
        script.write(case.script())
    return script.name

"""Random tables, routes and messages, and whether it matters how the messages are cut into batches.

A case is a shape (tables, triggers, policies and routes: shapes.py, ddl.py) and a list of
messages (messages.py; some are Avro, avro.py).  Its messages are applied one by one, as one
batch, in batches with random boundaries, and among messages that always fail (case.py); what
is seen afterwards must be the same: rows, the order of numbers given out, what triggers have logged, dead
letters, counts, and where the consumer stops with which error.  A case that differs is made
as small as can be (shrink.py) and written out as a psql script.

There are two ways to apply (ways.py).  djkafka_run in one session costs some milliseconds a
case; a process that goes through the batches as a worker does, with transactions of its own,
costs ten times as much, and the server of the test build.

Messages that wait for rows they refer to are another generator's (waiting.py).

What it catches: faults put into src/apply by hand, and how many cases it took with two seeds.

    merging forgets NOT NULL                                  732    232
    merging forgets CHECK and foreign keys                    182     98
    merging forgets that a row lacks a column                1661    231
    a deletion forgets what came before it unjudged           188    183
    a deletion before a merged row is left out                223     13
    a merged row stands where its key was first seen          844     16
    rows are inserted in the order of their sets of columns   760   2443
    insert_new does so                                       1764   1077
    what is there is updated before the rest is inserted      751   1397
    the order of UPDATE and DELETE is the planner's          > 2500 with both
    rows of a table that refers to itself go together          31     71
    other unique constraints show no order                   2380   1377
    triggers show no order                                     69    122
    two routes to one table are written one after the other    33      1
    duplicates are one too few                                 21    148
    duplicates stay counted when a piece is tried again       540  > 2500
    a default that is filled in is null                        84    102
"""

import os
import random
import tempfile

import psycopg

from .avro import KNOW, REGISTRY
from .case import Case, Difference
from .ddl import literal
from .messages import make_messages
from .shapes import LARGE, is_deferred, make_shape
from .shrink import shrink
from .waiting import Waiting
from .ways import ByWorker, InSession, Way

__all__ = ["KNOW", "LARGE", "REGISTRY", "ByWorker", "Case", "Difference", "InSession", "Waiting", "Way", "check", "literal", "write_script"]


def smallest(connection: psycopg.Connection, case: Case) -> Difference:
    case.way.forget(connection)
    case = shrink(connection, case)
    case.way.make(connection, case.shape)
    what = case.difference(connection) or "it did not differ again"
    case.way.forget(connection)
    return Difference(case, what)


def check(connection: psycopg.Connection, way: Way, seed: int, cases: int, lists: int = 5) -> int:
    """Runs so many cases, some lists of messages for each shape; returns the number of shapes."""
    rnd = random.Random(seed)
    shapes = 0
    way.prepare(connection)
    while cases > 0:
        shape = make_shape(rnd, way.stops)
        way.make(connection, shape)
        shapes += 1
        for _ in range(min(lists, cases)):
            case = Case(way, shape, make_messages(rnd, shape), rnd.getrandbits(32))
            if is_deferred(shape) and rnd.random() < 0.8:
                case = case.passing(connection)
            if case.difference(connection) is not None:
                raise smallest(connection, case)
            cases -= 1
        way.forget(connection)
    return shapes


def write_script(case: Case) -> str:
    """The path of a psql script that shows the case."""
    folder = os.environ.get("DJK_APPLY_DIR") or tempfile.gettempdir()
    with tempfile.NamedTemporaryFile("w", prefix="djk-apply-", suffix=".sql", dir=folder, delete=False) as script:
        script.write(case.script())
    os.chmod(script.name, 0o644)
    return script.name

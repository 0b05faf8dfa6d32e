"""However messages are cut into batches, what lands is what it is one by one.

DJK_APPLY_SEED repeats a run (it is printed, and part of the failure), DJK_APPLY_CASES makes
it longer or shorter, DJK_APPLY_DIR says where the script of a case that differs is written,
DJK_APPLY_WITH lets in what lib/applying/shapes.py keeps out.
"""

import os
import random
from collections.abc import Callable, Iterator

import pytest
from lib import applying
from lib.postgres import Cluster, Database

PARTS = 2  # run side by side, each with a seed of its own
LONG_PARTS = 8


@pytest.fixture
def database(own_cluster: Callable[..., Cluster], unique: Callable[[str], str]) -> Iterator[Database]:
    made = Database(own_cluster(log_min_messages="log"), unique("db"), listed=False)
    made.query("CREATE EXTENSION djkafka")
    yield made
    made.disconnect()


def check(database: Database, part: int, cases: int) -> None:
    seed = int(os.environ.get("DJK_APPLY_SEED", random.SystemRandom().getrandbits(24)))
    print(f"DJK_APPLY_SEED={seed}, part {part}, {cases} cases")
    connection = database.connection(database.owner)
    applying.prepare(connection)
    try:
        shapes = applying.check(connection, seed + part, cases)
    except applying.Difference as difference:
        path = applying.write_script(difference.case)
        told = f"DJK_APPLY_SEED={seed}, part {part}, differs in {difference}\n\npsql -f {path}\n\n"
        pytest.fail(told + difference.case.script(), pytrace=False)
    print(f"{shapes} shapes")
    assert not database.cluster.crashes()


@pytest.mark.parametrize("part", range(PARTS))
def test_batches_apply_as_single_messages(database: Database, part: int) -> None:
    check(database, part, int(os.environ.get("DJK_APPLY_CASES", 2_000)) // PARTS)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(LONG_PARTS))
def test_many_batches_apply_as_single_messages(database: Database, part: int) -> None:
    check(database, part, int(os.environ.get("DJK_APPLY_CASES", 100_000)) // LONG_PARTS)

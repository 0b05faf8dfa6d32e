"""However messages are cut into batches, what lands is what it is one by one.

DJK_APPLY_SEED repeats a run (it is printed, and part of the failure), DJK_APPLY_CASES makes
it longer or shorter, DJK_APPLY_DIR says where the script of a case that differs is written,
DJK_APPLY_WITH lets in what lib/applying/shapes.py keeps out.
"""

import os
import random
from collections.abc import Callable

import pytest
from lib import applying
from lib.postgres import TEST_BINDIR, Cluster, Database

# Run side by side, each with a seed of its own.
PARTS = 2
LONG_PARTS = 8

Own = Callable[..., Cluster]


def run(database: Database, way: applying.Way, part: int, cases: int) -> None:
    seed = int(os.environ.get("DJK_APPLY_SEED", random.SystemRandom().getrandbits(24)))
    cases = int(os.environ.get("DJK_APPLY_CASES", cases))
    print(f"DJK_APPLY_SEED={seed}, part {part}, {cases} cases")
    try:
        shapes = applying.check(database.connection(database.owner), way, seed + part, cases)
    except applying.Difference as difference:
        path = applying.write_script(difference.case)
        told = f"DJK_APPLY_SEED={seed}, part {part}, differs in {difference}\n\npsql -f {path}\n\n"
        pytest.fail(told + difference.case.script(), pytrace=False)
    print(f"{shapes} shapes")
    assert not database.cluster.crashes()


def run_in_session(own_cluster: Own, part: int, cases: int) -> None:
    # What fails by design would fill the log.
    database = Database(own_cluster(log_min_messages="log"), "db", listed=False)
    database.query("CREATE EXTENSION djkafka")
    run(database, applying.InSession(), part, cases)


def run_by_worker(own_cluster: Own, part: int, cases: int) -> None:
    database = Database(own_cluster(bindir=TEST_BINDIR, log_min_messages="log"), "db", listed=False)
    database.query("CREATE EXTENSION djkafka")
    database.query(applying.ByWorker.FUNCTION, user="postgres")
    run(database, applying.ByWorker(), part, cases)


@pytest.mark.parametrize("part", range(PARTS))
def test_batches_apply_as_single_messages(own_cluster: Own, part: int) -> None:
    run_in_session(own_cluster, part, 1_000)


def test_a_worker_applies_batches_as_single_messages(own_cluster: Own) -> None:
    run_by_worker(own_cluster, 0, 80)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(LONG_PARTS))
def test_many_batches_apply_as_single_messages(own_cluster: Own, part: int) -> None:
    run_in_session(own_cluster, part, 100_000 // LONG_PARTS)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(PARTS))
def test_a_worker_applies_many_batches_as_single_messages(own_cluster: Own, part: int) -> None:
    run_by_worker(own_cluster, part, 2_000)

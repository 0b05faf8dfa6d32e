"""However messages are cut into batches, what lands is what it is one by one.

DJK_APPLY_SEED and DJK_APPLY_CASES repeat a run, or make it longer.
"""

import os
import random
from collections.abc import Callable, Iterator

import pytest
from lib import applying
from lib.postgres import Cluster, Database

PARTS = 4  # run side by side


@pytest.fixture
def database(own_cluster: Callable[..., Cluster], unique: Callable[[str], str]) -> Iterator[Database]:
    made = Database(own_cluster(), unique("db"), listed=False)
    made.query("CREATE EXTENSION djkafka")
    yield made
    made.disconnect()


def check(database: Database, part: int, cases: int) -> None:
    seed = int(os.environ.get("DJK_APPLY_SEED", random.SystemRandom().getrandbits(24))) + part
    cases = int(os.environ.get("DJK_APPLY_CASES", cases)) // PARTS
    print(f"DJK_APPLY_SEED={seed - part}, part {part}")
    try:
        applying.check(database.connection(database.owner), seed, cases)
    except applying.Difference as difference:
        pytest.fail(f"seed {seed - part}, part {part}: {difference}\n\n{difference.case.script()}", pytrace=False)


@pytest.mark.parametrize("part", range(PARTS))
def test_batches_apply_as_single_messages(database: Database, part: int) -> None:
    check(database, part, 400)


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", range(PARTS))
def test_many_batches_apply_as_single_messages(database: Database, part: int) -> None:
    check(database, part, 100_000)

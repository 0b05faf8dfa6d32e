"""docs/values.md says what values become, in strict and in PostgreSQL's own way of reading them: it is right."""

import os
from collections.abc import Callable
from pathlib import Path

from lib.postgres import Cluster, Database
from lib.values import document

COMMITTED = Path(__file__).parents[3] / "docs" / "values.md"


def test_values_become_what_is_documented(own_cluster: Callable[..., Cluster]) -> None:
    db = Database(own_cluster(), "values", listed=False)
    db.query("CREATE EXTENSION djkafka")
    found = document(db)
    db.destroy()
    if "DJK_WRITE_VALUES" in os.environ:
        Path(os.environ["DJK_WRITE_VALUES"]).write_text(found)
        return
    assert found.splitlines() == COMMITTED.read_text().splitlines(), "docs/values.md is not right: scripts/values writes it again"

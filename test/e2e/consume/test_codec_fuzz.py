"""Hostile messages against the codecs, built with sanitizers; DJK_SEED repeats a run."""

import os
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "long" / "codec_fuzz.sh"


def fuzz(messages: int) -> None:
    pg_config = Path(os.environ["DJK_BINDIR"]) / "pg_config"
    seed = os.environ.get("DJK_SEED") or str(time.time_ns() % 2**31)
    done = subprocess.run(
        [str(SCRIPT), str(messages), seed],
        env={**os.environ, "PG_CONFIG": str(pg_config)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, f"seed {seed}\n{done.stdout}"


def test_short() -> None:
    fuzz(10_000)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_long() -> None:
    fuzz(1_000_000)

"""What is left to chance, and can be had again."""

import os
import time


def choose_seed() -> int:
    """DJK_SEED if it is set; printed, so that a run can be repeated."""
    seed = int(os.environ.get("DJK_SEED") or time.time_ns() % 1_000_000)
    print(f"\nDJK_SEED={seed}", flush=True)
    return seed

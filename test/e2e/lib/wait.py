"""Waiting for a condition, the only way in which a test waits."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T],
    timeout: float = 30.0,
    message: str | Callable[[], str] = "condition",
    interval: float = 0.05,
) -> T:
    """Returns the first true value of condition(); fails with the message after timeout seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            text = message() if callable(message) else message
            raise AssertionError(f"not within {timeout:g} s: {text} (last value: {value!r})")
        time.sleep(interval)


def stays_true(condition: Callable[[], bool], seconds: float, message: str, interval: float = 0.1) -> None:
    """Fails as soon as condition() is false within the next seconds: for what must not happen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition(), message
        time.sleep(interval)

"""One line of what the doctor says."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]
STATES = ("ok", "warn", "fail")
"""All well; works, but worse than it could; does not work."""


def row(check: str, state: str, found: str, fix: str | None = None) -> Row:
    """What a check found, and the command that mends it."""
    return {"check": check, "state": state, "found": found, "fix": fix}


def judged(check: str, good: bool, found: str, fix: str) -> Row:
    """A row that is a warning with its fix, unless all is good."""
    return row(check, "ok" if good else "warn", found, None if good else fix)

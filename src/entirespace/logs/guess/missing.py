"""Words that stand for a missing value in many logs, in lower case."""

from __future__ import annotations

SURE = frozenset(("null", r"\n", "nan", "#n/a", "<na>", "(null)", "#null!"))
"""These are no ids either."""
WORDS = SURE | {"na", "n/a", "none", "nil", "?", "-", "--", "undefined"}

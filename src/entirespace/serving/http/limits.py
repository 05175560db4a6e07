"""How much one request may ask for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The limits of one request."""

    body: int = 8 << 20
    """Bytes of a body."""
    candidates: int = 5000
    list_length: int = 1000
    """Values of one list, and characters of one text (a hundred times as many)."""
    seconds: float = 30.0
    """From the first byte of a request to its answer."""

    @property
    def text_length(self) -> int:
        """Characters of one text."""
        return 100 * self.list_length

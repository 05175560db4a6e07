"""A batch of ids -> one probability per head."""

from .embedding import Embedding, pool
from .towers import Heads, Network

__all__ = ["Embedding", "Heads", "Network", "pool"]

"""A batch of ids -> one probability per head."""

from .embedding import Embedding, pool
from .network import Network
from .probability import Heads

__all__ = ["Embedding", "Heads", "Network", "pool"]

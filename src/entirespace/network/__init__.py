"""A batch of ids -> one probability per head."""

from .embedding import Embedding, pool
from .ensemble import Ensemble
from .network import Network
from .probability import Heads

__all__ = ["Embedding", "Ensemble", "Heads", "Network", "pool"]

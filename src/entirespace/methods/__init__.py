"""The methods of the paper, and RATES, one per file: which impressions are sampled, the loss, how pCVR is predicted."""

from ..core.labels import Counts
from ._method import Method, base_rate, once
from .aman import AMAN
from .base import BASE
from .ctr import CTR
from .division import DIVISION
from .esmm import ESMM
from .named import METHODS, PAPER, Family, from_spec
from .oversampling import OVERSAMPLING
from .rates import RATES
from .typed import families, family, imported
from .unbias import UNBIAS

__all__ = [
    "AMAN",
    "BASE",
    "CTR",
    "DIVISION",
    "ESMM",
    "METHODS",
    "OVERSAMPLING",
    "PAPER",
    "RATES",
    "UNBIAS",
    "Counts",
    "Family",
    "Method",
    "base_rate",
    "families",
    "family",
    "from_spec",
    "imported",
    "once",
]

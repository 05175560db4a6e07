"""entirespace: pCTR, pCVR and pCTCVR over the entire space (ESMM, SIGIR 2018, and every method of that paper).

    import entirespace as es

    data = es.open("data/kuairand")           # .train .validation .test, each out of core
    reference = es.reference_ctr(data.train, seed=0)
    run = es.fit(es.ESMM(), data.train, seed=0, reference=reference)
    p = run.predict(data.test)                # p.pctr, p.pcvr, p.pctcvr: float32 (N,)
    print(run.evaluate(data.test))
    print(es.compare(es.PAPER, data, seeds=range(10)))

Names are imported when first used: importing the package does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .config import Config
    from .data.dataset import open_dataset as open
    from .data.simulate import simulate
    from .errors import EntirespaceError
    from .evaluation.compare import compare
    from .methods import AMAN, BASE, CTR, DIVISION, ESMM, OVERSAMPLING, PAPER, UNBIAS, Method
    from .training import Run, fit, reference_ctr

_HOMES = {
    "open": ("data.dataset", "open_dataset"),
    "simulate": ("data.simulate", "simulate"),
    "Config": ("config", "Config"),
    "EntirespaceError": ("errors", "EntirespaceError"),
    **{
        name: ("methods", name)
        for name in ("Method", "BASE", "AMAN", "OVERSAMPLING", "UNBIAS", "DIVISION", "ESMM", "CTR", "PAPER")
    },
    "fit": ("training", "fit"),
    "reference_ctr": ("training", "reference_ctr"),
    "Run": ("training", "Run"),
    "compare": ("evaluation.compare", "compare"),
}

__all__ = [
    "AMAN",
    "BASE",
    "CTR",
    "DIVISION",
    "ESMM",
    "OVERSAMPLING",
    "PAPER",
    "UNBIAS",
    "Config",
    "EntirespaceError",
    "Method",
    "Run",
    "compare",
    "fit",
    "open",
    "reference_ctr",
    "simulate",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'entirespace' has no attribute '{name}'")
    module, attribute = _HOMES[name]
    return getattr(import_module(f"{__name__}.{module}"), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])

"""entirespace: pCTR, pCVR and pCTCVR over the entire space (ESMM, SIGIR 2018, and every method of that paper).

    import entirespace as es

    data = es.open("data/kuairand")           # .train .validation .test, each out of core
    reference = es.reference_ctr(data.train, seed=0)
    run = es.fit(es.ESMM(), data.train, seed=0, reference=reference)
    p = run.predict(data.test)                # p.pctr, p.pcvr, p.pctcvr: float32 (N,)
    print(run.evaluate(data.test))
    print(es.compare(es.PAPER, data, seeds=range(10)))

Names are imported when they are first used, so importing the package does not import torch. `__init__.pyi` lists them.
"""

import lazy_loader

from . import caches
from ._version import __version__ as __version__

caches.settle()

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

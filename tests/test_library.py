"""The ten lines of the README, and that importing the package is light."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

import entirespace as es


def test_importing_the_package_or_the_command_line_does_not_import_torch():
    code = (
        "import sys, entirespace, entirespace.cli; "
        "heavy = {'torch', 'numpy', 'polars', 'pyarrow', 'numba'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there():
    for name in es.__all__:
        assert getattr(es, name) is not None
        assert name in dir(es)


def test_ten_lines(dataset, quick, tmp_path):
    data = es.open(dataset.path)
    reference = es.reference_ctr(data.train, seed=0, config=quick)
    run = es.fit(es.ESMM(), data.train, seed=0, reference=reference, config=quick)
    p = run.predict(data.test)
    assert p.pctr.dtype == p.pcvr.dtype == p.pctcvr.dtype == np.float32
    assert "CVR on clicked impressions" in str(run.evaluate(data.test))
    assert "CTCVR task" in str(es.compare([es.BASE(), es.ESMM()], data, seeds=range(1), config=quick, jobs=1))

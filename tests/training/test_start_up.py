"""What a process of training costs before its first step."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TRAIN = """
import sys
import entirespace as es
from pathlib import Path
folder, out = sys.argv[1:]
config = es.Config.model_validate({"network": {"hidden": [4]}, "training": {"epochs": 1, "threads": 1}})
es.fit(es.ESMM(), es.open(folder).train, config=config, out=out)
print([name for name in ("torch._dynamo", "torch._inductor", "sympy", "matplotlib", "optuna") if name in sys.modules])
"""


def test_training_does_not_import_compilers_or_pictures(dataset, tmp_path: Path) -> None:
    command = [sys.executable, "-c", TRAIN, str(dataset.path), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"

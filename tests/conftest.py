"""Fixtures that more than one room's tests use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command line does, before torch is imported
from hypothesis import settings
from raw_logs import few_rows, log, new_log, plain, rng, small_pieces  # noqa: F401 (fixtures)

settings.register_profile("here", deadline=None)  # a busy machine is no error
settings.load_profile("here")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real logs; tests that ask for it are skipped where it is absent."""
    folder = Path(os.environ.get("ENTIRESPACE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real logs at {folder}: set ENTIRESPACE_DATA to the folder that holds kuairand_pure/")
    return folder


@pytest.fixture(scope="session")
def simulated_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small simulated log (Parquet, with schema.toml) in which clicks and conversions are common."""
    from entirespace.simulation.simulate import simulate

    out = tmp_path_factory.mktemp("simulated") / "log"
    simulate(out, impressions=6000, users=300, items=200, click_rate=0.3, conversion_rate=0.3, history=3, seed=5)
    return out


@pytest.fixture(scope="session")
def dataset(simulated_log: Path, tmp_path_factory: pytest.TempPathFactory):
    """The small simulated log, prepared."""
    from entirespace.dataset.prepare import prepare_source
    from entirespace.logs.schema import read_schema
    from entirespace.logs.star import LogSource

    schema = read_schema(simulated_log / "schema.toml")
    return prepare_source(
        lambda audit, quarantine: LogSource(schema, simulated_log, audit, quarantine),
        tmp_path_factory.mktemp("prepared") / "dataset",
        split=schema.split,
        schema={},
    )


@pytest.fixture(scope="session")
def quick():
    """A configuration that trains in a moment, on one thread."""
    from entirespace.config import Config

    return Config.model_validate(
        {
            "network": {"embedding_size": 4, "hidden": [8]},
            "optimizer": {"learning_rate": 0.01},
            "training": {"batch_size": 256, "epochs": 3, "patience": 2, "threads": 1},
        }
    )


@pytest.fixture(scope="session")
def reference(dataset, quick, tmp_path_factory: pytest.TempPathFactory):
    """The reference CTR network's run on the small dataset, seed 0."""
    from entirespace.training import reference_ctr

    return reference_ctr(dataset.train, seed=0, config=quick, out=tmp_path_factory.mktemp("runs") / "reference")


@pytest.fixture(scope="module")
def quick_rival():
    """LightGBM with two small settings and few trees; tests that ask for it are skipped where it is absent."""
    pytest.importorskip("lightgbm", reason="lightgbm is absent: pip install 'entirespace[rivals]'")
    import entirespace.rivals.lightgbm as room

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "GRID", ((3, 20), (6, 20)))
        patch.setattr(room, "MOST", 12)
        patch.setattr(room, "PATIENCE", 4)
        yield room.LightGBM()


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory):
    """A BASE run on the small log of `exported.py`, with a history and a reference CTR network, calibrated, and its
    bundle: (run, the bundle's folder). Tests that ask for it are skipped where the packages of export are absent."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} is absent: pip install 'entirespace[export]'")
    from exported import configured, small_dataset

    import entirespace as es
    import entirespace.export.gate as gate
    import entirespace.serving.encoders as encoders
    from entirespace.core.calibrators import Platt
    from entirespace.runs.calibration import Calibration, save_calibration
    from entirespace.runs.run import weights_of

    folder = tmp_path_factory.mktemp("exported")
    data = small_dataset(folder / "data", validation=0.4)
    reference = es.reference_ctr(data.train, config=configured())
    run = es.fit(es.BASE(), data.train, config=configured(), reference=reference, out=folder / "run")
    platt = {"pctr_reference": Platt(1.3, -0.2), "pcvr": Platt(0.8, 0.1)}
    fitted_on = {"part": "validation", "impressions": 180, "clicks": 80, "conversions": 30}
    save_calibration(run.folder, Calibration("platt", 0.5, platt, fitted_on), weights_of(run))
    run = es.load(run.folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate, "ROWS", 500)
        patch.setattr(encoders, "LARGE", 20)  # some vocabularies and keys are mapped from their files, others are not
        run.export(folder / "bundle")
    return run, folder / "bundle"

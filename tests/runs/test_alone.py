"""A run stands alone: it needs no dataset, and predicts parts, later datasets and data frames alike."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import entirespace as es
from entirespace.errors import DataError, RunError
from entirespace.runs.run import Run
from entirespace.training.start import earlier_rows


@pytest.fixture(scope="module")
def made(dataset, quick, reference, tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("alone") / "run"
    return es.fit(es.BASE(), dataset.train, config=quick, reference=reference, out=folder)


def arrays(p) -> np.ndarray:
    return np.stack([p.pctr, p.pcvr, p.pctcvr])


def raw(simulated_log: Path, rows: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The last rows of the simulated log, and its side table."""
    return pl.read_parquet(simulated_log / "impressions*.parquet").tail(rows), pl.read_parquet(
        simulated_log / "common.parquet"
    )


def test_a_run_is_loaded_without_its_dataset(dataset, made, tmp_path):
    """Its folder holds the layout and the reference; what fit returned is what is loaded."""
    shutil.copytree(made.folder, tmp_path / "copy")
    moved = es.load(tmp_path / "copy")
    assert moved.reference is not None
    np.testing.assert_array_equal(arrays(moved.predict(dataset.test)), arrays(made.predict(dataset.test)))
    record = json.loads((made.folder / "run.json").read_text())
    assert record["format"] == "entirespace-run/2"
    assert record["layout"] == dataset.layout.digest
    shared = {(folder / "layout.json").stat().st_ino for folder in (dataset.path, made.folder)}
    assert len(shared) == 1  # hard links


def test_a_frame_of_the_test_part_scores_as_the_part(dataset, made, simulated_log):
    impressions, common = raw(simulated_log, len(dataset.test))
    want = made.predict(dataset.test)
    unlabelled = impressions.drop("click", "conversion")
    for frame in (impressions, unlabelled, unlabelled.to_arrow()):
        found = made.predict(frame, tables={"common": common})
        np.testing.assert_array_equal(arrays(found), arrays(want))
        assert found.unseen == want.unseen
    assert "unseen %" in str(found)
    joined = impressions.join(common, on="common", how="left")
    there = joined["profile"].is_not_null().to_numpy()
    np.testing.assert_allclose(arrays(made.predict(joined))[:, there], arrays(want)[:, there], rtol=2e-5)
    one = made.predict(impressions[:1], tables={"common": common})
    np.testing.assert_allclose(arrays(one)[:, 0], arrays(want)[:, 0], rtol=2e-5)
    assert len(made.predict(impressions[:0], tables={"common": common}).pcvr) == 0


def test_all_parts_of_a_dataset_are_predicted_in_order(dataset, made):
    whole = arrays(made.predict(dataset))
    parts = [arrays(made.predict(part)) for part in dataset.parts]
    np.testing.assert_array_equal(whole, np.concatenate(parts, axis=1))


def later(simulated_log: Path, tmp_path: Path, **options) -> es.Dataset:
    """The last rows of the simulated log, prepared as a log of their own."""
    folder = tmp_path / "log"
    folder.mkdir()
    impressions, common = raw(simulated_log, 500)
    impressions.write_parquet(folder / "impressions-0.parquet")
    common.write_parquet(folder / "common.parquet")
    schema = (simulated_log / "schema.toml").read_text().partition("[truth]")[0]
    (folder / "schema.toml").write_text(schema)
    return es.prepare(folder / "schema.toml", folder, tmp_path / "later", **options)


def test_a_later_log_is_predicted_and_evaluated(dataset, made, simulated_log, tmp_path):
    tomorrow = later(simulated_log, tmp_path, encoders=made.folder, part="test")
    np.testing.assert_array_equal(
        arrays(made.predict(tomorrow.test)), arrays(made.predict(dataset.test))[:, -500:].copy()
    )
    assert made.evaluate(tomorrow.test).tasks["cvr"].impressions == tomorrow.test.counts["click"]
    (tmp_path / "other").mkdir()
    other = later(simulated_log, tmp_path / "other")
    with pytest.raises(RunError, match=r"must be prepared with the layout of the run.*--encoders RUN"):
        made.predict(other.test)


def test_a_log_without_outcomes_is_predicted_but_not_evaluated(made, simulated_log, tmp_path):
    unknown = later(simulated_log, tmp_path, encoders=made.folder, part="test", labelled=False)
    assert len(made.predict(unknown.test).pcvr) == 500
    with pytest.raises(DataError, match="the outcomes of the impressions must be known"):
        made.evaluate(unknown.test)


def test_a_damaged_layout_is_refused(made, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(made.folder, folder)
    name = folder / "vocabulary" / "item_id.parquet"
    data = bytearray(name.read_bytes())
    data[len(data) // 2] ^= 1
    name.write_bytes(data)
    with pytest.raises(DataError, match=r"item_id\.parquet: the files of a layout must not change"):
        _ = es.load(folder).encoders
    (folder / "layout.json").write_text((folder / "layout.json").read_text().replace("user_id", "user_ie", 1))
    with pytest.raises(DataError, match=r"layout\.json: .*its checksum does not match its content"):
        es.load(folder)


# Training from an earlier run


def test_training_starts_from_the_weights_of_an_earlier_run(dataset, made, quick, tmp_path):
    """On the same layout: without a step the weights are those of the earlier run."""
    still = quick.model_copy(update={"optimizer": quick.optimizer.model_copy(update={"learning_rate": 1e-12})})
    again = es.fit(es.BASE(), dataset.train, config=still, seed=9, start=made, reference=made.reference)
    for name, weight in again.network.state_dict().items():
        torch.testing.assert_close(weight, made.network.state_dict()[name], atol=1e-8, rtol=0)
    fresh = es.fit(es.BASE(), dataset.train, config=still, seed=9)
    assert any(not torch.equal(w, made.network.state_dict()[n]) for n, w in fresh.network.state_dict().items())


def test_ids_keep_their_rows_in_a_layout_that_has_grown(made, quick, simulated_log, tmp_path):
    grown = later(simulated_log, tmp_path, encoders=made.folder, grow=True, part="train")
    still = quick.model_copy(update={"optimizer": quick.optimizer.model_copy(update={"learning_rate": 1e-12})})
    run = es.fit(es.BASE(), grown.train, config=still, seed=9, start=made)
    before, after = (r.network.embedding("cvr").weight for r in (made, run))
    for name in ("item_id", "user_id"):
        old, new = (r.encoders[name].ids.to_list() for r in (made, run))
        assert new[: len(old)] == old
        place = [f.name for f in made.layout.fields].index(name)
        first, second = made.layout.offsets[place], run.layout.offsets[place]
        assert second != first or place == 0
        torch.testing.assert_close(
            after[second : second + len(old) + 1], before[first : first + len(old) + 1], atol=1e-8, rtol=0
        )
        if len(new) > len(old):
            assert after[second + len(old) + 1 :].abs().sum() > 0  # fresh rows
    assert sum(e.size for e in run.encoders.encoders.values()) > sum(e.size for e in made.encoders.encoders.values())
    assert json.loads((run.folder / "run.json").read_text())["start"] is not None


def test_ids_are_mapped_between_two_layouts(rng):
    from entirespace.features.encoders import Hashed, Knots, Vocabulary

    old, new = (Vocabulary(pl.Series(ids), np.ones(3)) for ids in (["a", "b", "c"], ["c", "x", "a"]))
    assert earlier_rows(new, old).tolist() == [0, 3, -1, 1]
    assert earlier_rows(Knots(np.array([1.0])), Knots(np.array([1.0]))).tolist() == [0, 1, 2]
    assert earlier_rows(Knots(np.array([1.0])), Knots(np.array([2.0]))).tolist() == [0, -1, -1]
    assert earlier_rows(Hashed(2), Hashed(2)).tolist() == [0, 1, 2]
    assert earlier_rows(Hashed(2), Hashed(3)).tolist() == [0, -1, -1]


def test_a_run_of_another_shape_is_no_start(dataset, made, quick, tmp_path):
    wider = quick.model_copy(update={"network": quick.network.model_copy(update={"embedding_size": 5})})
    with pytest.raises(RunError, match="the run to start from must have the same fields and the same network"):
        es.fit(es.BASE(), dataset.train, config=wider, start=made)
    with pytest.raises(RunError, match="only one of them has"):
        es.fit(es.DIVISION(), dataset.train, config=quick, start=made)
    es.fit(es.BASE(), dataset.train, config=quick, start=made, out=tmp_path / "run")
    with pytest.raises(RunError, match="must have the same start to be resumed"):
        es.fit(es.BASE(), dataset.train, config=quick, out=tmp_path / "run")


# Real logs


def test_kuairand_frames_score_as_the_part(shared_data, quick, tmp_path):
    """CSV files of the real log, read by polars with its own types, against the prepared test part."""
    folder = shared_data / "kuairand_pure"
    data = es.prepare("kuairand", folder, tmp_path / "data")
    network = quick.network.model_copy(update={"history": False})  # frames know what the test part only became
    run = es.fit(es.ESMM(), data.train, config=quick.model_copy(update={"network": network}))
    log = pl.read_csv(folder / "kuairand_pure_std_20220425_0508.csv.gz").unique(
        ["user_id", "video_id", "time_ms"], keep="first", maintain_order=True
    )
    users = pl.read_csv(folder / "user_features_pure.csv.gz", infer_schema_length=None)
    videos = pl.read_csv(folder / "video_features_basic_pure.csv.gz", infer_schema_length=None)
    test = log.tail(len(data.test))
    found = run.predict(test, tables={"user": users, "video": videos})
    want = run.predict(data.test)
    np.testing.assert_allclose(arrays(found), arrays(want), rtol=1e-5)
    text = pl.read_csv(folder / "video_features_basic_pure.csv.gz", infer_schema=False)
    exact = run.predict(test, tables={"user": users, "video": text})
    np.testing.assert_array_equal(arrays(exact), arrays(want))
    assert exact.unseen == want.unseen


def aliccp_frame(files: list[Path], names: list[str], weighted: list[str], head: int) -> pl.DataFrame:
    """Raw Ali-CCP lines as list columns: ids in FIELD, weights in FIELD.weights. `head`: columns before the key."""
    rows = []
    for file in files:
        for line in file.read_text().splitlines():
            columns = line.split(",")
            row: dict = {"common_feature_index": columns[head]} | {name: [] for name in names}
            row |= {f"{name}.weights": [] for name in weighted}
            for feature in filter(None, columns[-1].split("\x01")):
                name, rest = feature.split("\x02")
                raw, weight = rest.split("\x03")
                row[name].append(int(raw))
                if name in weighted:
                    row[f"{name}.weights"].append(float(weight))
            rows.append(row)
    return pl.DataFrame(rows, infer_schema_length=None)


def test_fields_of_aliccp_are_list_columns_of_a_frame(quick, tmp_path):
    from entirespace.logs.aliccp.source import COMMON_FIELDS, SKELETON_FIELDS, WEIGHTED

    es.simulate(tmp_path / "raw", impressions=1500, click_rate=0.3, conversion_rate=0.3, seed=2, format="aliccp")
    data = es.prepare("aliccp", tmp_path / "raw", tmp_path / "data")
    run = es.fit(es.ESMM(), data.train, config=quick)
    own, side = ([n for n in names if n in WEIGHTED] for names in (SKELETON_FIELDS, COMMON_FIELDS))
    rows = aliccp_frame([tmp_path / "raw" / "sample_skeleton_test.csv"], list(SKELETON_FIELDS), own, head=3)
    common = aliccp_frame([tmp_path / "raw" / "common_features_test.csv"], list(COMMON_FIELDS), side, head=0)
    found = run.predict(rows, tables={"common": common})
    want = run.predict(data.test)
    np.testing.assert_allclose(arrays(found), arrays(want), rtol=1e-5)
    assert found.unseen == want.unseen


def test_a_folder_named_reference_with_other_files_is_left_alone(dataset, made, quick, tmp_path):
    thesis = tmp_path / "run" / "reference" / "thesis.tex"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("precious")
    with pytest.raises(RunError, match=r"must be new, empty or hold a run, however: it holds reference/thesis\.tex"):
        es.fit(es.BASE(), dataset.train, config=quick, reference=made.reference, out=tmp_path / "run")
    assert thesis.read_text() == "precious"

"""`run.export`: a finished run -> a bundle in a folder of its own, written as a whole or not at all."""

from __future__ import annotations

import datetime as dt
import importlib
import importlib.metadata
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from .._version import __version__
from ..config import nearest
from ..errors import BundleError, DataError
from ..features.history.store import STATE, read_state
from ..features.layout import LAYOUT, Layout
from ..features.sides import Sides
from ..places import Rule, whole_folder
from ..progress import SILENT, Progress
from ..records import FileRecord, settle, whole
from ..runs.run import Run, weights_of
from ..serving.bundle import Bundle
from ..serving.encoders import write_lookups
from ..serving.inputs import ProgramInputs
from ..serving.manifest import CARD, CARD_TEXT, MANIFEST, PROGRAM, SCHEMA, BundleManifest, Parity
from ..serving.program import Program
from ..serving.schema import BundleSchema
from .card import card_text, model_card
from .gate import check_parity
from .onnx import write_program
from .program import ScoringProgram

_PLACE = Rule("the bundle's folder must be new, empty or hold only a bundle that may be replaced", BundleError)
LIBRARIES = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy", "polars", "pyarrow")
STEPS = 4


def export(
    run: Run,
    out: Path | str,
    *,
    request: Sequence[str] | None = None,
    force: bool = False,
    threads: int = 1,
    progress: Progress = SILENT,
) -> Bundle:
    """Write a run as a bundle, which scores raw rows without torch, and compare the scores of both.

    Args:
        out: the bundle's folder; new or empty.
        request: fields that belong to the request, in place of those that the layout names; see `features.sides`.
        force: replace a bundle that is at `out` already.
        threads: of one call of the opened bundle.

    Returns: the bundle, open.

    Raises: BundleError if the network cannot be exported, if its scores are not those of the run, or if `out` holds
    other files. RunError if the run needs a reference CTR network and has none.
    """
    out = Path(out)
    _need_libraries()
    with whole_folder(out, _PLACE, last=MANIFEST, own=_own if force else _nothing, inputs=[run.folder]) as folder:
        progress.start(f"exporting {run.title}", STEPS, "steps")
        sides = sides_of(run, request)
        inputs = inputs_of(run, sides)
        write_program(ScoringProgram(run, inputs), inputs, folder / PROGRAM)
        progress.advance(1, "the program")
        copy_layout(run.folder, folder)
        write_lookups(run.encoders, folder)
        parity = check_parity(run, Program(folder / PROGRAM, inputs, run.layout.rates, threads))
        progress.advance(1, "its scores are those of the run")
        _describe(run, folder, inputs, sides, parity)
        progress.advance(1, "the model card")
        Bundle.open(folder)
        progress.advance(1)
    progress.done()
    return Bundle.open(out, threads=threads)


def sides_of(run: Run, request: Sequence[str] | None = None) -> Sides:
    """Which fields belong to a request. Raises: BundleError if `request` names no field of the run."""
    known = [f.name for f in run.layout.fields]
    counted = () if run.layout.history is None else run.layout.history.fields_of_keys
    known += [f.name for f in counted if f.name not in known]
    for name in request or ():
        if name not in known:
            raise BundleError("the fields of a request must be fields of the run", f"'{name}'", do=nearest(name, known))
    return Sides.of(run.layout, request)


def inputs_of(run: Run, sides: Sides) -> ProgramInputs:
    """The inputs of a run's program: the fields of its network, and of the reference CTR network if that is in it."""
    networks = [run] if "pctr" in run.method.predicts else [run, run.needed_reference()]
    names = {name for one in networks for name in one.chosen.names}
    rates = [name for name in run.layout.rates if any(name in one.chosen.rates for one in networks)]
    fields = [f for f in run.encoder().fields if f.name in names]
    return ProgramInputs.of(fields, rates, sides.request, {f.name: f.weighted for f in fields})


def copy_layout(source: Path, folder: Path) -> None:
    """Copy the layout and the counts of the history: a bundle shares no file with a run, by links or otherwise."""
    layout = Layout.open(source)
    names = [*layout.files, LAYOUT]
    if layout.history is not None:
        names += [*read_state(source).files, STATE]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(source / name, folder / name)
        except FileNotFoundError as error:
            raise DataError("a run must hold its layout", "the file is missing", where=str(source / name)) from error


def _describe(run: Run, folder: Path, inputs: ProgramInputs, sides: Sides, parity: Parity) -> None:
    """Write the schema, the model card, and the manifest, last."""
    read = tuple(f.name for f in run.layout.fields if f.name in run.read)
    history = None if run.layout.history is None else read_state(folder).digest
    versions = {"entirespace": __version__, **{name: importlib.metadata.version(name) for name in LIBRARIES}}
    made = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    BundleSchema.of(run.layout, read, sides).write(folder / SCHEMA)
    card = model_card(run, parity, history, versions, made)
    card.write(folder / CARD)
    (folder / CARD_TEXT).write_text(card_text(card), encoding="utf-8")
    files: dict[str, FileRecord] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        settle(path, path)  # flushed to disk before the manifest says that it is whole
        files[path.relative_to(folder).as_posix()] = FileRecord.of(path)
    BundleManifest(
        name=run.title,
        method=run.method.spec(),
        label=run.method.label,
        layout=run.layout.digest,
        history=history,
        weights=tuple(weights_of(run)),
        fields=read,
        inputs=inputs,
        parity=parity,
        made=made,
        versions=versions,
        files=files,
    ).write(folder / MANIFEST)


def _own(folder: Path) -> Mapping[str, str]:
    """The files of a bundle of any version in a folder, and their SHA-256; nothing if it holds none."""
    content = whole(folder / MANIFEST, BundleManifest.FORMAT.partition("/")[0])
    if content is None:
        return {}
    return {**{name: about["sha256"] for name, about in content["files"].items()}, MANIFEST: content["checksum"]}


def _nothing(folder: Path) -> Mapping[str, str]:
    return {}


def _need_libraries() -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            do = "pip install 'entirespace[export]'"
            raise BundleError(f"export needs the package {name}", "it is not installed", do=do) from error

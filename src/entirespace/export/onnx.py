"""A torch module -> an ONNX file with its weights beside it, by torch's dynamo exporter."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..errors import BundleError
from ..serving.inputs import OUTPUTS, Input, ProgramInputs
from .program import ScoringProgram

OPSET = 20
EXAMPLE = 3  # rows and ids of the example: sizes of 0 and 1 would become fixed


def write_program(program: ScoringProgram, inputs: ProgramInputs, path: Path) -> None:
    """Write `path` and `path`.data. The embedding is never copied into the protocol buffer, which holds 2 GB at most.

    Raises: BundleError if torch cannot export the module, or if a size of an input became fixed.
    """
    listed = list(inputs.listed())
    sizes = {size: i for i, size in enumerate(dict.fromkeys(s for each in listed for s in each.shape))}
    dims = {size: torch.export.Dim(f"s{i}", min=1) for size, i in sizes.items() if isinstance(size, str)}
    example = {size: EXAMPLE + i for i, size in enumerate(dims)}  # equal sizes would be taken for one
    tensors = tuple(_example(each, example) for each in listed)
    shapes = tuple({i: dims[size] for i, size in enumerate(each.shape) if isinstance(size, str)} for each in listed)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _quiet(), torch.no_grad():
            # `dynamo=True` and no `dynamic_axes`: torch then never falls back to TorchScript
            made = torch.onnx.export(
                program.eval(),
                tensors,
                dynamo=True,
                input_names=[each.name for each in listed],
                output_names=list(OUTPUTS),
                dynamic_shapes={"tensors": shapes},
                external_data=True,
                opset_version=OPSET,
                custom_translation_table={torch.ops.aten.log_sigmoid.default: _log_sigmoid},
                verbose=False,
            )
            assert made is not None
            made.save(path, external_data=True)
    except Exception as error:  # the exporter raises errors of many classes
        must = "the network must be one that torch can export to ONNX"
        do = "A tower, trunk or method of your own must use operations of torch without Python branches on values"
        raise BundleError(must, _first_line(error), where=str(path.name), do=do) from error
    _must_have_free_sizes(path, listed)


def _log_sigmoid(x: Any) -> Any:
    """log(1 / (1 + exp(-x))) of float32 or float64. The exporter's own form is the log of Sigmoid, which onnxruntime
    computes with an absolute error: of a p of 1e-9 nothing would be left, and p / q would be wrong."""
    import onnxscript

    op: Any = onnxscript.opset20
    one = op.CastLike(op.Constant(value_float=1.0), x)
    return op.Neg(op.Add(op.Relu(op.Neg(x)), op.Log(op.Add(one, op.Exp(op.Neg(op.Abs(x)))))))


def _example(each: Input, sizes: dict[str, int]) -> torch.Tensor:
    shape = [sizes[size] if isinstance(size, str) else size for size in each.shape]
    return torch.zeros(shape, dtype=torch.int32 if each.type == "int32" else torch.float32)


def _must_have_free_sizes(path: Path, listed: list[Input]) -> None:
    """Raises: BundleError if a size that differs from call to call is fixed in the file."""
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    found = {value.name: value.type.tensor_type.shape.dim for value in (*graph.input, *graph.output)}
    wanted: dict[str, tuple[Any, ...]] = {each.name: each.shape for each in listed}
    wanted |= dict.fromkeys(OUTPUTS, ("N",))
    named: dict[Any, str] = {}
    for name, shape in wanted.items():
        for size, dim in zip(shape, found[name], strict=True):
            free = bool(dim.dim_param)
            if free != isinstance(size, str) or (free and named.setdefault(size, dim.dim_param) != dim.dim_param):
                came = f"it has size {dim.dim_param or dim.dim_value} in place of {size}"
                raise BundleError(f"'{name}' of the program must have the shape {shape}", came, where=path.name)
    if len(set(named.values())) != len(named):
        raise BundleError("the sizes of a program must be free of each other", str(named), where=path.name)


def _first_line(error: BaseException) -> str:
    """The first sentence of the error that caused all others."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].strip() if lines else ''}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's own messages, which are for its developers."""
    loggers = [
        logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export", "torch.__trace")
    ]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)

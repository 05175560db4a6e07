"""Tensors of the Open Inference Protocol: JSON or binary, little-endian; BYTES elements have a length of 4 bytes."""

from __future__ import annotations

import math
import struct
from itertools import chain
from typing import Any

import numpy as np

from .errors import ApiError, shown

TYPES = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP32": "<f4",
    "FP64": "<f8",
}
"""Type of a tensor -> its form in numpy. BYTES have their own form."""


def bad(must: str, came: Any, where: str) -> ApiError:
    """The error for a request of the protocol that is not as it must be."""
    return ApiError("bad_request", must, came if isinstance(came, str) else shown(came), where=where)


def values(tensor: Any, tail: memoryview, start: int, where: str) -> tuple[str, list[Any], int]:
    """(name, values, where the next binary tensor begins). An empty text and NaN are missing: None.

    Args:
        tensor: an input of the request's JSON.
        tail: what comes after the JSON.
        start: where the binary data of this tensor begin, if it has any.

    Raises: ApiError.
    """
    if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
        raise bad("an input must be an object with a name", "another value", where)
    name = tensor["name"]
    where = f"inputs '{name[:80]}'"
    kind, shape, parameters = tensor.get("datatype"), tensor.get("shape"), tensor.get("parameters") or {}
    if kind != "BYTES" and kind not in TYPES:
        raise bad(f"datatype must be BYTES, {', '.join(TYPES)}", kind, where)
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise bad("shape must be a list of sizes", shape, where)
    if len(shape) not in (1, 2) or (len(shape) == 2 and shape[1] != 1):
        raise bad("shape must be [n] or [n, 1]", shape, where)
    if not isinstance(parameters, dict):
        raise bad("parameters must be an object", parameters, where)
    size = parameters.get("binary_data_size")
    if "shared_memory_region" in parameters:
        raise bad("tensors must be in the request", "one is in shared memory", where)
    if size is None:
        found = _of_json(kind, tensor.get("data"), where)
    elif type(size) is not int or size < 0 or start + size > len(tail):
        came = f"{shown(size)}, and {max(0, len(tail) - start):,} bytes are left"
        raise bad("binary_data_size must be the bytes of the tensor", came, where)
    elif "data" in tensor:
        raise bad("a tensor must be JSON or binary", "it is both", where)
    else:
        found = _of_bytes(kind, tail[start : start + size], where)
        start += size
    if len(found) != shape[0]:
        raise bad(f"a tensor of shape {shape} must have {shape[0]:,} values", f"{len(found):,}", where)
    if kind in ("FP32", "FP64"):
        if any(map(math.isinf, found)):
            raise bad("numbers must be finite", "infinity", where)
        found = [None if value != value else value for value in found]
    return name, [None if value == "" else value for value in found] if kind == "BYTES" else found, start


def _of_json(kind: str, data: Any, where: str) -> list[Any]:
    if not isinstance(data, list):
        raise bad("data must be a list", data, where)
    flat = list(chain.from_iterable(data)) if data and all(isinstance(each, list) for each in data) else data
    types = {"BYTES": {str}, "BOOL": {bool}, "FP32": {int, float}, "FP64": {int, float}}.get(kind, {int})
    for i, value in enumerate(flat):
        if type(value) not in types:
            raise bad(f"data must hold values of type {kind}", value, f"{where}, value {i}")
    if kind in ("FP32", "FP64"):
        try:
            return [float(value) for value in flat]
        except OverflowError:
            raise bad("numbers must be finite", "a larger one", where) from None
    return flat


def _of_bytes(kind: str, data: memoryview, where: str) -> list[Any]:
    if kind != "BYTES":
        if len(data) % np.dtype(TYPES[kind]).itemsize:
            raise bad(f"binary data of {kind} must be whole values", f"{len(data):,} bytes", where)
        return np.frombuffer(data, TYPES[kind]).tolist()
    found, at = [], 0
    while at < len(data):
        if at + 4 > len(data):
            raise bad("a value of BYTES must have a length of 4 bytes", f"{len(data) - at} bytes", where)
        (length,) = struct.unpack_from("<I", data, at)
        if at + 4 + length > len(data):
            raise bad("a value of BYTES must be whole", f"{len(data) - at - 4} of {length:,} bytes", where)
        try:
            found.append(str(data[at + 4 : at + 4 + length], "utf-8"))
        except UnicodeDecodeError as error:
            raise bad("a value of BYTES must be text in UTF-8", str(error), f"{where}, value {len(found)}") from error
        at += 4 + length
    return found

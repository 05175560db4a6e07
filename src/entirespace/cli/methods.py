"""entirespace methods"""

from __future__ import annotations

from .options import Json, show


def command(as_json: Json = False) -> None:
    """The methods: the impressions that they learn from, their loss, and how pCVR is computed."""
    from ..methods import METHODS
    from ..tables import text_table

    methods = [
        {
            "name": name,
            "samples": method.sampled,
            "loss": method.equation,
            "pcvr": method.reading,
            "searched": {k: list(v) for k, v in method.searched.items()},
            "about": (type(method).__doc__ or "").strip().splitlines()[0],
        }
        for name, method in METHODS.items()
    ]
    table = text_table(
        ["method", "samples", "loss of one sample", "pCVR", "searched"],
        [
            [m["name"], m["samples"], m["loss"], m["pcvr"], ", ".join(f"{k} {v}" for k, v in m["searched"].items())]
            for m in methods
        ],
        left=5,
    )
    legend = (
        "S: all impressions. S_c: clicked impressions. l: cross entropy. y: click, z: conversion (paper, section 2.1)."
    )
    rivals = (
        "`compare` also knows LightGBM, boosted trees on the same columns, and BLEND(A, B) of two rows of its table."
    )
    show(f"{table}\n\n{legend}\n{rivals}", methods, as_json)

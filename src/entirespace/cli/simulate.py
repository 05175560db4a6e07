"""entirespace simulate OUT"""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .options import Json, Quiet, command_line, show, typed
from .progress import progress_on_stderr


class Format(StrEnum):
    parquet = "parquet"
    aliccp = "aliccp"


def command(
    out: Annotated[Path, typer.Argument(help="The folder to write; it must be new or empty.", metavar="OUT")],
    impressions: Annotated[int, typer.Option(help="Number of impressions, the rows of the log.")] = 1_000_000,
    users: Annotated[int | None, typer.Option(help="Number of users (default: impressions / 100).")] = None,
    items: Annotated[int | None, typer.Option(help="Number of items (default: impressions / 20).")] = None,
    click_rate: Annotated[float, typer.Option(help="Mean pCTR.")] = 0.04,
    conversion_rate: Annotated[float, typer.Option(help="Mean pCVR of clicked impressions.")] = 0.005,
    bias: Annotated[
        float,
        typer.Option(help="Selection bias, 0 for none: the logits of pCTR and pCVR correlate by bias / (1 + bias)."),
    ] = 1.0,
    drift: Annotated[float, typer.Option(help="How much preferences change during the log, 0 to 1.")] = 0.2,
    history: Annotated[float, typer.Option(help="Mean number of ids in the history field of a user.")] = 7.0,
    session: Annotated[float, typer.Option(help="Mean number of consecutive impressions of one user.")] = 14.0,
    orphans: Annotated[float, typer.Option(help="Share of un-clicked impressions with a conversion.")] = 0.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    rates: Annotated[
        bool,
        typer.Option(
            "--rates", help="Write a [history] into schema.toml: click and conversion rates of ids as fields."
        ),
    ] = False,
    format: Annotated[
        Format, typer.Option(help="parquet (with schema.toml), or aliccp: the raw files of Ali-CCP.")
    ] = Format.parquet,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a Taobao-like log, and the true pCTR and pCVR of every impression.

    Then: entirespace prepare OUT/schema.toml OUT DATASET (or: prepare aliccp OUT DATASET).
    """
    from ..simulation.simulate import simulate

    with progress_on_stderr(quiet) as progress, command_line():
        progress.start("simulating", impressions, "impressions")
        reported = 0

        def advance(done: int, _: int) -> None:
            nonlocal reported
            progress.advance(done - reported)
            reported = done

        made = simulate(
            out,
            impressions=impressions,
            users=users,
            items=items,
            click_rate=click_rate,
            conversion_rate=conversion_rate,
            bias=bias,
            drift=drift,
            history=history,
            session=session,
            orphans=orphans,
            seed=seed,
            rates=rates,
            format=format.value,
            progress=advance,
        )
        progress.done()
    what = "aliccp" if format == Format.aliccp else out / "schema.toml"
    report = "\n".join(
        [
            f"{out}: {made.impressions:,} impressions, {made.clicks:,} clicks ({100 * made.click_rate:.2f} %), "
            f"{made.conversions:,} conversions ({100 * made.conversion_rate:.2f} % of clicks), "
            f"{made.users:,} users, {made.items:,} items",
            f"mean true pCVR: {100 * made.mean_pcvr_clicked:.3f} % on clicked, "
            f"{100 * made.mean_pcvr_unclicked:.3f} % on un-clicked impressions",
            f"next: {typed('entirespace', 'prepare', what, out, 'DATASET')}",
        ]
    )
    show(report, {**asdict(made), "path": str(out)}, as_json)

"""The counts of a run's history, and of all runs in its folder, go on with a later log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..dataset.dataset import Dataset
from ..dataset.update import Update, update_history
from ..features.history.store import link_history, read_state, remove_old
from ..features.layout import Layout
from .record import runs_in
from .run import Run


def update(target: Path | str | Dataset | Run, raw: Path | str, **options: Any) -> Update:
    """Count the impressions of a later log in the history of a dataset or a run, without training.

    Predictions for later rows know them from then on: call `load` or `open` again. The impressions of the dataset
    itself keep their rates. An impression that is counted already is not counted twice: it is known by its content,
    which is its fields, keys and time, but no outcome.

    Args:
        target: a run or its folder; its reference CTR network and the members of an ensemble are updated, too. Or a
            dataset or its folder.
        raw: the folder of the log.
        options: schema, on_orphan, max_bad, allow_outside and progress, as in `dataset.update.update_history`.

    Raises: as `dataset.update.update_history`.
    """
    folder = target.folder if isinstance(target, Run) else target.path if isinstance(target, Dataset) else Path(target)
    below = [run for run in runs_in(folder) if run != folder and Layout.open(run).history is not None]
    states = {run: read_state(run) for run in (folder, *below)} if below else {}
    found = update_history(folder, raw, **options)
    updated = {states[folder].digest: folder} if below else {}  # the state before -> a run that has the new one
    for run in below:
        before = states[run]
        if before.digest in updated:
            link_history(updated[before.digest], run)
            remove_old(run, (before, read_state(run)))
        else:
            update_history(run, raw, **options)
            updated[before.digest] = run
    return found

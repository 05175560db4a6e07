"""The counts of a run's history, and of its reference CTR network's, go on with a later log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..dataset.dataset import Dataset
from ..dataset.update import Update, update_history
from ..features.history.store import link_history, read_state
from ..features.layout import Layout
from .record import REFERENCE, RUN
from .run import Run


def update(target: Path | str | Dataset | Run, raw: Path | str, **options: Any) -> Update:
    """Count the impressions of a later log in the history of a dataset or a run, without training.

    Predictions for later rows know them from then on: call `load` or `open` again. The impressions of the dataset
    itself keep their rates. An impression that is counted already is not counted twice: it is known by its content,
    which is its fields, keys and time, but no outcome.

    Args:
        target: a run or its folder; its reference CTR network is updated, too. Or a dataset or its folder.
        raw: the folder of the log.
        options: schema, on_orphan, max_bad, allow_outside and progress, as in `dataset.update.update_history`.

    Raises: as `dataset.update.update_history`.
    """
    folder = target.folder if isinstance(target, Run) else target.path if isinstance(target, Dataset) else Path(target)
    reference = folder / REFERENCE
    if not (folder / RUN).exists() or not reference.exists() or Layout.open(reference).history is None:
        return update_history(folder, raw, **options)
    same = read_state(folder).digest == read_state(reference).digest
    found = update_history(folder, raw, **options)
    if same:
        link_history(folder, reference)
    else:
        update_history(reference, raw, **options)
    return found

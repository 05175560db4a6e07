"""Adds the outcomes of a later log to the counts of a history, without preparing or training anything again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.rows import IMPRESSIONS
from ..errors import ConfigError, DataError
from ..features.history.store import read_state, remove_old, save
from ..features.layout import Encoders
from ..folders import INSIDE
from ..logs.audit import Audit, Quarantine
from ..logs.schema import Schema
from ..logs.source import OnOrphan
from ..places import Rule, work_folder
from ..progress import SILENT, Progress
from .assign import TESTING
from .copies import DROPPED, complete
from .history import StagedHistory
from .prepare import open_log, staged

TARGET = Rule("a history must be updated by one process at a time", DataError)


@dataclass(frozen=True)
class Update:
    """What an update has added to a history."""

    added: int
    """Impressions that were counted."""
    repeated: int
    """Impressions that had been counted already."""
    early: int
    """Impressions whose outcomes were not known yet, by the `delay` of the history. A later update counts them."""
    before: str
    """The digest of the counts before."""
    state: str
    """The digest of the counts now."""
    audit: dict[str, Any]
    """What was left out of the log, and why; see `logs.audit.Audit.as_dict`."""


def update_history(
    folder: Path,
    raw: Path | str,
    *,
    schema: Path | str | Schema | None = None,
    on_orphan: OnOrphan = "keep",
    max_bad: float = 0.001,
    allow_outside: bool = False,
    progress: Progress = SILENT,
) -> Update:
    """Count the impressions of a later log in the history of a dataset or a run.

    They are the group "later" of the counts: impressions of later logs know them, and those of the dataset do not. If
    the process is killed, the history is as before.

    Args:
        folder: of the dataset or the run.
        raw: the folder of the log.
        schema: as for `prepare`. Absent: that of the log by which the history was prepared.
        on_orphan, max_bad, allow_outside: as for `prepare`.

    Raises: ConfigError if there is no history. DataError if the log cannot be read, or another process updates.
    """
    raw, encoders = Path(raw), Encoders.open(folder)
    if encoders.history is None:
        must, do = "the dataset or run must have a history", "Add [history] to the schema, and prepare and train again"
        raise ConfigError(must, "there is none", where=str(folder), do=do)
    with TARGET.alone(folder), work_folder(folder, INSIDE) as work:
        before = read_state(folder)
        log = open_log(
            before.log if schema is None else schema,
            raw,
            encoders=encoders,
            part="test",
            on_orphan=on_orphan,
            allow_outside=allow_outside,
            progress=progress,
        )
        audit = Audit(max_bad)
        with Quarantine(work, audit) as quarantine:
            source = log.source(audit, quarantine)
            stages = staged(source, work, audit)
        parts = complete(stages[IMPRESSIONS], source, on_orphan, work, audit)
        parts[parts != DROPPED] = TESTING
        more = StagedHistory(source, stages, parts, work, encoders.history)
        state = before
        if more.added:
            state = save(encoders.history.updated(more.history), folder, before.updates + 1)
            remove_old(folder, (before, state))
    return Update(more.added, more.repeated, more.early, before.digest, state.digest, audit.as_dict())

"""How impressions are split into parts, in a schema file."""

from __future__ import annotations

from itertools import combinations
from typing import Annotated, Literal, Self

from pydantic import Field as Value
from pydantic import model_validator

from ...config import Model
from .values import Level


class SplitSchema(Model):
    """How impressions are split into parts. The split is made before any vocabulary is fitted."""

    by: Literal["order", "random", "user", "column", "file", "all"] = "order"
    """order: by time; random: each impression by chance; user: each user, with all impressions, by chance; column: by
    the value of a column; file: by file name; all: every impression in one part."""
    part: Literal["train", "validation", "test"] | None = None
    """by = "all": the part that all impressions go to."""
    column: str | None = None
    """by = "column": the column."""
    seed: int | None = Value(default=None, ge=0)
    """by = "random" or "user": another seed makes another split. Default: 0."""
    train: float | tuple[Level, ...] = 0.5
    """by = "order": the share of impressions for training, the earliest (paper: 1/2); by = "random" or "user": the
    share for training. by = "column" or "file": the column values or file patterns of training impressions."""
    test: tuple[Level, ...] = ()
    """by = "column" or "file": the column values or file patterns of test impressions."""
    validation: Annotated[float, Value(ge=0, lt=1)] | tuple[Level, ...] = 0.1
    """The share of the training part that becomes the validation part: the latest in time; or by chance, with by =
    "random" or "user". by = "column" or "file": also the column values or file patterns of validation impressions.
    Early stopping and the choice of settings use it, never the test part."""

    @model_validator(mode="after")
    def _options_fit_by(self) -> Self:
        listed = self.by in ("column", "file")
        if (self.by == "all") != (self.part is not None):
            raise ValueError("part must be set with by = 'all', and only then")
        if (self.by == "column") != (self.column is not None):
            raise ValueError("column must be set with by = 'column', and only then")
        if self.seed is not None and self.by not in ("random", "user"):
            raise ValueError("seed can only be set with by = 'random' or 'user'")
        if not listed:
            if not isinstance(self.train, float) or not 0 < self.train < 1:
                raise ValueError(f"by = '{self.by}' needs a share between 0 and 1 in train")
            if self.test:
                raise ValueError("column and test can only be set with by = 'column' or 'file'")
            if isinstance(self.validation, tuple):
                raise ValueError("a list in validation can only be set with by = 'column' or 'file'")
        elif not isinstance(self.train, tuple) or not self.train or not self.test or self.validation == ():
            raise ValueError(f"by = '{self.by}' needs lists in train and test")
        for one, other in combinations(("train", "validation", "test"), 2):
            both = set(self.levels(one)) & set(self.levels(other))
            if both:
                raise ValueError(f"'{min(both)}' is in both {one} and {other}")
        return self

    def levels(self, part: str) -> tuple[str, ...]:
        """The column values or file patterns that are listed for a part; none where a share is given."""
        listed = getattr(self, part)
        return listed if isinstance(listed, tuple) else ()

"""Which columns are the labels of click and conversion, by their names and by what they hold.

Each guess is a `LabelSchema`, tried on the sample with the reader of labels itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...core.rows import ValueFormat
from ..outcomes import read_label
from ..schema import LabelSchema
from . import words as known
from .column import FEW_BAD, Column

PLAIN, WORDS, PRESENT, RATING, COUNT = 5, 4, 3, 2, 1
"""How surely a column of this content is a label."""
TWO = 4  # levels of a label of two, as 0 and 1 or "no", "No", "yes" and "Yes"
ENOUGH = 20  # conversions that let a column be preferred because it is the rarest
IMPLIED = 0.99  # the share of conversions with a click, for a click that is found by content alone
SCALES = (5, 10, 100)


@dataclass(frozen=True)
class Label:
    """A column read as a label."""

    column: Column
    rule: Mapping[str, object]  # of `LabelSchema`, without `from`
    ones: np.ndarray  # bool (n,)
    missing: np.ndarray  # bool (n,)
    content: int
    sure: int = 0  # by its name, 0 to 4
    doubts: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.column.name

    @property
    def share(self) -> float:
        """The share of rows that are 1."""
        return float(self.ones.mean()) if len(self.ones) else 0.0

    def doubted(self, doubt: str) -> Label:
        return replace(self, doubts=(*self.doubts, doubt))


@dataclass(frozen=True)
class Labels:
    """The labels that were found, and the columns that seem to be other outcomes."""

    click: Label | None
    conversion: Label | None
    others: tuple[str, ...] = ()


def label(column: Column, content: int, *doubts: str, **rule: object) -> Label | None:
    """A column read by a rule; None if it cannot be, or is the same in all rows."""
    schema = LabelSchema.model_validate({"from": column.name, **rule})
    ones, unread, missing = read_label(
        column.values, schema, ValueFormat(missing=column.words, decimal=column.form.decimal)
    )
    if unread.mean() > FEW_BAD or not ones.any():
        return None
    return Label(column, rule, ones, missing & ~ones, content, 0, doubts)


def find(columns: Sequence[Column], named: bool = True) -> Labels:
    """The labels among the columns of the impressions. `named`: the columns have names."""
    usable = [c for c in columns if not c.lists and len(c.values) and len(c.distinct)]
    by_name = [found for c in usable for found in _named(c)]
    click = _best([f for f in by_name if _stage(f) == "click"])
    conversion = _best_conversion([f for f in by_name if _stage(f) == "conversion"], click)
    if click is None or conversion is None or min(click.sure, conversion.sure) < 3:
        last = None if named else columns[-1].name  # where the label stands in many files without a header
        levels = next(filter(None, (_levels(c, c.name == last) for c in usable)), None)
        if levels is not None:
            click, conversion = levels
    if conversion is None or (click is None and conversion.content <= RATING):
        rating = next(filter(None, map(_rating, usable)), None)
        if rating is not None:
            click, conversion = _rated(click, rating)
    binary = list(filter(None, map(_binary, usable)))
    if conversion is None and click is None:
        click, conversion = _steps(usable)
    if conversion is None and click is None and not named:
        click, conversion = _pair(binary)
    if click is None and conversion is not None:
        click = _implied(conversion, binary)
    elif conversion is None and click is not None:
        conversion = _following(click, binary)
    used = {f.name for f in (click, conversion) if f is not None}
    others = tuple(dict.fromkeys(f.name for f in by_name if f.name not in used))
    outcomes = [c.name for c in usable if c.name not in used and _is_outcome(c)]
    return Labels(click, _complete(click, conversion), tuple(dict.fromkeys((*others, *outcomes))))


def _binary(column: Column) -> Label | None:
    """The column as a label by its content alone: of two levels, or a date that some rows lack."""
    if column.missing and column.time is not None:
        return label(column, PRESENT, present=True)
    return label(column, PLAIN) if len(column.distinct) <= TWO else None


def _stage(found: Label) -> str:
    return (known.stage(found.name) or ("", 0))[0]


def _named(column: Column) -> Iterator[Label]:
    """The column as a label, if its name is that of one."""
    stage = known.stage(column.name)
    if stage is None:
        return
    if column.missing and (len(column.distinct) == 1 or column.time is not None):
        found = label(column, PRESENT, present=True)
    else:
        found = label(column, PLAIN) or _two_words(column)
    if found is None and column.numbers is not None and column.whole and _is_count(column):
        found = label(column, COUNT, f"'{column.name}' counts; at least 1 is taken as 1", at_least=1)
    if found is not None and not found.ones.all():
        yield replace(found, sure=stage[1])


def _is_outcome(column: Column) -> bool:
    """Whether a column that is no label is named as an outcome, such as the seconds watched, or a grade in `like`."""
    is_grade = known.stage(column.name) in (("conversion", 2), ("click", 2)) and column.numbers is not None
    return bool(set(known.words(column.name)) & known.OUTCOME) or is_grade


def _is_count(column: Column) -> bool:
    assert column.numbers is not None
    there = column.numbers[column.there]
    return bool(there.min() == 0 and (there == 0).mean() > 0.5)


def _two_words(column: Column) -> Label | None:
    """Two levels, one of which says no, such as "clicked" and "not clicked"."""
    levels = column.distinct.to_list()
    if column.numbers is not None or len(levels) != 2:
        return None
    no = [
        v
        for v in levels
        if set(known.words(v)) & ({"no", "not", "non", "un"} | known.NOTHING) or v.lower().startswith("un")
    ]
    if len(no) != 1:
        return None
    yes = next(v for v in levels if v != no[0])
    return label(column, WORDS, values=[yes], others=no)


def _best(found: list[Label]) -> Label | None:
    return max(found, key=lambda f: (f.sure, f.content), default=None)


def _best_conversion(found: list[Label], click: Label | None) -> Label | None:
    """By name and content; of several the rarest, for it is the last step, unless it is too rare to tell."""

    def rank(f: Label) -> tuple[object, ...]:
        both = f.ones if click is None else f.ones & click.ones
        return f.sure, f.content, bool(both.any()), both.sum() >= ENOUGH, -f.share

    best = max(found, key=rank, default=None)
    rivals = [
        f.name for f in found if best is not None and f is not best and (f.sure, f.content) == (best.sure, best.content)
    ]
    if best is None or not rivals:
        return best
    return best.doubted(f"{', '.join(rivals)} may be the conversion as well; this is the rarest of them")


def _levels(column: Column, named: bool) -> tuple[Label, Label] | None:
    """Click and conversion from levels: 0 nothing, 1 click, 2 conversion; or words such as view, click, purchase.

    Args:
        named: it is a column of levels whatever its name.
    """
    named = named or bool(set(known.words(column.name)) & known.LEVELS)
    levels = column.distinct.to_list()
    if not 3 <= len(levels) <= 6:
        return None
    if named and column.whole and sorted(levels) == [str(i) for i in range(len(levels))]:
        steps = [int(v) for v in sorted(levels)]
        clicks, buys, none = steps[1:], steps[2:], steps[:1]
        doubts = (
            f"the levels of '{column.name}' are taken as 0 nothing, 1 click, {', '.join(map(str, buys))} conversion",
        )
    else:
        words = {v: set(known.words(v)) for v in levels}
        buys = [v for v, w in words.items() if w & (known.CONVERSION | known.CONVERSION_WEAK)]
        none = [v for v, w in words.items() if w & (known.NOTHING | {"view", "viewed"}) and v not in buys]
        clicks = [
            v for v, w in words.items() if w & (known.CLICK | known.CLICK_WEAK) and v not in [*buys, *none]
        ] + buys
        if not (buys and none and len(clicks) > len(buys)) or len(clicks) + len(none) < len(levels):
            return None
        doubts = (f"the levels of '{column.name}' are taken by their names",)
    click = label(column, WORDS, *doubts, values=clicks, others=none)
    conversion = label(column, WORDS, values=buys, others=[*none, *(v for v in clicks if v not in buys)])
    return None if click is None or conversion is None else (click, conversion)


def _rating(column: Column) -> Label | None:
    """A rating of which the upper fifth of the scale is a conversion."""
    if column.numbers is None or not set(known.words(column.name)) & known.RATING or known.stage(column.name):
        return None
    there = column.numbers[column.there]
    scale = next((s for s in SCALES if there.max() <= s), None)
    if scale is None or there.min() < 0 or len(np.unique(there)) > 101 or len(np.unique(there)) < 3:
        return None
    least = scale * 4 // 5
    doubt = f"ratings are up to {there.max():g}; a rating of at least {least} is taken as a conversion"
    return label(column, RATING, doubt, at_least=least)


def _rated(click: Label | None, rating: Label) -> tuple[Label | None, Label]:
    if click is None:
        click = label(rating.column, PRESENT, present=True)
        if click is not None and click.ones.all():
            click = click.doubted(
                "every row has a rating, so all count as clicked, and no method can learn clicks from them; add rows "
                "that were shown and not rated, with an empty rating"
            )
    return click, rating


def _steps(columns: list[Column]) -> tuple[Label | None, Label | None]:
    """Click and conversion from dates of steps that follow each other, of which fewer and fewer are there."""
    steps = [label(c, PRESENT, present=True) for c in columns if c.time is not None and c.missing]
    steps = sorted((s for s in steps if s is not None), key=lambda s: -s.share)
    if len(steps) < 2:
        return None, None
    return _of_steps(steps), steps[-1].doubted("the date that fewest rows have is taken as the conversion")


def _of_steps(steps: list[Label]) -> Label:
    others = ", ".join(s.name for s in steps[1:-1])
    also = f"; or write {others}" if others else ""
    return steps[0].doubted(f"a date that is there is taken as a click, the first step after the impression{also}")


def _pair(binary: list[Label]) -> tuple[Label | None, Label | None]:
    """Click and conversion among columns without names: the second is 1 only where the first is."""
    plain = [f for f in binary if f.content == PLAIN and f.share < 0.98]
    for click in plain:
        conversion = _following(click, plain)
        if conversion is not None:
            doubt = f"the columns have no names; each row with '{conversion.name}' = 1 has '{click.name}' = 1"
            return click.doubted(doubt), replace(conversion, doubts=())
    return None, None


def _implied(conversion: Label, binary: list[Label]) -> Label | None:
    """The click by content: what nearly every conversion has, and more rows than conversions do."""
    found = [
        f
        for f in binary
        if f.name != conversion.name
        and conversion.share < f.share < 0.98
        and (f.ones & conversion.ones).sum() >= (0.95 if f.column.time else IMPLIED) * conversion.ones.sum()
    ]
    if not found:
        return None
    steps = sorted((f for f in found if f.content == PRESENT), key=lambda f: -f.share)
    if steps and conversion.content == PRESENT:
        return _of_steps([*steps, conversion])
    weak = [f for f in found if known.stage(f.name) is not None]
    best = min(weak or found, key=lambda f: (len(known.words(f.name)), f.share))
    others = ", ".join(f.name for f in found if f is not best)
    also = f"; so has {others}" if others else ""
    return best.doubted(f"no column is named as a click; each conversion has '{best.name}' = 1{also}")


def _following(click: Label, binary: list[Label]) -> Label | None:
    """The conversion by content: it is 1 only where the click is."""
    found = [
        f
        for f in binary
        if f.name != click.name
        and f.content == PLAIN
        and 0 < f.share < click.share
        and (f.ones & click.ones).sum() >= IMPLIED * f.ones.sum()
        and (f.ones & click.ones).sum() < click.ones.sum()
    ]
    if not found:
        return None
    best = min(found, key=lambda f: f.share)
    return best.doubted(f"no column is named as a conversion; '{best.name}' is 1 only where '{click.name}' is")


def _complete(click: Label | None, conversion: Label | None) -> Label | None:
    """The conversion, with `unclicked` if it is missing where there was no click."""
    if conversion is None or click is None or not conversion.missing.any():
        return conversion
    unclicked = conversion.missing & ~click.ones
    if unclicked.any():
        conversion = replace(conversion, rule={**conversion.rule, "unclicked": 0})
    clicked = int((conversion.missing & click.ones).sum())
    if clicked:
        return conversion.doubted(f"{clicked:,} clicked rows have no '{conversion.name}': they would be bad rows")
    return conversion

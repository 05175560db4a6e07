"""What the first schema says, before it is written: the parts of `Schema`, each with comments and doubts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import polars as pl

from ...errors import DataError
from ..files import File
from . import words as known
from .column import Column, plain
from .fields import FieldGuess, Names, of_column, of_impressions, weights_of, with_weights, words_needed
from .labels import Labels
from .splits import SplitGuess, parts_of, split_of
from .tables import ConversionTable, Join, Table, conversions_of, impressions_of, join_of, overlap, tables, time_rank

SEVERAL = 3  # columns that count outcomes


@dataclass(frozen=True)
class SidePlan:
    """A side table."""

    name: str
    join: Join
    fields: tuple[FieldGuess, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Unique:
    """The columns that identify an impression, if some impressions of the sample come twice."""

    columns: tuple[str, ...]  # empty: it is not known
    rows: int  # that repeat another row in these columns, or, if there are none, in all columns
    other_labels: int = 0  # of these, rows with other labels


@dataclass(frozen=True)
class Plan:
    """What the schema says."""

    impressions: Table
    labels: Labels
    order: Column | None
    time: str | None  # `time` of the impressions
    times: Mapping[str, str]  # stage -> column
    missing: tuple[str, ...]
    decimal: str | None
    unique: Unique
    fields: tuple[FieldGuess, ...]
    unreadable: Mapping[str, str]
    split: SplitGuess
    roles: Mapping[str, str]
    sides: tuple[SidePlan, ...]
    conversions: ConversionTable | None
    other_tables: tuple[tuple[Table, str], ...]  # and why they are not used
    other_files: Mapping[str, str]


def plan(files: Sequence[File], where: str) -> Plan:
    """Look at the files of a log. Raises: DataError if none of them is a table."""
    found, others = tables(files)
    if not found:
        came = "; ".join(f"{name}: {why}" for name, why in list(others.items())[:5]) or "there is none"
        raise DataError("a log must have files of rows: CSV or Parquet", came, where=where)
    table = impressions_of(found)
    columns, labels = table.columns, table.labels
    label_columns = {label.name for label in (labels.click, labels.conversion) if label is not None}
    order = _order(columns, label_columns)
    roles = _roles(columns, label_columns)
    split = split_of(table, order, roles.get("user"), label_columns)
    times = _times(columns, labels, order)
    unique = _unique(table, order, roles)
    names = Names({"click", "conversion", "order", "user", "part", "weight", "true_pctr", "true_pcvr"})
    weights = weights_of(columns)
    fields = []
    for column in columns.values():
        if column.name in {*label_columns, *times.values(), *weights.values(), split.column} or column is order:
            continue
        parts, again = parts_of(column, order), overlap(column, order)
        fields.append(of_impressions(column, labels, roles.values(), parts, again, names, table.whole))
    fields = with_weights(fields, weights)
    sides, late, unused = _side_tables(found, table, labels, names, fields)
    for role, known_as in (("user", known.USER), ("item", known.ITEM)):
        mine = [f for side in sides for f in side.fields if f.left_out is None and f.options["kind"] != "number"]
        mine = [f for f in mine if known.role(f.column.name, known_as) is not None]
        if role not in roles and mine:
            roles = {"user": "", **roles} if role == "user" else roles  # it comes first
            roles[role] = min(mine, key=lambda f: known.role(f.column.name, known_as) or 0).name
    option = order.time.option if order is not None and order.time is not None else None
    return Plan(
        table,
        labels,
        order,
        option,
        times,
        _missing(fields, labels, order),
        labels.conversion.column.form.decimal if labels.conversion and "at_least" in labels.conversion.rule else None,
        unique,
        tuple(fields),
        table.unreadable,
        split,
        roles,
        tuple(sides),
        late,
        tuple(unused),
        others,
    )


def _order(columns: Mapping[str, Column], labels: set[str]) -> Column | None:
    times = [c for c in columns.values() if c.time is not None and not c.missing and c.name not in labels]
    times = [c for c in times if time_rank(c)[0] >= -0.5]
    return max(times, key=time_rank, default=None)


def _roles(columns: Mapping[str, Column], labels: set[str]) -> dict[str, str]:
    """Role -> column, by names."""
    found: dict[str, str] = {}
    for role, names in (("user", known.USER), ("item", known.ITEM)):
        ranks = {
            name: rank
            for name, c in columns.items()
            if (rank := known.role(name, names)) is not None
            and name not in labels
            and name not in found.values()
            and not c.lists
            and c.time is None
            and (c.numbers is None or c.whole)
            and (len(c.distinct) > 2 or len(c.values) < 3)
        }
        if ranks:
            found[role] = min(ranks, key=lambda name: (ranks[name], list(columns).index(name)))
    return found


def _unique(table: Table, order: Column | None, roles: Mapping[str, str]) -> Unique:
    """What identifies an impression, if some come twice: an id by its name, or user, item and an exact time."""
    columns, labels = table.columns, table.labels
    outcomes = [pl.Series(stage, f.ones) for stage, f in (("y", labels.click), ("z", labels.conversion)) if f]

    def repeats(*names: str) -> tuple[int, int]:
        """(rows that repeat another in these columns, and how many of them have other labels)."""
        keys = pl.DataFrame([columns[name].raw.alias(str(i)) for i, name in enumerate(names)])
        different = keys.n_unique()
        return len(keys) - different, keys.with_columns(outcomes).n_unique() - different

    for c in columns.values():
        mine, n = set(known.words(c.name)), len(c.values)
        if mine & known.IMPRESSION and mine & known.ID and not c.missing and n > len(c.distinct) > 0.5 * n:
            return Unique((c.name,), *repeats(c.name))
    key = tuple(name for name in (roles.get("user"), roles.get("item"), order.name if order else None) if name)
    if len(set(key)) == 3 and order is not None and order.time is not None and order.time.exact:
        found = Unique(key, *repeats(*key))
        if found.rows and not found.other_labels:
            return found
    rows = pl.DataFrame([c.values.alias(str(i)) for i, c in enumerate(columns.values()) if not c.lists])
    return Unique((), len(rows) - rows.n_unique() if rows.width else 0)


def _times(columns: Mapping[str, Column], labels: Labels, order: Column | None) -> dict[str, str]:
    """Stage -> the column of the time when it was reached, where it is written as the order is."""
    found: dict[str, str] = {}
    if order is None or order.time is None:
        return found
    for stage, label in (("click", labels.click), ("conversion", labels.conversion)):
        for c in columns.values():
            named = known.stage(c.name)
            mine = label is not None and (c.name == label.name or (named is not None and named[0] == stage))
            if c.time is None or c is order or not mine or stage in found or label is None:
                continue
            same = c.time.option == order.time.option and c.time.what == order.time.what
            if same and not (label.ones & ~c.there).any():
                found[stage] = c.name
    return found


def _missing(fields: Sequence[FieldGuess], labels: Labels, order: Column | None) -> tuple[str, ...]:
    """The words for missing values of a table, without those that are levels of a label."""
    words = [w for f in fields if f.left_out is None for w in words_needed(f.column, str(f.options["kind"]))]
    levels: set[str] = set()
    for label in (labels.click, labels.conversion):
        if label is not None:
            levels |= {str(v) for name in ("values", "others") for v in label.rule.get(name) or ()}  # type: ignore[union-attr]
            words += label.column.words
    if order is not None:
        words += order.words
    return tuple(w for w in dict.fromkeys(words) if w not in levels)


def _side_tables(
    found: Sequence[Table], table: Table, labels: Labels, names: Names, fields: list[FieldGuess]
) -> tuple[list[SidePlan], ConversionTable | None, list[tuple[Table, str]]]:
    sides, late, unused = [], None, []
    taken = {"impressions"}
    read = {f.column.name for f in fields if f.left_out is None}
    for other in found:
        if other is table:
            continue
        missing = [
            label.name for label in (labels.click, labels.conversion) if label and label.name not in other.columns
        ]
        if {"pctr", "pcvr"} <= set(other.columns) and other.rows == table.rows:
            unused.append((other, "if it holds the true probabilities of the impressions, name it in [truth]"))
            continue
        if missing and set(other.first.columns) <= set(table.first.columns) and len(other.first.columns) > 2:
            unused.append((other, f"it has no '{missing[0]}', so it is a log without outcomes; `score` reads it"))
            continue
        conversions = conversions_of(other, table)
        if conversions is not None and late is None:
            late = conversions
            continue
        join = join_of(other, table)
        if isinstance(join, str):
            unused.append((other, join))
            continue
        counting = _counting(other)
        weights = weights_of(other.columns)
        kept = [c for c in other.columns.values() if c.name not in weights.values()]
        mine = with_weights([_side_field(c, join, counting, read, names) for c in kept], weights)
        if counting:
            said = f"{len(counting)} columns count outcomes, maybe those of the test part, and are left out"
            join = replace(join, doubts=(*join.doubts, f"{said}; if they count only what was before, make them fields"))
        if not any(f.left_out is None for f in mine):
            unused.append((other, f"its key is '{join.key}', and no other column of it can be a field"))
            continue
        words = dict.fromkeys(
            w for f in mine if f.left_out is None for w in words_needed(f.column, str(f.options["kind"]))
        )
        sides.append(SidePlan(_table_name(join, taken), join, tuple(mine), tuple(words)))
    return sides, late, unused


def _side_field(column: Column, join: Join, counting: set[str], read: set[str], names: Names) -> FieldGuess:
    whole = join.table.whole
    if column.name in counting:
        return FieldGuess(
            column, column.name, {"kind": "number"}, (), "it counts outcomes, maybe those of the test part"
        )
    if column.name == join.key:
        if any(plain(name) == plain(join.on) for name in read):
            return FieldGuess(
                column, column.name, {"kind": "id"}, (), f"the key; '{join.on}' of the impressions is the field"
            )
        return of_column(column, names, role=True, whole=whole)
    if column.name in read and join.table.first.headed:
        return FieldGuess(column, column.name, {"kind": "id"}, (), "the impressions have this column, too")
    if parts := parts_of(column, None):
        return FieldGuess(column, column.name, {"kind": "id"}, parts.doubts, parts.why)
    return of_column(column, names, whole=whole)


def _counting(table: Table) -> set[str]:
    """Columns that count outcomes, if there are several, as in statistics of the items of a log."""
    outcomes = known.CLICK | known.CLICK_WEAK | known.CONVERSION | known.CONVERSION_WEAK | known.OUTCOME
    found = {name for name in table.columns if (mine := set(known.words(name))) & outcomes and mine & known.TALLY}
    return found if len(found) >= SEVERAL else set()


def _table_name(join: Join, taken: set[str]) -> str:
    entity = [w for w in known.words(join.on) if w not in known.ID]
    entity = [w.removesuffix("id") or w for w in entity]
    entity = entity if join.table.first.headed else []
    stem = known.words(PurePosixPath(join.table.names[0]).name.split(".")[0])
    stem = tuple(w for w in stem if w not in known.TRAIN | known.TEST | known.VALIDATION)
    for name in ("_".join(entity), "_".join(stem), *(f"table{i}" for i in range(1, 100))):
        if name and name not in taken:
            taken.add(name)
            return name
    raise AssertionError("too many tables of one name")

"""A plan as the text of a schema file, with comments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ...core.rows import ValueFormat
from ...text import exact
from ..csvform import MARKED
from .column import Column
from .fields import FieldGuess, words_needed
from .labels import Label
from .plan import Plan, SidePlan, Unique
from .tables import Table

DOUBTFUL = "DOUBTFUL"
"""The word with which each doubtful guess begins, in the schema and on stderr."""
FILL_IN = "FILL IN"
"""The word with which each thing begins that was not found, and without which `prepare` refuses the schema."""
FEW, WIDE = 12, 40  # names in a comment; characters of a field's line before its comment


@dataclass
class Writer:
    """Lines of the file, and the doubts in them."""

    lines: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    table: str = ""

    def add(self, line: str = "", comment: str = "") -> None:
        self.lines.append(f"{line.ljust(WIDE)} # {comment}" if comment else line)

    def note(self, text: str) -> None:
        self.lines.append(f"# {exact(text)}")

    def doubt(self, what: str, text: str, word: str = DOUBTFUL) -> None:
        """A doubt, in the line before what it is about."""
        self.lines.append(f"# {word}: {exact(text)}")
        self.doubts.append(f"{word}: [{self.table}] {what}: {text}")

    def begin(self, table: str) -> None:
        self.table = table
        self.lines += ["", f"[{table}]"]


def quoted(text: str) -> str:
    r"""A string of TOML. Characters that are not printed are escaped.

    >>> print(quoted('a"b\\c\x1b'))
    "a\"b\\c\u001b"
    """
    known = {"\\": "\\\\", '"': '\\"', "\t": "\\t", "\n": "\\n"}

    def one(c: str) -> str:
        if c.isprintable() or c in known:
            return known.get(c, c)
        return f"\\u{ord(c):04x}" if ord(c) < 1 << 16 else f"\\U{ord(c):08x}"

    return '"' + "".join(map(one, text)) + '"'


def key(name: str) -> str:
    """A key of TOML, in quotes where it needs them."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else quoted(name)


def value(content: object) -> str:
    """A value of TOML.

    >>> value({"kind": "ids", "separator": "|"}), value([1, "a"]), value(True)
    ('{ kind = "ids", separator = "|" }', '[1, "a"]', 'true')
    """
    if isinstance(content, str):
        return quoted(content)
    if isinstance(content, bool):
        return "true" if content else "false"
    if isinstance(content, Mapping):
        return "{ " + ", ".join(f"{key(k)} = {value(v)}" for k, v in content.items()) + " }"
    if isinstance(content, list | tuple):
        return "[" + ", ".join(map(value, content)) + "]"
    return str(content)


def write(plan: Plan, said: list[str]) -> Writer:
    """The text of the schema. `said`: comments for its beginning."""
    out = Writer()
    for line in said:
        out.note(line)
    _impressions(out, plan)
    _split(out, plan)
    _roles(out, plan)
    for side in plan.sides:
        _side(out, side)
    _conversions(out, plan)
    for table, why in plan.other_tables:
        out.add()
        out.note(f"Not used: {table.title}: {why}. Its columns: {', '.join(table.first.columns[:FEW])}")
    for name, why in list(plan.other_files.items())[:FEW]:
        out.add()
        out.note(f"Not read: {name}: {why}")
    return out


def _impressions(out: Writer, plan: Plan) -> None:
    table = plan.impressions
    out.begin("impressions")
    size = _size(table)
    out.add(f"files = {value(table.files)}", f"{len(table.heads):,} file{'s' if len(table.heads) > 1 else ''}, {size}")
    _format(out, table, plan.missing)
    if plan.decimal not in (None, "."):
        out.add(f"decimal = {value(plan.decimal)}")
    if plan.order is not None and plan.order.time is not None:
        time = plan.order.time
        if time.doubt:
            out.doubt("order", time.doubt)
        out.add(f"order = {value(plan.order.name)}", f"the time: {time.what}, {plan.order.about()}")
        if plan.time:
            out.add(f"time = {plan.time}")
    else:
        out.note('order = "..."  no column of times was found; with one, write its name here')
    _repeats(out, plan.unique)
    _labels(out, plan)
    if plan.times:
        out.begin("impressions.times")
        for stage, column in plan.times.items():
            out.add(f"{stage} = {value(column)}", "when it was reached")
    out.begin("impressions.fields")
    out.note(
        "Delete what is not known before the impression is shown. Names of fields are yours; `from` is the column."
    )
    form = ValueFormat(missing=plan.missing, decimal=plan.decimal or ".")
    for guess in plan.fields:
        _field(out, guess, form)
    if not any(g.left_out is None for g in (*plan.fields, *(g for side in plan.sides for g in side.fields))):
        out.doubt("fields", "at least one column that is known before the impression is shown", FILL_IN)
    _unreadable(out, plan.unreadable)
    if plan.order is not None and plan.order.time is not None and plan.order.time.dates:
        part = "hour" if plan.order.time.clock else "weekday"
        out.note(f"A part of the time can be a field: {part} = {value({'from': plan.order.name, 'part': part})}")


def _repeats(out: Writer, unique: Unique) -> None:
    if unique.columns:
        doubt = f"rows that repeat another one in these columns: {unique.rows:,}"
        out.doubt("unique", f"{doubt}; if each of them is an impression, delete this")
        out.add(f"unique = {value(unique.columns)}", "rows that repeat these are left out")
        if unique.other_labels:
            out.add('on_repeat = "any"', "an impression has the labels of all its rows, for they differ")
    elif unique.rows:
        out.note(
            f"Rows of the sample that repeat another row: {unique.rows:,}. `unique = [...]` would leave repeats out"
        )


def _unreadable(out: Writer, unreadable: Mapping[str, str]) -> None:
    for name, why in unreadable.items():
        if name:
            out.doubt(name, f"column {quoted(name)} is left out: {why}")
        else:
            out.note("A column without a name is left out")


def _size(table: Table) -> str:
    return f"{table.rows:,} rows" if table.whole else f"about {int(float(f'{table.rows:.2g}')):,} rows"


def _format(out: Writer, table: Table, missing: tuple[str, ...]) -> None:
    first = table.first
    if table.encoding != "utf-8":
        if table.encoding not in MARKED:
            out.doubt("encoding", "the text is not UTF-8; look whether its letters come out right")
        out.add(f"encoding = {value(table.encoding)}")
    wide = {head.encoding if head.wide else "utf-8": head.file.name for head in table.heads}
    if len(wide) > 1:
        some = ", ".join(f"{name} is {encoding.upper()}" for encoding, name in wide.items())
        out.doubt("encoding", f"the files of a table need one encoding, however: {some}; convert them to UTF-8")
    if first.delimiter != ",":
        out.add(f"delimiter = {value(first.delimiter)}")
    if not first.headed:
        out.doubt("columns", "the first line seems to be no header; give the columns their names, in order")
        out.add(f"columns = {value(first.columns)}")
    if missing:
        out.add(f"missing = {value(missing)}", "these words stand for a missing value")


def _labels(out: Writer, plan: Plan) -> None:
    click, conversion = plan.labels.click, plan.labels.conversion
    out.begin("impressions.labels")
    _label(out, "click", click, None, None)
    if conversion is None and plan.conversions is not None:
        out.note("conversion: see [conversions] below")
    else:
        _label(out, "conversion", conversion, click, "; or name a table of conversions in [conversions]")


def _label(out: Writer, stage: str, label: Label | None, before: Label | None, also: str | None) -> None:
    if label is None:
        what = "clicked" if stage == "click" else "followed by a conversion"
        out.doubt(stage, f"the column that is 1 where the impression was {what}{also or ''}", FILL_IN)
        out.note(
            f'{stage} = "..."  # or {{ from = "...", values = [1, 2], others = [0] }}, at_least = 4, present = true'
        )
        return
    for doubt in label.doubts:
        out.doubt(stage, doubt)
    ones, n = int(label.ones.sum()), len(label.ones)
    seen = f"{ones:,} of {n:,} rows ({100 * label.share:.3g} %)"
    if before is not None:
        both = int((label.ones & before.ones).sum())
        seen += f", {both:,} of them clicked"
        if both < ones:
            seen += f"; the other {ones - both:,} count as 0, for a conversion needs a click"
    column = value(label.name) if not label.rule else value({"from": label.name, **label.rule})
    out.add(f"{stage} = {column}", seen)


def _field(out: Writer, guess: FieldGuess, form: ValueFormat) -> None:
    options = dict(guess.options)
    column, kind = guess.column, str(options["kind"])
    if kind == "number" and form.decimal != "." and column.form.decimal == ".":
        options["decimal"] = "."
    elif options.get("decimal") == form.decimal:
        options.pop("decimal")
    if guess.left_out is None:
        needed = words_needed(column, kind)
        if set(needed) - set(form.missing):
            options["missing"] = [*needed]
    for doubt in guess.doubts:
        out.doubt(guess.name, doubt)
    line = f"{key(guess.name)} = {value(options)}"
    if guess.left_out is not None:
        split = ", ".join(f"{name} = {value(content)}" for name, content in guess.split.items())
        also = f". [split] can use it: {split}" if split else ""
        out.add(f"# {line}", f"left out: {exact(guess.left_out)}{also} ({_about(column)})")
    else:
        out.add(line, _about(column))


def _about(column: Column) -> str:
    about = column.about()
    return about if len(about) <= 120 else f"{about[:120]}..."


def _split(out: Writer, plan: Plan) -> None:
    out.begin("split")
    for doubt in plan.split.doubts:
        out.doubt("split", doubt)
    out.note(plan.split.why)
    for name, content in plan.split.options.items():
        out.add(f"{name} = {value(content)}")


def _roles(out: Writer, plan: Plan) -> None:
    if plan.roles:
        out.begin("roles")
    else:
        out.add()
        out.note("[roles]  user = and item = name the columns that identify them; none was found by its name")
    for role, column in plan.roles.items():
        mine = [f for f in plan.fields if f.column.name == column and f.left_out is None]
        name = mine[0].name if mine else column
        out.add(f"{role} = {value(name)}", "for Table 1, and the AUC grouped by user" if role == "user" else "")


def _side(out: Writer, side: SidePlan) -> None:
    table, join = side.join.table, side.join
    place = f"tables.{key(side.name)}"
    out.begin(place)
    size = _size(table)
    out.add(f"files = {value(table.files)}", size)
    _format(out, table, side.missing)
    for doubt in join.doubts:
        out.doubt("key", doubt)
    share = f"{100 * join.share:.3g} % of the ids of the impressions are here" if join.share is not None else ""
    out.add(f"key = {value(join.key)}", share)
    if join.on != join.key:
        out.add(f"on = {value(join.on)}", "its column in the impressions")
    out.begin(f"{place}.fields")
    for guess in side.fields:
        _field(out, guess, ValueFormat(missing=side.missing))
    _unreadable(out, table.unreadable)


def _conversions(out: Writer, plan: Plan) -> None:
    late = plan.conversions
    if late is None:
        return
    active = plan.labels.conversion is None
    out.table = "conversions"
    out.add()
    lines: list[tuple[str, object]] = [("files", late.table.files), ("key", _one_or_more(late.keys))]
    if late.ons != late.keys:
        lines.append(("on", _one_or_more(late.ons)))
    if late.table.encoding != "utf-8":
        lines.append(("encoding", late.table.encoding))
    if late.table.first.delimiter != ",":
        lines.append(("delimiter", late.table.first.delimiter))
    if not late.table.first.headed:
        lines.append(("columns", late.table.first.columns))
    if late.time is not None and plan.order is not None and _same_times(plan, late.time):
        lines.append(("time", late.time))
    seen = f"{100 * late.share:.3g} % of its keys are in the impressions"
    if active:
        out.doubt(late.table.title, f"this seems to be the table of conversions: {seen}")
    else:
        out.note(f"{late.table.title} seems to be a table of conversions ({seen}). To use it, delete conversion in")
        out.note("[impressions.labels], and the # here:")
    mark = "" if active else "# "
    out.add(f"{mark}[conversions]")
    for name, content in lines:
        out.add(f"{mark}{name} = {value(content)}")
    if any(name == "time" for name, _ in lines):
        out.note('window = "7d"  the longest time from the impression to its conversion')


def _one_or_more(names: tuple[str, ...]) -> object:
    return names[0] if len(names) == 1 else names


def _same_times(plan: Plan, name: str) -> bool:
    assert plan.conversions is not None
    assert plan.order is not None
    one, other = plan.conversions.table.columns[name].time, plan.order.time
    return one is not None and other is not None and (one.option, one.what) == (other.option, other.what)

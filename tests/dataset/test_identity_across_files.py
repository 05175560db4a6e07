"""One value is one id in every type and file, and two values are two ids: fields, lists, keys, unique, levels, roles.

What a value is, is read from each cell by plain Python: `meaning`.
"""

from __future__ import annotations

import datetime as dt
import math
import random
import re
from decimal import Decimal
from fractions import Fraction

import pyarrow as pa
import pytest
from read_back import by_row, prepare_files, reasons

from entirespace.errors import EntirespaceError


def meaning(cell: object) -> object:
    """What a cell of a log says, as a Python value: cells with the same meaning are one id."""
    if cell is None or cell == "" or (isinstance(cell, float) and math.isnan(cell)):
        return None
    if isinstance(cell, bool):
        return ("word", str(cell).lower())
    if isinstance(cell, int | Decimal) or (isinstance(cell, float) and cell.is_integer()):
        return Fraction(cell)
    if isinstance(cell, float):
        return Fraction(repr(cell)) if "e" not in repr(cell) else ("text", repr(cell))
    if isinstance(cell, dt.datetime):
        return ("time", cell.astimezone(dt.UTC) if cell.tzinfo else cell)
    if isinstance(cell, dt.date):
        return ("time", dt.datetime(cell.year, cell.month, cell.day))
    assert isinstance(cell, str)
    if re.fullmatch(r"-?(0|[1-9][0-9]*)(\.0*)?", cell):
        return Fraction(cell.rstrip("."))
    if re.fullmatch(r"-?(0|[1-9][0-9]*)\.[0-9]*[1-9]", cell):
        return Fraction(cell)
    if cell in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return ("word", cell.lower())
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}.*)?", cell):
        return meaning(dt.datetime.fromisoformat(cell))
    return ("text", cell)


NUMBERS = [7, 8, 70, 0, 2**53 - 1, -7]
STORED: dict[str, list[object]] = {
    "int8": [7, 8, 70, 0, -7, None],
    "int64": [*NUMBERS, 2**53 + 1, 2**62, None],
    "uint8": [7, 8, 70, 0, None],
    "uint64": [7, 8, 2**53 + 1, 2**63, 2**64 - 1, None],
    "float64": [7.0, 8.0, 70.0, 0.0, -0.0, -7.0, 7.5, 0.1, float(2**53 - 1), math.nan, None],
    "float32": [7.0, 8.0, -0.0, 7.5, math.nan, None],
    "float64 without nulls": [7.0, 8.0, 70.0, -0.0],
    "decimal": [Decimal("7"), Decimal("8.00"), Decimal("7.50"), Decimal("0.00"), Decimal("-7.00"), None],
    "decimal256 of many digits": [Decimal("7"), Decimal("7.50"), Decimal(10**40 + 1), Decimal("0.00"), None],
    "decimal256": [Decimal("7"), Decimal(2**53 + 1), Decimal("7.50"), Decimal("0.10"), None],
    "dictionary": ["7", "007", "true", "x", None],
    "dictionary of int64": [7, 8, 70, None],
    "bool": [True, False, None],
    "binary": [b"7", b"7.0", b"07", b"x"],
    "string": """7|7.0|7.00|7.|7.5|07|7e0|1e3|1000|-0|-0.0|0| 7 |+7|x|X|true|True|FALSE|false|NaN|nan|None|null|
9007199254740993|9007199254740992|9007199254740993.0|""".replace("\n", "").split("|"),
    "large_string": ["7", "true", "x", str(2**64 - 1), None],
}
TYPES = {
    "decimal": pa.decimal128(20, 2),
    "decimal256 of many digits": pa.decimal256(60, 2),
    "decimal256": pa.decimal256(60, 2),
    "dictionary": pa.dictionary(pa.int8(), pa.string()),
    "dictionary of int64": pa.dictionary(pa.int8(), pa.int64()),
    "float64 without nulls": pa.float64(),
    "bool": pa.bool_(),
}


def arrow(kind: str, cells: list[object]) -> pa.Array:
    plain = pa.float32() if kind == "float32" else TYPES.get(kind) or pa.type_for_alias(kind)
    if pa.types.is_dictionary(plain):
        return pa.array(cells, plain.value_type).dictionary_encode().cast(plain)
    return pa.array(cells, plain)


def read_cells(kind: str, cells: list[object]) -> list[object]:
    return [cell.decode() if isinstance(cell, bytes) else cell for cell in cells]


HEAD = """
[impressions]
files = ["log*"]
labels = {{ click = "y", conversion = "z" }}
{more}
[impressions.fields]
{fields}
[roles]
segments = ["rid", "role"]
[split]
by = "all"
part = "train"
"""


def files_of(kinds: list[str], seed: int) -> tuple[dict, dict[str, object]]:
    """(files, each with `key` and `role` of one storage and `bag`, lists of it; rid -> cell)."""
    r, files, cells = random.Random(seed), {}, {}
    for number, kind in enumerate(kinds):
        those = r.choices(STORED[kind], k=25)
        rids = [f"{number}-{i}" for i in range(len(those))]
        cells |= dict(zip(rids, read_cells(kind, those), strict=True))
        zeros = pa.array([0] * len(those))
        columns = {"rid": pa.array(rids), "y": zeros, "z": zeros, "key": arrow(kind, those), "role": arrow(kind, those)}
        lists = pa.ListArray.from_arrays(pa.array(range(0, len(those) + 1), pa.int32()), arrow(kind, those))
        if not pa.types.is_dictionary(lists.type.value_type):
            columns["bag"] = lists
        else:
            columns["bag"] = pa.array([[cell] for cell in those])
        files[f"log{number}.parquet"] = pa.table(columns)
    return files, cells


def check_one_id_for_each_meaning(ids: dict[str, object], cells: dict[str, object]) -> None:
    """`ids`: the id of each row in the dataset."""
    assert ids.keys() == cells.keys()
    by_meaning: dict[object, object] = {}
    for rid, cell in cells.items():
        assert by_meaning.setdefault(meaning(cell), ids[rid]) == ids[rid], (cell, ids[rid], by_meaning[meaning(cell)])
    by_id: dict[object, object] = {}
    for rid, cell in cells.items():
        assert by_id.setdefault(ids[rid], meaning(cell)) == meaning(cell), (cell, ids[rid], by_id[ids[rid]])


@pytest.mark.parametrize("seed", range(12))
def test_one_value_is_one_id_and_two_values_are_two(tmp_path, few_rows, seed):
    kinds = random.Random(seed).sample(list(STORED), 4)
    files, cells = files_of(kinds, seed)
    with few_rows():
        schema = HEAD.format(more="", fields="key = {}\nbag = { kind = 'ids' }\n")
        data = prepare_files(tmp_path, schema, files, max_bad=0)
    rows = by_row(data)
    check_one_id_for_each_meaning({rid: row["field.key"][0] for rid, row in rows.items()}, cells)
    check_one_id_for_each_meaning({rid: row["role"] for rid, row in rows.items()}, cells)
    check_one_id_for_each_meaning({rid: row["field.bag"][0] for rid, row in rows.items()}, cells)


@pytest.mark.parametrize("seed", range(6))
def test_joins_and_unique_find_a_value_in_another_storage(tmp_path, few_rows, seed):
    kinds = random.Random(100 + seed).sample(list(STORED), 4)
    files, cells = files_of(kinds, seed)
    side = files.pop("log0.parquet").select(["key", "rid"])
    keys = [cells.pop(f"0-{i}") for i in range(len(side))]
    more = 'unique = ["key"]\n' if seed % 2 else ""
    schema = HEAD.format(more=more, fields="key = {}\n")
    schema += '[tables.s]\nfiles = ["side.parquet"]\nkey = "key"\n[tables.s.fields]\nname = { from = "rid" }\n'
    with few_rows():
        present = [meaning(cell) in map(meaning, keys) for cell in cells.values() if meaning(cell) is not None]
        if sum(present) < len(present) / 2:
            with pytest.raises(EntirespaceError, match="most impressions must find their row in the side table"):
                prepare_files(tmp_path, schema, {**files, "side.parquet": side}, max_bad=1.0)
            return
        data = prepare_files(tmp_path, schema, {**files, "side.parquet": side}, max_bad=1.0)
    first: dict[object, str] = {}
    for rid, cell in cells.items():
        first.setdefault(meaning(cell), rid)
    rows = by_row(data)
    assert rows.keys() == (set(first.values()) if seed % 2 else cells.keys())
    names = [None, *data.vocabulary("name")["id"].to_pylist()]
    linked = data.train.column("link.s")
    found = data.tables["s"]["name"].values[linked]
    for rid, row, there in zip(rows, found, linked > 0, strict=True):
        expected = next((i for i, key in enumerate(keys) if meaning(key) == meaning(cells[rid])), None)
        if meaning(cells[rid]) is None:
            expected = None
        assert bool(there) == (expected is not None), (cells[rid], expected)
        if expected is not None:
            assert names[row] == f"0-{expected}"


TIMES = {
    "naive us": pa.array([dt.datetime(2024, 5, 31, 18, 30, 15, 123456), dt.datetime(2024, 5, 31)], pa.timestamp("us")),
    "naive ms": pa.array([dt.datetime(2024, 5, 31, 18, 30, 15, 250000), dt.datetime(2024, 5, 31)], pa.timestamp("ms")),
    "date": pa.array([dt.date(2024, 5, 31), dt.date(1969, 12, 31)]),
    "zoned": pa.array([dt.datetime(2024, 5, 31, 18, 30, tzinfo=dt.UTC)] * 2, pa.timestamp("ns", "Europe/Berlin")),
    "text": pa.array(
        """2024-05-31 18:30:15.123456|2024-05-31T18:30:15.25|2024-05-31|2024-05-31 00:00|
1969-12-31T00:00:00|2024-05-31T18:30:00Z|
2024-05-31 20:30+02:00|2024-05-31T23:59:59.5+05:30|2024-05-31T18:30:00""".replace("\n", "").split("|")
    ),
}


@pytest.mark.parametrize(
    "kinds", [("naive us", "text"), ("text", "naive ms", "date"), ("zoned", "text"), ("date", "zoned")]
)
def test_a_time_is_one_id_in_every_storage(tmp_path, few_rows, kinds):
    files, cells = {}, {}
    for number, kind in enumerate(kinds):
        keys, rids = TIMES[kind], [f"{number}-{i}" for i in range(len(TIMES[kind]))]
        cells |= dict(zip(rids, keys.to_pylist(), strict=True))
        zeros = pa.array([0] * len(keys))
        columns = {"rid": pa.array(rids), "y": zeros, "z": zeros, "key": keys, "role": keys}
        files[f"log{number}.parquet"] = pa.table(columns)
    with few_rows():
        data = prepare_files(tmp_path, HEAD.format(more="", fields="key = {}\n"), files, max_bad=0)
    rows = by_row(data)
    check_one_id_for_each_meaning({rid: row["field.key"][0] for rid, row in rows.items()}, cells)
    check_one_id_for_each_meaning({rid: row["role"] for rid, row in rows.items()}, cells)


def test_digits_of_a_time_that_python_has_no_room_for_are_kept(tmp_path):
    texts = ["2024-05-31 18:30:15.123456789", "2024-05-31 18:30:15.123456780", "2024-05-31 18:30:15.12345678"]
    zeros = pa.array([0] * 3)
    base = {"rid": pa.array(["a", "b", "c"]), "y": zeros, "z": zeros}
    stamps = pa.array([1717180215123456789, 1717180215123456780, 1717180215123456780], pa.timestamp("ns"))
    for folder, columns in {"text": pa.array(texts), "stamps": stamps}.items():
        (tmp_path / folder).mkdir()
        table = pa.table({**base, "key": columns, "role": columns})
        schema = HEAD.format(more="", fields="key = {}\n")
        rows = by_row(prepare_files(tmp_path / folder, schema, {"log.parquet": table}))
        ids = [rows[rid]["field.key"][0] for rid in "abc"]
        assert ids == ["2024-05-31 18:30:15.123456789", *["2024-05-31 18:30:15.12345678"] * 2]


@pytest.mark.parametrize("where", ["field", "bag", "on", "side key", "unique", "role", "user", "split"])
@pytest.mark.parametrize("large", [float(2**53), 1e300, math.inf])
def test_a_float_whose_last_digit_is_not_known_is_no_id_anywhere(tmp_path, where, large):
    """2**53 as a float may have been 2**53 + 1: two users would be one."""
    n = 10
    zeros, keys = pa.array([0] * n), [float(i) for i in range(n - 1)] + [large]
    columns = dict.fromkeys(("y", "z"), zeros) | {"rid": pa.array([f"r{i}" for i in range(n)]), "role": zeros}
    columns["key"] = pa.array([[k] for k in keys]) if where == "bag" else pa.array(keys)
    files = {"log.parquet": pa.table({**columns, "part": pa.array([1.0, 2.0] * 4 + [1.0, large])})}
    more, fields, tail = "", "rid = {}", ""
    if where in ("field", "bag"):
        fields = "key = {}" if where == "field" else "key = { kind = 'ids' }"
    elif where == "unique":
        more = 'unique = ["key"]'
    elif where in ("on", "side key"):
        side = pa.table({"id": pa.array(keys if where == "side key" else list(range(n))), "name": zeros})
        files["side.parquet"] = side
        tail = '[tables.s]\nfiles = ["side.parquet"]\nkey = "id"\non = "key"\n[tables.s.fields]\nname = {}\n'
    schema = HEAD.format(more=more, fields=fields) + tail
    if where == "role":
        schema = schema.replace('"role"]', '"key"]')
    if where == "user":
        schema = schema.replace("[roles]", '[roles]\nuser = "key"')
    if where == "split":
        schema = schema.replace('by = "all"\npart = "train"', 'by = "column"\ncolumn = "part"\ntrain = [1]\ntest = [2]')
    data = prepare_files(tmp_path, schema, files, max_bad=1.0)
    table = "s" if where == "side key" else "impressions"
    assert reasons(data, table)["bad_id"] == 1

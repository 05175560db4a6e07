"""What to write into a schema so that a value that could not be read can be read."""

from __future__ import annotations

import re
from collections.abc import Callable

from .schema import LabelSchema

_MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_DATE = re.compile(
    rf"(?P<a>\d{{1,4}})(?P<sep>[/.\- ])(?P<b>\d{{1,2}}|(?:{_MONTHS})[a-z]*)(?P=sep)(?P<c>\d{{4}}|\d{{2}})"
    r"(?:(?P<gap>[ T])\d{1,2}:\d\d(?P<second>:\d\d)?(?P<half> ?[ap]m)?)?",
    re.IGNORECASE,
)


def no_hint(_: object) -> str:
    """Nothing to do."""
    return ""


def of_number(value: object) -> str:
    """What to do about a value that is no number.

    >>> of_number("NULL"), of_number("$1,234.50")
    ('If it stands for a missing value: missing = ["NULL"]', 'To read it: thousands = ",", symbols = ["$"]')
    """
    text = str(value).strip()
    if time_formats(text):
        return 'To read a part of a time: part = "day" (or hour, weekday, month)'
    found = re.fullmatch(r"([^\d.,+-]*)([+-]?)([^\d.,+-]*)([\d.,]*\d[\d.,]*)(\D*)", text)
    if not found:
        return f'If it stands for a missing value: missing = ["{text}"]' if not re.search(r"\d", text) else ""
    before, _, after_sign, digits, behind = (part.strip() for part in found.groups())
    keys = []
    if re.fullmatch(r"\d{1,3}(,\d{2,3})*,\d{3}(\.\d*)?", digits):
        keys.append('thousands = ","')
    elif re.fullmatch(r"\d{1,3}(\.\d{3})+(,\d*)?", digits) and digits.count(".") + digits.count(",") > 1:
        keys += ['decimal = ","', 'thousands = "."']
    elif re.fullmatch(r"\d+,\d*", digits):
        keys.append('decimal = ","')
    symbols = [f'"{symbol}"' for symbol in dict.fromkeys([before, after_sign, behind]) if symbol]
    if symbols:
        keys.append(f"symbols = [{', '.join(symbols)}]")
    return f"To read it: {', '.join(keys)}" if keys else ""


def of_time(value: object) -> str:
    """What to do about a value that is no time in ISO 8601, or has another format than the one declared.

    >>> of_time("1/26/16")
    'Declare the format: time = { format = "%m/%d/%y" }'
    >>> of_time("1/2/2016")
    'Declare the format: time = { format = "%m/%d/%Y" } or "%d/%m/%Y"'
    """
    formats = time_formats(str(value).strip())
    if not formats:
        return ""
    other = "".join(f' or "{form}"' for form in formats[1:])
    return f'Declare the format: time = {{ format = "{formats[0]}" }}{other}'


def time_formats(text: str) -> list[str]:
    """The formats that a text may be a time in, other than ISO 8601; the likelier first.

    >>> time_formats("31.12.2024 18:00"), time_formats("5-Jan-24"), time_formats("noon")
    (['%d.%m.%Y %H:%M'], ['%d-%b-%y'], [])
    """
    found = _DATE.fullmatch(text)
    if not found:
        return []
    a, b, sep = found["a"], found["b"], found["sep"]
    year = "%Y" if len(found["c"]) == 4 else "%y"
    if len(a) == 4:
        dates = [f"%Y{sep}%m{sep}%d"]
    elif not b.isdigit():
        dates = [f"%d{sep}{'%b' if len(b) == 3 else '%B'}{sep}{year}"]
    elif len(a) == 3:
        return []
    else:
        possible = [("%m", "%d")] * (int(a) <= 12) + [("%d", "%m")] * (int(b) <= 12)
        dates = [sep.join([*pair, year]) for pair in possible]
    if found["gap"] is None:
        return dates
    half = found["half"]
    hour = "%H" if half is None else "%I"
    time = f"{found['gap']}{hour}:%M{':%S' if found['second'] else ''}"
    if half is not None:
        time += " %p" if half.startswith(" ") else "%p"
    return [date + time for date in dates]


def of_label(stage: str, label: LabelSchema) -> Callable[[object], str]:
    """What to do about a value that is no label of a stage, as a function of the value."""

    def advice(value: object) -> str:
        text = "" if value is None else str(value).strip()
        rule = f'{stage} = {{ from = "{label.source}"'
        if not text:
            unclicked = "" if stage == "click" else f", or 0 if there was no click: {rule}, unclicked = 0 }}"
            return f"To read a missing value as 0, and any other as 1: {rule}, present = true }}{unclicked}"
        if label.values is not None:
            return f"Add {text!r} to values or to others of {stage}: others = [0, {text!r}]"
        if label.at_least is not None:
            return of_number(value)
        if re.fullmatch(r"[+-]?\d+(\.\d*)?", text):
            some = f"values = [{text}], others = [0] }}"
            return f"To count some numbers as 1: {rule}, at_least = {text} }} or {rule}, {some}"
        if re.search(r"\d", text):
            return f"To count any value as 1, and a missing one as 0: {rule}, present = true }}"
        return f'Say which values count as 1 and which as 0: {rule}, values = ["{text}"], others = ["..."] }}'

    return advice

"""Reads TOML. What is nested too deep is refused, as it would exhaust the memory or Python's stack."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from .dotted import DEEPEST, is_shallow
from .errors import ConfigError, no_file

SHALLOW = f"tables and lists may be nested {DEEPEST} deep at most"
_DEEP_NAME = re.compile(rf"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{DEEPEST}}}""")
"""A dotted name of more than DEEPEST parts. tomllib needs memory for the square of their number: 40 GB for 100,000."""


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file. Raises: ConfigError, with the file and the line if it is not valid TOML."""
    if path.is_dir():
        raise ConfigError("the file must be a TOML file", no_file(path), where=str(path))
    try:
        return toml(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError("the file must be readable", str(error.strerror), where=str(path)) from error
    except UnicodeDecodeError as error:
        data, at = error.object, error.start
        place, came = f"{path}, line {1 + data[:at].count(10)}", f"it holds the byte 0x{data[at]:02x}"
        raise ConfigError("the file must be TOML in UTF-8", came, where=place, do="Save it as UTF-8") from error
    except ValueError as error:  # not TOML, or a number of thousands of digits
        raise ConfigError("the file must be valid TOML", str(error), where=str(path)) from error
    except RecursionError as error:
        raise ConfigError(SHALLOW, "they are deeper", where=str(path)) from error


def toml(text: str) -> dict[str, Any]:
    """The content of TOML. Raises: ValueError if it is not TOML. RecursionError if it is nested too deep."""
    if _DEEP_NAME.search(text):
        raise RecursionError
    return shallow(tomllib.loads(text))


def shallow(content: dict[str, Any]) -> dict[str, Any]:
    """The content of TOML. Raises: RecursionError if it is nested too deep."""
    if not is_shallow(content):
        raise RecursionError
    return content


def toml_value(text: str) -> Any:
    """The text as a TOML value, or as a string if it is not one: `--set training.device=cuda`.

    Raises: RecursionError as `toml`.
    """
    try:
        return toml(f"x = {text}")["x"]
    except ValueError:
        return text

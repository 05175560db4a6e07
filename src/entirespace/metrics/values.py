"""What a metric is: a number, or Undefined with its reason; and records of metrics, which files keep as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from pydantic import ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from ..config import Model


@dataclass(frozen=True)
class Undefined:
    """A metric that has no value here, and why: never a number in disguise. In JSON: {"undefined": reason}.

    >>> print(Undefined("no conversions among 812 impressions"))
    undefined: no conversions among 812 impressions
    """

    reason: str

    def __str__(self) -> str:
        return f"undefined: {self.reason}"

    def as_dict(self) -> dict[str, str]:
        return {"undefined": self.reason}

    @classmethod
    def _read(cls, value: object) -> Undefined:
        if isinstance(value, Undefined):
            return value
        if isinstance(value, Mapping):
            match dict(cast("Mapping[str, object]", value)):
                case {"undefined": str() as reason, **others} if not others:
                    return cls(reason)
                case _:
                    pass
        raise ValueError('it must be {"undefined": reason}')

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        plain = core_schema.plain_serializer_function_ser_schema(cls.as_dict)
        return core_schema.no_info_plain_validator_function(cls._read, serialization=plain)


Value: TypeAlias = int | float | Undefined
"""A metric of one run, or a count."""


class Values(Model):
    """Values by name, which may be infinite; `as_dict` gives them plainly, and `model_validate` reads them back."""

    model_config = ConfigDict(allow_inf_nan=True)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, of the fields that were given."""
        return self.model_dump(exclude_unset=True)


def shown(value: Value | None, form: str, scale: float = 1, absent: str = "undefined") -> str:
    """A number for a table, or a word where there is none.

    >>> shown(0.71234, ".2f", 100)
    '71.23'
    """
    return absent if value is None or isinstance(value, Undefined) else format(scale * value, form)

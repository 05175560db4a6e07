"""A metric is a number, or Undefined with a reason; and records of metrics, which are stored as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from pydantic import ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from ..config import Model


@dataclass(frozen=True)
class Undefined:
    """A metric without a value, and the reason; used instead of a special number. In JSON: {"undefined": reason}.

    >>> print(Undefined("no conversions among 812 impressions"))
    undefined: no conversions among 812 impressions
    """

    reason: str

    def __str__(self) -> str:
        return f"undefined: {self.reason}"

    def as_dict(self) -> dict[str, str]:
        """The JSON form."""
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
"""A metric or a count of one run."""


class Values(Model):
    """A record of metrics, which may be infinite. `as_dict` gives plain values, `model_validate` reads them back."""

    model_config = ConfigDict(allow_inf_nan=True)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the fields that were not set."""
        return self.model_dump(exclude_unset=True)


def shown(value: Value | None, form: str, scale: float = 1, absent: str = "undefined") -> str:
    """A number for a table, times `scale`; or the word `absent` if it has no value.

    >>> shown(0.71234, ".2f", 100)
    '71.23'
    """
    return absent if value is None or isinstance(value, Undefined) else format(scale * value, form)

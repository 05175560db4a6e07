"""Which settings a study searches, and where: ranges and choices under the dotted names of the configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import model_validator

from ..config import Config, Model, parse, read_toml, value_at, with_settings
from ..errors import ConfigError
from ..methods import Method
from ..methods.named import with_parameters

if TYPE_CHECKING:
    from optuna import Trial

METHOD = "method."  # begins the names of the method's own parameters

Value = bool | int | float | str | tuple[int, ...]


class Searched(Model):
    """One setting: a range from `low` to `high`, or `choices`. Its keys are a space file's.

    >>> Searched(low=1e-4, high=1e-2, log=True).holds(0.001), Searched(choices=(512, 1024)).holds(1000)
    (True, False)
    """

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    """Evenly in the logarithm: for what matters by its order of magnitude."""
    choices: tuple[Value, ...] = ()

    @model_validator(mode="after")
    def _is_one_of_them(self) -> Self:
        given = {self.low is None, self.high is None, bool(self.choices)}
        if len(given) > 1 or (self.log and self.choices):
            raise ValueError("it must say low and high, with or without log, or choices alone")
        if self.low is not None and self.high is not None and not self.low <= self.high:
            raise ValueError("low must not be above high")
        if self.log and self.low is not None and self.low <= 0:
            raise ValueError("low must be above 0 where log is true")
        return self

    @property
    def ends(self) -> tuple[Any, ...]:
        """What must be valid so that all of it is."""
        return self.choices or (self.low, self.high)

    def holds(self, value: Any) -> bool:
        """Whether the value lies in it."""
        if self.choices:
            return value in self.choices
        return self.low <= value <= self.high  # type: ignore[operator]

    def suggest(self, trial: Trial, name: str, whole: bool) -> Any:
        """A value for a trial; `whole`: an integer of the range."""
        if self.choices:
            by_word = {_word(choice): choice for choice in self.choices}
            return by_word[trial.suggest_categorical(name, list(by_word))]  # type: ignore[index]
        assert self.low is not None
        assert self.high is not None
        if whole:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def coded(self, value: Any) -> Any:
        """The value as the study keeps it."""
        return _word(value) if self.choices else value


def _word(choice: Value) -> bool | int | float | str:
    """A choice as optuna keeps it, which knows no lists.

    >>> _word((200, 80)), _word(512)
    ('200 x 80', 512)
    """
    return " x ".join(map(str, choice)) if isinstance(choice, tuple) else choice


DEFAULT: dict[str, Searched] = {
    "optimizer.learning_rate": Searched(low=1e-4, high=1e-2, log=True),
    "training.batch_size": Searched(choices=(512, 1024, 2048, 4096, 8192)),
    "network.embedding_std": Searched(low=1e-3, high=1e-1, log=True),
}
"""Searched for every method, and with it the parameters that the paper searched of a method."""


@dataclass(frozen=True)
class Space:
    """A method and a configuration, of which some settings are searched.

    settings: dotted name -> what is searched; the method's own parameters begin with "method.".
    Raises: ConfigError where a name is unknown or one of the values would be refused.
    """

    method: Method
    config: Config
    settings: Mapping[str, Searched]
    where: str = "the search space"

    def __post_init__(self) -> None:
        for name, searched in self.settings.items():
            for value in searched.ends:
                self.at({name: value})

    def at(self, values: Mapping[str, Any]) -> tuple[Method, Config]:
        """The method and the configuration with these values."""
        own = {name.removeprefix(METHOD): value for name, value in values.items() if name.startswith(METHOD)}
        others = {name: value for name, value in values.items() if not name.startswith(METHOD)}
        config = with_settings(self.config.model_dump(mode="json"), others)
        method = with_parameters(self.method, own, self.method.name, self.where)
        return method, parse(Config, config, self.where)

    def start(self) -> dict[str, Any]:
        """The values of the configuration as it was given, of the settings whose search holds them."""
        found = ((name, self._given(name)) for name in self.settings)
        return {name: value for name, value in found if self.settings[name].holds(value)}

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """Values for a trial: dotted name -> value."""
        return {
            name: searched.suggest(trial, name, whole=isinstance(self._given(name), int))
            for name, searched in self.settings.items()
        }

    def coded(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self.settings[name].coded(value) for name, value in values.items()}

    @property
    def comparable(self) -> bool:
        """Whether validation losses of two trials mean the same: a method's parameters change its samples and its
        loss."""
        return not any(name.startswith(METHOD) for name in self.settings)

    def as_dict(self) -> dict[str, Any]:
        return {
            name: searched.model_dump(mode="json", exclude_defaults=True) for name, searched in self.settings.items()
        }

    def _given(self, name: str) -> Any:
        if name.startswith(METHOD):
            return self.method.parameters[name.removeprefix(METHOD)]
        return value_at(self.config, name)


def default_space(method: Method, searched: bool = True, fixed: frozenset[str] = frozenset()) -> dict[str, Searched]:
    """What is searched where no file says it: `DEFAULT`, and the method's parameters that the paper searched.

    searched: leave the method's parameters out where they are given. fixed: dotted names that are not searched.

    >>> from entirespace.methods import OVERSAMPLING
    >>> default_space(OVERSAMPLING())["method.copies"].choices
    (2, 3, 5, 10)
    """
    own = {METHOD + name: Searched(choices=values) for name, values in method.searched.items()} if searched else {}
    return {name: s for name, s in {**DEFAULT, **own}.items() if name not in fixed}


def read_space(path: Path) -> dict[str, Searched]:
    """A space file: `optimizer.learning_rate = { low = 1e-4, high = 1e-2, log = true }` and
    `network.tower.hidden = { choices = [[80], [200, 80]] }`. Raises: ConfigError naming the place.
    """
    space = {name: parse(Searched, table, f"{path}, {name}") for name, table in _leaves(read_toml(path), path)}
    if not space:
        raise ConfigError("a space file must name at least one setting", "it names none", where=str(path))
    return space


def _leaves(table: Mapping[str, Any], path: Path, prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The innermost tables, by dotted names."""
    for key, value in table.items():
        if not isinstance(value, dict):
            came, do = f"{prefix}{key} = {value!r}", "Write NAME = { low = ..., high = ... } or { choices = [...] }"
            raise ConfigError("a setting of a space must be a table", came, where=str(path), do=do)
        if not prefix or any(isinstance(inner, dict) for inner in value.values()):  # a section of the configuration
            yield from _leaves(value, path, f"{prefix}{key}.")
        else:
            yield prefix + key, value

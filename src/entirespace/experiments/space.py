"""The search space of a study: ranges and choices for settings, by the dotted names of the configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import model_validator

from ..config import Config, Model, parse, value_at, with_settings
from ..errors import ConfigError
from ..methods import Method
from ..methods.named import with_parameters
from ..toml import read_toml

if TYPE_CHECKING:
    from optuna import Trial

METHOD = "method."  # prefix of the names of the method's own parameters

Value = bool | int | float | str | tuple[int, ...] | tuple[str, ...]


class Searched(Model):
    """The search space of one setting, as in a space file: a range from `low` to `high`, or `choices`.

    >>> Searched(low=1e-4, high=1e-2, log=True).holds(0.001), Searched(choices=(512, 1024)).holds(1000)
    (True, False)
    """

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    """Search the range on a logarithmic scale, such as for a learning rate."""
    choices: tuple[Value, ...] = ()

    @model_validator(mode="after")
    def _is_one_of_them(self) -> Self:
        given = {self.low is None, self.high is None, bool(self.choices)}
        if len(given) > 1 or (self.log and self.choices):
            raise ValueError("it must have low and high (and optionally log), or only choices")
        if self.low is not None and self.high is not None and not self.low <= self.high:
            raise ValueError("low must not be above high")
        if self.log and self.low is not None and self.low <= 0:
            raise ValueError("low must be above 0 if log is true")
        return self

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values to check: if they are valid, all values are."""
        return self.choices or (self.low, self.high)

    def holds(self, value: Any) -> bool:
        """Whether the value is one of the choices, or in the range."""
        if self.choices:
            return value in self.choices
        return self.low <= value <= self.high  # type: ignore[operator]

    def suggest(self, trial: Trial, name: str, whole: bool) -> Any:
        """A value for a trial, which optuna suggests; `whole`: only integers of the range."""
        if self.choices:
            by_word = {_word(choice): choice for choice in self.choices}
            return by_word[trial.suggest_categorical(name, list(by_word))]  # type: ignore[index]
        assert self.low is not None
        assert self.high is not None
        if whole:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def coded(self, value: Any) -> Any:
        """The value as optuna stores it."""
        return _word(value) if self.choices else value


def _word(choice: Value) -> bool | int | float | str:
    """A choice as optuna stores it: optuna has no lists, so a list is stored as text.

    >>> _word((200, 80)), _word(512)
    ('200 x 80', 512)
    """
    return " x ".join(map(str, choice)) if isinstance(choice, tuple) else choice


DEFAULT: dict[str, Searched] = {
    "optimizer.learning_rate": Searched(low=1e-4, high=1e-2, log=True),
    "training.batch_size": Searched(choices=(512, 1024, 2048, 4096, 8192)),
    "network.embedding_std": Searched(low=1e-3, high=1e-1, log=True),
}
"""The settings that are searched by default, in addition to the method's parameters that the paper searched."""


@dataclass(frozen=True)
class Space:
    """A method and a configuration, some settings of which are searched.

    Args:
        settings: dotted name -> its search space. Names of the method's own parameters begin with "method.".
        where: the place that errors name, such as the space file.

    Raises: ConfigError if a name is unknown, or if a value of a search space is invalid.
    """

    method: Method
    config: Config
    settings: Mapping[str, Searched]
    where: str = "the search space"

    def __post_init__(self) -> None:
        for _ in self.ends():
            pass

    def at(self, values: Mapping[str, Any]) -> tuple[Method, Config]:
        """The method and the configuration with these values. Raises: ConfigError for an unknown name or bad value."""
        own = {name.removeprefix(METHOD): value for name, value in values.items() if name.startswith(METHOD)}
        others = {name: value for name, value in values.items() if not name.startswith(METHOD)}
        config = with_settings(self.config.model_dump(mode="json"), others)
        method = with_parameters(self.method, own, self.method.name, self.where)
        return method, parse(Config, config, self.where)

    def ends(self) -> Iterator[Config]:
        """The configuration as given, and with each choice or end of a range in turn."""
        yield self.config
        for name, searched in self.settings.items():
            yield from (self.at({name: value})[1] for value in searched.ends)

    def start(self) -> dict[str, Any]:
        """The values of the given configuration, for the settings whose search space contains them."""
        found = ((name, self._given(name)) for name in self.settings)
        return {name: value for name, value in found if self.settings[name].holds(value)}

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """Values for a trial, which optuna suggests: dotted name -> value."""
        return {
            name: searched.suggest(trial, name, whole=isinstance(self._given(name), int))
            for name, searched in self.settings.items()
        }

    def coded(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values as optuna stores them."""
        return {name: self.settings[name].coded(value) for name, value in values.items()}

    @property
    def comparable(self) -> bool:
        """Whether the validation losses of two trials can be compared.

        They cannot if a parameter of the method is searched: it changes the samples and the loss; or if what is
        watched is searched.
        """
        return not any(name.startswith(METHOD) or name == "training.watch" for name in self.settings)

    def as_dict(self) -> dict[str, Any]:
        """The search space as plain values for JSON."""
        return {
            name: searched.model_dump(mode="json", exclude_defaults=True) for name, searched in self.settings.items()
        }

    def _given(self, name: str) -> Any:
        if name.startswith(METHOD):
            return self.method.parameters[name.removeprefix(METHOD)]
        return value_at(self.config, name)


def default_space(method: Method, searched: bool = True, fixed: frozenset[str] = frozenset()) -> dict[str, Searched]:
    """The search space without a space file: `DEFAULT`, and the method's parameters that the paper searched.

    Args:
        searched: False leaves out the method's parameters.
        fixed: dotted names that are not searched.

    >>> from entirespace.methods import OVERSAMPLING
    >>> default_space(OVERSAMPLING())["method.copies"].choices
    (2, 3, 5, 10)
    """
    own = {METHOD + name: Searched(choices=values) for name, values in method.searched.items()} if searched else {}
    return {name: s for name, s in {**DEFAULT, **own}.items() if name not in fixed}


def read_space(path: Path) -> dict[str, Searched]:
    """Read a space file, with lines such as `optimizer.learning_rate = { low = 1e-4, high = 1e-2, log = true }` and
    `network.tower.hidden = { choices = [[80], [200, 80]] }`.

    Raises: ConfigError, with the place, if the file is not readable or not valid.
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
            raise ConfigError("the search space of a setting must be a table", came, where=str(path), do=do)
        if not prefix or any(isinstance(inner, dict) for inner in value.values()):  # a section of the configuration
            yield from _leaves(value, path, f"{prefix}{key}.")
        else:
            yield prefix + key, value

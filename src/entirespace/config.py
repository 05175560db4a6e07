"""Configuration as pydantic models and as TOML. The error for an unknown key suggests the most similar known one."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_origin

import tomlkit
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .dotted import cut, merged, put
from .errors import ConfigError
from .toml import SHALLOW, read_toml, shallow, toml_value


class Model(BaseModel):
    """A frozen model that rejects unknown keys. The docstring under a field is its help text."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        populate_by_name=True,
        allow_inf_nan=False,
    )


Width = Annotated[int, Field(ge=1)]


class MLPTowerConfig(Model):
    """An MLP on the concatenated embeddings of all fields (paper, section 3.1)."""

    kind: Literal["mlp"] = "mlp"
    """The kind of tower: mlp (as in the paper)."""
    hidden: tuple[Width, ...] = (360, 200, 80)
    """Widths of a tower's ReLU layers, which a two-way softmax follows (paper: 360 x 200 x 80 x 2)."""


Tower = MLPTowerConfig
"""The kinds of tower. With a second kind: Annotated[MLPTowerConfig | OtherConfig, Field(discriminator="kind")]."""


class NoTrunkConfig(Model):
    """No shared layers: towers share at most the embedding (the paper's networks)."""

    kind: Literal["none"] = "none"
    """The kind of trunk: none (as in the paper), or mlp."""


class MLPTrunkConfig(Model):
    """A shared bottom: ReLU layers between an embedding and all its towers."""

    kind: Literal["mlp"] = "mlp"
    """The kind of trunk: none (as in the paper), or mlp."""
    hidden: tuple[Width, ...] = Field(default=(360, 200), min_length=1)
    """Widths of the ReLU layers; the input of the towers is the last one."""


Trunk = Annotated[NoTrunkConfig | MLPTrunkConfig, Field(discriminator="kind")]
"""The kinds of trunk."""


class NetworkConfig(Model):
    """The network of every method (paper, section 3.1: all competitors share it).

    `hidden` is a short form of `tower.hidden`.

    >>> NetworkConfig.model_validate({"hidden": [80]}).tower.hidden
    (80,)
    """

    embedding_size: int = Field(default=18, ge=1)
    """D: the length of an embedding row (paper: 18)."""
    embedding_std: float = Field(default=0.01, ge=0)
    """Standard deviation of the embedding's initial values; row 0, "unseen", starts at zero."""
    numbers: Literal["bucket", "interpolate"] = "bucket"
    """How a number is read: bucket takes the row of its bucket; interpolate mixes the rows at the knots beside it."""
    history: bool = True
    """Read the fields of the dataset's history: click and conversion rates of ids. false: leave them out."""
    rated_ids: bool = True
    """Read ids that have rates also as ids, with embedding rows. false: leave these fields out, and read the rates."""
    exclude: tuple[str, ...] = ()
    """Fields that the network does not read, such as ["user_id"]; its embedding has no rows for them."""
    offset: Literal["none", "rates"] = "none"
    """rates: add the log odds of the logistic baseline on the history's rates to those of each head; none: do not."""
    offset_hidden: tuple[Width, ...] = ()
    """ReLU layers on the baseline's rates, whose output is added to it too and starts at 0; []: the baseline alone."""
    tower: Tower = MLPTowerConfig()
    """The network above the embedding that computes a head's probability; each head has its own tower."""
    trunk: Trunk = NoTrunkConfig()
    """The layers that all towers on one embedding share."""

    @model_validator(mode="before")
    @classmethod
    def _completed(cls, data: Any) -> Any:
        """Add the default kind to a tower or trunk that names none, and move `hidden` into the tower."""
        if not isinstance(data, Mapping):
            return data
        data = {key: value.model_dump() if isinstance(value, Model) else value for key, value in data.items()}
        if "hidden" in data and isinstance(tower := data.get("tower", {}), Mapping):
            hidden = data.pop("hidden")
            if tower.get("kind", "mlp") != "mlp":
                raise ValueError("hidden is short for tower.hidden of kind 'mlp'")
            if "hidden" in tower and not _same(tower["hidden"], hidden):
                raise ValueError("hidden is short for tower.hidden: give one of them, or both the same value")
            data["tower"] = {"kind": "mlp", **tower, "hidden": hidden}
        for name in ("tower", "trunk"):
            if isinstance(data.get(name), Mapping):
                data[name] = {"kind": cls.model_fields[name].default.kind, **data[name]}
        return data


class OptimizerConfig(Model):
    """Adam as in the paper, section 3.1; it also updates the embedding rows that a batch does not use."""

    # NOTE[UNSAID]: the paper does not state a learning rate.
    learning_rate: float = Field(default=0.001, gt=0)
    """Step size of Adam."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """Decay of the first moment (paper: 0.9)."""
    beta2: float = Field(default=0.999, ge=0, lt=1)
    """Decay of the second moment (paper: 0.999)."""
    epsilon: float = Field(default=1e-8, gt=0)
    """Added to the square root of the second moment (paper: 1e-8)."""
    lazy: bool = False
    """Update an embedding row only in batches that use it: cheaper, but not the paper's Adam."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Shrink layers' weights by this times the step size in each step (AdamW); not biases or embeddings (paper: 0)."""

    @model_validator(mode="after")
    def _updates_decay(self) -> Self:
        if self.beta1**2 >= self.beta2:  # otherwise the updates of a row without gradients would grow without bound
            raise ValueError("beta1 must be below the square root of beta2")
        if self.learning_rate * self.weight_decay >= 1:  # a weight would change its sign
            raise ValueError("weight_decay must be below 1 / learning_rate")
        return self


class TrainingConfig(Model):
    """How long to train, in which batches and on which hardware."""

    # NOTE[UNSAID]: the paper states neither batch size nor epochs.
    batch_size: int = Field(default=1024, ge=1)
    """B: impressions in one step, after the method's sampling."""
    share: float = Field(default=1.0, gt=0, le=1)
    """Train on this random share of the training impressions; a smaller share is a subset of every larger one."""
    epochs: int = Field(default=20, ge=1)
    """Make at most this many passes over the training part; the validation loss usually ends training sooner."""
    watch: Literal["own", "ctcvr", "cvr"] = "own"
    """The validation loss: own, the method's; ctcvr, of pCTCVR on all; cvr, of pCVR on clicks. CTR watches its own."""
    patience: int = Field(default=1, ge=1)
    """Stop after this many validations without a lower validation loss, and return to the best weights."""
    refit: bool = False
    """Then train again on the training and validation parts, as many passes as the best weights had made."""
    calibrate: Literal["none", "auto"] = "none"
    """Calibrators from validation scores at the end; auto: temperature or Platt where they lower its log loss."""
    checks_per_epoch: int = Field(default=1, ge=1)
    """How many times to validate in each epoch."""
    shuffle_rows: int = Field(default=1_048_576, ge=1)
    """Shuffle this many impressions in memory at a time; a smaller training part is fully shuffled."""
    block: int = Field(default=1, ge=1)
    """Keep up to this many impressions that share a side-table row in a batch, so it is read once; 1: random order."""
    checkpoint_minutes: float = Field(default=10.0, gt=0)
    """Save a checkpoint this often between validations; an interrupted training resumes from the last one."""
    threads: int | None = Field(default=None, ge=1)
    """Number of CPU threads; absent: one per core."""
    device: Literal["cpu", "cuda"] = "cpu"
    """The device to train on."""
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    """Precision of the hidden layers' products in training; auto: bf16 if the processor has units for it, else fp32."""


class Config(Model):
    """Everything that determines a run except the data, the method and the seed."""

    network: NetworkConfig = NetworkConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    training: TrainingConfig = TrainingConfig()


SHORT = {"network.hidden": "network.tower.hidden"}
"""Short forms of dotted names: short form -> full name."""

T = TypeVar("T", bound=BaseModel)


def nearest(word: str, known: list[str] | tuple[str, ...]) -> str:
    """Advice that names the most similar known word, or all known words if none is similar."""
    match = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"Did you mean '{match[0]}'?" if match else f"Known: {', '.join(sorted(known))}"


def parse(model: type[T], data: Mapping[str, Any], where: str) -> T:
    """`data` as a model. Raises: ConfigError for the first error found, with the dotted name of the key."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        errors = [(_keys(e, data), e) for e in map(_by_kind, error.errors())]
    # report an unknown key first: it is often a spelling mistake that causes the other errors
    rank = {"extra_forbidden": 0, "missing": 1, "value_error": 2}
    keys, first = min(errors, key=lambda e: (rank.get(e[1]["type"], 3), -len(e[0])))
    place = ".".join(map(str, keys))
    if first["type"] == "extra_forbidden":
        advice = nearest(str(keys[-1]), _known_keys(model, keys[:-1], data))
        raise ConfigError("every key must be known", f"'{place}'", where=where, do=advice)
    if first["type"] == "missing":
        raise ConfigError(f"'{place}' must be given", "it is missing", where=where)
    wrong = [_message(e) for k, e in errors if k == keys and rank.get(e["type"], 3) == rank.get(first["type"], 3)]
    came = f"{_short(first['input'])} ({', or '.join(wrong)})" if keys else wrong[0]
    raise ConfigError(f"'{place}' must be valid" if keys else "the file must be valid", came, where=where)


def _keys(error: Any, data: Any) -> tuple[str | int, ...]:
    """The dotted place of an error: the parts of its location that are keys of the data, or missing keys."""
    keys: list[str | int] = []
    for part in error["loc"]:
        if part in data if isinstance(data, Mapping) else isinstance(data, list) and isinstance(part, int):
            data = data[part]
        elif error["type"] != "missing" or part != error["loc"][-1]:
            continue  # not a key, but the name of a union's member or of a validator
        keys.append(part)
    return tuple(keys)


def _by_kind(error: Any) -> Any:
    """Turn the error for an unknown kind of a union into an error of the key `kind`; other errors stay as they are."""
    if error["type"] != "union_tag_invalid":
        return error
    context = error["ctx"]
    message = "Input should be " + " or ".join(context["expected_tags"].rsplit(", ", 1))
    return {"type": "literal_error", "loc": (*error["loc"], context["discriminator"].strip("'")),
            "input": context["tag"], "msg": message}  # fmt: skip


def _message(error: Any) -> str:
    """The message of an error, in TOML's words: "list" and "table" instead of "tuple" and "dictionary"."""
    message = error["msg"].removeprefix("Value error, ").replace("valid tuple", "list").replace("Tuple", "list")
    message = re.sub(r"valid dictionary.*", "table", message)
    return message[0].lower() + message[1:]


def _short(value: Any) -> str:
    return _cut(repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."


def _known_keys(model: type[BaseModel], loc: tuple[Any, ...], data: Any) -> list[str]:
    """The valid keys of the model that is at `loc` inside `model`."""
    parts = iter(loc)
    for part in parts:
        data = data.get(part) if isinstance(data, Mapping) else None
        field = next((f for n, f in model.model_fields.items() if part in (n, f.alias)), None)
        inner = [
            a for a in _annotations(field and field.annotation) if isinstance(a, type) and issubclass(a, BaseModel)
        ]
        if not inner:
            return []
        kinds = {m.model_fields["kind"].default: m for m in reversed(inner) if "kind" in m.model_fields}
        kind = data.get("kind") if isinstance(data, Mapping) else None
        model = kinds.get(kind, inner[0])  # the union's member of this kind
        if get_origin(field and field.annotation) is dict:
            data = data.get(next(parts, None)) if isinstance(data, Mapping) else None  # a key that the user chose
    return [field.alias or name for name, field in model.model_fields.items()]


def _annotations(annotation: Any) -> list[Any]:
    arguments = getattr(annotation, "__args__", ())
    return [annotation] + [a for argument in arguments for a in _annotations(argument)]


def load(
    path: Path | None = None, settings: list[str] | None = None, preset: Mapping[str, Any] | None = None
) -> tuple[Config, dict[str, Any]]:
    """The configuration of a preset, changed by a file and then by `a.b=c` settings; and its [method] table.

    The table is empty if neither the file nor a setting has one.

    Args:
        preset: the values of the preset by dotted name. Absent: the defaults.

    Raises: ConfigError for an unreadable file, invalid TOML, unknown keys and wrong types.
    """
    data = read_toml(path) if path else {}
    where = str(path) if path else "--set"
    method = data.pop("method", {})
    if not isinstance(method, dict):
        raise ConfigError("[method] must be a table", _short(method), where=where)
    over: dict[str, Any] = {}
    for setting in settings or []:
        name, equals, value = setting.partition("=")
        if not equals or not name.strip():
            raise ConfigError("a setting must have the form a.b=c", f"'{_cut(setting)}'", where="--set")
        try:
            put(over, name, toml_value(value.strip()))
            shallow(over)
        except RecursionError as error:
            raise ConfigError(SHALLOW, f"'{_cut(setting)}'", where="--set") from error
        except TypeError as error:
            must = "a setting must name a value inside a table"
            raise ConfigError(must, f"'{_cut(setting)}'", where="--set") from error
        where = "--set" if not path else f"{path} with --set"
    method = merged(method, over.pop("method", {}))
    return parse(Config, with_tables(with_tables(with_settings({}, preset or {}), data), over), where), method


def with_settings(data: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """`data` with these values, given by dotted name.

    >>> with_settings({"network": {"tower": {"kind": "mlp", "hidden": [8]}}}, {"network.hidden": [80]})
    {'network': {'tower': {'kind': 'mlp'}, 'hidden': [80]}}
    """
    over: dict[str, Any] = {}
    for name, value in settings.items():
        put(over, name, value)
    return with_tables(data, over)


def with_tables(data: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`data`, with the values of the nested tables `over` in place of its own.

    A value in `over` also replaces the value that `data` has under its short or full name (`SHORT`).
    """
    for names in SHORT.items():
        if any(cut(over, name)[1] for name in names):
            for name in names:
                data, _ = cut(data, name)
    return merged(data, over)


def value_at(config: BaseModel, name: str) -> Any:
    """The value of a dotted name, which may be a short form. Raises: AttributeError for an unknown name.

    >>> value_at(Config(), "network.hidden")
    (360, 200, 80)
    """
    value: Any = config
    for key in SHORT.get(name, name).split("."):
        value = getattr(value, key)
    return value


def dump(config: Config, method: Mapping[str, Any] | None = None) -> str:
    """The configuration as TOML, with the help text of each value in a comment above it."""
    document = tomlkit.document()
    if method:
        table = tomlkit.table()
        for key, value in method.items():
            table.add(key, value)
        document.add("method", table)
    for name in type(config).model_fields:
        document.add(name, _table(getattr(config, name)))
    return tomlkit.dumps(document)


def _table(model: BaseModel, about: str = "") -> Any:
    """A model as a TOML table; tables inside it come after its values."""
    table = tomlkit.table()
    if about:
        table.add(tomlkit.comment(about))
    values = [(key, field.description or "", getattr(model, key)) for key, field in type(model).model_fields.items()]
    for key, description, value in sorted(values, key=lambda v: isinstance(v[2], BaseModel)):
        if isinstance(value, BaseModel):
            table.add(key, _table(value, description))
            continue
        table.add(tomlkit.comment(description))
        if value is None:
            table.add(tomlkit.comment(f"{key} = "))
        else:
            table.add(key, list(value) if isinstance(value, tuple) else value)
    return table


def _same(one: Any, other: Any) -> bool:
    """Whether two values are equal; a list equals a tuple of the same values."""
    one, other = (list(value) if isinstance(value, tuple) else value for value in (one, other))
    return one == other


def digest(value: Any) -> str:
    """SHA-256, in hexadecimal, of a JSON value; `compare` uses it to name the folders of its runs."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()

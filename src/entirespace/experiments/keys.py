"""The key of a run of a comparison: all that decides its numbers. A run with another key is trained again.

The name of a run's folder ends with the digest of its key, and key.json in it holds the key, so that `compare` can say
why it trains again. A key holds

    dataset, layout   digests of the stored impressions and of the encoders
    history           digest of the counts that these impressions know. Later outcomes, which `update` adds, are not
                      among them: they change no rate of the dataset, so no run is trained again for them. The digest of
                      all counts is recorded in the run (run.json)
    method, seed, config    the method, rival or blend; the configuration as it is used: without "auto"
    code              digests of the method's code, and of the tower's and the trunk's; see `methods.code`
    settings          what is fixed in a rival or a blend, and the version of the rival's library
    versions          of the libraries that compute
    members           SHA-256 of the weights of other runs that it reads, such as the reference CTR network; of a blend
                      also the digests of the keys of its parts
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numba
import numpy as np
import torch

from .._version import __version__
from ..config import Config, digest
from ..dataset.dataset import Dataset
from ..dotted import flat
from ..methods import Method
from ..methods.code import changed_code, code_of
from ..rivals.typed import Entry

SHORT = 12
"""How many digits of a key's digest are in the name of a folder."""
NAMED = 3  # how many differences a reason names
Key = dict[str, Any]


def versions() -> dict[str, str]:
    """The versions of this package and of the libraries that compute the numbers of a run."""
    libraries = {"torch": torch.__version__, "numpy": np.__version__, "numba": numba.__version__}
    return {"entirespace": __version__, **{name: str(version) for name, version in libraries.items()}}


@dataclass(frozen=True)
class Keys:
    """Makes the keys of the runs of one comparison.

    It is made once, in the process of the comparison, and handed to those of its jobs. So a class that is defined in
    the main program has the same code in all of them.
    """

    shared: Mapping[str, Any]
    """What the keys of all runs hold."""
    code: Mapping[str, Mapping[str, str]]
    """The digest of a method's spec -> its code."""

    @staticmethod
    def of(data: Dataset, config: Config, methods: Iterable[Method]) -> Keys:
        """The keys for these methods. The precision of the configuration must not be "auto"."""
        history = data.history
        shared = {
            "dataset": data.digest,
            "layout": data.layout.digest,
            "history": None if history is None else history.history.digest_of_its_log(),
            "config": config.model_dump(mode="json"),
            "versions": versions(),
        }
        return Keys(shared, {digest(method.spec()): code_of(method, config.network) for method in methods})

    def with_config(self, config: Config) -> Keys:
        """The keys for another configuration of the same network."""
        return replace(self, shared={**self.shared, "config": config.model_dump(mode="json")})

    def key(self, entry: Entry, seed: int, members: Mapping[str, str]) -> Key:
        """The key of a run.

        Args:
            members: name -> SHA-256 of the weights of a run that it reads, or the digest of the key of a part.
        """
        own: Key = {"method": entry.spec(), "seed": seed, "members": members}
        if isinstance(entry, Method):
            own["code"] = self.code[digest(entry.spec())]
        else:
            own["settings"] = entry.settings()
        return json.loads(json.dumps({**self.shared, **own}))  # as it is read from key.json


def differences(before: Key, now: Key) -> list[str]:
    """What has changed from one key to another, in words.

    The weights of members are left out if there is anything else, because they follow from it.

    >>> differences({"seed": 0, "versions": {"torch": "2.1"}}, {"seed": 0, "versions": {"torch": "2.2"}})
    ['versions.torch was 2.1 and is 2.2']
    """
    apart = ("code", "members")
    one, other = (flat({name: value for name, value in key.items() if name not in apart}) for key in (before, now))
    found = [
        f"{name} was {_brief(one.get(name))} and is {_brief(other.get(name))}"
        for name in sorted({*one, *other})
        if one.get(name) != other.get(name)
    ]
    codes: list[dict[str, str]] = [key.get("code", {}) for key in (before, now)]
    found += [f"the code of {name} has changed" for name in changed_code(*codes)]
    if not found and codes[0] != codes[1]:
        found.append("the version of Python has changed")
    return found or [f"the run of {name} is another one" for name in sorted(now.get("members", {}))]


def reason(found: list[str]) -> str:
    """Differences as one text; of many, the first ones."""
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return "; ".join(found[:NAMED]) + more


def _brief(value: Any) -> str:
    """A digest by its first digits; any other value as it is."""
    return value[:SHORT] if isinstance(value, str) and len(value) == 64 else str(value)

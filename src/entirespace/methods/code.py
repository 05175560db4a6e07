"""The code of a method as digests, by which a changed loss is noticed although its name is the same.

The digests are of the code that Python has loaded, not of files: so a class in a notebook or a script has them too, and
comments and line breaks change nothing. They cover the class and its bases, the functions and classes of the user that
these call, in whatever module, and the constants that they read. Libraries count by their versions, not here.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (the values are of any type)
from __future__ import annotations

import dis
import hashlib
import inspect
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from functools import cached_property, partial
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch

from ..config import NetworkConfig
from ..network.towers import TOWERS
from ..network.trunks import TRUNKS
from ._method import Method

PACKAGE = __name__.partition(".")[0]
PYTHON = "python"
_PLACES = ("stdlib", "platstdlib", "purelib", "platlib")
_INSTALLED = tuple({Path(sysconfig.get_path(name)).resolve() for name in _PLACES})
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...), np.generic, np.dtype, torch.dtype)
_NOT_CODE = {
    *("__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__annotations__", "__annotate__"),
    *("__annotate_func__", "__parameters__", "__orig_bases__", "__abstractmethods__", "_abc_impl", "__final__"),
    *("__dataclass_fields__", "__dataclass_params__", "__match_args__", "__firstlineno__", "__static_attributes__"),
    *("__eq__", "__hash__", "__repr__", "__setattr__", "__delattr__"),
}
"""Members of a class that decide no number."""


def code_of(method: Method, network: NetworkConfig) -> dict[str, str]:
    """Each function and constant of the method, the tower and the trunk, as "module:name", with its digest.

    Beside them is the version of Python: digests of one version cannot be compared with those of another. Of this
    package only the modules of the method, the tower and the trunk themselves are read.
    """
    parts = (TOWERS.get(type(network.tower)), TRUNKS.get(type(network.trunk)))
    found = _Code((method, *filter(None, parts)))
    return {PYTHON: f"{sys.version_info.major}.{sys.version_info.minor}", **dict(sorted(found.digests.items()))}


def own_code(method: Method, network: NetworkConfig) -> dict[str, str] | None:
    """As `code_of`, without the code of this package; None if nothing is left."""
    found = {name: one for name, one in code_of(method, network).items() if not name.startswith(f"{PACKAGE}.")}
    return found if len(found) > 1 else None


def changed_code(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The names whose code is not the same. Of two versions of Python nothing can be said: the list is empty.

    >>> changed_code({"m:f": "1", "m:g": "2"}, {"m:f": "3", "m:g": "2"})
    ['m:f']
    """
    if before.get(PYTHON) != now.get(PYTHON):
        return []
    return [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]


class _Code:
    """Walks from the roots to all code of the user that they use."""

    def __init__(self, roots: tuple[Any, ...]) -> None:
        self.digests: dict[str, str] = {}
        self._seen: dict[int, Any] = {}  # by id; an object that is held keeps its id
        classes = [root if isinstance(root, type) else type(root) for root in roots]
        # a package of the user may be installed beside the libraries
        self._tops = {cls.__module__.partition(".")[0] for cls in classes} - {PACKAGE}
        bases = {base for cls in classes for base in cls.__mro__ if not inspect.isabstract(base)}
        self._modules = {base.__module__ for base in bases if base.__module__.startswith(f"{PACKAGE}.")}
        for root in roots:
            values = self._value(root)
            if not isinstance(root, type) and not is_dataclass(root):  # the parameters of a dataclass are known by name
                self._add(f"{type(root).__module__}:{type(root).__qualname__}()", values)

    def _is_own(self, module: str | None) -> bool:
        """Whether a module is the user's: neither of this package, nor of Python, nor installed as a library."""
        top = (module or "").partition(".")[0]
        if top in self._tops or module in self._modules or top in ("", "__main__"):
            return True
        if top == PACKAGE or top in sys.stdlib_module_names:
            return False
        file = getattr(sys.modules.get(module or ""), "__file__", None)
        return file is None or not any(Path(file).resolve().is_relative_to(place) for place in _INSTALLED)

    def _value(self, value: Any) -> str:
        """A text that is the same for the same value. Code of the user that it refers to is added to the digests."""
        if isinstance(value, _PLAIN):
            return f"{type(value).__name__} {value!r}"
        if isinstance(value, torch.Tensor):
            value = value.detach().cpu().float().numpy()
        if isinstance(value, np.ndarray):
            return f"{value.dtype} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
        if isinstance(value, CodeType):
            return self._bytecode(value)
        if isinstance(value, tuple | list):
            return f"{type(value).__name__} [{', '.join(map(self._value, value))}]"
        if isinstance(value, set | frozenset):
            return f"set {sorted(map(self._value, value))}"
        if isinstance(value, Mapping):
            return f"dict {sorted((self._value(key), self._value(held)) for key, held in value.items())}"
        if isinstance(value, staticmethod | classmethod):
            return self._value(value.__func__)
        if isinstance(value, property):
            return self._value((value.fget, value.fset))
        if isinstance(value, cached_property):
            return self._value(value.func)
        if isinstance(value, partial):
            return self._value((value.func, value.args, value.keywords))
        if inspect.ismethod(value):
            return self._value((value.__func__, value.__self__))
        if isinstance(value, ModuleType):
            return f"module {value.__name__}"
        if not isinstance(value, type | FunctionType) and callable(wrapped := getattr(value, "__wrapped__", None)):
            return self._value(wrapped)  # functools.cache
        return self._named(value)

    def _named(self, value: Any) -> str:
        """A function or a class by its name, or an object by its class and its plain values."""
        if isinstance(value, FunctionType):
            if self._is_own(value.__module__):
                self._function(value)
            return f"function {value.__module__}:{value.__qualname__}"
        cls = value if isinstance(value, type) else type(value)
        name = f"{cls.__module__}:{cls.__qualname__}"
        if self._is_own(cls.__module__):
            self._class(cls)
            if cls is not value and id(value) not in self._seen:
                self._seen[id(value)] = value
                plain = {key: held for key, held in getattr(value, "__dict__", {}).items() if _is_plain(held)}
                return f"object of {name} {self._value(plain)}"
        return f"class {name}" if cls is value else f"object of {name} {getattr(value, '__qualname__', '')}"

    def _class(self, cls: type) -> None:
        if id(cls) in self._seen:
            return
        self._seen[id(cls)] = cls
        for base in cls.__mro__[1:]:
            self._value(base)
        for name, value in vars(cls).items():
            if name not in _NOT_CODE and _is_constant(value):
                self._add(f"{cls.__module__}:{cls.__qualname__}.{name}", self._value(value))
        self._add(f"{cls.__module__}:{cls.__qualname__}", ", ".join(base.__qualname__ for base in cls.__bases__))

    def _function(self, function: FunctionType) -> None:
        if id(function) in self._seen:
            return
        self._seen[id(function)] = function
        cells = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
        parts = [function.__code__, function.__defaults__, function.__kwdefaults__, *filter(_is_constant, cells)]
        content = list(map(self._value, parts))
        names = list(dict.fromkeys(_names(function.__code__)))
        read = {name: function.__globals__[name] for name in names if name in function.__globals__}
        read |= {name: sys.modules[name] for name in _imported(function.__code__) if name in sys.modules}
        for module in [value for value in read.values() if isinstance(value, ModuleType)]:
            if self._is_own(module.__name__):
                read |= {f"{module.__name__}.{name}": getattr(module, name) for name in names if hasattr(module, name)}
        content += [f"{name} = {self._value(value)}" for name, value in read.items() if _is_constant(value)]
        self._add(f"{function.__module__}:{function.__qualname__}", "\n".join(content))
        if callable(wrapped := getattr(function, "__wrapped__", None)):
            self._value(wrapped)

    def _bytecode(self, code: CodeType) -> str:
        about = (code.co_argcount, code.co_kwonlyargcount, code.co_flags, code.co_names, code.co_varnames)
        inside = (code.co_freevars, code.co_cellvars, code.co_code.hex())
        return f"code {about} {inside} {self._value(code.co_consts)}"

    def _add(self, name: str, content: str) -> None:
        """Two functions of one name, such as those of two loops, count together."""
        self.digests[name] = hashlib.sha256((self.digests.get(name, "") + content).encode()).hexdigest()[:16]


def _names(code: CodeType) -> Iterator[str]:
    """The names that a function and the functions inside it read."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _imported(code: CodeType) -> Iterator[str]:
    """The modules that a function and those inside it import. An attribute may have the name of a module, too."""
    yield from (step.argval for step in dis.get_instructions(code) if step.opname == "IMPORT_NAME")
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _imported(constant)


def _is_plain(value: Any) -> bool:
    """Whether the value is a constant: a number, text, an array, or a collection of these."""
    if isinstance(value, Mapping):
        return all(_is_plain(key) and _is_plain(held) for key, held in value.items())
    if isinstance(value, tuple | list | set | frozenset):
        return all(map(_is_plain, value))
    return isinstance(value, (*_PLAIN, np.ndarray, torch.Tensor))


def _is_constant(value: Any) -> bool:
    """Whether what code reads is a constant or other code, and no collection that training may fill."""
    return not isinstance(value, Mapping | tuple | list | set | frozenset) or (len(value) > 0 and _is_plain(value))


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:  # it is empty
        return False

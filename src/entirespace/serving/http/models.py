"""The bundle that is served now, and its exchange for another one while requests go on.

A folder of models holds one folder for each version, each a bundle. The highest in natural order that is whole is
served (10 comes after 9). To publish a version, export it, or copy it under a name that begins with a dot and rename
it; to roll back, remove its folder. A bundle that is damaged is refused and logged, and what was served is served
further.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ...errors import BundleError, EntirespaceError
from ...logs.find import natural
from ...records import sha256
from ..bundle import Bundle
from ..manifest import MANIFEST, is_bundle
from ..ports import Ports
from ..ranker import Ranker
from .examples import example_request

log = logging.getLogger("entirespace.serve")
Signature = tuple[tuple[str, int, int, int], ...]
MADE_OF = "MODELS_DIR must hold folders of bundles, made by `entirespace export`"


@dataclass(frozen=True, eq=False)
class Model:
    """A bundle that is open and warm."""

    ranker: Ranker
    version: str
    signature: Signature = field(repr=False, default=())

    @property
    def name(self) -> str:
        """The method and the seeds."""
        return self.ranker.bundle.title

    @cached_property
    def example(self) -> dict[str, Any]:
        """A request that this model scores."""
        return example_request(self.ranker)

    @staticmethod
    def open(folder: Path, version: str, ports: Ports, threads: int, signature: Signature = ()) -> Model:
        """Verify a bundle, open it, and score a request. Raises: EntirespaceError if it is not whole."""
        model = Model(Ranker(Bundle.open(folder, threads=threads), ports), version, signature)
        for count in (1, 200):
            example = {**model.example, "candidates": model.example["candidates"][:1] * count}
            found = model.ranker.rank(model.ranker.form.read(example))
            if not bool((found.pctcvr >= 0).all()):
                raise BundleError("the program must give probabilities", "it gives others", where=str(folder))
        return model


class Models:
    """Holds the model that is served.

    Args:
        folder: a bundle, or a folder of versions.
        threads: of one call of the program.
        seconds: how often a folder of versions is looked at.
        noticed: called with "swapped" or "refused".

    Attributes:
        current: the model; None: nothing was opened yet.
    """

    def __init__(
        self,
        folder: Path,
        ports: Ports = Ports(),
        *,
        threads: int = 1,
        seconds: float = 1.0,
        noticed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.folder, self._ports, self._threads, self._seconds = folder, ports, threads, seconds
        self.current: Model | None = None
        self.noticed = noticed
        self._refused: dict[str, Signature] = {}
        self._stop, self._thread = threading.Event(), threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Open the model, and watch the folder of versions. Raises: EntirespaceError if there is none to serve."""
        if is_bundle(self.folder):
            version = sha256(self.folder / MANIFEST)[:12]
            self.current = Model.open(self.folder, version, self._ports, self._threads)
            log.info("serving %s, version %s", self.current.name, version)
            return
        self.look()
        if self.current is None:
            came = "; ".join(f"{name} is damaged" for name in self._refused) or "there is none"
            raise BundleError(MADE_OF, came, where=str(self.folder))
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._stop.set()

    def look(self) -> None:
        """Serve the highest version that is whole, if it is not served already."""
        for name in self._versions():
            signature = _signature(self.folder / name)
            current = self.current
            if current is not None and (name, signature) == (current.version, current.signature):
                return
            if self._refused.get(name) == signature:
                if current is not None and name == current.version:
                    return  # what was read of it before it was damaged is in memory
                continue
            if self._open(name, signature) or (current is not None and name == current.version):
                return
        if self.current is not None and not (self.folder / self.current.version).is_dir():
            log.warning("version %s is gone, and there is no other: it is served from memory", self.current.version)

    def _open(self, name: str, signature: Signature) -> bool:
        try:
            model = Model.open(self.folder / name, name, self._ports, self._threads, signature)
        except Exception as error:  # whatever a damaged file causes, the server goes on
            self._refused[name] = signature
            self.noticed("refused")
            text = str(error) if isinstance(error, EntirespaceError) else f"{type(error).__name__}: {error}"
            log.error("version %s is refused: %s", name, text)
            return False
        self._refused.pop(name, None)
        before, self.current = self.current, model
        self.noticed("swapped")
        log.info("serving %s, version %s%s", model.name, name, "" if before is None else f", after {before.version}")
        return True

    def _versions(self) -> list[str]:
        """The names of folders that hold a manifest, the highest first."""
        try:
            names = [path.name for path in self.folder.iterdir() if (path / MANIFEST).is_file()]
        except OSError as error:
            log.error("%s cannot be read: %s", self.folder, error.strerror)
            return []
        return sorted((name for name in names if not name.startswith(".")), key=natural, reverse=True)

    def _watch(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                self.look()
            except Exception:
                log.exception("the folder of models could not be looked at")


def _signature(folder: Path) -> Signature:
    """What shows that a file of a folder was changed: names, sizes, times."""
    found: list[tuple[str, int, int, int]] = []
    for path in sorted(folder.rglob("*")):
        try:
            about = path.lstat()
        except OSError:  # removed in the meantime
            continue
        found.append((str(path.relative_to(folder)), about.st_size, about.st_mtime_ns, about.st_ino))
    return tuple(found)

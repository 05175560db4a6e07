"""A request of raw values -> the scores of its candidates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.rows import IMPRESSIONS, Rows
from ..features.values import canonical
from .bundle import Bundle
from .inputs import CANDIDATE, REQUEST
from .ports import Ports
from .requests import BadRequest, Request, RequestForm
from .sides import Encoded, SideEncoder
from .values import BadValue

Column = tuple[str, str]


@dataclass(frozen=True)
class Ranked:
    """The scores of n candidates, in the order in which they were sent.

    Attributes:
        ids: of the candidates, as they were sent.
        unseen: field -> how many of its ids the model does not know; of a number, how many are missing.
    """

    ids: list[Any]
    pctr: np.ndarray
    pcvr: np.ndarray
    pctcvr: np.ndarray
    unseen: Mapping[str, int]

    @property
    def unseen_ids(self) -> int:
        """How many ids the model does not know, and numbers that are missing."""
        return sum(self.unseen.values())


class Ranker:
    """Scores requests with one bundle. It may be called from several threads."""

    def __init__(self, bundle: Bundle, ports: Ports = Ports()) -> None:
        self.bundle, self._lookup = bundle, ports.lookup
        self.form = RequestForm.of(bundle.schema, bundle.layout)
        inputs = bundle.manifest.inputs
        sides = (inputs.request, inputs.candidate)
        self._request, self._candidate = (
            SideEncoder(bundle.encoders, bundle.layout, side, ports.fresh) for side in sides
        )
        self._needs = tuple(
            tuple(dict.fromkeys((f.table, name) for f in side.needs for name in (f.source, f.weights) if name))
            for side in (self._request, self._candidate)
        )

    def rank(self, request: Request) -> Ranked:
        """The scores of requests that `form` has checked: of one request, or of one request for each candidate.

        Raises: BadRequest that names a value that cannot be encoded, and its place.
        """
        first, rest, unseen = self._rows(request)
        if not request.ids:
            none = np.zeros(0, np.float32)
            return Ranked([], none, none, none, unseen)
        pctr, pcvr, pctcvr = self.bundle.program.score(first, rest, self._request_of(request))
        return Ranked(request.ids, pctr, pcvr, pctcvr, unseen)

    def arrays(self, request: Request) -> dict[str, np.ndarray]:
        """The inputs of the program for a request. Raises: as `rank`."""
        first, rest, _ = self._rows(request)
        return self.bundle.program.arrays(first, rest, self._request_of(request))

    @staticmethod
    def _request_of(request: Request) -> np.ndarray:
        n = len(request.ids)
        return np.arange(n) if request.rows > 1 else np.zeros(n, np.int32)

    def _rows(self, request: Request) -> tuple[Rows, Rows, dict[str, int]]:
        """The encoded rows of the request and of its candidates, and what was unseen by field."""
        one, many = self._values(request)
        first = self._encoded(self._request, one, request.rows, REQUEST)
        rest = self._encoded(self._candidate, many, len(request.ids), CANDIDATE)
        return first.rows, rest.rows, {**first.unseen, **rest.unseen}

    def _encoded(self, side: SideEncoder, values: Mapping[Column, list[Any]], n: int, name: str) -> Encoded:
        try:
            return side.encode(values, n)
        except BadValue as bad:
            where = f"candidates[{bad.row}].{bad.column}" if name == CANDIDATE else self._place(bad.column)
            code = "contradiction" if bad.contradicts else "bad_request"
            came = "they are missing" if bad.value is None else str(bad.value)[:80]
            raise BadRequest(f"'{bad.column}' must hold {bad.must}", came, where, code=code) from bad

    def _place(self, column: str) -> str:
        place = next((p for p in ("user", "context") if column in self.form.columns[p]), "context")
        return f"{place}.{column}"

    def _values(self, request: Request) -> tuple[dict[Column, list[Any]], dict[Column, list[Any]]]:
        """The columns of the request's rows, and of the candidates."""
        n, rows = len(request.ids), request.rows
        none, times = [None] * rows, n if rows == 1 else 1

        def of_candidates(column: Column) -> list[Any]:
            return request.candidate.get(column) or request.request.get(column, none) * times

        return (
            self._looked_up(self._needs[0], lambda column: request.request.get(column, none)),
            self._looked_up(self._needs[1], of_candidates),
        )

    def _looked_up(self, needs: tuple[Column, ...], sent: Callable[[Column], list[Any]]) -> dict[Column, list[Any]]:
        """What was sent, and where nothing was sent what the side tables of the server hold."""
        values = {column: sent(column) for column in needs}
        lookup = self._lookup
        for table in dict.fromkeys(table for table, _ in needs):
            if lookup is None or table not in lookup.tables:
                continue
            columns = [column for column in needs if column[0] == table and None in values[column]]
            if not columns:
                continue
            keys = sent((IMPRESSIONS, self.bundle.schema.tables[table].on))
            frame = lookup.fields(table, ["" if key is None else canonical(key) for key in keys])
            for column in columns:
                pairs = zip(values[column], frame[column[1]].to_list(), strict=True)
                values[column] = [other if own is None else own for own, other in pairs]
        return values

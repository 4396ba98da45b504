"""The figures of one run: those of the page, and those that are registered here."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import numpy as np

from .columns import SeriesView, needs
from .errors import ForeshockError, no_such
from .panels import Panel, installed, panel, panel_of, scene_of
from .reading import read
from .tables import Table

if TYPE_CHECKING:
    import plotly.graph_objects

    from .run import RunView

POINTS = 2000  # of a line, as the page draws it
_SHOWN = ("name", "title", "family", "state")
_AS_IT_IS: Mapping[str, Any] = {}
_OURS: dict[str, Panel] = {}  # registered in this process, for every run

Function = TypeVar("Function", bound=Callable[..., Any])


class Figures:
    """`run.figures()` lists them, `run.figure(name)` draws one, `run.figures.register(...)` adds one of your own."""

    def __init__(self, run: RunView) -> None:
        self._run = run

    def __call__(self) -> Table:
        """The figures that this run's series allow: the page's in its order, then those of this notebook."""
        found = list(self._run.connection.json(self._run.path("/figures"))["figures"])
        known = self._run.series_list()
        there = {one["name"] for one in found}
        found += [
            {"name": one.name, "title": one.told["title"], "family": one.told["family"], "state": "here"}
            for one in _OURS.values()
            if one.name not in there and one.chosen(known)
        ]
        return Table(found, _SHOWN, "no figures yet")

    def register(
        self, name: str, draw: Callable[..., Any] | None = None, /, title: str = "", **declared: Any
    ) -> Any:
        """A figure of your own, for every run of this notebook: `@run.figures.register("reward-per-nat", needs=["reward_mean"])`.

        The words are those of `foreshock.panel`. A function that `foreshock.panel` declared is given as it is:
        `run.figures.register("reward-per-nat", draw)`. To have it on the page too, put it into a package with an entry point
        of the group `foreshock.figures` and install that beside the server.
        """

        def keep(function: Function) -> Function:
            _OURS[name] = panel_of(name, panel(title or name, **declared)(function) if declared else function)
            return function

        return keep if draw is None else keep(draw)

    def draw(
        self,
        name: str,
        theme: str | None = None,
        keys: Sequence[str] = (),
        look: Mapping[str, Any] = _AS_IT_IS,
    ) -> plotly.graph_objects.Figure:
        """One figure: of this notebook if it registered one of this name, else the page's, else one of an installed package.

        `look`: `x`, `first`, `last` of the page's figures, those that are not None.
        """
        look = {word: value for word, value in look.items() if value is not None}
        if name in _OURS:
            return self._here(_OURS[name], theme, look)
        query: list[tuple[str, Any]] = [*([("theme", theme)] if theme else []), *look.items()]
        try:
            body = self._run.connection.get(
                self._run.path(f"/figures/{quote(name, safe='')}"), [*query, *(("key", key) for key in keys)]
            )
        except ForeshockError as error:
            if error.code != "UnknownFigure":
                raise
            brought = installed()
            if name in brought:
                return self._here(brought[name], theme, look)
            raise self._unknown(name, brought, error) from None
        return needs("plotly.graph_objects", "figure()").Figure(with_arrays(json.loads(body)))

    def _here(self, own: Panel, theme: str | None, look: Mapping[str, Any]) -> plotly.graph_objects.Figure:
        run = self._run
        if look:
            raise ValueError(
                f"the figure {own.name!r} is drawn here, by a function that gets all steps; {', '.join(look)} is for the server's figures"
            )
        chosen = own.chosen(run.series_list())
        if not chosen:
            wanted = " or ".join(own.told["needs"])
            raise ForeshockError(f"{run.name} has no {wanted}, which the figure {own.name!r} needs.")
        asked = [("points", 0 if own.told["whole"] else POINTS)]
        view = SeriesView(read(run.connection, run.path("/data"), chosen, asked), run.name)
        drawn = own.draw(scene_of(run.id, theme or "light", chosen, view, run.last_step))
        figure = needs("plotly.graph_objects", "figure()").Figure
        if not isinstance(drawn, figure):
            raise TypeError(
                f"the figure {own.name!r} must return a plotly.graph_objects.Figure; it returned {type(drawn).__name__}"
            )
        return drawn

    def _unknown(self, name: str, brought: Iterable[str], error: ForeshockError) -> ForeshockError:
        known = [str(one["name"]) for one in self()]
        sentence = no_such(name, f"figure of {self._run.name}", [*known, *brought])
        return ForeshockError(sentence, status=error.status, code=error.code)


def with_arrays(figure: Any) -> Any:
    """Plotly's JSON with its packed arrays as numpy arrays, which a person can read and plotly packs again alike."""
    if isinstance(figure, list):
        return [with_arrays(one) for one in figure]
    if not isinstance(figure, dict):
        return figure
    if "bdata" in figure and "dtype" in figure:
        packed = np.frombuffer(base64.b64decode(figure["bdata"]), np.dtype(figure["dtype"]).newbyteorder("<"))
        shape = [int(size) for size in str(figure["shape"]).split(",")] if "shape" in figure else [-1]
        return packed.reshape(shape)
    return {name: with_arrays(one) for name, one in figure.items()}

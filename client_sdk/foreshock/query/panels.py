"""A function that draws, with its needs -> a figure of one's own, in a notebook and, by entry point, on the page.

The same function is called in both places, with an object of the same shape: `Scene` here, the server's own there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .columns import SeriesView

if TYPE_CHECKING:
    import plotly.graph_objects

GROUP = "foreshock.figures"
DECLARED = "foreshock_panel"  # the attribute of a function that the server reads too

Draw = Callable[["Scene"], "plotly.graph_objects.Figure"]
Function = TypeVar("Function", bound=Callable[..., Any])
log = logging.getLogger(__name__)


def panel(
    title: str,
    *,
    needs: Iterable[str],
    also: Iterable[str] = (),
    family: str = "training",
    about: str = "",
    order: int = 80,
    height: int = 300,
    wide: bool = False,
    whole: bool = False,
) -> Callable[[Function], Function]:
    """Declare what a function draws: `draw(scene) -> plotly.graph_objects.Figure`.

    A run has the figure when it has a statistic of `needs`; those of `also` come with it. `family` and `order` say where on the
    page it stands, `about` is one sentence for the reader, `height` is in pixels. `whole` asks for every reading; else a line has
    about 2,000 points, thinned so that no extreme and no NaN is lost. TypeError says what is wrong with the declaration.
    """
    told = {
        "title": title,
        "needs": _names("needs", needs),
        "also": _names("also", also),
        "family": family,
        "about": about,
        "order": int(order),
        "height": int(height),
        "wide": bool(wide),
        "whole": bool(whole),
    }
    if not told["needs"]:
        raise TypeError("needs= names no statistic; without one no run has this figure")

    def declare(draw: Function) -> Function:
        setattr(draw, DECLARED, told)
        return draw

    return declare


@dataclass(frozen=True)
class Info:
    """What is known of a series without its readings."""

    key: str
    statistic: str
    family: str
    place: str
    labels: Mapping[str, str]
    unit: str
    title: str | None


@dataclass(frozen=True)
class Curve:
    """One series as it is drawn, by (attempt, step): a NaN among `values` breaks the line, where the reading was NaN or infinite."""

    info: Info
    steps: NDArray[np.int64]
    values: NDArray[np.float64]

    @property
    def finite(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Steps and values of the finite readings."""
        keep = np.isfinite(self.values)
        return self.steps[keep], self.values[keep]


@dataclass(frozen=True)
class Scene:
    """What one figure is drawn from."""

    run: str
    theme: str
    curves: tuple[Curve, ...]
    last_step: int

    def of(self, *statistics: str) -> list[Curve]:
        """The curves of these statistics, in the order of the names, then as stored."""
        return [curve for name in statistics for curve in self.curves if curve.info.statistic == name]

    def one(self, statistic: str) -> Curve | None:
        """The curve of a statistic that has no place: the whole model's, the first rank's when there are several."""
        found = self.of(statistic)
        return min(
            found,
            key=lambda curve: (bool(curve.info.place), len(curve.info.labels), curve.info.key),
            default=None,
        )


@dataclass(frozen=True)
class Panel:
    """One figure before it is drawn."""

    name: str
    draw: Draw
    told: Mapping[str, Any]

    def chosen(self, known: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Those of a run's series that it is drawn from; none: a run without this figure."""
        numbers = [one for one in known if one.get("axis") is None]
        if not any(one["statistic"] in self.told["needs"] for one in numbers):
            return []
        wanted = {*self.told["needs"], *self.told["also"]}
        return [one for one in numbers if one["statistic"] in wanted]


def panel_of(name: str, draw: Any) -> Panel:
    """A declared function by the name of its figure; TypeError where it was not declared."""
    told = getattr(draw, DECLARED, None)
    if not callable(draw) or told is None:
        raise TypeError(f"{draw!r} draws no figure yet: decorate the function with foreshock.panel(...)")
    return Panel(name, draw, told)


def installed() -> dict[str, Panel]:
    """The figures that packages of this environment bring; one that cannot be loaded is named in the log and left out."""
    found = {}
    for point in entry_points(group=GROUP):
        try:
            found[point.name] = panel_of(point.name, point.load())
        except Exception as error:  # noqa: BLE001 (a stranger's module must not take the notebook with it)
            log.warning("the figure %s (%s) could not be loaded: %s", point.name, point.value, error)
    return found


def scene_of(
    run: str, theme: str, chosen: Sequence[Mapping[str, Any]], view: SeriesView, last_step: int | None
) -> Scene:
    """Series as the server lists them, and their readings in the same order -> what a figure is drawn from."""
    curves = tuple(
        Curve(
            Info(
                one["key"],
                one["statistic"],
                one["family"],
                one["place"],
                one["labels"],
                one["unit"],
                one.get("about", {}).get("title"),
            ),
            part.steps,
            np.where(np.isfinite(part.values), part.values, np.nan),
        )
        for one, part in zip(chosen, view, strict=True)
    )
    return Scene(run, theme, curves, last_step or 0)


def _names(argument: str, given: Iterable[str]) -> tuple[str, ...]:
    if isinstance(given, str):
        raise TypeError(f"{argument}={given!r} is one word; write a list: {argument}=[{given!r}]")
    return tuple(map(str, given))

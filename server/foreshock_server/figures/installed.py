"""Packages beside the server -> their figures, found by entry point: each a function that `foreshock.panel` declared."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any

import plotly.graph_objects as go

from foreshock_server.errors import FigureFailed
from foreshock_server.figures import registry
from foreshock_server.figures.scene import Scene
from foreshock_server.figures.style import empty

GROUP = "foreshock.figures"
DECLARED = "foreshock_panel"  # the attribute that the SDK's decorator leaves
_PLOTLY = go.Figure().layout.template.to_plotly_json()  # what a figure has whose author chose none

log = logging.getLogger(__name__)


def register() -> list[str]:
    """Offer the figures of all installed packages; the names of those that are new. What cannot be loaded is named in the log."""
    found = []
    for point in declared():
        known = registry.find(point.name)
        if known is not None and known.origin == point.value:
            continue
        try:
            _offer(point)
        except Exception as error:  # noqa: BLE001 (a stranger's module must not keep the server from its work)
            log.error("the figure %s (%s) could not be loaded: %s", point.name, point.value, error)
        else:
            found.append(point.name)
    if found:
        log.info("figures of installed packages: %s", ", ".join(found))
    return found


@cache
def declared() -> EntryPoints:
    """What the installed packages declare: looked for in each of them, and once, for nothing is installed while a process runs."""
    return entry_points(group=GROUP)


def _offer(point: EntryPoint) -> None:
    draw = point.load()
    told: Mapping[str, Any] | None = getattr(draw, DECLARED, None)
    if not callable(draw) or told is None:
        raise TypeError("it draws no figure yet: decorate the function with foreshock.panel(...)")
    registry.panel(
        point.name,
        told["title"],
        told["family"],
        told["order"],
        told["about"],
        needs=told["needs"],
        also=told["also"],
        height=lambda _series: int(told["height"]),
        wide=told["wide"],
        whole=told["whole"],
        origin=point.value,
    )(lambda scene: _drawn(point, draw, scene))


def _drawn(point: EntryPoint, draw: registry.Draw, scene: Scene) -> go.Figure:
    """What it draws, in the page's style where its author chose none; FigureFailed names the function."""
    try:
        figure = draw(scene)
    except Exception as error:
        log.warning("the figure %s (%s) failed", point.name, point.value, exc_info=error)
        raise FigureFailed(
            f"The figure {point.name!r} ({point.value}) failed: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(figure, go.Figure):
        raise FigureFailed(
            f"The figure {point.name!r} ({point.value}) must return a plotly.graph_objects.Figure; it returned {type(figure).__name__}."
        )
    if figure.layout.template.to_plotly_json() == _PLOTLY:
        figure.layout.template = empty(scene.theme).layout.template
    return figure

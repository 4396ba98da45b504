"""The figures by name: what each is called, which series it is drawn from, and the function that draws it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from foreshock_server.figures.scene import Scene, SeriesInfo
from foreshock_server.query.verdict import FAMILIES

Draw = Callable[[Scene], go.Figure]
Choose = Callable[[Sequence[SeriesInfo]], Sequence[SeriesInfo]]


@dataclass(frozen=True)
class Panel:
    """One figure before it is drawn."""

    name: str
    title: str
    family: str
    order: int
    about: str  # one sentence for the reader: what is seen here
    choose: Choose  # the series it is drawn from; none: a run without this figure
    draw: Draw
    leads: tuple[str, ...] = ()  # statistics, the first that exists gives the number beside the title
    height: Callable[[int], int] = lambda _series: 300  # pixels, from the number of series
    wide: bool = False  # takes the whole width of the page
    whole: bool = False  # wants every reading: it adds up or bins them itself
    from_start: bool = False  # measures against the run's own start: reads all of it, shows the range
    reads: frozenset[str] | None = None  # the statistics that it chooses from; None: of all
    partial: bool = False  # draws one place of several, so the plain figures of its statistics stay
    vectors: bool = False  # drawn from vectors, every other one from numbers
    origin: str = ""  # of an installed package: the function, as module:name

    def chosen(self, series: Sequence[SeriesInfo]) -> Sequence[SeriesInfo]:
        """Those of a run's series that it is drawn from."""
        return self.choose([info for info in series if (info.axis is not None) == self.vectors])

    def place(self) -> tuple[int, str, int, str]:
        """Where it stands when nothing is wrong."""
        return *place_of(self.family), self.order, self.name


def place_of(family: str) -> tuple[int, str]:
    """Where a family stands when nothing is wrong: in the verdict's order, unknown ones after it by name."""
    return (FAMILIES.index(family) if family in FAMILIES else len(FAMILIES), family)


class Known:
    """A run's series by statistic: of thousands, a panel looks at those that it can choose."""

    def __init__(self, series: Sequence[SeriesInfo]) -> None:
        self._all = series
        self._places: dict[str, list[int]] = {}  # in the order of the run
        for place, info in enumerate(series):
            self._places.setdefault(info.statistic, []).append(place)

    def chosen(self, panel: Panel) -> Sequence[SeriesInfo]:
        """What the panel is drawn from; none: the run does not have it."""
        if panel.reads is None:
            return panel.chosen(self._all)
        beneath = tuple(name for name in panel.reads if name.endswith("/"))
        names = [name for name in panel.reads if name in self._places]
        if beneath:
            names += [name for name in self._places if name.startswith(beneath) and name not in panel.reads]
        if not names:
            return []
        return panel.chosen(
            [self._all[place] for place in sorted(place for name in names for place in self._places[name])]
        )


_PANELS: dict[str, Panel] = {}


def panel(
    name: str,
    title: str,
    family: str,
    order: int,
    about: str,
    *,
    needs: Iterable[str] = (),
    also: Iterable[str] = (),
    choose: Choose | None = None,
    height: Callable[[int], int] = lambda _series: 300,
    wide: bool = False,
    whole: bool = False,
    from_start: bool = False,
    reads: Iterable[str] | None = None,
    everything: bool = False,
    partial: bool = False,
    origin: str = "",
) -> Callable[[Draw], Draw]:
    """Register a figure: offered when the run has any statistic of `needs` (or `choose` finds a series), drawn with `also`.

    `reads`: what `choose` chooses from, where that is not `needs` and `also`; `everything`: it looks at all series of a run.
    """
    wanted, welcome = tuple(needs), tuple(also)

    def by_statistic(series: Sequence[SeriesInfo]) -> Sequence[SeriesInfo]:
        if not any(info.statistic in wanted for info in series):
            return []
        return [info for info in series if info.statistic in wanted or info.statistic in welcome]

    def register(draw: Draw) -> Draw:
        if name in _PANELS:
            raise ValueError(f"there is a figure {name!r} already; choose another name")
        _PANELS[name] = Panel(
            name,
            title,
            family,
            order,
            about,
            choose or by_statistic,
            draw,
            wanted,
            height,
            wide,
            whole,
            from_start,
            None if everything else frozenset(reads if reads is not None else (*wanted, *welcome)) or None,
            partial,
            origin=origin,
        )
        return draw

    return register


def panels() -> list[Panel]:
    """All of them, in the order of the families."""
    return sorted(_PANELS.values(), key=Panel.place)


def find(name: str) -> Panel | None:
    """The one of this name."""
    return _PANELS.get(name)

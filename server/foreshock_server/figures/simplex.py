"""Neural collapse: how near features and classifier are to the simplex that a classifier trained to the end is expected to reach."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import plotly.graph_objects as go

from foreshock_server.figures import marks
from foreshock_server.figures.registry import panel
from foreshock_server.figures.scene import Scene, SeriesInfo
from foreshock_server.figures.style import DASHES, STEP, colours, empty, unit_note

DISTANCES = (
    ("nc1", "width of the classes (NC1)"),
    ("nc2_equinorm", "unequal norms (NC2)"),
    ("nc2_equiangular", "unequal angles (NC2)"),
    ("nc3_duality", "classifier from means (NC3)"),
)
SHARES = (
    ("nc4_agreement", "agrees with the nearest mean (NC4)"),
    ("nearest_mean_accuracy", "nearest to the own mean"),
    ("class_norm_ratio", "smallest mean over largest"),
    ("nearest_classes_cosine", "cosine of the nearest two"),
)
NAMES = frozenset(name for name, _ in (*DISTANCES, *SHARES))
SPLIT = 0.42  # of the height is the shares'


def _place(series: Sequence[SeriesInfo]) -> list[SeriesInfo]:
    """The place that is told most about; of several the last, which lies nearest to the classifier."""
    found = [info for info in series if info.statistic in NAMES and info.labels.get("rank", "all") == "all"]
    if not any(info.statistic in dict(DISTANCES) for info in found):
        return []
    told = Counter(info.place for info in found)
    most = max(told.values())
    chosen = [place for place, count in told.items() if count == most][-1]
    return [info for info in found if info.place == chosen]


@panel(
    "neural-collapse", "Neural collapse", "representation", 40,
    "Distances from the simplex fall to 0 and shares rise to 1 at the end of training a classifier; early, or while accuracy falls,"
    " the classes have collapsed.",
    choose=_place, reads=NAMES, height=lambda _series: 400, partial=True,
)  # fmt: skip
def neural_collapse(scene: Scene) -> go.Figure:
    """NC1 to NC3 on a logarithmic scale above, what approaches 1 below; one place of the model."""
    c = colours(scene.theme)
    place = scene.curves[0].info.place if scene.curves else ""
    figure = empty(scene.theme, unit=f"distance{' at ' + place if place else ''}")
    below = any(scene.of(name) for name, _ in SHARES)
    for number, (statistic, name) in enumerate(DISTANCES):
        for one in scene.of(statistic)[:1]:
            marks.line(figure, one.positive(), name, colour=c.series[number], dash=DASHES[number], width=1.75)
    for number, (statistic, name) in enumerate(SHARES):
        for one in scene.of(statistic)[:1]:
            marks.line(
                figure, one, name, colour=c.series[(number + 4) % len(c.series)], dash=DASHES[number], width=1.75,
                xaxis="x2", yaxis="y2",
            )  # fmt: skip
    figure.update_layout(yaxis={"type": "log", "exponentformat": "power", "nticks": 5})
    if below:
        figure.update_layout(
            xaxis={"anchor": "y", "showticklabels": False},
            xaxis2={
                "anchor": "y2",
                "matches": "x",
                "tickprefix": STEP,
                "showtickprefix": "first",
                "nticks": 7,
            },
            yaxis={"domain": [SPLIT + 0.06, 1]},
            yaxis2={
                "domain": [0, SPLIT - 0.04],
                "anchor": "x2",
                "nticks": 4,
                "autorangeoptions": {"include": [0, 1]},
            },
            hoversubplots="axis",
        )
        figure.add_annotation(unit_note("share or cosine", y=SPLIT - 0.04))
    marks.alerts(figure, scene)
    marks.odd(figure, scene)
    return figure

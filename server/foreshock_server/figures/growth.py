"""A figure, and what a reader has of it already -> the figure with what is new of each line, and what to keep. Pure.

A figure is drawn whole and compared: nothing that draws has to know of it, and a line that changed in its past (a resumed run, a
coarser thinning) is found and sent whole. The mark that a reader brings back is all that is remembered of it.
"""

from __future__ import annotations

import hashlib

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

NOTHING = "0"  # the mark of a reader that has nothing yet
MARK = r"^(0|[0-9]{1,4}(:[0-9]{1,9}\.[0-9a-f]{12}){1,3}(~[0-9]{1,4}(:[0-9]{1,9}\.[0-9a-f]{12}){1,3})*)$"
LONGEST = 16_000  # characters of a mark
OPEN_ENDS = (
    16,
    160,
    1600,
)  # points at the end of a line that may still move: of a mean, of a thinned stretch, of a band


def shorten(figure: go.Figure, mark: str) -> None:
    """Take out of each line what the reader has; `layout.meta` says how many points of each trace to keep, and the next mark."""
    known = _read(mark)
    kept: list[int] = []
    marks: list[str] = []
    for number, trace in enumerate(figure.data):
        points = _points(trace)
        keep = 0
        if points is not None:
            cuts = [len(points[0]) - end for end in OPEN_ENDS if len(points[0]) > end]
            if cuts:
                marks.append(str(number) + "".join(f":{cut}.{_hash(points, cut)}" for cut in cuts))
            keep = max(
                (cut for cut, told in known.get(number, {}).items() if cut <= len(points[0]) and _hash(points, cut) == told),
                default=0,
            )  # fmt: skip
            if keep:
                trace.update(x=points[0][keep:], y=points[1][keep:])
        kept.append(keep)
    figure.update_layout(
        meta={**(figure.layout.meta or {}), "kept": kept, "mark": "~".join(marks) or NOTHING}
    )


def _points(trace: go.Scatter) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """The line of a trace that has nothing else per point."""
    if trace.type != "scatter" or trace.customdata is not None or trace.text is not None:
        return None
    if not (
        isinstance(trace.x, np.ndarray) and isinstance(trace.y, np.ndarray) and len(trace.x) == len(trace.y)
    ):
        return None
    if trace.x.dtype.kind not in "iuf" or trace.y.dtype.kind not in "iuf":
        return None
    return trace.x, trace.y


def _hash(points: tuple[NDArray[np.float64], NDArray[np.float64]], cut: int) -> str:
    digest = hashlib.blake2b(digest_size=6)
    for one in points:
        digest.update(one[:cut].astype(np.float64).tobytes())
    return digest.hexdigest()


def _read(mark: str) -> dict[int, dict[int, str]]:
    if mark == NOTHING:
        return {}
    known: dict[int, dict[int, str]] = {}
    for line in mark.split("~"):
        number, *cuts = line.split(":")
        known[int(number)] = {int(cut): told for cut, _, told in (one.partition(".") for one in cuts)}
    return known

"""Which part of a place a rank holds, and its series, in; series that say so, out: the server merges only what may be merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from foreshock.series import SeriesSpec

from .statistics.table import STATISTICS

Word = Literal["replicated", "rows", "columns", "unknown"]
WORDS: tuple[Word, ...] = ("replicated", "rows", "columns")  # that a user can write
_OVER_HEADS = (
    "mean",
    "max",
)  # readings over the heads of a layer that can be had from those of some heads each


@dataclass(frozen=True)
class Layout:
    """What one rank holds of the rows of one place.

    ``replicated``: the same as the other ranks of its group, DTensor's ``Replicate()``. ``rows``: other rows than any other
    rank, ``Shard`` of the batch or of the sequence. ``columns``: the same rows, other features, ``Shard(-1)``. ``unknown``:
    nobody can say, so nothing is merged.
    """

    word: Word
    part: int = 0  # the lowest rank that sees the same rows
    shard: int = 0  # which of the shards of the columns
    shards: int = 1
    width: int = 0  # columns of this shard


def laid(specs: Sequence[SeriesSpec], layout: Layout | None) -> list[SeriesSpec]:
    """The series as a rank with this layout describes them.

    Of columns, what is separable over them says how; what is not carries the label ``shard``, and is merged with the same
    shard of other rows alone.
    """
    if layout is None or layout.word == "rows":
        return list(specs)
    if layout.word == "unknown":
        return [replace(spec, merge=None, weight=None) for spec in specs]
    if layout.word == "replicated":
        return [in_part(spec, layout.part) for spec in specs]
    return [_of_columns(spec, layout) for spec in specs]


def in_part(spec: SeriesSpec, part: int, *more: tuple[str, str | int]) -> SeriesSpec:
    """The same, told apart from what other ranks read: of those that say the same part one counts."""
    if spec.merge is None:
        return spec
    weight = (("weight", spec.weight),) if spec.weight else ()
    # Not under `merge`: a server that knows of no parts would count each of them.
    return replace(
        spec, merge=None, weight=None, layout=(("part", part), ("merge", spec.merge), *weight, *more)
    )


def _of_columns(spec: SeriesSpec, layout: Layout) -> SeriesSpec:
    across = STATISTICS[spec.statistic].columns if spec.statistic in STATISTICS else "none"
    labels = dict(spec.labels)
    one_head = spec.along is not None or labels.get("heads", "mean") not in _OVER_HEADS
    if across == "none" or one_head:
        shard = ("shard", f"{layout.shard}/{layout.shards}")
        return in_part(replace(spec, labels=tuple(sorted((*spec.labels, shard)))), layout.part)
    return in_part(
        spec,
        layout.part,
        ("columns", across),
        ("shard", layout.shard),
        ("shards", layout.shards),
        ("width", layout.width),
    )

"""What is known of one statistic, as data: the page, the rules, the reference and the merging of ranks read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from foreshock.series import SeriesSpec

Merge = Literal["none", "sum", "mean", "max", "min", "norm"]
"""How the values of several ranks become one: ``mean`` is weighted by the rows each rank measured, ``norm`` is the root of the
sum of squares, ``none`` cannot be had from the values (the first rank stands for all). Over columns ``mean`` is weighted by
their number."""

COSTS: Mapping[str, str] = {
    "free": "falls out of what another statistic of the same tensor computes",
    "row": "arithmetic on one number per token, sample or group",
    "moments": "one read of the tensor (class K0)",
    "gram": "one product of the tensor with itself, finished on the host (class K1)",
    "logits": "one read of the logits (class K3)",
    "attention": "queries sampled from a layer against all of its keys (class K4)",
    "spectral": "products of a weight matrix with a vector (class K5)",
    "parameters": "one read of gradients or weights, or of a sample of a million coordinates (class K6)",
    "host": "arithmetic on the host, away from the training",
    "backward": "forward and backward passes of its own; never by default",
}


@dataclass(frozen=True, kw_only=True)
class Statistic:
    """One kind of number. Every one reads NaN when more than half of its rows are not finite."""

    name: str
    family: str
    title: str
    formula: str  # in symbols, on one line
    source: str  # paper and equation, or whose heuristic it is
    degenerate: str  # what it reads when its input carries no information
    healthy: str  # what it looks like in a run that learns
    collapsed: str  # what it looks like before and in a collapse
    cost: str  # a key of COSTS
    unit: str = ""
    low: float | None = None  # the range that it can take; None: unbounded
    high: float | None = None
    caveats: str = ""
    needs: tuple[str, ...] = ()  # the inputs without which it is not measured
    undefined: Literal["absent", "NaN"] = (
        "absent"  # what is kept of a record without information; NaN is news, and alerts
    )
    merge: Merge = "none"
    columns: Merge = "none"  # how the values of ranks that hold other columns of the same rows become one
    weight: str = (
        ""  # of a mean: the statistic of the same place that counts the rows; without one, ranks count alike
    )

    def series(
        self, place: str = "", labels: Mapping[str, str] | None = None, along: str | None = None
    ) -> SeriesSpec:
        """This statistic of one place in the model; an entry of a vector where the label `along` says which."""
        return SeriesSpec(
            statistic=self.name,
            family=self.family,
            unit=self.unit,
            place=place,
            labels=tuple(sorted((labels or {}).items())),
            title=self.title,
            low=self.low,
            high=self.high,
            source=self.source,
            sparse=self.undefined == "absent",
            merge=None if self.merge == "none" else self.merge,
            weight=self.weight or None,
            along=along,
        )

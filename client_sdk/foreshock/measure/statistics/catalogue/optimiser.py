"""The optimiser's step: gradients, weights, updates, second moments."""

from __future__ import annotations

from .entry import Statistic

FAMILY = "optimiser"

STATISTICS: tuple[Statistic, ...] = (
    Statistic(
        name="gradient_norm",
        family=FAMILY,
        title="Norm of the gradient",
        unit="",
        low=0.0,
        high=None,
        formula="",
        source="‖g‖; read when the optimizer steps: after the loop's own clipping",
        degenerate="0 for zero gradients",
        healthy="",
        collapsed="",
        cost="parameters",
    ),
    Statistic(
        name="weight_norm",
        family=FAMILY,
        title="Norm of the weights",
        unit="",
        low=0.0,
        high=None,
        formula="",
        source="‖W‖ before the update",
        degenerate="0 for zero weights",
        healthy="",
        collapsed="",
        cost="parameters",
    ),
    Statistic(
        name="update_ratio",
        family=FAMILY,
        title="Size of the update over size of the weights",
        unit="",
        low=0.0,
        high=None,
        formula="",
        source="‖W_after − W_before‖/‖W_before‖ over at most 65536 strided coordinates",
        degenerate="0 when nothing moved; infinite when all-zero weights moved",
        healthy="",
        collapsed="",
        cost="parameters",
    ),
)

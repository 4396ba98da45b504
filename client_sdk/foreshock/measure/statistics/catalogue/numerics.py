"""Numerics: what is not finite, saturated or lost in rounding."""

from __future__ import annotations

from .entry import Statistic

FAMILY = "numerics"

STATISTICS: tuple[Statistic, ...] = (
    Statistic(
        name="nonfinite_count",
        family=FAMILY,
        title="NaN and infinite values",
        unit="values",
        low=0.0,
        high=None,
        formula="#{i : x_i is NaN or ±∞}",
        source="exact count",
        degenerate="0 without values",
        healthy="0; in gradients under a loss scale now and then more, at steps that are then skipped",
        collapsed="above 0 in weights or in the optimizer's state: they stay so, and spread",
        cost="moments",
        caveats="The label tensor says of what: activation, gradient, weight, momentum, second moment. A second moment that is infinite"
        " freezes its weight without a sign elsewhere. State is read as seldom as gradient matrices are.",
        merge="sum",
    ),
    Statistic(
        name="lost_update_share",
        family=FAMILY,
        title="Share of the updates that rounding loses",
        unit="",
        low=0.0,
        high=1.0,
        formula="#{i : W_i + ΔW_i rounds to W_i, g_i ≠ 0} / #{i : g_i ≠ 0}",
        source="definition; of an update of 1e-3 of the weight bfloat16 loses 78 %, of 1e-4 98 %, as measured with Gaussian updates",
        degenerate="0 without a gradient",
        healthy="near 0 with weights in float32; below 0.8 with weights in bfloat16",
        collapsed="above 0.9: training in pure bfloat16 stalls as the learning rate falls",
        cost="parameters",
        caveats="Read from about 16384 evenly spaced coordinates of each block. Also 1 when the step is withheld or the learning rate is 0.",
        needs=("an optimizer step",),
        merge="mean",
    ),
    Statistic(
        name="skipped_step_share",
        family=FAMILY,
        title="Share of the steps that the loss scaler skipped",
        unit="",
        low=0.0,
        high=1.0,
        formula="#{calls of GradScaler.step that found an overflow} / calls since the last record",
        source="definition",
        degenerate="0 without an overflow",
        healthy="a few at the start, then about one in two thousand: each time the scale has been doubled too far",
        collapsed="above 5 %: gradients overflow at whatever scale is tried",
        cost="free",
        caveats="Heard from torch.amp.GradScaler; nothing is copied from the device for it. Of a fused optimizer, which decides on the device,"
        " its verdict is read there.",
        needs=("torch.amp.GradScaler",),
        merge="max",
    ),
    Statistic(
        name="loss_scale",
        family=FAMILY,
        title="Loss scale",
        unit="",
        low=0.0,
        high=None,
        formula="factor of the loss before backward(), before this step's update of it",
        source="definition",
        degenerate="what it was set to",
        healthy="2^10 to 2^17 and doubling now and then",
        collapsed="falls towards 1: gradients have grown, or hold a NaN at every step",
        cost="free",
        needs=("torch.amp.GradScaler",),
        merge="none",
    ),
)

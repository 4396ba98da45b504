"""Plasticity: units that no longer move or fire, and weights that no longer can."""

from __future__ import annotations

from .entry import Statistic

FAMILY = "plasticity"

_WINDOW = "Over a window of 4096 to 8191 rows (tokens, samples, positions of an image), at most 1024 of each record; rows of a batch of 4096 records make one."

STATISTICS: tuple[Statistic, ...] = (
    Statistic(
        name="dormant_unit_share",
        family=FAMILY,
        title="Dormant units",
        unit="",
        low=0.0,
        high=1.0,
        formula="#{j : E|h_j| ≤ τ · mean_k E|h_k|} / W, τ = 0.025 and 0.1, h after the nonlinearity",
        source="Sokar et al. 2023, arXiv:2302.12902, definition 3.1",
        degenerate="1 for a layer of zeros; NaN without finite rows, or when more than half of them are not finite",
        healthy="below 5 %",
        collapsed="above 20 %, or 15 points up; the network can express less and less of what comes next",
        cost="moments",
        caveats="Where the nonlinearity is a function rather than a module it is read from the input of the next layer, of a gated layer"
        " after the gate, behind a dropout with its zeros.",
        needs=("a nonlinear module, or two layers in a row",),
        merge="mean",
    ),
    Statistic(
        name="dead_unit_share",
        family=FAMILY,
        title="Dead units",
        unit="",
        low=0.0,
        high=1.0,
        formula="#{j : h_j = 0 in all rows of the window} / W",
        source="definition",
        degenerate="1 for a layer of zeros; NaN without finite rows, or when more than half of them are not finite",
        healthy="near 0",
        collapsed="above 10 %: these units have no gradient and cannot come back by themselves",
        cost="moments",
        caveats="Only a ReLU can be exactly zero; for GELU, SiLU and the like look at dormant units. Too high while the window holds few rows.",
        needs=("a nonlinear module, or two layers in a row",),
        merge="min",
        columns="mean",
    ),
    Statistic(
        name="zero_activation_share",
        family=FAMILY,
        title="Activations that are exactly zero",
        unit="share",
        low=0.0,
        high=1.0,
        formula="#{(i, j) : h_ij = 0} / (n W), over the n finite rows of the window, h after the nonlinearity",
        source="zero activations of an expert, Wang et al. 2024, HoME, arXiv:2408.05430; for a ReLU network the sparsity of its layer",
        degenerate="1 for a layer of zeros; NaN without finite rows, or when more than half of them are not finite",
        healthy="near 0.5 behind a fresh ReLU, or slowly rising; alike in the experts of one layer",
        collapsed="above 0.9: a layer, or an expert of a mixture, that hardly passes anything on",
        cost="free",
        caveats="Only a ReLU is exactly zero; behind a dropout its zeros count too. Of an expert, where it is a module of its own with"
        " a nonlinearity: over the tokens that it was sent; experts whose weights lie in one tensor are not seen.",
        needs=("a nonlinear module, or two layers in a row",),
        merge="mean",
        columns="mean",
        weight="unit_samples",
    ),
    Statistic(
        name="unit_samples",
        family=FAMILY,
        title="Rows behind the shares of units",
        unit="rows",
        low=0.0,
        high=None,
        formula="finite rows in the window",
        source="definition",
        degenerate="0 when no row was finite",
        healthy="4096 or more after the first records",
        collapsed="stays small: too few rows to call a unit dead",
        cost="free",
        caveats="At most 1024 rows of each record, drawn at random; a window is full at 4096.",
        needs=("a nonlinear module, or two layers in a row",),
        merge="sum",
        columns="min",
    ),
    Statistic(
        name="dormant_gradient_share",
        family=FAMILY,
        title="Units with a dormant gradient",
        unit="",
        low=0.0,
        high=1.0,
        formula="#{j : ‖∇W_j‖ ≤ 0.025 · mean_k ‖∇W_k‖} / rows, W_j the incoming weights of unit j, over the block's matrices",
        source="gradient dormancy, Ji et al. 2024, ACE, arXiv:2402.14528; the threshold is that of dormant units",
        degenerate="1 for a zero gradient; NaN when a gradient is not finite",
        healthy="near 0",
        collapsed="rises: units that fire but no longer learn, often before they fall silent",
        cost="parameters",
        caveats="Of the gradient of one step, after clipping. Embeddings are left out: their rows are tokens. Of a layer that stores"
        " its weights as inputs by outputs, rows are inputs.",
        needs=("an optimizer step", "weight matrices"),
        merge="mean",
    ),
)

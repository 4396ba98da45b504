"""Indices into a codebook in; how much of the codebook is in use, over a window that counts indices, out.

Shape suffixes: N indices, K codes, D width.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from foreshock.series import SeriesSpec

from . import embedding, masked
from .table import STATISTICS

WINDOW = (
    16  # indices per code: with fewer, the entropy of the counts says more of their number than of the codes
)
ENOUGH = 4  # indices per code, before the first reading: 12% short uncorrected, 1% corrected
DEAD = 0.01  # of an even share
LEVELS = (0.5, 0.95, 1.0)  # of the ages, by nearest rank

_USE = ("codebook_usage", "codebook_perplexity", "codebook_dead")
_AGE = ("codebook_age_p50", "codebook_age_p95", "codebook_age_max")


def series(place: str, given: Collection[str] = ()) -> list[SeriesSpec]:
    """What `measure` yields, in order, for inputs of these names."""
    return [
        *(STATISTICS[name].series(place) for name in (*_USE, *_AGE)),
        STATISTICS["n_eff"].series(place),
        *(_of_gradient(place) if "gradient" in given else ()),
    ]


def fresh(size: int, device: torch.device) -> Tensor:
    """The memory of a codebook that nothing has been seen of: [3, K + 1].

    Rows: weight of each code in the window, indices since it was last used, records since then. In the last column: the
    sum of the squared weights of all indices, the indices seen, nothing.
    """
    memory = torch.zeros((3, size + 1), dtype=torch.float32, device=device)
    memory.narrow(0, 1, 1).narrow(1, 0, size).fill_(WINDOW * size)
    return memory


def measure(given: Mapping[str, Tensor], memory: Tensor) -> tuple[Tensor, Tensor]:
    """The readings of `series`, and the memory after this batch.

    ``index`` [N]; ``valid`` [N] if not all of them count; ``gradient`` [K, D] of the codebook. The window forgets by indices,
    not by records: an index weighs e⁻¹ once WINDOW·K others have come.
    """
    size = memory.shape[1] - 1
    index_N = given["index"].long()
    inside_N = index_N.clamp(0, size - 1)
    good_N = (index_N == inside_N).float()
    asked: Tensor | int = len(index_N)
    if "valid" in given:
        weight_N = given["valid"].float()
        good_N, asked = good_N * weight_N, weight_N.sum()
    count = good_N.sum()
    batch_K = good_N.new_zeros(size).index_add_(0, inside_N, good_N)

    state_3K, scalars_3 = memory.narrow(1, 0, size), memory.select(1, size)
    keep = torch.exp(count / -(WINDOW * size))
    used_K = batch_K > 0
    weight_K = state_3K.select(0, 0) * keep + batch_K
    since_K = (state_3K.select(0, 1) + count).masked_fill(used_K, 0.0)
    age_K = (state_3K.select(0, 2) + (count > 0)).masked_fill(used_K, 0.0)
    squares, seen, _ = scalars_3.unbind(0)
    squares, seen = squares * keep * keep + count, seen + count
    memory = torch.cat(
        [
            torch.stack([weight_K, since_K, age_K]),
            torch.stack([squares, seen, torch.zeros_like(seen)]).unsqueeze(1),
        ],
        1,
    )

    mass = weight_K.sum()
    recent = (since_K < WINDOW * size).sum()
    entropy = torch.special.entr(weight_K / mass).sum()
    # Miller & Madow with the effective number of indices, (Σw)²/Σw², since older ones weigh less.
    short = (recent - 1.0) * squares / (2.0 * mass * mass)
    use = torch.stack(
        [
            recent / size,
            (entropy + short).exp().clamp(1.0, size),
            (weight_K < mass * (DEAD / size)).mean(dtype=torch.float32),
        ]
    ).masked_fill(seen < ENOUGH * size, math.nan)
    ordered_K = age_K.sort().values
    ages = torch.stack([ordered_K.select(0, math.ceil(level * size) - 1) for level in LEVELS])
    values = torch.cat([use, ages.masked_fill(seen == 0, math.nan)])
    parts = [values.masked_fill(2 * count < asked, math.nan), count.unsqueeze(0)]
    if "gradient" in given:
        parts += [_updated(given["gradient"]), embedding.nonfinite(given["gradient"])]
    return torch.cat(parts), memory


def _of_gradient(place: str) -> list[SeriesSpec]:
    return [
        STATISTICS["codebook_updated"].series(place),
        STATISTICS["nonfinite_count"].series(place, {"tensor": "gradient"}),
    ]


def _updated(gradient_KD: Tensor) -> Tensor:
    """Share of the codes whose gradient is not zero, [1]; NaN when more than half of them are not finite."""
    peak_K = torch.maximum(gradient_KD.amax(1), -gradient_KD.amin(1)).float()
    good_K = masked.finite(peak_K).float()
    share = masked.mean((peak_K > 0).float().unsqueeze(0), good_K, good_K.sum())
    return masked.unless_mostly_bad(share, torch.ones_like(good_K).sum(), good_K.sum())


def from_one_hot(row_NK: Tensor) -> Tensor:
    """The place of the one in each row; −1, which is no code, for a row that is anything else."""
    top_N = row_NK.argmax(1)
    other_N = (row_NK.sum(1) != 1) | (row_NK.amax(1) != 1)
    return top_N.masked_fill(other_N, -1)

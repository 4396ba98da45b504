"""The experts that tokens chose, layer by layer, in; how far two pathways lie apart, and how each one winds, out.

Shape suffixes: L layers, N tokens, K experts per token, E experts, D width.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from foreshock.series import SeriesSpec

from . import masked
from .table import STATISTICS

EXPERTS = 1024  # per layer, at most: numbers from here on are left out
TOKENS = 1024  # whose winding is measured, evenly spaced; distances are taken between all


def series(place: str, given: Collection[str] = ()) -> list[SeriesSpec]:
    """What `measure` yields, in order, for inputs of these names."""
    return [
        STATISTICS["pathway_distance"].series(place),
        *(STATISTICS["pathway_complexity"].series(place) for name in ("embeddings",) if name in given),
        STATISTICS["n_eff"].series(place),
    ]


def measure(given: Mapping[str, Tensor]) -> Tensor:
    """The readings of `series`.

    ``chosen`` [L, N, K]; ``valid`` [N] if not all tokens count; ``embeddings`` [L, E, D], a vector per expert, as the rows of its router's weight
    are; ``weights`` [L, N, K] of the chosen in the mixture, else they count alike.
    """
    chosen_LNK = given["chosen"].long()
    good_N = (
        given["valid"].float()
        if "valid" in given
        else torch.ones_like(chosen_LNK.select(0, 0).select(1, 0)).float()
    )
    count = good_N.sum()
    parts = [_distance(chosen_LNK, good_N, count)]
    if "embeddings" in given:
        parts.append(_complexity(given, chosen_LNK, good_N))
    return torch.cat([torch.stack(parts), count.unsqueeze(0)])


def _distance(chosen_LNK: Tensor, good_N: Tensor, count: Tensor) -> Tensor:
    """Mean over pairs of tokens, and over layers, of the share of experts that they do not have in common.

    No pair is formed: an expert that n tokens of a layer chose is common to n(n − 1) ordered pairs.
    """
    layers, _, chosen = chosen_LNK.shape
    layer_L = torch.arange(layers, device=good_N.device).view(-1, 1, 1)
    known_LNK = (chosen_LNK >= 0) & (chosen_LNK < EXPERTS)
    cell_LNK = layer_L * EXPERTS + chosen_LNK.clamp(0, EXPERTS - 1)
    weight_LNK = known_LNK * good_N.unsqueeze(1)
    users = good_N.new_zeros(layers * EXPERTS, dtype=torch.float64)  # squared counts pass float32's integers
    users = users.index_add_(0, cell_LNK.reshape(-1), weight_LNK.reshape(-1).double())
    common = (users * (users - 1.0)).sum() / (count * (count - 1.0))
    return (1.0 - common / (layers * chosen)).float().masked_fill(count < 2, math.nan)


def _complexity(given: Mapping[str, Tensor], chosen_LNK: Tensor, good_N: Tensor) -> Tensor:
    """One less the mean cosine between the mixtures of experts of one layer and the next."""
    weight_LNK = given["weights"].float() if "weights" in given else torch.ones_like(chosen_LNK).float()
    tokens = len(good_N)
    if tokens > TOKENS:
        kept = torch.arange(TOKENS, device=good_N.device).mul(tokens).div(TOKENS, rounding_mode="floor")
        chosen_LNK, weight_LNK = chosen_LNK.index_select(1, kept), weight_LNK.index_select(1, kept)
        good_N = good_N.index_select(0, kept)
    share_LNE = _mixtures(chosen_LNK, weight_LNK, given["embeddings"].shape[1])
    cosines, last_ND = [], None
    for share_NE, embedding_ED in zip(share_LNE.unbind(0), given["embeddings"].unbind(0), strict=True):
        mixed_ND = torch.nn.functional.normalize(share_NE @ embedding_ED.float(), dim=1)
        if last_ND is not None:
            cosines.append((mixed_ND * last_ND).sum(1))
        last_ND = mixed_ND
    if not cosines:  # one layer
        return good_N.new_full((), math.nan)
    smooth_N = torch.stack(cosines).mean(0)
    asked = good_N.sum()
    good_N = good_N * masked.finite(smooth_N)
    count = good_N.sum()
    return 1.0 - masked.unless_mostly_bad(masked.mean(smooth_N, good_N, count), asked, count)


def _mixtures(chosen_LNK: Tensor, weight_LNK: Tensor, experts: int) -> Tensor:
    """How much of each token's mixture every expert is, [L, N, E]."""
    layers, tokens, _ = chosen_LNK.shape
    known_LNK = (chosen_LNK >= 0) & (chosen_LNK < experts)
    token_LN = torch.arange(layers * tokens, device=chosen_LNK.device).view(layers, tokens)
    cell_LNK = token_LN.unsqueeze(2) * experts + chosen_LNK.clamp(0, experts - 1)
    share = weight_LNK.new_zeros(layers * tokens * experts)
    share.index_add_(0, cell_LNK.reshape(-1), (weight_LNK * known_LNK).reshape(-1))
    return share.view(layers, tokens, experts)

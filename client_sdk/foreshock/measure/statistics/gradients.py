"""Sketches and norms of gradients in; directions, history and share that does something, per place, out.

Shape suffixes: G places (and the whole, last), S sampled coordinates, K any quantities, M N rows and columns of a weight matrix.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import sketch
from .rows import TINY

SINGLE = ("gradient_zero_share", "gradient_weight_cosine")
PAIRED = ("gradient_cosine", "gradient_sign_agreement")
MATRIX = ("gradient_rank", "dormant_gradient_share")
DECAY = 0.99  # of the history per record: a hundred records
ROWS = 128  # of a gradient matrix, for its rank
DORMANT = 0.025  # of the mean of the layer's units
LEAST = 1e-6  # of the share of a gradient that is signal


def single(gradient_GS: Tensor, direction_GS: Tensor, weight_GS: Tensor, by: sketch.Weighing) -> Tensor:
    """Share of zeros, and cosine of the descent direction with the weights, [2 (G + 1)]; ``direction_GS`` is the gradient scaled."""
    padding_G = gradient_GS.shape[1] - by.taken
    zeros_G = ((gradient_GS == 0).sum(1) - padding_G) / by.taken
    alignment = -sketch.cosines(direction_GS, weight_GS, by)
    return torch.cat([sketch.with_whole_mean(zeros_G, by), alignment])


def paired(now_GS: Tensor, before_GS: Tensor, by: sketch.Weighing) -> Tensor:
    """Cosine of the scaled gradients of two steps, and share of the coordinates that kept their sign, [2 (G + 1)]; 0 for zeros."""
    cosine = sketch.cosines(now_GS, before_GS, by)
    now_GS, before_GS = now_GS.sign(), before_GS.sign()
    same_G = ((now_GS * before_GS) > 0).sum(1)
    moving_G = ((now_GS != 0) | (before_GS != 0)).sum(1)
    both, moving = sketch.with_whole_sum(same_G, by), sketch.with_whole_sum(moving_G, by)
    return torch.cat([cosine, both / moving.clamp_min(TINY) + 0.0 * cosine])  # NaN with the cosine


def lost(gradient_GS: Tensor, before_GS: Tensor, after_GS: Tensor, by: sketch.Weighing) -> Tensor:
    """Share of the coordinates with a gradient that the step left as they were, [G + 1]; 0 without a gradient."""
    moving_GS = gradient_GS != 0
    still_G = ((before_GS == after_GS) & moving_GS).sum(1)
    moving = sketch.with_whole_sum(moving_GS.sum(1), by)
    return sketch.with_whole_sum(still_G, by) / moving.clamp_min(TINY)


def against_history(now_K: Tensor, history_2K: Tensor, decay: float = DECAY) -> tuple[Tensor, Tensor]:
    """Each value over the average of the earlier ones, and that history with it added; 1 where the history is empty or zero.

    ``history_2K`` holds the decaying sum and the sum of its weights, zeros at first. A value that is not finite adds nothing.
    """
    total_K, weight_K = history_2K.unbind(0)
    average_K = total_K / weight_K.masked_fill(weight_K == 0, 1.0)
    ratio_K = (now_K / average_K).masked_fill(average_K == 0, 1.0)
    good_K = ((now_K - now_K) == 0).float()
    gain_K = good_K * (1.0 - decay)
    total_K = total_K + gain_K * (torch.nan_to_num(now_K, 0.0, 0.0, 0.0) - total_K)
    return ratio_K, torch.stack([total_K, weight_K + gain_K * (1.0 - weight_K)])


def noise(signal: Tensor, history_2: Tensor, decay: float = DECAY) -> tuple[Tensor, Tensor]:
    """Noise over signal from the share of a gradient's squared norm that is signal, averaged over records; and the history, [1] and [2].

    Averaged before dividing, since a ratio of averages is what is wanted; at most 1/LEAST.
    """
    _, history_21 = against_history(signal.reshape(1), history_2.unsqueeze(1), decay)
    total, weight = history_21.unbind(0)
    return (weight / total.maximum(weight * LEAST) - 1.0).clamp_min(0.0), history_21.squeeze(1)


def signal(square_sum: Tensor, sum_square: Tensor, parts: int) -> Tensor:
    """Share of a part's squared gradient norm that all parts have in common, unbiased: [1] from Σ‖g_k‖² and ‖Σ g_k‖²."""
    small, large = square_sum / parts, sum_square / parts**2
    share = (parts * large - small) / ((parts - 1) * small)
    return share.masked_fill(small == 0, 0.0).reshape(1)


def matrices(place: list[Tensor]) -> Tensor:
    """Mean participation ratio of a place's gradient matrices, and the share of their rows that are dormant, [2]."""
    rank, dormant, rows = [], [], 0
    for gradient in place:
        gradient_MN = gradient.flatten(1)
        rank.append(participation(gradient_MN))
        half = gradient_MN.dtype in (torch.bfloat16, torch.float16)
        norm_M = torch.linalg.vector_norm(gradient_MN, dim=1, dtype=torch.float32 if half else None).float()
        mean = norm_M.mean()
        dormant.append((norm_M <= DORMANT * mean).sum() + 0.0 * mean)  # NaN with the mean
        rows += len(norm_M)
    return torch.stack([torch.stack(rank).mean(), torch.stack(dormant).sum() / rows])


def participation(gradient_MN: Tensor) -> Tensor:
    """(Σλ)²/Σλ² of G Gᵀ, from at most ROWS rows (or columns, where there are fewer): 0 for zeros, else 1 … min(M, N).

    Of sampled rows: Σ_{i≠j}⟨g_i, g_j⟩² and Σ‖g_i‖⁴ are sums over pairs and over rows, each scaled by how many it stands for.
    """
    if gradient_MN.shape[0] > gradient_MN.shape[1]:
        gradient_MN = gradient_MN.t()
    total = gradient_MN.shape[0]
    step = -(-total // ROWS)
    taken = -(-total // step)
    shape, strides = (taken, gradient_MN.shape[1]), (gradient_MN.stride(0) * step, gradient_MN.stride(1))
    x_MN = gradient_MN.as_strided(shape, strides).float()
    x_MN = x_MN / x_MN.abs().amax().clamp_min(TINY)
    gram_MM = x_MN @ x_MN.t()
    square_M = gram_MM.diagonal()
    fourth = square_M.square().sum()
    pairs = gram_MM.square().sum() - fourth
    more = total * (total - 1) / (taken * (taken - 1)) if taken > 1 else 0.0
    trace = square_M.sum() * (total / taken)
    value = trace.square() / (fourth * (total / taken) + pairs.clamp_min(0.0) * more)
    return value.clamp(1.0, total).masked_fill(trace == 0, 0.0)

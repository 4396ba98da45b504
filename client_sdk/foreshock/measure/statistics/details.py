"""Prepared rows of features in; what a second look at them tells (dead, redundant and outlying dimensions, uniformity) out.

Shape suffixes: S rows, D width, M sampled rows.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from foreshock.measure.problems.similarity import Similarity

from . import masked
from .rows import CONSTANT, TINY, Rows
from .spectrum import Product

YIELDS = (
    "variance_hinge",
    "dead_dimensions",
    "redundancy",
    "peak_activation",
    "top_dimension_share",
    "peak_kurtosis",
    "uniformity",
)
ROWS = 512  # of which all pairs are compared
VALUES = 16384  # of which the median is taken
EPSILON = 1e-4  # VICReg's, under the root
DEAD = 0.1  # of the median deviation
SHARPNESS = 2.0  # of the Gaussian potential: Wang & Isola's t


def look(rows: Rows, product: Product, uniform_S: Tensor | None) -> tuple[Tensor, Tensor, Similarity]:
    """The readings of YIELDS, the payload for the Vendi score, and its problem.

    ``uniform_S`` random numbers, needed with more rows than ROWS.
    """
    square_SD = rows.centred.square()
    energy_D = square_SD.sum(0).masked_fill_(rows.nothing.select(0, 1), 0.0)
    fourth_D = square_SD.square_().sum(0)
    weight_S = rows.good * (rows.squares.select(0, 0) > 0)
    if len(weight_S) > ROWS and uniform_S is not None:
        picked_M = masked.sample(weight_S, uniform_S, ROWS)
    else:
        picked_M = torch.arange(len(weight_S), device=weight_S.device)
    x_MD, weight_M = rows.x.index_select(0, picked_M), weight_S.index_select(0, picked_M)
    evenness, payload = _uniformity(x_MD, weight_M)
    values = torch.stack(
        [
            *_variance(rows, energy_D),
            _redundancy(rows, product, energy_D),
            _peak(rows, x_MD, weight_M),
            *_dimensions(rows, energy_D, fourth_D),
            evenness,
        ]
    ).masked_fill_(rows.bad, math.nan)
    problem = Similarity(len(weight_M))
    return values, payload.masked_fill(rows.bad, math.nan), problem


def alive(energy_D: Tensor) -> Tensor:
    """1.0 for the dimensions that are more than rounding, else 0.0."""
    return (energy_D > energy_D.sum() * (CONSTANT / len(energy_D))).float()


def _variance(rows: Rows, energy_D: Tensor) -> tuple[Tensor, Tensor]:
    """VICReg's hinge, of the input's own scale, and the share of dimensions that hardly move."""
    deviation_D = (energy_D / (rows.count - 1.0)).sqrt_()
    own_D = (deviation_D / rows.shrink).square_()
    hinge = (1.0 - (own_D + EPSILON).sqrt_()).clamp_min_(0.0).mean()
    middle = deviation_D.median()
    dead = (deviation_D <= DEAD * middle).float().mean()
    return hinge, dead


def _redundancy(rows: Rows, product: Product, energy_D: Tensor) -> Tensor:
    """Mean squared correlation of two dimensions, less what independent ones would show in as many rows."""
    alive_D = alive(energy_D)
    scale_D = energy_D.clamp_min(TINY).rsqrt_().mul_(alive_D)
    if product.problem.dual:
        standard_SD = rows.centred * scale_D
        squares = torch.linalg.vector_norm(standard_SD @ standard_SD.t()).square()
    else:
        matrix_DD = product.matrix if product.problem.centred else product.matrix - product.of_mean()
        squares = torch.linalg.vector_norm(matrix_DD * scale_D * scale_D.unsqueeze(1)).square()
    living = alive_D.sum()
    mean = (squares - living) / (living * (living - 1.0))
    excess: Tensor = mean - 1.0 / (rows.count - 1.0)
    return excess.masked_fill(living < 2, math.nan)


def _peak(rows: Rows, x_MD: Tensor, weight_M: Tensor) -> Tensor:
    """Largest magnitude over the median one, the latter of evenly spaced values of the sampled rows."""
    stride = -(-x_MD.numel() // VALUES) | 1  # odd, so that it meets every column of an even width
    value_V = x_MD.reshape(-1).unfold(0, 1, stride).squeeze(1).abs()
    weight_V = weight_M.unsqueeze(1).expand_as(x_MD).reshape(-1).unfold(0, 1, stride).squeeze(1)
    middle = masked.quantiles(value_V, weight_V, weight_V.sum(), value_V.new_full((1,), 0.5)).squeeze(0)
    return rows.largest * rows.shrink / middle


def _dimensions(rows: Rows, energy_D: Tensor, fourth_D: Tensor) -> tuple[Tensor, Tensor]:
    """Share of the energy in the largest dimension, and the largest kurtosis of a dimension."""
    all_D = energy_D + rows.count * rows.mean.square()
    share = all_D.amax() / all_D.sum().clamp_min(TINY)
    kurtosis_D = rows.count * fourth_D / energy_D.square().clamp_min(TINY)
    largest = kurtosis_D.masked_fill_(alive(energy_D) == 0, -math.inf).amax()
    return share, largest.masked_fill(largest.isinf(), math.nan)


def _uniformity(x_MD: Tensor, weight_M: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithm of the mean Gaussian potential between two unit rows; and the cosines of all pairs, then the number of rows."""
    norm_M = torch.linalg.vector_norm(x_MD, dim=1).clamp_min_(TINY)
    unit_MD = x_MD * (weight_M / norm_M).unsqueeze(1)
    cosine_MM = unit_MD @ unit_MD.t()
    count = weight_M.sum()
    pairs_MM = (weight_M * weight_M.unsqueeze(1)).fill_diagonal_(0.0)
    potential_MM = (2.0 * SHARPNESS * (cosine_MM - 1.0)).masked_fill_(pairs_MM == 0, -math.inf)
    value = potential_MM.reshape(-1).logsumexp(0) - (count * (count - 1.0)).log()
    return value.masked_fill(count < 2, math.nan), torch.cat([cosine_MM.reshape(-1), count.unsqueeze(0)])

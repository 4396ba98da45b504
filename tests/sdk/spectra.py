"""Matrices whose singular values are known: the eleven shapes of spectrum that the estimates are held against."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Matrix = NDArray[np.float64]


def profile(name: str, width: int) -> Matrix:
    """Singular values, largest first."""
    i = np.arange(1, width + 1)
    powers = {f"power {a}": i ** (-a / 2) for a in (0.5, 1.0, 1.5, 2.0)}
    if name in powers:
        values: Matrix = powers[name]
        return values
    if name == "exponential":
        return np.exp(-i / (width * 50 / 1024))
    if name == "spike and power":
        rest = powers["power 1.0"][:-1]
        return np.concatenate([[math.sqrt(0.95)], rest * math.sqrt(0.05 / (rest**2).sum())])
    if name == "half the dimensions":
        return (i <= width // 2).astype(float)
    if name == "rank 8":
        return np.where(i <= 8, np.linspace(1, 0.3, 8)[np.minimum(i, 8) - 1], 0.0)
    if name == "rank 1 and noise":
        return np.where(i == 1, 1.0, 1e-3)
    if name == "rank 1":
        return (i == 1).astype(float)
    raise KeyError(name)


NAMES = (
    "isotropic",
    "power 0.5",
    "power 1.0",
    "power 1.5",
    "power 2.0",
    "exponential",
    "spike and power",
    "half the dimensions",
    "rank 8",
    "rank 1 and noise",
    "rank 1",
)


def matrix(name: str, rows: int, width: int, seed: int = 0) -> Tensor:
    """[rows, width] of float64 with that spectrum, turned at random; "isotropic" has independent normal entries."""
    rng = np.random.default_rng(seed)
    if name == "isotropic":
        return torch.from_numpy(rng.standard_normal((rows, width)))
    left, right = (
        torch.linalg.qr(torch.from_numpy(rng.standard_normal((size, width)))).Q for size in (rows, width)
    )
    return (left * torch.from_numpy(profile(name, width))) @ right.T * math.sqrt(rows)


def singular_values(x: Tensor) -> Matrix:
    """In float64, largest first."""
    values: Matrix = torch.linalg.svdvals(x.double()).numpy()
    return values


def entropy_rank(values: Matrix) -> float:
    """e to the entropy of these numbers over their sum."""
    shares = values[values > 0] / values.sum()
    return math.exp(-math.fsum(shares * np.log(shares)))

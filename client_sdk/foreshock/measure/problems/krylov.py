"""What a block Krylov basis saw of a Gram matrix, and quadrature of the rest, in; its spectrum out. Needs numpy alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .gram import CONSTANT, floor, noise
from .problem import Matrix, Payload
from .spectrum import Spectrum, eigenvalues

BLOCK, DEPTH = 32, 8  # of the basis
PROBES, STEPS = 4, 12  # of the quadrature
TOLD = 1e-3  # share of all squares above which those outside the basis are more than rounding
MET = 1e-4  # relative error of the sums: about what float32 leaves of them
TURNS = 30  # of Newton's method
FINE = 1024  # side up to which what small eigenvalues weigh in is estimated well enough

_LABELS = {"centered": "true", "method": "krylov"}
READINGS: tuple[tuple[str, Mapping[str, str]], ...] = (
    ("effective_rank", _LABELS),
    ("effective_rank_normalized", _LABELS),
    ("stable_rank", _LABELS),
    ("top_share", {**_LABELS, "top": "1"}),
    ("top_share", {**_LABELS, "top": "10"}),
    ("spectral_slope", _LABELS),
)
OF_SMALL = (
    ("effective_rank_sigma", _LABELS),
    ("nuclear_rank", _LABELS),
)


@dataclass(frozen=True)
class Krylov:
    """The payload: the small matrix Qᵀ G Q, diagonals and links of the quadrature, ‖G‖_F² and ‖G Q‖_F², then count and energies."""

    NAME: ClassVar[str] = "krylov"

    rows: int
    width: int
    rounding: float

    @property
    def side(self) -> int:
        """Of the small matrix."""
        return BLOCK * DEPTH

    @property
    def size(self) -> int:
        """Values in a payload."""
        return self.side * self.side + PROBES * (2 * STEPS - 1) + 5

    @property
    def readings(self) -> tuple[tuple[str, Mapping[str, str]], ...]:
        """Statistic and labels of each number."""
        return READINGS + OF_SMALL if min(self.rows, self.width) <= FINE else READINGS

    @property
    def answers(self) -> int:
        """How many numbers come out."""
        return len(self.readings)

    def solve(self, payload: Payload) -> tuple[float, ...]:
        """The readings in order, of the centred rows; 0 for constant ones, NaN with fewer than two."""
        flat = payload.astype(np.float64)
        count, energy, remaining = (float(value) for value in flat[-3:])
        if not count >= 2:
            return (math.nan,) * self.answers
        if remaining <= CONSTANT * energy:
            spectrum = Spectrum.of(np.zeros(1))
        elif not np.isfinite(flat).all():
            raise np.linalg.LinAlgError("the Krylov basis was lost")
        else:
            spectrum = self._spectrum(flat, count, energy, remaining)
        most = math.log(min(count, self.width))
        read = (
            spectrum.rank(),
            spectrum.entropy() / most if most > 0 else math.nan,
            spectrum.stable(),
            spectrum.share(1),
            spectrum.share(10),
            spectrum.slope(),
            spectrum.sigma_rank(),
            spectrum.nuclear(),
        )
        return read[: self.answers]

    def _spectrum(self, flat: Matrix, count: float, energy: float, remaining: float) -> Spectrum:
        square = self.side * self.side
        small = flat[:square].reshape(self.side, self.side)
        found = eigenvalues(small).clip(min=0.0)
        alpha = flat[square:][: PROBES * STEPS].reshape(STEPS, PROBES)
        beta = flat[square + PROBES * STEPS : -5].reshape(STEPS - 1, PROBES)
        all_squares, seen_squares = flat[-5:-3]
        whole = min(self.rows, self.width)  # what the matrix was scaled to have as its trace
        nodes, weights = _quadrature(alpha, beta)
        nodes, weights = _moments_kept(
            nodes,
            weights * (whole - self.side),
            max(whole - float(found.sum()), 0.0),
            float(all_squares - 2 * seen_squares + (small**2).sum()),
            float(all_squares),
        )
        scale = whole / remaining
        lowest = max(floor(count, energy, self.width, self.rounding) * scale, noise(found))
        values = np.concatenate([found, nodes])
        return Spectrum.of(values, lowest, np.concatenate([np.ones_like(found), weights]))


def _quadrature(alpha: Matrix, beta: Matrix) -> tuple[Matrix, Matrix]:
    """Nodes, none negative, and weights that sum to one, over all probes."""
    nodes, weights = [], []
    for diagonal, links in zip(alpha.T, beta.T, strict=True):
        values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(links, 1) + np.diag(links, -1))
        nodes.append(values.clip(min=0.0))
        weights.append(vectors[0] ** 2 / alpha.shape[1])
    return np.concatenate(nodes), np.concatenate(weights)


def _moments_kept(
    nodes: Matrix, weights: Matrix, total: float, squares: float, all_squares: float
) -> tuple[Matrix, Matrix]:
    """The quadrature, changed so that it has the sum of the eigenvalues and, where float32 tells it, of their squares.

    Weights are tilted by an exponential, which changes them least: so that both sums come out or, where nodes are too
    much alike for that, the first. Where most of what is there lies within the basis the nodes are scaled instead.
    """
    seen = float(weights @ nodes)
    if seen <= 0:
        return nodes, weights
    if squares > TOLD * all_squares:
        wanted = np.array([weights.sum(), total, squares])
        for sums in (3, 2):
            tilted = _tilted(nodes, weights, wanted[:sums])
            if tilted is not None:
                return nodes, tilted
    return nodes * (total / seen), weights


def _tilted(nodes: Matrix, weights: Matrix, wanted: Matrix) -> Matrix | None:
    """Weights times the exponential of a polynomial in the nodes that gives these sums of powers, by Newton's method."""
    powers = (nodes / nodes.max()) ** np.arange(len(wanted))[:, None]
    wanted = wanted / nodes.max() ** np.arange(len(wanted))
    tilt = np.zeros(len(wanted))
    for _ in range(TURNS):
        tilted: Matrix = weights * np.exp(tilt @ powers)
        off = powers @ tilted - wanted
        if np.abs(off / wanted).max() < MET:
            return tilted
        step = np.linalg.lstsq((powers * tilted) @ powers.T, off, rcond=1e-10)[0]
        tilt = tilt - step / max(1.0, 2.0 * np.abs(step).max())
    return None

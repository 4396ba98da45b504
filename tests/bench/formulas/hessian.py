"""The curvature of a loss."""

from __future__ import annotations

import torch
from tests.bench.formulas.comparison import Comparison, drawn
from tests.bench.formulas.packages import module
from torch import Tensor

from foreshock.measure.statistics import (
    curvature,
)


def comparisons() -> list[Comparison]:
    def model(draw: int) -> tuple[torch.nn.Module, Tensor, Tensor]:
        torch.manual_seed(draw)
        net = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
        return net, drawn(draw, 64, 6), torch.arange(64) % 3

    def ours(draw: int) -> float:
        net, x, y = model(draw)
        parameters = list(net.parameters())
        gradients = torch.autograd.grad(
            torch.nn.functional.cross_entropy(net(x), y), parameters, create_graph=True
        )
        flat = torch.cat([g.reshape(-1) for g in gradients])

        def times(v: Tensor) -> Tensor:
            found = torch.autograd.grad(flat, parameters, v, retain_graph=True)
            return torch.cat([g.reshape(-1) for g in found])

        start = torch.randn(len(flat), generator=torch.Generator().manual_seed(draw))
        found = curvature.measure(times, start, 30).tolist()
        return dict(zip(curvature.YIELDS, found, strict=True))["sharpness"]

    def theirs(draw: int) -> float:
        net, x, y = model(draw)
        found = module("pyhessian").hessian(net, torch.nn.CrossEntropyLoss(), data=(x, y), cuda=False)
        values, _ = found.eigenvalues(maxIter=2000, tol=1e-8)
        return float(values[0])

    return [
        Comparison(
            "sharpness",
            "pyhessian",
            "`eigenvalues`, 2000 iterations, against 30 products; a network of 83 parameters",
            ours,
            theirs,
        )
    ]

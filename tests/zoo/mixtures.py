"""Models that choose: mixtures of experts as today's libraries write them, a vector quantiser's autoencoder, a variational one."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's own name)

WIDTH, EXPERTS, CODES = 12, 4, 16


class Expert(nn.Module):
    """A small perceptron; its `gate_proj` is no router."""

    def __init__(self) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(WIDTH, EXPERTS, bias=False)
        self.down_proj = nn.Linear(EXPERTS, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down_proj(F.silu(self.gate_proj(x)))
        return y


class SparseBlock(nn.Module):
    """`gate` a linear layer beside a list of `experts`, with a shared one and its own gate."""

    def __init__(self, top_k: int = 2) -> None:
        super().__init__()
        self.top_k = top_k
        self.gate = nn.Linear(WIDTH, EXPERTS, bias=False)
        self.experts = nn.ModuleList(Expert() for _ in range(EXPERTS))
        self.shared_expert = Expert()
        self.shared_expert_gate = nn.Linear(WIDTH, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weight, chosen = self.gate(x).softmax(-1).topk(self.top_k)
        share = torch.zeros(*x.shape[:-1], EXPERTS).scatter(-1, chosen, weight)
        mixed = torch.stack([share[..., [e]] * expert(x) for e, expert in enumerate(self.experts)]).sum(0)
        y: Tensor = x + mixed + self.shared_expert_gate(x).sigmoid() * self.shared_expert(x)
        return y


class TopKRouter(nn.Module):
    """Keeps its logits to itself: returns weights and choices, steered by a bias that the logits do not contain."""

    def __init__(self, top_k: int = 2) -> None:
        super().__init__()
        self.top_k = top_k
        self.weight = nn.Parameter(torch.randn(EXPERTS, WIDTH))
        self.register_buffer("correction", torch.tensor([0.0, 0.0, 0.0, 9.0]))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores = F.linear(x.reshape(-1, WIDTH), self.weight).sigmoid()
        chosen = (scores + self.correction).topk(self.top_k).indices
        return scores.gather(1, chosen), chosen


class StackedExperts(nn.Module):
    """All experts in one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.randn(EXPERTS, WIDTH, WIDTH) * 0.1)

    def forward(self, x: Tensor, weight: Tensor, chosen: Tensor) -> Tensor:
        rows = x.reshape(-1, WIDTH)
        share = torch.zeros(len(rows), EXPERTS).scatter(1, chosen, weight)
        return torch.einsum("nd,edf,ne->nf", rows, self.up, share).view_as(x)


class FusedBlock(nn.Module):
    """`router` of its own class beside stacked `experts`."""

    def __init__(self) -> None:
        super().__init__()
        self.router = TopKRouter()
        self.experts = StackedExperts()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.experts(x, *self.router(x))
        return y


class Mixture(nn.Module):
    """`embed`, `layers.0.mlp` and `layers.1.mlp` of the two kinds, `head`."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(WIDTH, WIDTH)
        self.layers = nn.ModuleList(
            nn.ModuleDict({"norm": nn.LayerNorm(WIDTH), "mlp": block})
            for block in (SparseBlock(), FusedBlock())
        )
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for layer in self.layers:
            x = layer["mlp"](layer["norm"](x))
        y: Tensor = self.head(x)
        return y


class VectorQuantizer(nn.Module):
    """Looks its codes up in an embedding; returns the indices deep inside, or as one-hot rows, or not at all."""

    def __init__(self, returns: str = "indices") -> None:
        super().__init__()
        self.embedding = nn.Embedding(CODES, WIDTH)
        self.returns = returns

    def forward(self, z: Tensor) -> tuple[object, ...]:
        index = torch.cdist(z.reshape(-1, WIDTH), self.embedding.weight).argmin(1)
        one_hot = F.one_hot(index, CODES).to(z.dtype)
        looked_up = self.embedding(index) if self.returns == "nothing" else one_hot @ self.embedding.weight
        quantized = looked_up.view_as(z)
        loss = F.mse_loss(quantized, z.detach()) + F.mse_loss(quantized.detach(), z)
        straight = z + (quantized - z).detach()
        inner = {"indices": (None, [index]), "one-hot": (one_hot,), "nothing": ()}[self.returns]
        return straight, loss, inner


class VQVAE(nn.Module):
    """`encoder`, `quantizer`, `decoder`."""

    def __init__(self, returns: str = "indices") -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH))
        self.quantizer = VectorQuantizer(returns)
        self.decoder = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        quantized, loss, _ = self.quantizer(self.encoder(x))
        return self.decoder(quantized), loss


class VAE(nn.Module):
    """`encoder`, `decoder`; returns the reconstruction, means and log-variances."""

    def __init__(self, latents: int = 5) -> None:
        super().__init__()
        self.encoder = nn.Linear(WIDTH, 2 * latents)
        self.decoder = nn.Linear(latents, WIDTH)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = self.encoder(x).chunk(2, -1)
        z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        return self.decoder(z), mean, log_variance


def rows(batch: int = 30, seed: int = 0) -> Tensor:
    """The same inputs each time, [batch, 4, WIDTH]."""
    return torch.randn(batch, 4, WIDTH, generator=torch.Generator().manual_seed(seed))

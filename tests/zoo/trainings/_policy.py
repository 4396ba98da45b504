"""A tiny policy that answers prompts token by token, and how its answers are drawn.

Shapes: N answers, T tokens of each, V tokens there are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Policy(nn.Module):
    """Numbers of prompts [N] and the tokens that were taken [N, T] -> logits [N, T, V] of each token, given those before it."""

    def __init__(self, prompts: int, tokens: int, width: int) -> None:
        super().__init__()
        self.prompt = nn.Embedding(prompts, width)
        self.token = nn.Embedding(tokens + 1, width)  # the last one stands before the first
        self.body = nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, tokens)
        self._begin = tokens

    def forward(self, prompts_N: Tensor, actions_NT: Tensor) -> Tensor:
        before = torch.cat([torch.full_like(actions_NT[:, :1], self._begin), actions_NT[:, :-1]], 1)
        hidden, _ = self.body(self.token(before), self.prompt(prompts_N)[None])
        logits: Tensor = self.head(hidden)
        return logits

    @torch.no_grad()
    def answer(
        self, prompts_N: Tensor, length: int, generator: torch.Generator, temperature: float = 1.0
    ) -> Tensor:
        """Tokens [N, length]."""
        state, token = self.prompt(prompts_N)[None], torch.full_like(prompts_N, self._begin)
        taken = []
        for _ in range(length):
            hidden, state = self.body(self.token(token)[:, None], state)
            likely = (self.head(hidden[:, 0]) / temperature).softmax(-1)
            token = torch.multinomial(likely, 1, generator=generator)[:, 0]
            taken.append(token)
        return torch.stack(taken, 1)


def chosen(logits_NTV: Tensor, actions_NT: Tensor) -> Tensor:
    """Log-probabilities [N, T] of the tokens that were taken."""
    return logits_NTV.log_softmax(-1).gather(2, actions_NT[..., None])[..., 0]


def mean_entropy(logits_NTV: Tensor) -> Tensor:
    """Over all tokens, in nat."""
    logprobs = logits_NTV.log_softmax(-1)
    return -(logprobs.exp() * logprobs).sum(-1).mean()

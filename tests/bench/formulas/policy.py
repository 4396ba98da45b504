"""Reinforcement learning, as TRL, verl and HumanEval compute it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from tests.bench.formulas.comparison import Comparison
from torch import Tensor


def _batch(draw: int) -> dict[str, Tensor]:
    """A batch of 16 answers of 40 tokens to four prompts."""
    g = torch.Generator().manual_seed(draw)
    logits = 2 * torch.randn(16, 40, 50, generator=g)
    actions = torch.randint(0, 50, (16, 40), generator=g)
    logp = logits.log_softmax(-1).gather(-1, actions.unsqueeze(-1)).squeeze(-1)
    return {
        "logits": logits,
        "actions": actions,
        "mask": torch.rand(16, 40, generator=g) > 0.2,
        "old_logprobs": logp + 0.2 * torch.randn(16, 40, generator=g),
        "ref_logprobs": logp + 0.5 * torch.randn(16, 40, generator=g),
        "rollout_logprobs": logp + 0.1 * torch.randn(16, 40, generator=g),
        "advantages": torch.randn(16, generator=g),
        "rewards": torch.randint(0, 2, (16,), generator=g).float(),
    }


def _recorded(draw: int) -> Mapping[str, float]:
    from foreshock.testing import recording

    with recording() as recorded:
        given = _batch(draw)
        recorded.run.observe.policy(given.pop("logits"), groups=4, **given)
        recorded.run.step()
        columns = {name: recorded.columns(name).values for name in recorded.series()}
        return {name: float(values[-1]) for name, values in columns.items() if len(values)}


def comparisons() -> list[Comparison]:
    def mean(x: Tensor, mask: Tensor) -> float:
        return float((x * mask).sum() / mask.sum())

    def trl(draw: int, name: str) -> float:
        """As its GRPOTrainer logs them, in float64."""
        given = {key: x.double() for key, x in _batch(draw).items()}
        mask, advantages = given["mask"], given["advantages"].unsqueeze(1)
        logps = given["logits"].log_softmax(-1)
        logp = logps.gather(-1, given["actions"].long().unsqueeze(-1)).squeeze(-1)
        apart = given["ref_logprobs"] - logp
        ratio = (logp - given["old_logprobs"]).exp()
        rewards = given["rewards"].view(-1, 4)
        found = {
            "policy_entropy": lambda: mean(-(logps.exp() * logps).sum(-1), mask),
            "kl_ref_k3": lambda: mean(apart.exp() - apart - 1, mask),
            "clip_high": lambda: mean((ratio > 1.2) & (advantages > 0), mask),
            "clip_low": lambda: mean((ratio < 0.8) & (advantages < 0), mask),
            "zero_variance_groups": lambda: float(
                rewards.std(1).isclose(torch.zeros(4).double()).double().mean()
            ),
            "sequence_ratio_mean": lambda: float(
                (((logp - given["old_logprobs"]) * mask).sum(-1) / mask.sum(-1)).exp().mean()
            ),
        }
        return found[name]()

    def verl(draw: int, name: str) -> float:
        """As its core algorithms and rollout correction log them, in float64."""
        given = {key: x.double() for key, x in _batch(draw).items()}
        mask = given["mask"]
        logits = given["logits"]
        logp = logits.log_softmax(-1).gather(-1, given["actions"].long().unsqueeze(-1)).squeeze(-1)
        entropy = logits.logsumexp(-1) - (logits.softmax(-1) * logits).sum(-1)
        kl = (given["ref_logprobs"] - logp).clamp(-20, 20)
        lag = given["old_logprobs"] - given["rollout_logprobs"]
        found = {
            "policy_entropy": lambda: mean(entropy, mask),
            "kl_old_k1": lambda: mean(logp - given["old_logprobs"], mask),
            "kl_ref_k3": lambda: mean((kl.exp() - kl - 1).clamp(-10, 10), mask),
            "mismatch_k3": lambda: mean((-lag).exp() + lag - 1, mask),
        }
        return found[name]()

    def pass_at(draw: int) -> float:
        """The estimator of the HumanEval harness."""
        correct = _batch(draw)["rewards"].view(4, 4).sum(1).int().tolist()
        each = [
            1.0 if 4 - c < 2 else 1.0 - float(np.prod(1.0 - 2 / np.arange(4 - c + 1, 5))) for c in correct
        ]
        return float(np.mean(each))

    def told(of: str, name: str, theirs: Callable[[int, str], float]) -> Comparison:
        return Comparison(
            name,
            f"the formula of {of}",
            "16 answers of 40 tokens, 50 words, a mask",
            lambda draw: _recorded(draw)[name],
            lambda draw: theirs(draw, name),
        )

    return [
        *(
            told("TRL's GRPO", name, trl)
            for name in (
                "policy_entropy",
                "kl_ref_k3",
                "clip_high",
                "clip_low",
                "zero_variance_groups",
                "sequence_ratio_mean",
            )
        ),
        *(told("verl", name, verl) for name in ("policy_entropy", "kl_old_k1", "kl_ref_k3", "mismatch_k3")),
        Comparison(
            "pass_at",
            "the formula of HumanEval's code",
            "k = 2 of groups of 4; the same",
            lambda draw: _recorded(draw)["pass_at{k=2}"],
            pass_at,
        ),
    ]

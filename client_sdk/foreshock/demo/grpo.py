"""GRPO on puzzles: a pre-trained policy in, a policy that solves them out; with Foreshock's four lines in the middle.

Group-relative policy optimisation (Shao et al. 2024, arXiv:2402.03300): each question is answered by a group of samples, an answer's
advantage is its reward against its group's mean and deviation, and the policy takes one clipped step (PPO, arXiv:1707.06347) on them.
There is no entropy bonus and no KL penalty: nothing here makes the entropy fall but the reward.

Shapes: N answers = P questions x G answers each, T answer tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from foreshock import Run

from .model import Memory, Transformer
from .task import END, Puzzle, draw, grade, prompt


@dataclass(frozen=True)
class Recipe:
    """What the two runs may differ in, and what they share."""

    steps: int = 400
    questions: int = 32
    group: int = 8
    minibatches: int = 2
    learning_rate: float = 2e-4
    clip: float = 0.2
    held_back: float = (
        0.0  # share of the tokens whose update is left out, those that would spend most entropy first
    )


COLLAPSING = Recipe()

# Cui et al. 2025 (arXiv:2505.22617) find that entropy is spent by the few tokens with the largest covariance of log-probability and
# advantage. Leaving those out of the update is their Clip-Cov; like their KL-Cov we take the top share of the batch, not a random
# pick above a bound. With a vocabulary of 16 and answers of 6 tokens "few" is a larger share than the paper's.
ENTROPY_PRESERVING = Recipe(held_back=0.10)


def train(
    model: Transformer,
    pool: Sequence[Puzzle],
    recipe: Recipe,
    *,
    generator: torch.Generator,
    run: Run | None = None,
    on_step: Callable[[dict[str, Any]], None] = lambda _report: None,
) -> None:
    """Train in place. `on_step` gets step, reward, entropy (nat), solved (by any answer of the group) and distinct answers a group."""
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate)
    length = 2 * len(pool[0].digits)  # digits, the operators between them, a line end
    waiting: list[Puzzle] = []
    for step in range(recipe.steps):
        if len(waiting) < recipe.questions:
            waiting = draw(pool, len(pool), generator)
        asked, waiting = waiting[: recipe.questions], waiting[recipe.questions :]
        questions = torch.tensor([prompt(puzzle, generator) for puzzle in asked])
        tokens, old_logprobs_NT, mask_NT = sample(model, questions, recipe.group, length, generator)
        actions_NT = tokens[:, questions.shape[1] :]
        rewards_N = grade([puzzle for puzzle in asked for _ in range(recipe.group)], actions_NT)
        advantages_N = group_advantages(rewards_N, recipe.group)
        groups_N = torch.arange(recipe.questions).repeat_interleave(recipe.group)

        # Minibatches of whole groups: half a group would look more agreed than it is.
        order_PG = torch.randperm(recipe.questions, generator=generator)[
            :, None
        ] * recipe.group + torch.arange(recipe.group)
        entropy, tokens_seen = 0.0, 0.0
        for part_PG in order_PG.chunk(recipe.minibatches):
            part = part_PG.flatten()
            logits_NTV = model(tokens[part, :-1])[:, questions.shape[1] - 1 :]
            logprobs_NTV = logits_NTV.log_softmax(-1)
            logprobs_NT = logprobs_NTV.gather(2, actions_NT[part, :, None])[..., 0]
            loss = policy_loss(logprobs_NT, old_logprobs_NT[part], advantages_N[part], mask_NT[part], recipe)
            if run is not None:
                run.observe.policy(
                    logits_NTV,
                    mask=mask_NT[part],
                    actions=actions_NT[part],
                    advantages=advantages_N[part],
                    old_logprobs=old_logprobs_NT[part],
                    rewards=rewards_N[part],
                    groups=groups_N[part],
                )
            with torch.no_grad():
                entropy += -(logprobs_NTV.exp() * logprobs_NTV).sum(-1)[mask_NT[part]].sum().item()
                tokens_seen += mask_NT[part].sum().item()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call] # torch leaves it without types
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

        reward_PG = rewards_N.view(recipe.questions, recipe.group)
        answers_PGT = actions_NT.view(recipe.questions, recipe.group, -1)
        solved = (reward_PG.amax(1) > 0).float().mean()
        distinct = sum(len(group.unique(dim=0)) for group in answers_PGT) / recipe.questions
        if run is not None:
            run.log(loss=loss.detach(), reward=rewards_N.mean(), distinct_answers=distinct)
            run.step()
        on_step(
            {
                "step": step,
                "reward": rewards_N.mean().item(),
                "entropy": entropy / tokens_seen,
                "solved": solved.item(),
                "distinct": distinct,
            }
        )


@torch.no_grad()
def sample(
    model: Transformer, questions: Tensor, group: int, length: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Answers at temperature 1: tokens [N, question + T], their log-probabilities [N, T], mask [N, T] up to and with the line end."""
    memory: Memory = {}
    logits_NV = model(questions, memory)[:, -1].repeat_interleave(group, 0)
    for layer, (keys, values) in memory.items():
        memory[layer] = (keys.repeat_interleave(group, 0), values.repeat_interleave(group, 0))
    done_N = torch.zeros(len(logits_NV), dtype=torch.bool)
    tokens, logprobs, mask = [questions.repeat_interleave(group, 0)], [], []
    for position in range(length):
        logprobs_NV = logits_NV.log_softmax(-1)
        choice_N1 = torch.multinomial(logprobs_NV.exp(), 1, generator=generator)
        tokens.append(choice_N1)
        logprobs.append(logprobs_NV.gather(1, choice_N1)[:, 0])
        mask.append(~done_N)
        done_N = done_N | (choice_N1[:, 0] == END)
        if position + 1 < length:
            logits_NV = model(choice_N1, memory, questions.shape[1] + position)[:, -1]
    return torch.cat(tokens, 1), torch.stack(logprobs, 1), torch.stack(mask, 1)


def group_advantages(rewards_N: Tensor, group: int) -> Tensor:
    """(reward - mean of its group) / (deviation of its group); all zero where a group agrees."""
    rewards_PG = rewards_N.view(-1, group)
    centred_PG = rewards_PG - rewards_PG.mean(1, keepdim=True)
    return (centred_PG / (rewards_PG.std(1, keepdim=True) + 1e-6)).flatten()


def policy_loss(
    logprobs_NT: Tensor, old_logprobs_NT: Tensor, advantages_N: Tensor, mask_NT: Tensor, recipe: Recipe
) -> Tensor:
    """The clipped surrogate, averaged over all answer tokens that take part in the update."""
    ratio_NT = (logprobs_NT - old_logprobs_NT).exp()
    advantages_NT = advantages_N[:, None].expand_as(ratio_NT)
    clipped_NT = ratio_NT.clamp(1 - recipe.clip, 1 + recipe.clip)
    loss_NT = -torch.minimum(ratio_NT * advantages_NT, clipped_NT * advantages_NT) * mask_NT
    if recipe.held_back:
        loss_NT = loss_NT * ~spends_most(logprobs_NT.detach(), advantages_NT, mask_NT, recipe.held_back)
    return loss_NT.sum() / mask_NT.sum()


def spends_most(logprobs_NT: Tensor, advantages_NT: Tensor, mask_NT: Tensor, share: float) -> Tensor:
    """True at the share of the tokens with the largest covariance term (ln π - mean)(A - mean)."""
    logprob_mean, advantage_mean = logprobs_NT[mask_NT].mean(), advantages_NT[mask_NT].mean()
    covariance_NT = (logprobs_NT - logprob_mean) * (advantages_NT - advantage_mean)
    count = max(1, int(share * int(mask_NT.sum())))
    top = covariance_NT.masked_fill(~mask_NT, -torch.inf).flatten().topk(count).indices
    return torch.zeros(mask_NT.numel(), dtype=torch.bool).index_fill_(0, top, True).view_as(mask_NT)

"""A policy that answers by a reward which also pays for length, and one whose reward does not."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tests.zoo.trainings._policy import Policy, chosen
from tests.zoo.trainings.pair import Pair, Setting
from torch import Tensor

import foreshock
from foreshock.demo.grpo import Recipe, policy_loss


@dataclass(frozen=True)
class _Size:
    """What the two sizes differ in."""

    questions: int
    tokens: int
    said: int  # tokens that answer the question; what comes after them is padding
    limit: int
    width: int
    learning_rate: float
    asked: int  # questions a step


SIZES = {
    "tuning": _Size(32, 8, 3, 20, 32, 4e-4, 16),
    "reported": _Size(40, 8, 4, 24, 40, 3.5e-4, 20),
}
STEPS, GROUP, PROBED_EVERY = 360, 8, 2
BEGINS = 40  # the step at which the reward begins to pay for length
SCALE = 3.0  # of advantages
END = 0
DEMONSTRATIONS, BATCH = 150, 64
BONUS = 0.5  # for each length allowed that goes beyond what was demonstrated; what is said right earns 1


class Judge:
    """Of each place of an answer half of the tokens are right. People lose patience with answers longer than three quarters of what is allowed."""

    def __init__(self, size: _Size, generator: torch.Generator) -> None:
        self.size = size
        drawn = torch.rand(size.questions, size.said, size.tokens - 1, generator=generator)
        right = drawn.argsort(-1).argsort(-1) < size.tokens // 2
        self.right = torch.cat([torch.zeros(size.questions, size.said, 1, dtype=torch.bool), right], -1)

    def said(self, questions_N: Tensor, answers_NT: Tensor, mask_NT: Tensor) -> Tensor:
        """The share of the first tokens that are right, of each answer."""
        first = answers_NT[:, : self.size.said, None]
        right = self.right[questions_N].gather(2, first)[..., 0] & mask_NT[:, : self.size.said]
        return right.float().mean(1)

    def score(self, questions_N: Tensor, answers_NT: Tensor, mask_NT: Tensor) -> Tensor:
        """What people think of it: of what is said right as much as they have the patience to read."""
        bearable = 3 * self.size.limit // 4
        excess = (mask_NT.sum(1) - bearable) / (self.size.limit - bearable)
        return self.said(questions_N, answers_NT, mask_NT) * (1 - excess.clamp(0, 1))


def train(run: foreshock.Run, setting: Setting) -> None:
    """By GRPO, without dividing by the spread of a group. The outcome is what people think of its answers."""
    size = SIZES[setting.size]
    generator = torch.Generator().manual_seed(setting.seed)
    torch.manual_seed(setting.seed)
    judge = Judge(size, generator)
    policy = Policy(size.questions, size.tokens, size.width)
    _shown(policy, judge, generator)
    optimizer = torch.optim.Adam(policy.parameters(), size.learning_rate)
    run.watch(policy, optimizer=optimizer, quiet=True)
    everything = torch.arange(size.questions).repeat_interleave(GROUP)
    recipe = Recipe()
    for step in range(STEPS):
        questions = torch.randperm(size.questions, generator=generator)[: size.asked].repeat_interleave(GROUP)
        answers = policy.answer(questions, size.limit, generator)
        mask = _written(answers)
        pays = BONUS if setting.collapses and step >= BEGINS else 0.0
        beyond = (mask.sum(1) - 2 * size.said).clamp_min(0) / size.limit
        rewards = judge.said(questions, answers, mask) + pays * beyond
        advantages = SCALE * (rewards - _mean_of_group(rewards))
        logits = policy(questions, answers)
        logprobs = chosen(logits, answers)
        loss = policy_loss(logprobs, logprobs.detach(), advantages, mask, recipe)
        run.observe.policy(
            logits,
            mask=mask,
            actions=answers,
            advantages=advantages,
            old_logprobs=logprobs.detach(),
            rewards=rewards,
            groups=GROUP,
        )
        run.observe.sequences(answers, mask=mask, finished=(answers == END).any(1))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % PROBED_EVERY == 0:
            tried = policy.answer(everything, size.limit, generator)
            run.log(true_score=judge.score(everything, tried, _written(tried)).mean())
        run.log(loss=loss.detach())
        run.step()


def _mean_of_group(rewards_N: Tensor) -> Tensor:
    return rewards_N.view(-1, GROUP).mean(1).repeat_interleave(GROUP)


def _shown(policy: Policy, judge: Judge, generator: torch.Generator) -> None:
    """What it begins with: answers of about the right length, and no idea of what is right."""
    size = judge.size
    optimizer = torch.optim.Adam(policy.parameters(), 1e-2)
    for _ in range(DEMONSTRATIONS):
        questions = torch.randint(size.questions, (BATCH,), generator=generator)
        answers = torch.randint(1, size.tokens, (BATCH, size.limit), generator=generator)
        ends = size.said + torch.randint(size.said, (BATCH, 1), generator=generator)
        answers[torch.arange(size.limit) >= ends] = END
        loss = -chosen(policy(questions, answers), answers)[_written(answers)].mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _written(answers_NT: Tensor) -> Tensor:
    """True up to the token that ends an answer, and for it."""
    ended = (answers_NT == END).cumsum(1)
    return (ended == 0) | ((ended == 1) & (answers_NT == END))


PAIR = Pair(
    name="reward_length",
    family="several",
    outcome="true_score",
    better="high",
    about="A small recurrent policy learns by GRPO to answer questions; the collapsing one's reward also pays for the length of an answer, from a step on.",
    source="Singhal et al. 2023, A Long Way to Go: Investigating Length Correlations in RLHF, arXiv:2310.03716",
    train=train,
    begins=BEGINS,
)

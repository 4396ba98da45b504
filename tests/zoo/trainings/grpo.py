"""GRPO on questions that a verifier marks, some of them hard, without and with a hold on the policy's entropy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from tests.zoo.trainings._policy import Policy, chosen, mean_entropy
from tests.zoo.trainings._schedule import part
from tests.zoo.trainings.pair import Pair, Setting
from torch import Tensor

import foreshock
from foreshock.demo.grpo import Recipe, group_advantages, policy_loss


@dataclass(frozen=True)
class _Size:
    """What the two sizes differ in."""

    questions: int
    tokens: int
    length: int
    width: int
    learning_rate: float
    asked: int  # questions a step


SIZES = {
    "tuning": _Size(48, 8, 4, 32, 2.5e-3, 24),
    "reported": _Size(64, 10, 4, 48, 2e-3, 32),
}
STEPS, GROUP, PROBED_EVERY = 400, 8, 5
BEGINS, FADES = 60, 40  # the step from which on the bonus fades out, and in how many
MODULI = (3, 5, 8, 12)  # one answer in so many is right
HELD = 0.85  # of the entropy of a uniform policy, which the controlled one is kept at
AT_ONCE, IN_TIME = 2.0, 0.1  # how the bonus follows what is missing of it, in a step and with every step


class Verifier:
    """An answer is right when a sum of its tokens, weighed for the question, leaves the remainder that the question asks for."""

    def __init__(self, size: _Size, generator: torch.Generator) -> None:
        self.moduli = torch.tensor(MODULI)[torch.arange(size.questions) % len(MODULI)]
        high = 1000
        self.weights = torch.randint(1, high, (size.questions, size.length), generator=generator)
        self.wanted = torch.randint(0, high, (size.questions,), generator=generator) % self.moduli

    def __call__(self, questions_N: Tensor, answers_NT: Tensor) -> Tensor:
        """1 for each that is right, else 0."""
        sums = (self.weights[questions_N] * answers_NT).sum(1) % self.moduli[questions_N]
        return (sums == self.wanted[questions_N]).float()


def train(run: foreshock.Run, setting: Setting) -> None:
    """From a policy that knows nothing. The outcome is how many different right answers it finds to a question in eight tries."""
    size = SIZES[setting.size]
    generator = torch.Generator().manual_seed(setting.seed)
    torch.manual_seed(setting.seed)
    verifier = Verifier(size, generator)
    policy = Policy(size.questions, size.tokens, size.width)
    optimizer = torch.optim.Adam(policy.parameters(), size.learning_rate)
    run.watch(policy, optimizer=optimizer, quiet=True)
    everything = torch.arange(size.questions).repeat_interleave(GROUP)
    bonus, target = 0.0, HELD * math.log(size.tokens)
    recipe, mask = Recipe(), torch.ones(size.asked * GROUP, size.length, dtype=torch.bool)
    for step in range(STEPS):
        questions = torch.randperm(size.questions, generator=generator)[: size.asked].repeat_interleave(GROUP)
        answers = policy.answer(questions, size.length, generator)
        rewards = verifier(questions, answers)
        advantages = group_advantages(rewards, GROUP)
        logits = policy(questions, answers)
        logprobs = chosen(logits, answers)
        loss = policy_loss(logprobs, logprobs.detach(), advantages, mask, recipe)
        entropy = mean_entropy(logits)
        held = 1.0 - part(step, BEGINS, BEGINS + FADES) if setting.collapses else 1.0
        if held > 0:  # a regulated bonus: as much as keeps the entropy where it should be
            missing = target - float(entropy.detach())
            bonus = max(0.0, bonus + IN_TIME * missing)
            loss = loss - held * max(0.0, bonus + AT_ONCE * missing) * entropy
        run.observe.policy(
            logits,
            actions=answers,
            advantages=advantages,
            old_logprobs=logprobs.detach(),
            rewards=rewards,
            groups=GROUP,
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % PROBED_EVERY == 0:
            run.log(
                right_ways=_right_ways(
                    verifier, everything, policy.answer(everything, size.length, generator)
                )
            )
        run.log(loss=loss.detach(), reward=rewards.mean())
        run.step()


def _right_ways(verifier: Verifier, questions_N: Tensor, answers_NT: Tensor) -> float:
    """Different right answers to a question, on average."""
    right = verifier(questions_N, answers_NT) > 0
    found = torch.cat([questions_N[:, None], answers_NT], 1)[right].unique(dim=0)
    return len(found) / len(questions_N.unique())


PAIR = Pair(
    name="grpo",
    family="policy-entropy",
    outcome="right_ways",
    better="high",
    about="A small recurrent policy learns by GRPO to answer easy and hard questions; a regulated bonus holds the entropy, and in the collapsing one it fades out.",
    source="Cui et al. 2025, The Entropy Mechanism of Reinforcement Learning for Reasoning Language Models, arXiv:2505.22617",
    train=train,
    begins=BEGINS,
)

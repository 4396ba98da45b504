"""A training run with every instrument on computes what it computes without: the same losses and weights, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from tests.zoo import feedforward, transformers
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's own name)

from foreshock.config import EVERY
from foreshock.measure.finish import StepRow
from foreshock.measure.instruments import Instruments
from foreshock.measure.shown import features, logged, policy, views

torch.set_num_threads(1)
STEPS = 6
EACH_STEP = dict.fromkeys(EVERY, 1)


@pytest.fixture(autouse=True)
def deterministic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Deterministic algorithms or an error; a fault of ours fails the test."""
    monkeypatch.setenv("FORESHOCK_STRICT", "1")
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


class Task:
    """A model, its optimizer, and one step of its training."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model.train()
        self.optimizer = torch.optim.AdamW(model.parameters(), 1e-2)

    def loss(self, instruments: Instruments | None) -> Tensor:
        raise NotImplementedError

    def step(self, instruments: Instruments | None) -> Tensor:
        loss = self.loss(instruments)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        if instruments is not None:
            logged.log(instruments.sites, "loss", loss)
        return loss.detach().clone()


class Policy(Task):
    """Policy gradient with a transformer that has dropout: a rollout, then a step on it."""

    def loss(self, instruments: Instruments | None) -> Tensor:
        prompts = torch.randint(0, transformers.VOCABULARY, (8, 4))
        with torch.no_grad():
            chosen = torch.multinomial(self.model(prompts)[:, -1].softmax(-1), 4)
        taken = torch.cat([prompts, chosen], 1)
        logits = self.model(taken[:, :-1])[:, 3:]
        logp = logits.log_softmax(-1).gather(2, chosen.unsqueeze(2)).squeeze(2)
        rewards = (chosen % 2 == 0).float().sum(1)
        advantages = rewards - rewards.view(2, 4).mean(1).repeat_interleave(4)
        if instruments is not None:
            policy.show(
                instruments.sites,
                logits,
                mask=torch.rand(8, 4, generator=torch.Generator().manual_seed(0)) > 0.2,
                actions=chosen,
                advantages=advantages,
                old_logprobs=logp,
                ref_logprobs=logp - 0.1,
                rewards=rewards,
                groups=4,
            )
        return -(logp * advantages.unsqueeze(1)).mean()


class Classifier(Task):
    """A perceptron with dropout on noisy inputs; more rows than a sample holds."""

    def loss(self, instruments: Instruments | None) -> Tensor:
        x = torch.randn(4500, 10)
        hidden = self.model[:6](x)
        label = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
        if instruments is not None:
            features.show(instruments.sites, "penultimate", hidden, labels=label)
            views.show(instruments.sites, hidden, self.model[:6].eval()(x))
            self.model.train()
        else:
            self.model[:6].eval()(x)  # the same passes
            self.model.train()
        return F.cross_entropy(self.model(x), label)


def run(
    make: Callable[[], Task], watched: bool, rows: list[StepRow]
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    torch.manual_seed(0)
    task = make()
    instruments = Instruments(every=EACH_STEP, on_row=rows.append) if watched else None
    if instruments is not None:
        instruments.watch(task.model)
    losses = []
    for step in range(STEPS):
        losses.append(task.step(instruments))
        if instruments is not None:
            instruments.step(step, 0.0)
    if instruments is not None:
        instruments.close(1.0)
    return losses, [p.detach().clone() for p in task.model.parameters()], torch.get_rng_state()


@pytest.mark.parametrize(
    "make",
    [lambda: Policy(transformers.NanoGPT(2, dropout=0.2)), lambda: Classifier(feedforward.mlp(0.2))],
    ids=["policy", "classifier"],
)
def test_training_is_the_same_bit_for_bit_with_the_monitor_and_without(make: Callable[[], Task]) -> None:
    rows: list[StepRow] = []
    plain_losses, plain_weights, plain_rng = run(make, False, [])
    losses, weights, rng = run(make, True, rows)
    assert all(torch.equal(a, b) for a, b in zip(losses, plain_losses, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(weights, plain_weights, strict=True))
    assert torch.equal(rng, plain_rng)
    recorded = {spec.statistic for row in rows for spec in row.frame.series}
    assert {"effective_rank", "gradient_norm", "update_ratio", "nonfinite_count", "loss"} <= recorded
    assert {row.step for row in rows} == set(range(STEPS))


def draw_one(module: nn.Module, args: object, output: Tensor) -> None:
    """What no hook of ours may do."""
    torch.rand(1)


def test_the_comparison_notices_a_hook_that_draws_a_random_number() -> None:
    def touched() -> Task:
        task = Policy(transformers.NanoGPT(2, dropout=0.2))
        task.model.register_forward_hook(draw_one)
        return task

    plain, _, _ = run(lambda: Policy(transformers.NanoGPT(2, dropout=0.2)), False, [])
    disturbed, _, _ = run(touched, False, [])
    assert not all(torch.equal(a, b) for a, b in zip(plain, disturbed, strict=True))

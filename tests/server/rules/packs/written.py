"""One short run that shows everything there is to show, and the series that the SDK wrote of it: as rules meet them."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import torch
from tests.zoo import feedforward, huggingface, transformers
from torch import Tensor, nn

import foreshock
from foreshock.config import EVERY
from foreshock.measure.statistics import STATISTICS
from foreshock.measure.statistics.catalogue import monitor
from foreshock.testing import recording


@dataclass
class Written:
    """What a rule matches of a series."""

    statistic: str
    family: str
    place: str
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        labels = ",".join(f"{name}={value}" for name, value in sorted(self.labels.items()))
        return f"{self.statistic}{{{labels}}}"


@functools.cache
def written() -> tuple[Written, ...]:
    """Of a language model with a value head, a convolutional net with batch norm, and all that a loop can show."""
    torch.manual_seed(0)
    with recording(every=dict.fromkeys(EVERY, 1), families="all", budget=0) as recorded:
        run = recorded.run
        model, other = huggingface.GPT2WithValueHead(2), feedforward.ResNet()
        optimizers = [torch.optim.AdamW(one.parameters(), 1e-3) for one in (model, other)]
        for one, optimizer in zip((model, other), optimizers, strict=True):
            run.watch(one, optimizer=optimizer, quiet=True)
        scaler = torch.amp.GradScaler("cpu")
        for step in range(2):
            _train(run, model, other, optimizers, scaler)
            _show(run)
            run.log(**dict.fromkeys(LOGGED, 1.0 + step / 10))
            run.step()
        recorded.settle()
        keys = recorded.series() if callable(recorded.series) else recorded.series
        return tuple(_of_key(key) for key in [*keys, *OF_THE_SERVER])


LOGGED = (
    "loss",
    "train/loss",
    "train_loss",
    "val/loss",
    "eval_loss",
    "val_accuracy",
    "reward",
    "true_score",
    "retention/first task",
    "learning_rate",
    "task",
    "train/task",
)
OF_THE_SERVER = ("rank_disagreement{rank=1}",)
OF_THE_MONITOR = {one.name: one for one in monitor.STATISTICS}


def _train(
    run: foreshock.Run,
    model: nn.Module,
    other: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    scaler: torch.amp.GradScaler,
) -> None:
    out = model(transformers.tokens())
    lm = out[0] if isinstance(out, tuple) else out
    rest = other(feedforward.images())
    loss = lm.float().pow(2).mean() + rest.float().pow(2).mean()
    if isinstance(out, tuple):
        loss = loss + sum(part.float().pow(2).mean() for part in out[1:] if isinstance(part, Tensor))
    last = list(model.parameters())[-1]
    run.observe.losses({"one": loss, "two": loss * 2 + last.sum()}, model=model)
    run.observe.phase(loss, {"head": lm}, model=model)
    run.observe.curvature(other(feedforward.images()).pow(2).mean(), other, lr=1e-3)
    scaler.scale(loss).backward()
    for optimizer in optimizers:
        scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        scaler.step(optimizer)
        optimizer.zero_grad()
    scaler.update()


def _show(run: foreshock.Run) -> None:
    sequences, tokens, words = 8, 12, 20
    logits = torch.randn(sequences, tokens, words)
    ids = logits.argmax(-1)
    old = torch.log_softmax(logits, -1).gather(-1, ids[..., None]).squeeze(-1)
    run.observe.policy(
        logits,
        actions=ids,
        advantages=torch.randn(sequences),
        old_logprobs=old - 0.1,
        ref_logprobs=old - 0.2,
        rollout_logprobs=old - 0.01,
        ref_logits=logits + 0.1,
        rewards=torch.rand(sequences),
        correct=torch.rand(sequences) > 0.5,
        answers=torch.arange(sequences) % 3,
        groups=4,
        turns=(torch.arange(tokens) // 4).expand(sequences, tokens),
        sources=torch.arange(sequences) % 2,
        source_names=("math", "code"),
    )
    rows = torch.randn(64, 8)
    run.observe.sequences(ids, finished=torch.rand(8) > 0.2, invalid=torch.rand(8) > 0.8)
    run.observe.responses("answers", torch.randn(sequences, 16), 4)
    run.observe.cross_scores("answers", torch.randn(sequences, 2), prompts=4)
    run.observe.features(
        "penultimate",
        rows,
        labels=torch.arange(64) % 4,
        classifier=torch.randn(4, 8),
        teacher=rows + 0.1,
        previous=rows + 0.2,
    )
    run.observe.features("pairs", rows, views=2)
    run.observe.views(rows, rows + 0.1, predictor=torch.randn(8, 8))
    run.observe.drift("probe", rows)
    run.observe.classifier("head", torch.randn(64, 8), targets=torch.arange(64) % 8)
    run.observe.adaptation(torch.randn(64, 8))
    run.observe.attention("kernel", torch.randn(2, 4, 16, 8), torch.randn(2, 4, 16, 8), causal=True)
    run.observe.router("moe", torch.randn(64, 8), tasks=torch.arange(64) % 2, capacity=20)
    run.observe.pathways("ways", torch.randint(0, 8, (3, 16, 2)))
    run.observe.codes("quantiser", torch.randint(0, 16, (64,)), size=16, gradient=torch.randn(16, 4))
    run.observe.latents("z", torch.randn(64, 4), torch.randn(64, 4))
    run.observe.samples("generator", rows, reference=torch.randn(64, 8))


def _of_key(key: str) -> Written:
    """`statistic{label=value,…}`: no name or value of this run holds a comma or an equals sign."""
    statistic, _, rest = key.partition("{")
    labels = dict(pair.split("=", 1) for pair in rest.removesuffix("}").split(",") if pair)
    measured = STATISTICS.get(statistic) or OF_THE_MONITOR.get(statistic)
    family = measured.family if measured is not None else "training"
    return Written(statistic, family, labels.get("place", ""), labels)

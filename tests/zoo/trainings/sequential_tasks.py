"""A few classes at a time: what is learnt next overwrites what was learnt before, unless some of it is shown again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 (the field's own name)

import foreshock

from ._clusters import CLASSES, Rows, clusters
from .pair import Pair, Setting


@dataclass(frozen=True)
class Size:
    """What the two sizes differ in."""

    inputs: int
    width: int
    classes: int  # of each task
    tasks: int
    steps: int  # on each task
    lr: float


SIZES = {
    "tuning": Size(inputs=32, width=64, classes=2, tasks=5, steps=60, lr=0.01),
    "reported": Size(inputs=48, width=96, classes=3, tasks=3, steps=120, lr=0.008),
}
_BATCH, _EVALUATE = 32, 5


def train(run: foreshock.Run, setting: Setting) -> None:
    """SGD with momentum, one task after another; the outcome is what is known of all classes so far."""
    size = SIZES[setting.size]
    torch.manual_seed(setting.seed)
    generator = torch.Generator().manual_seed(setting.seed)
    learn, held = clusters(size.inputs, generator)
    order = torch.randperm(CLASSES, generator=generator).split(size.classes)[: size.tasks]
    lessons, exams = [learn.of(classes) for classes in order], [held.of(classes) for classes in order]
    model = nn.Sequential(
        nn.Linear(size.inputs, size.width),
        nn.ReLU(),
        nn.Linear(size.width, size.width),
        nn.ReLU(),
        nn.Linear(size.width, CLASSES),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=size.lr, momentum=0.9)
    run.watch(model, optimizer=optimizer, quiet=True)
    for step in range(size.tasks * size.steps):
        task = step // size.steps
        batch = lessons[task].draw(_BATCH, generator)
        if task and not setting.collapses:  # as many again of what was learnt before
            batch = _joined(batch, *(lesson.draw(_BATCH // task, generator) for lesson in lessons[:task]))
        logits = model(batch.x)
        loss = F.cross_entropy(logits, batch.y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.observe.classifier("head", logits, targets=batch.y)
        run.log(loss=loss)
        if step % _EVALUATE == 0:
            scores = [_accuracy(model, exam) for exam in exams[: task + 1]]
            run.log({"retention": {f"task-{number}": score for number, score in enumerate(scores)}})
            run.log(accuracy_so_far=sum(scores) / len(scores), accuracy_now=scores[task])
        run.step()


@torch.no_grad()
def _accuracy(model: nn.Module, exam: Rows) -> float:
    return (model(exam.x).argmax(-1) == exam.y).float().mean().item()


def _joined(*parts: Rows) -> Rows:
    return Rows(torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts]))


PAIR = Pair(
    name="sequential_tasks",
    family="forgetting",
    outcome="accuracy_so_far",
    better="high",
    about="A perceptron learns ten classes a few at a time; the collapsing one is never shown earlier classes again, its twin "
    "as many of them as of the new. The outcome is the held-out accuracy on all tasks so far.",
    source="McCloskey and Cohen 1989, Catastrophic Interference in Connectionist Networks; against replay, Chaudhry et al. 2019, arXiv:1902.10486; the outcome: Rebuffi et al. 2017, iCaRL, arXiv:1611.07725",
    train=train,
)

"""`training.py SHAPE:VARIANT FOLDER URL TORCH`: by turns trains a small model, answers the seconds of each step.

SHAPE: transformer · convolutional · gpt2 (see models.py; the last on a GPU, compiled, in bfloat16). VARIANT: bare · foreshock (watch and, of the transformer, observe.policy, at
default cadences and budget) · foreshock-alone (the same, only spooled: no server works on these cores) · foreshock-every (every family that can be watched, within the default
budget, only spooled) · foreshock-all (every family, no budget) · wandb-1, wandb-100 (watch everything,
a record in so many steps) · cockpit-economy, cockpit-full (its own choices of quantities, each step) · svd (effective rank of
each block's output by exact SVD, each step). TORCH is the folder that torch is imported from where the subject's own environment
has none, so that all variants run the same build.
"""

import importlib
import importlib.util
import resource
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

(shape, _, variant), folder, url, torch_home = sys.argv[1].partition(":"), *sys.argv[2:5]
if importlib.util.find_spec("torch") is None:
    sys.path.append(torch_home)  # behind everything of its own

import torch  # noqa: E402 (the path comes first)
from models import batch, made  # noqa: E402
from pipe import serve  # noqa: E402
from torch import Tensor, nn  # noqa: E402

Finish = Callable[
    [Tensor, Tensor, Tensor, int], object
]  # scores, classes, the loss, the step's number: after the step
Around = Callable[
    [Tensor, Tensor, Tensor, int], AbstractContextManager[Any]
]  # of the same, around the backward pass
MEMORY = 12 << 30
CUDA = shape == "gpt2"
device = "cuda" if CUDA else "cpu"
model = made(shape).to(device)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
criterion: nn.Module = nn.CrossEntropyLoss()
data = torch.Generator().manual_seed(1)
run: Any = None


def effective_rank(x: Tensor) -> float:
    """exp of the entropy of the normalised singular values, read on the host at once."""
    sigma = torch.linalg.svdvals(x.detach().flatten(0, -2).float())
    share = sigma / sigma.sum()
    return float(torch.exp(-torch.special.xlogy(share, share).sum()))


def bare() -> tuple[Finish, Around]:
    """The loss is read each step, but on a GPU, where that would wait for the device."""
    return lambda scores, classes, loss, number: None if CUDA else loss.item(), lambda *_: nullcontext()


def foreshock(everything: bool, alone: bool = False, budget: bool = True) -> tuple[Finish, Around]:
    global run
    module = importlib.import_module("foreshock")
    settings: dict[str, Any] = {"offline": alone, **({} if budget else {"budget": 0})}
    run = module.init(project="bench", run=f"{shape}-{variant}", url=url, dir=f"{folder}/spool", **settings)
    run.watch(model, optimizer=optimizer, families=["all"] if everything else None, quiet=True)

    def finish(scores: Tensor, classes: Tensor, loss: Tensor, number: int) -> None:
        if shape != "convolutional":
            run.observe.policy(scores, actions=classes)
        run.log(loss=loss)
        run.step()

    return finish, lambda *_: nullcontext()


def wandb(every: int) -> tuple[Finish, Around]:
    loggers = importlib.import_module("loggers")
    tracker = loggers.Wandb(folder, "")
    tracker.open("training-step")
    tracker.run.watch(model, log="all", log_freq=every)
    return lambda scores, classes, loss, number: tracker.run.log(
        {"loss": loss.item()}
    ), lambda *_: nullcontext()


def cockpit(quantities: str) -> tuple[Finish, Around]:
    global model, criterion
    resource.setrlimit(
        resource.RLIMIT_AS, (MEMORY, MEMORY)
    )  # a gradient for each sample: the machine is not ours alone
    extend = importlib.import_module("backpack").extend
    pit = importlib.import_module("cockpit")
    configuration = importlib.import_module("cockpit.utils.configuration").configuration
    model, criterion = extend(model), extend(criterion)
    each = nn.CrossEntropyLoss(reduction="none")
    watched = pit.Cockpit(model.parameters(), quantities=configuration(quantities))

    def around(scores: Tensor, classes: Tensor, loss: Tensor, number: int) -> Any:
        alone = each(scores, classes)
        told = {
            "batch_size": len(classes),
            "individual_losses": alone.flatten(1).mean(1) if alone.dim() > 1 else alone,
            "loss": loss,
            "optimizer": optimizer,
        }
        around.graph = watched.create_graph(number)  # type: ignore[attr-defined]
        return watched(number, info=told)

    return lambda scores, classes, loss, number: loss.item(), around


def svd() -> tuple[Finish, Around]:
    for layer in model.blocks:  # type: ignore[union-attr]
        layer.register_forward_hook(lambda module, inputs, output: effective_rank(output) and None)
    return bare()


VARIANTS: dict[str, Callable[[], tuple[Finish, Around]]] = {
    "bare": bare,
    "foreshock": lambda: foreshock(False),
    "foreshock-alone": lambda: foreshock(False, alone=True),
    "foreshock-every": lambda: foreshock(True, alone=True),
    "foreshock-all": lambda: foreshock(True, budget=False),
    "wandb-1": lambda: wandb(1),
    "wandb-100": lambda: wandb(100),
    "cockpit-economy": lambda: cockpit("economy"),
    "cockpit-full": lambda: cockpit("full"),
    "svd": svd,
}
finish, around = VARIANTS[variant]()
plain, _ = bare()
forward = torch.compile(model) if CUDA else model  # after whoever watches it
number = 0


def wait() -> None:
    """Until the device has done what it was given."""
    if CUDA:
        torch.cuda.synchronize()


def timed(steps: int, paused: bool) -> list[float]:
    """The seconds of each step; on a GPU of the first, and the mean of the others, which run ahead of it."""
    if not CUDA:
        return [step(paused) for _ in range(steps)]
    seconds = []
    for some in filter(None, (min(steps, 1), steps - 1)):
        wait()
        began = time.perf_counter()
        for _ in range(some):
            step(paused)
        wait()
        seconds += [(time.perf_counter() - began) / some] * some
    return seconds


def step(paused: bool = False) -> float:
    """One step of training, with the variant's own calls inside the clock, or without them."""
    global number
    inputs, classes = (each.to(device) for each in batch(shape, data))
    began = time.perf_counter()
    optimizer.zero_grad()
    with torch.autocast(device, torch.bfloat16, enabled=CUDA):
        scores = forward(inputs)
        by_class = scores.movedim(-1, 1)  # as the criterion wants it
        loss = criterion(by_class, classes)
    with around(by_class, classes, loss, number):
        torch.autograd.backward(loss, create_graph=getattr(around, "graph", False))
    optimizer.step()
    (plain if paused else finish)(scores, classes, loss, number)
    number += 1
    return time.perf_counter() - began


def handle(request: dict[str, Any]) -> Any:
    """{"steps": n, "threads": n, "paused": false} -> the seconds of each step, if `paused` without what watches; {"cost": true} -> percent of the time, by its own account."""
    if request.get("cost"):
        return run.cost["percent"] if run is not None else None
    torch.set_num_threads(request["threads"])
    paused = request.get("paused", False)
    if run is not None:
        (run.pause if paused else run.resume)()
    return timed(request["steps"], paused)


serve(handle)

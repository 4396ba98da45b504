"""An optimizer's step in; the weights and gradients that it is about to use to whoever is due, out.

One pair of hooks per model serves every reader: what is looked up once, is not looked up again.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils.weak import WeakTensorKeyDictionary

from foreshock.guard import guard, say_once
from foreshock.measure.placements import partial, placed
from foreshock.measure.statistics import sketch
from foreshock.measure.transfer import local, moved

from .choose import block_names, parameter_name, place_of
from .sharing import Sharing, sharing
from .stepped import Held, Stepped
from .subject import Attached

if TYPE_CHECKING:
    from foreshock.measure.sites import Sites

LAYOUTS = 64  # whose sizes are kept: the parameters with a gradient may change from step to step

After = Callable[[], None]
"""What a reader wants to do once the step has been taken."""


class Reader(Protocol):
    """Reads a step that is about to be taken."""

    def due(self, sites: Sites, optimizer: Optimizer) -> bool:
        """True when it wants to see this step. Asked at every step of every optimizer, so quick."""

    def before(self, sites: Sites, stepped: Stepped) -> After | None:
        """Read what is there before the update."""


class Steps:
    """Hooks on every optimizer, or on the one given; those that hold none of the model's parameters are let pass."""

    def __init__(self, model: nn.Module, prefix: str, only: Optimizer | None = None) -> None:
        self._model = weakref.ref(model)  # a model that is gone must be gone
        self._prefix = prefix
        self.whole = prefix.removesuffix(".")
        self._only = only
        self._sites: Sites | None = None  # once attached
        self._readers: list[Reader] = []
        self._afterwards: dict[int, list[tuple[Reader, After]]] = {}
        self._places: dict[str, str] = {}  # of the parameters, by name
        self._verdicts = (
            WeakTensorKeyDictionary()
        )  # first of a list -> its ends -> whether one is the model's
        self._weighing: dict[object, sketch.Weighing] = {}
        self._disabled: dict[str, Callable[[Optimizer], None]] = {}
        self._order: list[int] = []  # of the optimizers, as they first stepped

    def attach(self, reader: Reader, sites: Sites) -> Attached:
        """Let this reader see the steps from now on."""
        if reader in self._readers:
            return Attached()
        self._readers.append(reader)
        if self._sites is not None:
            return Attached()
        self._sites = sites
        if self._only is not None:
            return Attached(
                [
                    self._only.register_step_pre_hook(self._before),
                    self._only.register_step_post_hook(self._after),
                ]
            )
        return Attached(
            [
                register_optimizer_step_pre_hook(self._before),
                register_optimizer_step_post_hook(self._after),
            ]
        )

    def places(self) -> list[str]:
        """The places that the model's parameters are grouped into, in the model's order."""
        return list(dict.fromkeys(place for _, place, _ in self.named()))

    def named(self) -> list[tuple[str, str, nn.Parameter]]:
        """Every parameter with its name and its place."""
        model = self._model()
        if model is None:
            return []
        blocks = clean = None
        found = []
        for name, p in model.named_parameters():
            if name not in self._places:
                if blocks is None or clean is None:
                    blocks, clean = block_names(model), parameter_name(model)
                self._places[name] = self._prefix + place_of(clean(name), blocks)
            found.append((name, self._places[name], p))
        return found

    def holds(self, parameters: object) -> bool:
        """True when one of these parameters is the model's; asked at every step, so it remembers lists by their ends."""
        given = parameters if isinstance(parameters, (list, tuple)) else [parameters]
        if not given or not isinstance(given[0], Tensor):
            return False
        if given[0] not in self._verdicts:
            self._verdicts[given[0]] = {}
        verdicts = self._verdicts[given[0]]
        ends = (len(given), id(given[-1]))
        if ends not in verdicts:
            ours = {id(p) for _, _, p in self.named()}
            verdicts[ends] = any(id(p) in ours for p in given)
        return verdicts[ends] is True

    def holds_of(self, optimizer: Optimizer) -> bool:
        """True when the optimizer steps some of the model's parameters."""
        return any(self.holds(group["params"]) for group in optimizer.param_groups)

    def module(self) -> nn.Module | None:
        """The model, while it is there."""
        return self._model()

    def _before(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._uncompiled(self._read)(optimizer)

    def _after(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._uncompiled(self._finish)(optimizer)

    def _uncompiled(self, function: Callable[[Optimizer], None]) -> Callable[[Optimizer], None]:
        """The function as a compiled optimizer step must call it: an optimizer breaks the graph anyway, and so do we."""
        if "torch._dynamo" not in sys.modules:  # nothing is compiled; it takes long to import
            return function
        if function.__name__ not in self._disabled:
            self._disabled[function.__name__] = torch.compiler.disable(function)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return self._disabled[function.__name__]

    def _read(self, optimizer: Optimizer) -> None:
        sites = self._sites
        if sites is None or sites.clock.closed:
            return
        due = [reader for reader in self._readers if reader.due(sites, optimizer)]
        if not due or not self.holds_of(optimizer):
            return
        with guard("the optimizer's hook, before the step"), sites.clock.spending, torch.no_grad():
            self._afterwards.pop(id(optimizer), None)
            found: list[tuple[Reader, After]] = []
            for stepped in self._by_device(optimizer):
                if stepped.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
                    return  # a replayed graph would not come back here
                for reader in due:
                    with self._once(reader):
                        after = reader.before(sites, stepped)
                        found += [] if after is None else [(reader, after)]
            self._afterwards[id(optimizer)] = found

    def _finish(self, optimizer: Optimizer) -> None:
        afterwards = self._afterwards.pop(id(optimizer), None)
        sites = self._sites
        if not afterwards or sites is None or sites.clock.closed:
            return
        with sites.clock.spending, torch.no_grad():
            for reader, after in afterwards:
                with self._once(reader):
                    after()

    @contextmanager
    def _once(self, reader: Reader) -> Iterator[None]:
        """A reader speaks its fault once, and reads no more; the others go on."""
        fine = False
        with guard(f"what {type(reader).__name__} reads of the optimizer's step"):
            try:
                yield
                fine = True
            finally:
                if not fine and reader in self._readers:
                    self._readers.remove(reader)

    def _by_device(self, optimizer: Optimizer) -> list[Stepped]:
        stepped = {id(p) for group in optimizer.param_groups for p in group["params"]}
        found: dict[torch.device, list[Held]] = {}
        for name, place, p in self.named():
            gradient = p.grad
            if id(p) not in stepped or gradient is None or gradient.is_sparse or not p.numel():
                continue
            gradient = _alike(name, p, gradient)
            if gradient is None:
                continue
            weight, gradient = local(p), local(gradient)  # under no_grad: nothing to detach
            if weight.numel():
                found.setdefault(weight.device, []).append(Held(name, place, p, weight, gradient))
        if found and id(optimizer) not in self._order:
            self._order.append(id(optimizer))
        return [
            Stepped(
                optimizer,
                self._order.index(id(optimizer)),
                device,
                held,
                self.whole,
                self._weigh,
                self._spread,
            )
            for device, held in found.items()
        ]

    def _spread(self, parameters: Sequence[nn.Parameter]) -> Sharing:
        if self._sites is None:
            return sharing(parameters)
        return sharing(parameters, self._sites.layouts.group, self._sites.layouts.rank)

    def _weigh(self, layout: sketch.Layout, device: torch.device) -> sketch.Weighing:
        key = (layout.counts, layout.sizes, device)
        if key not in self._weighing:
            if len(self._weighing) >= LAYOUTS:
                self._weighing.clear()
            values = torch.as_tensor(layout.weighing, dtype=torch.float32, device="cpu")
            self._weighing[key] = sketch.Weighing(*moved(values, device).unbind(0))
        return self._weighing[key]


def _alike(name: str, parameter: Tensor, gradient: Tensor) -> Tensor | None:
    """The gradient where its parameter lies, without a word to other ranks; None, and said once, where that cannot be had."""
    where, wanted = placed(gradient), placed(parameter)
    if where is not None and wanted is not None and not partial(where):
        pairs = list(zip(where.placements, wanted.placements, strict=True))
        if all(one == other for one, other in pairs):
            return gradient
        if all(one == other or one.is_replicate() for one, other in pairs):  # a piece of what is here
            piece: Tensor = gradient.redistribute(placements=wanted.placements)  # type: ignore[attr-defined]  # of a DTensor
            return piece
    elif where is None and wanted is None:
        return gradient
    say_once(
        "unsummed gradients",
        "the gradient of %s, and maybe of others, lies on the ranks in another way than the weight, such as a sum that the"
        " optimizer takes itself (Partial): what is read of gradients and weights leaves them out",
        name,
    )
    return None

"""A GradScaler's steps, heard as they happen; how many of them it withheld from the optimizer, and its scale, out."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer
from torch.utils.hooks import RemovableHandle

from foreshock.measure.statistics.table import STATISTICS

from .interposed import listen
from .stepped import Stepped
from .stepping import After, Steps
from .subject import Attached, Planned

if TYPE_CHECKING:
    from foreshock.measure.sites import Sites

YIELDS = ("skipped_step_share", "loss_scale")
MOST = 256  # verdicts of fused optimizers between two records


def plan(prefix: str, steps: Steps) -> Planned:
    """`torch.amp.GradScaler.step` on an optimizer that holds the model's parameters."""
    return Planned(
        place=prefix + "loss scale",
        module="GradScaler",
        measured="skipped steps, loss scale",
        family="numerics",
        kind="optimiser",
        attach=LossScale(steps).attach,
        values=1.0,
        series=len(YIELDS),
    )


class LossScale:
    """Counts. A scaler that finds an overflow does not call the optimizer, except a fused one, which it gives the verdict."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._called: set[int] = set()  # optimizers that have stepped since they were last heard of
        self._skipped = 0
        self._heard_of = 0
        self._verdicts: list[Tensor] = []

    def attach(self, sites: Sites) -> Attached:
        """Listen to every scaler, and to the optimizers."""
        hooks = self._steps.attach(self, sites).handles
        heard = listen(torch.amp.GradScaler, "step", functools.partial(self._heard, sites))
        return Attached([*hooks, cast("RemovableHandle", heard)])

    def due(self, sites: Sites, optimizer: Optimizer) -> bool:
        self._called.add(id(optimizer))
        verdict = getattr(optimizer, "found_inf", None)
        if isinstance(verdict, Tensor) and len(self._verdicts) < MOST and self._steps.holds_of(optimizer):
            self._verdicts.append(verdict.detach().reshape(()))
        return False

    def before(self, sites: Sites, stepped: Stepped) -> After | None:
        return None

    def _heard(self, sites: Sites, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        scaler, optimizer = args[0], args[1] if len(args) > 1 else kwargs.get("optimizer")
        if sites.clock.closed or not isinstance(optimizer, Optimizer) or not scaler.is_enabled():
            return
        if not self._steps.holds_of(optimizer):
            return
        called = id(optimizer) in self._called
        self._called.discard(id(optimizer))
        self._heard_of += 1
        self._skipped += not called
        scale = getattr(scaler, "_scale", None)  # `get_scale` would wait for the device
        if isinstance(scale, Tensor) and sites.awaits("optimiser"):
            with sites.clock.spending, torch.no_grad():
                self._record(sites, scale)

    def _record(self, sites: Sites, scale: Tensor) -> None:
        site = sites.site(
            ("loss scale", id(self), scale.device),
            "loss scale",
            "optimiser",
            lambda: [STATISTICS[name].series(self._steps.whole) for name in YIELDS],
            lambda tensors: tensors[0],
            scale.device,
        )
        if site in sites.clock.recorded:
            return
        skipped = torch.full_like(scale, self._skipped).reshape(1)
        for verdict in self._verdicts:
            skipped = skipped + (verdict.to(scale.device) > 0)
        site.row.copy_(torch.cat([skipped / self._heard_of, scale.detach().reshape(1)]))
        self._skipped = self._heard_of = 0
        self._verdicts.clear()
        sites.clock.recorded[site] = True

"""The loop's own clipping, heard as it happens; gradient norms before it, and how often it bites, out. Costs no pass of ours."""

from __future__ import annotations

import functools
import inspect
from collections import deque
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.nn.utils import clip_grad
from torch.utils.hooks import RemovableHandle

from foreshock.measure.statistics import clipping
from foreshock.measure.statistics.table import STATISTICS

from .interposed import listen
from .stepping import Steps
from .subject import Attached, Planned

if TYPE_CHECKING:
    from foreshock.measure.sites import Sites

MOST = 256  # norms between two records; beyond it the oldest are left out


def plan(prefix: str, steps: Steps) -> Planned:
    """`torch.nn.utils.clip_grad_norm_`, however it was imported; wrappers with a clipping of their own are not heard."""
    return Planned(
        place=prefix + "clipping",
        module="clip_grad_norm_",
        measured="gradient norm before clipping",
        family="optimiser",
        kind="optimiser",
        attach=Clipping(steps).attach,
        values=1.0,
        series=len(clipping.YIELDS),
    )


class Clipping:
    """Keeps the norm of every step, as the tensor that clipping made, and looks at them when a record is due."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._norms: deque[Tensor] = deque(maxlen=MOST)
        self._history: Tensor | None = None

    def attach(self, sites: Sites) -> Attached:
        """Listen where torch's own ways of clipping by norm pass."""
        heard = functools.partial(self._heard, sites)
        return Attached([cast("RemovableHandle", listen(o, name, heard)) for o, name in _passed()])

    def _heard(self, sites: Sites, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        if sites.clock.closed:
            return
        given = {**dict(zip(("parameters", "max_norm", "total_norm"), args, strict=False)), **kwargs}
        norm = result if isinstance(result, Tensor) else given.get("total_norm")
        limit = given.get("max_norm")
        if not isinstance(norm, Tensor) or hasattr(norm, "to_local") or norm.numel() != 1 or limit is None:
            return  # of a sharded norm this rank knows a part
        if not self._steps.holds(given.get("parameters")):
            return
        if norm.is_cuda and torch.cuda.is_current_stream_capturing():
            return
        with sites.clock.spending, torch.no_grad():
            if self._norms and self._norms[0].device != norm.device:
                self._norms.clear()
            self._norms.append(norm.detach().reshape(()))
            if sites.awaits("optimiser"):
                self._record(sites, norm.device, limit)

    def _record(self, sites: Sites, device: torch.device, limit: Any) -> None:
        site = sites.site(
            ("clipping", id(self), device),
            "clipping",
            "optimiser",
            lambda: [STATISTICS[name].series(self._steps.whole) for name in clipping.YIELDS],
            lambda tensors: tensors[0],
            device,
        )
        if site in sites.clock.recorded:
            return
        if self._history is None or self._history.device != device:
            self._history = torch.zeros(2, device=device)
        norms = torch.stack([norm.float() for norm in self._norms])
        values, self._history = clipping.measure(norms, self._history, limit)
        self._norms.clear()
        site.row.copy_(values)
        sites.clock.recorded[site] = True


def _passed() -> list[tuple[object, str]]:
    """What every clipping calls; where torch has one function for it all, the cell from which its wrapper takes that one.

    So it does not matter who imported `clip_grad_norm_`, or when. Without either, calls by attribute alone are heard.
    """
    if hasattr(clip_grad, "_clip_grads_with_norm_"):
        owners = [(clip_grad, "_clip_grads_with_norm_"), (torch.nn.utils, "clip_grads_with_norm_")]
        return [(owner, name) for owner, name in owners if hasattr(owner, name)]
    known: Any = clip_grad.clip_grad_norm_
    for cell in getattr(known, "__closure__", None) or ():
        if inspect.unwrap(cell.cell_contents) is getattr(known, "__wrapped__", None):
            return [(cell, "cell_contents")]
    return [(clip_grad, "clip_grad_norm_"), (torch.nn.utils, "clip_grad_norm_")]

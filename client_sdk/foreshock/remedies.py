"""Ready-made actions for `run.on_alert`: raise the entropy target, drop the learning rate, recycle dormant units.

None does anything until it is installed, and then only says what it would do, until it is installed with `dry_run=False`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .control import Alert

if TYPE_CHECKING:
    import torch

__all__ = ["drop_learning_rate", "raise_entropy_target", "recycle_dormant_units"]


class raise_entropy_target:  # noqa: N801 (used as a function that makes an action)
    """Hand `set_target` the present target times `factor`, at most `at_most`; for an entropy bonus, a floor, a temperature."""

    name = "raise entropy target"
    changes = together = True

    def __init__(
        self,
        get_target: Callable[[], float],
        set_target: Callable[[float], object],
        *,
        factor: float = 1.5,
        at_most: float,
    ) -> None:
        if not factor > 1:
            raise ValueError(f"factor={factor} does not raise anything; write a number above 1")
        self._get, self._set = get_target, set_target
        self._factor, self._at_most = factor, at_most

    def decide(self, alert: Alert) -> float | None:
        """The new target; None when it is as high as it may be."""
        now = float(self._get())
        target = min(now * self._factor, self._at_most)
        return target if target > now else None

    def apply(self, alert: Alert, value: float) -> None:
        """Hand it over."""
        self._set(value)


class drop_learning_rate:  # noqa: N801 (used as a function that makes an action)
    """Multiply the learning rate of every group by `factor`, down to `at_least`; with `scheduler`, also what it begins from."""

    name = "drop learning rate"
    changes = together = True

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        factor: float = 0.5,
        at_least: float = 0.0,
        scheduler: Any = None,
    ) -> None:
        if not 0 < factor < 1:
            raise ValueError(f"factor={factor} does not drop anything; write a number between 0 and 1")
        self._optimizer, self._scheduler = optimizer, scheduler
        self._factor, self._at_least = factor, at_least

    def decide(self, alert: Alert) -> float | None:
        """The factor; None when every group is as low as it may be."""
        lowest = all(float(group["lr"]) <= self._at_least for group in self._optimizer.param_groups)
        return None if lowest else self._factor

    def apply(self, alert: Alert, value: float) -> None:
        """Multiply."""
        for group in self._optimizer.param_groups:
            new = max(float(group["lr"]) * value, min(self._at_least, float(group["lr"])))
            if hasattr(group["lr"], "fill_"):
                group["lr"].fill_(new)  # a compiled or captured optimizer reads this very tensor
            else:
                group["lr"] = new
            if "initial_lr" in group:
                group["initial_lr"] *= value
        if self._scheduler is not None:
            self._scheduler.base_lrs = [rate * value for rate in self._scheduler.base_lrs]


class recycle_dormant_units:  # noqa: N801 (used as a function that makes an action)
    """Give units that hardly move new incoming weights and no outgoing ones: ReDo (Sokar et al. 2023, arXiv:2302.12902).

    `forward` runs the model on a batch, to see which they are: mean |h| at most `tau` of the layer's. `pairs` names the layers
    on both sides of the units; without it, linear layers and convolutions that follow each other and fit. Not for sharded weights.
    """

    name = "recycle dormant units"
    changes = together = True

    def __init__(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        forward: Callable[[], object],
        *,
        tau: float = 0.025,
        pairs: Sequence[tuple[torch.nn.Module, torch.nn.Module]] | None = None,
    ) -> None:
        from .reactions.recycling import pairs_of

        self._model, self._optimizer, self._forward, self._tau = model, optimizer, forward, tau
        self._pairs = pairs_of(model) if pairs is None else list(pairs)
        if not self._pairs:
            raise ValueError(
                "no two layers that follow each other were found; name them with pairs=[(before, after), …]"
            )
        self.recycled = 0  # units, the last time

    def decide(self, alert: Alert) -> float | None:
        """The seed of the new weights, so that every rank draws the same."""
        return float(secrets.randbelow(2**31))

    def apply(self, alert: Alert, value: float) -> None:
        """Look and recycle, with the model as in evaluation; its mode is put back."""
        from .reactions.recycling import recycle

        modes = {module: module.training for module in self._model.modules()}
        self._model.eval()
        try:
            self.recycled = recycle(self._pairs, self._optimizer, self._forward, self._tau, int(value))
        finally:
            for module, mode in modes.items():
                module.training = mode

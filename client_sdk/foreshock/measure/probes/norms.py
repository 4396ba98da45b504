"""Normalisation layers in; hooks that show what each is given, with its gains and running variances, out."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parameter import is_lazy

from foreshock.measure.statistics import norms
from foreshock.measure.statistics.representation import ROWS

from .activations import Hook, first_floating
from .choose import block_names, evenly
from .subject import Attached, Planned, Subject
from .widths import is_norm, widths

if TYPE_CHECKING:
    from foreshock.measure.sites import Sites

_OF_HEADS = ("q_norm", "k_norm", "q_layernorm", "k_layernorm", "query_norm", "key_norm", "norm_q", "norm_k")
_ADDS_ONE = ("zero_centered_gamma", "layernorm_zero_centered_gamma")  # layers that multiply by 1 + γ


class Norm:
    """One layer: which of its tensors are shown, and what is measured of them."""

    def __init__(self, module: nn.Module) -> None:
        self.gained = _tensor(module, "weight") is not None
        self.tracked = _tensor(module, "running_var") is not None
        self.axis = 1 if isinstance(module, (_NormBase, nn.GroupNorm)) else -1
        self._offset = 1.0 if _adds_one(module) else 0.0
        eps = getattr(module, "eps", 0.0)
        self._eps = eps if isinstance(eps, (int, float)) else 0.0

    def pick(self, module: Any, args: Any, kwargs: Any) -> tuple[Sequence[Tensor], bool]:
        """The layer's input, its gains and running variances."""
        x = first_floating(args)
        x = first_floating(kwargs) if x is None else x
        if x is None or x.dim() < 2:
            return (), False
        held = [module.weight] if self.gained else []
        trained = torch.is_grad_enabled() and any(one.requires_grad for one in (x, *held))
        return (x, *held, *([module.running_var] if self.tracked else [])), trained

    def measure(self, tensors: Sequence[Tensor]) -> Tensor:
        """The row of `norms.series`."""
        x, *rest = tensors
        values = [norms.stream(x, self.axis)]
        if self.gained:
            values.append(norms.gains(rest[0], self._offset))
        if self.tracked:
            values.append(norms.dead(rest[-1], self._eps))
        return torch.cat(values)


def plan(subject: Subject) -> list[Planned]:
    """The first normalisation of each block and those beside the blocks; of convolutional nets, and by patterns, all."""
    wide = widths(subject.root)
    lines = []
    for name, module in _chosen(subject):
        norm = Norm(module)
        place = subject.place(name)
        read = ROWS * wide[name]
        lines.append(
            Planned(
                place=place,
                module=type(module).__name__,
                measured="input size" + ", gains" * norm.gained + ", dead channels" * norm.tracked,
                family="plasticity",
                kind="units",
                attach=functools.partial(_attach, module, norm, place, subject.device),
                operations=2 * read,
                values=read,
                series=len(norms.series(place, gained=norm.gained, tracked=norm.tracked)),
            )
        )
    return lines


def _attach(module: nn.Module, norm: Norm, place: str, device: torch.device, sites: Sites) -> Attached:
    site = sites.site(
        ("norms", place),
        place,
        "units",
        lambda: norms.series(place, gained=norm.gained, tracked=norm.tracked),
        norm.measure,
        device,
    )
    # Before the layer: there a sharded layer has its whole weights.
    handle = module.register_forward_pre_hook(Hook(site, norm.pick), with_kwargs=True)
    return Attached([handle], [site])


def _chosen(subject: Subject) -> list[tuple[str, nn.Module]]:
    layers = [(name, module) for name, module in subject.modules() if name and is_norm(module)]
    wanted = [(name, module) for name, module in layers if subject.wants(name)]
    if subject.include is not None:
        return wanted
    blocks = set(block_names(subject.root))
    inside: dict[str, list[tuple[str, nn.Module]]] = {}
    for name, module in wanted:
        inside.setdefault(_block_of(name, blocks), []).append((name, module))
    kept: set[str] = set()
    for block, pairs in inside.items():
        streams = [name for name, _ in pairs if name.rpartition(".")[2] not in _OF_HEADS]
        batched = any(isinstance(module, _NormBase) for _, module in pairs)
        if batched or not block:
            kept.update(name for name, _ in pairs)
        else:
            kept.update(sorted(streams, key=lambda name: name.count("."))[:1])
    return evenly([(name, module) for name, module in wanted if name in kept])


def _block_of(name: str, blocks: Collection[str]) -> str:
    parts = name.split(".")
    prefixes = (".".join(parts[:depth]) for depth in range(1, len(parts)))
    return next((prefix for prefix in prefixes if prefix in blocks), "")


def _adds_one(module: nn.Module) -> bool:
    return "gemma" in type(module).__name__.lower() or any(
        getattr(module, name, False) is True for name in _ADDS_ONE
    )


def _tensor(module: nn.Module, name: str) -> Tensor | None:
    value = getattr(module, name, None)
    return value if isinstance(value, Tensor) and not is_lazy(value) else None

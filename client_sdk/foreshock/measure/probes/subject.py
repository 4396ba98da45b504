"""A model that is watched, and the plan of what to watch in it: made without touching it, so that it can be shown first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.optim.optimizer import Optimizer
from torch.utils.hooks import RemovableHandle

from .choose import innermost, matches, named

if TYPE_CHECKING:
    from foreshock.measure.layouts import Declared
    from foreshock.measure.site import Site
    from foreshock.measure.sites import Sites


LAID = ("activations", "attention", "codes", "router", "units")  # kinds of what passes through modules


@dataclass(frozen=True)
class Subject:
    """A model within its wrappers, and what of it the user wants."""

    root: nn.Module
    prefix: str = ""  # of its places: the second model of a run has one
    include: Sequence[str] | None = None  # patterns on the names of modules
    exclude: Sequence[str] = ()
    families: frozenset[str] | None = None  # None: those that are on by default
    optimizer: Optimizer | None = None
    layout: Sequence[Declared] = ()  # of places over ranks, as the user says

    @classmethod
    def of(cls, model: nn.Module, **wishes: object) -> Subject:
        """The subject that a model is."""
        if not isinstance(model, nn.Module):
            raise ValueError(f"watch got a {type(model).__name__}; pass a torch.nn.Module")
        return cls(innermost(model), **wishes)  # type: ignore[arg-type]  # the fields above, by name

    @property
    def device(self) -> torch.device:
        """Where the first parameter is, or will be for all that is known: a model without storage counts as on the CPU."""
        device = next((p.device for p in self.root.parameters()), torch.device("cpu"))
        return torch.device("cpu") if device.type == "meta" else device

    @property
    def parameters(self) -> int:
        """How many numbers the model learns or holds as parameters; lazy ones are not known yet."""
        return sum(p.numel() for p in self.root.parameters() if not is_lazy(p))

    def check(self) -> None:
        """Complain about patterns that let nothing through."""
        names = [name for name, _ in self.modules()]
        if self.include is not None and not any(matches(name, self.include) for name in names):
            raise ValueError(
                f"include={list(self.include)!r} matches no module; modules are named like"
                f" {[name for name in names if name][:6]}, and * stands for one part of such a name, ** for any"
            )

    def modules(self) -> list[tuple[str, nn.Module]]:
        """Every module once, by its unwrapped name, in the model's order."""
        return named(self.root)

    def wants(self, name: str) -> bool:
        """True when the patterns do not keep this module out."""
        included = self.include is None or matches(name, self.include)
        return included and not matches(name, self.exclude)

    def place(self, name: str) -> str:
        """The name that the series of this module carry."""
        return self.prefix + (name or "model")


@dataclass(frozen=True)
class Attached:
    """What attaching has left in the model."""

    handles: Sequence[RemovableHandle] = ()
    sites: Sequence[Site] = ()  # whose silence after some steps would mean that the hooks are ignored


@dataclass(frozen=True)
class Planned:
    """One line of the watch table, and how to begin."""

    place: str
    module: str  # the class of what stands there
    measured: str  # in a few words
    family: str
    kind: str  # of the cadences in `config.EVERY`
    attach: Callable[[Sites], Attached] = field(repr=False, compare=False)
    operations: float = 0.0  # of one record, floating-point operations; 0: not estimated
    values: float = 0.0  # of one record, values read
    series: int = 0  # how many it records; 0: not known before it has begun
    about: Mapping[str, str] = field(default_factory=dict)  # what else is worth saying, by heading
    given: bool = False  # of what the module is given, not of what it returns

    @property
    def where(self) -> str:
        """What patterns of layouts are held against; nothing of parameters, whose placements are their own."""
        if self.kind not in LAID or self.module == "parameters":
            return ""
        return f"{self.place}.input" if self.given else self.place


Probe = Callable[[Subject], list[Planned]]
"""What it would watch in a model. It reads names, types and shapes alone."""

"""A model in; how wide each module's output should be, by names, types and shapes alone, out: costs are estimated with it."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from .choose import named

_SAYING = ("out_features", "out_channels", "embedding_dim", "embed_dim", "nf")


def widths(root: nn.Module) -> dict[str, int]:
    """Of every module, by its unwrapped name; 0 where nothing tells.

    A composite module is as wide as the first normalisation in it, else as what is computed last in it; a module that has
    no width of its own passes on that of the one before it.
    """
    found: dict[str, int] = {}
    last = 0
    for name, module in named(root):
        inner = [part for part in module.modules() if _own(part)]
        chosen = ([part for part in inner if is_norm(part)] or inner[-1:])[:1]
        found[name] = _own(chosen[0]) if chosen else last
        last = _own(module) or last
    return found


def is_norm(module: nn.Module) -> bool:
    """True of a normalisation: a module whose class says so and that holds no others."""
    return "norm" in type(module).__name__.lower() and not any(True for _ in module.children())


def _own(module: nn.Module) -> int:
    for attribute in _SAYING:
        value = getattr(module, attribute, None)
        if isinstance(value, int):
            return value
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or is_lazy(weight) or not is_norm(module) or weight.dim() != 1:
        return 0
    return weight.shape[0]

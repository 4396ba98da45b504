"""A model in; the modules worth watching, and the place that each parameter belongs to, out. Reads names and types alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import nn

MOST_PLACES = 48  # of one model by default; deeper models are sampled evenly, ends included

_WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_CONVOLUTIONS = (nn.modules.conv._ConvNd,)
_POOLS = (
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d,
    nn.AdaptiveMaxPool3d,
    nn.Flatten,
)
_ROUTERS = re.compile(r"gate|gating|router|switch")
_ACTIVATIONS = (
    nn.CELU,
    nn.ELU,
    nn.GELU,
    nn.GLU,
    nn.Hardswish,
    nn.LeakyReLU,
    nn.Mish,
    nn.PReLU,
    nn.ReLU,
    nn.ReLU6,
    nn.SELU,
    nn.Sigmoid,
    nn.SiLU,
    nn.Softplus,
    nn.Tanh,
)


@dataclass(frozen=True)
class Place:
    """A module to watch, under the name that its series carry."""

    name: str
    module: nn.Module
    channels_first: bool = False  # three-dimensional output means [batch, channels, length]


def unwrapped(name: str) -> str:
    """A module's or parameter's name without what compile, DDP, FSDP and checkpoint wrappers put into it."""
    parts = [part for part in name.split(".") if part not in _WRAPPERS]
    return ".".join(parts)


def named(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Every module of the model once, by its unwrapped name, in the model's own order; wrappers left out."""
    found: dict[str, nn.Module] = {}
    lone = _data_parallel_prefix(model)
    for name, module in model.named_modules():
        found[_strip(name, lone)] = module  # the innermost of a chain of wrappers comes last and stays
    return list(found.items())


def parameter_name(model: nn.Module) -> Callable[[str], str]:
    """What turns a name of `named_parameters` into its unwrapped one."""
    lone = _data_parallel_prefix(model)
    return lambda name: _strip(name, lone)


def places(
    model: nn.Module, include: Sequence[str] | None = None, exclude: Sequence[str] | None = None
) -> list[Place]:
    """The modules to watch: those whose names match ``include``, or the default choice, less those matching ``exclude``.

    In a pattern ``*`` stands for one part of a dotted name, ``**`` for any number of parts: ``blocks.*.mlp``, ``**.attn``.
    """
    everything = named(model)
    if include is not None:
        chosen = [
            Place(name, module, _is_convolutional(module))
            for name, module in everything
            if matches(name, include)
        ]
        if not chosen:
            raise ValueError(
                f"include={list(include)!r} matches no module; modules are named like"
                f" {[name for name, _ in everything if name][:6]}, and * stands for one part of such a name, ** for any"
            )
    else:
        chosen = _default(everything)
    return [place for place in chosen if not matches(place.name, exclude or ())]


def place_of(parameter: str, blocks: Iterable[str]) -> str:
    """The block that a parameter lies in, else the module beside the blocks, else the top-level module.

    >>> place_of("model.layers.3.mlp.weight", ["model.layers.3"]), place_of("model.norm.weight", ["model.layers.3"])
    ('model.layers.3', 'model.norm')
    """
    known = set(blocks)
    parts = parameter.split(".")
    for depth in range(len(parts) - 1, 0, -1):
        if ".".join(parts[:depth]) in known:
            return ".".join(parts[:depth])
    depths = [block.split(".") for block in known]
    shared = max((_shared(block[:-2], parts[:-1]) for block in depths), default=0)
    return ".".join(parts[: max(1, min(shared + 1, len(parts) - 1))])


def innermost(model: nn.Module) -> nn.Module:
    """The model within its wrappers."""
    inner = _inner(model)
    return innermost(inner.get_submodule("module")) if _data_parallel_prefix(model) else inner


def block_names(model: nn.Module) -> list[str]:
    """The names of the model's repeated blocks; empty when it has none."""
    return [name for name, _ in _blocks(named(model))]


def _shared(prefix: list[str], parts: list[str]) -> int:
    return len(prefix) if parts[: len(prefix)] == prefix else 0


def _default(everything: list[tuple[str, nn.Module]]) -> list[Place]:
    blocks = _blocks(everything)
    convolutional = any(isinstance(module, _CONVOLUTIONS) for _, module in everything)
    if blocks and not all(_is_convolutional(block) for _, block in blocks):
        chosen = [Place(name, module) for name, module in evenly(blocks)]
        norm = _final_norm(everything, blocks)
        return [*chosen, Place(*norm)] if norm else chosen
    if convolutional:
        return _convolutional(everything)
    everything = [(name, module) for name, module in everything if not _routes(name, everything)]
    linear = _hidden(everything)
    if linear:
        return [Place(name, module) for name, module in evenly(linear)]
    direct = [(name, module) for name, module in everything if name and "." not in name]
    return [Place(name, module) for name, module in evenly(direct)]


def _blocks(everything: list[tuple[str, nn.Module]]) -> list[tuple[str, nn.Module]]:
    """Children of the lists of composite modules of one class; of nested lists the outermost."""
    found: list[tuple[str, nn.Module]] = []
    roots: list[str] = []
    for name, module in everything:
        if not isinstance(module, (nn.ModuleList, nn.ModuleDict, nn.Sequential)):
            continue
        if any(name.startswith(f"{root}.") for root in roots):
            continue
        children = [(child, inner) for child, inner in module.named_children() if _is_composite(inner)]
        kinds = {_kind(_inner(inner)) for _, inner in children}
        lone = isinstance(module, nn.ModuleList) and len(children) == 1 and _attends(children[0][1])
        alike = len(kinds) == 1 and (len(children) >= 2 or lone)
        if alike and not (isinstance(module, nn.Sequential) and kinds <= {nn.Sequential}):
            roots.append(name)
            found += [(f"{name}.{child}" if name else child, inner) for child, inner in children]
    return found


def _inner(module: nn.Module) -> nn.Module:
    for wrapper in _WRAPPERS:
        while wrapper in dict(module.named_children()):
            module = dict(module.named_children())[wrapper]
    return module


def _kind(module: nn.Module) -> type:
    """Its class; where FSDP2 has made one for this module, which some versions do for each, the class that it made it of."""
    bases = type(module).__bases__
    return bases[1] if len(bases) == 2 and bases[0].__name__ == "FSDPModule" else type(module)


def _is_composite(module: nn.Module) -> bool:
    inner = _inner(module)
    listed = isinstance(inner, (nn.ModuleList, nn.ModuleDict))  # a list of blocks is not a block
    return not listed and any(True for _ in inner.children()) and any(True for _ in inner.parameters())


def _attends(module: nn.Module) -> bool:
    return any(
        "attention" in type(inner).__name__.lower() or "attn" in name
        for name, inner in module.named_modules()
    )


def _is_convolutional(module: nn.Module) -> bool:
    return any(isinstance(inner, (*_CONVOLUTIONS, *_POOLS)) for inner in module.modules()) and not _attends(
        module
    )


def _final_norm(
    everything: list[tuple[str, nn.Module]], blocks: list[tuple[str, nn.Module]]
) -> tuple[str, nn.Module] | None:
    roots = {name.rpartition(".")[0] for name, _ in blocks}
    outside = [
        (name, module)
        for name, module in everything
        if "norm" in type(module).__name__.lower() and not any(name.startswith(f"{root}.") for root in roots)
    ]
    return outside[-1] if outside else None


def _convolutional(everything: list[tuple[str, nn.Module]]) -> list[Place]:
    """Stages (siblings that hold several convolutions), else the convolutions; then the pooled features."""
    layers: list[tuple[str, nn.Module]] = [
        (name, module) for name, module in everything if isinstance(module, _CONVOLUTIONS)
    ]
    stages: list[tuple[str, nn.Module]] = []
    for name, module in everything:
        children = [(f"{name}.{child}" if name else child, inner) for child, inner in module.named_children()]
        wide = [
            (child, inner)
            for child, inner in children
            if sum(isinstance(m, _CONVOLUTIONS) for m in inner.modules()) >= 2
        ]
        if len(wide) >= 2:
            stages = wide
            break
    chosen = [Place(name, module, channels_first=True) for name, module in evenly(stages or layers)]
    last = max(index for index, (_, module) in enumerate(everything) if isinstance(module, _CONVOLUTIONS))
    pooled = [(name, module) for name, module in everything[last:] if isinstance(module, _POOLS)]
    return [*chosen, Place(*pooled[-1], channels_first=True)] if pooled else chosen


def _routes(name: str, everything: list[tuple[str, nn.Module]]) -> bool:
    """True of a router beside its experts: its logits become few and sharp by design, and are no representation."""
    parent, _, last = name.rpartition(".")
    if not _ROUTERS.search(last):
        return False
    beside = (other.rpartition(".") for other, _ in everything)
    return any(holder == parent and "expert" in part.lower() for holder, _, part in beside)


def _hidden(everything: list[tuple[str, nn.Module]]) -> list[tuple[str, nn.Module]]:
    """What follows each linear layer but the last: the activation where it is a module, else the layer itself."""
    leaves = [(name, module) for name, module in everything if not any(True for _ in module.children())]
    hidden: list[tuple[str, nn.Module]] = [
        (name, module) if not isinstance(after, _ACTIVATIONS) else (after_name, after)
        for (name, module), (after_name, after) in pairwise([*leaves, ("", nn.Identity())])
        if isinstance(module, nn.Linear)
    ]
    return hidden[:-1] if len(hidden) > 1 else hidden


def evenly(items: list[tuple[str, nn.Module]]) -> list[tuple[str, nn.Module]]:
    """At most MOST_PLACES of them, the first and the last included."""
    if len(items) <= MOST_PLACES:
        return items
    step = (len(items) - 1) / (MOST_PLACES - 1)
    return [items[round(index * step)] for index in range(MOST_PLACES)]


def matches(name: str, patterns: Sequence[str]) -> bool:
    """True when one of the patterns fits the whole name; ``*`` is one part of it, ``**`` any number of parts."""
    return any(re.fullmatch(_as_regex(pattern), name) for pattern in patterns)


def _as_regex(pattern: str) -> str:
    pieces = re.split(r"(\*\*|\*|\?)", pattern)
    wild = {"**": ".*", "*": "[^.]*", "?": "[^.]"}
    return "".join(wild.get(piece) or re.escape(piece) for piece in pieces)


def _data_parallel_prefix(model: nn.Module) -> bool:
    """True when the model is a wrapper whose only child is called ``module``, as DataParallel and DDP are."""
    inner = _inner(model)
    return [name for name, _ in inner.named_children()] == ["module"] and "Parallel" in type(inner).__name__


def _strip(name: str, lone: bool) -> str:
    clean = unwrapped(name)
    return (
        clean.removeprefix("module").removeprefix(".") if lone and clean.split(".")[0] == "module" else clean
    )

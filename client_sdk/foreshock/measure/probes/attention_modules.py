"""A model's modules in; those that are attention, by their class, their parts and their code, out. Nothing is run."""

from __future__ import annotations

import dis
import re
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from inspect import getattr_static
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

_NAMED = re.compile(r"attention|attn", re.IGNORECASE)
_PROJECTIONS = (
    {"qkv"},
    {"qkv_proj"},
    {"to_qkv"},
    {"wqkv"},
    {"query_key_value"},
    {"c_attn"},
    {"in_proj_weight"},
    {"q_proj", "k_proj"},
    {"q_proj", "kv_proj"},
    {"query", "key"},
    {"to_q", "to_k"},
    {"to_q", "to_kv"},
    {"wq", "wk"},
    {"q_lin", "k_lin"},
)
_VAGUE = ({"in_proj"}, {"q", "k"}, {"q", "kv"})  # which only say so in a class of such a name
_HEADS = ("num_heads", "num_attention_heads", "n_head", "n_heads", "nhead", "heads")
_KERNELS = re.compile(
    r"flash_attn\w*|flex_attention\w*|memory_efficient_attention\w*|sageattn\w*|torch\.softmax"
)
_DEPTH = 3  # calls between a module's forward and the function that attends


def recognised(modules: Sequence[tuple[str, nn.Module]]) -> list[tuple[str, nn.Module]]:
    """The innermost modules with projections to queries and keys, and those that only their name gives away."""
    projecting = {name for name, module in modules if _projects(module)}
    called = {name for name, module in modules if _is_called_so(module)}
    candidates = projecting | called
    return [
        (name, module)
        for name, module in modules
        if (name in projecting and not any(_inside(other, name) for other in projecting))
        or (
            name in called - projecting
            and not any(_inside(other, name) for other in candidates)
            and not any(_inside(name, other) for other in projecting)
        )
    ]


def heads_of(module: nn.Module) -> int:
    """How many heads it says it has; 0 where it does not say."""
    for holder in (module, getattr(module, "config", None)):
        for name in _HEADS:
            heads = getattr(holder, name, None)
            if isinstance(heads, int) and heads > 0:
                return heads
    return 0


def width_of(module: nn.Module) -> int:
    """What its queries come from: the smaller side of its first matrix."""
    return next((min(p.shape) for p in module.parameters() if not is_lazy(p) and p.dim() == 2), 0)


@dataclass(frozen=True)
class Way:
    """What a module attends with."""

    fused: bool = False  # torch's function: its queries and keys are seen; also where the code does not tell
    softmax: bool = False  # a softmax of its own: its logits are seen, in eager code
    hidden: str = ""  # else the name of a kernel that shows neither


def way(module: nn.Module) -> Way:
    """Read from its configuration, or from the names in its code."""
    chosen = getattr(getattr(module, "config", None), "_attn_implementation", None)
    if isinstance(chosen, str):
        return {"sdpa": Way(fused=True), "eager": Way(softmax=True)}.get(chosen, Way(hidden=chosen))
    names = _mentioned(module)
    # A compiler takes this one whole, so what it calls is seen in eager code alone.
    whole = "multi_head_attention_forward" in names
    found = Way(not whole and "scaled_dot_product_attention" in names, whole or "softmax" in names)
    if found.fused or found.softmax:
        return found
    hidden = next((name for name in sorted(names) if _KERNELS.fullmatch(name)), "")
    return Way(fused=not hidden, hidden=hidden)


def _inside(name: str, outer: str) -> bool:
    return name != outer and (not outer or name.startswith(f"{outer}."))


def _projects(module: nn.Module) -> bool:
    parts = {name.lower() for name in (*module._modules, *module._parameters)}
    vague = _VAGUE if _NAMED.search(type(module).__name__) else ()
    return any(projection <= parts for projection in (*_PROJECTIONS, *vague))


def _is_called_so(module: nn.Module) -> bool:
    if isinstance(module, (nn.ModuleList, nn.ModuleDict, nn.Sequential)):
        return False
    matrices = any(
        is_lazy(p) or p.dim() >= 2 for p in module.parameters()
    )  # a norm or a bias of that name does not attend
    return matrices and _NAMED.search(type(module).__name__) is not None


def _mentioned(module: nn.Module) -> set[str]:
    """The names in the code of its forward, of its parts' and of the functions that these call."""
    names: set[str] = set()
    seen: set[types.CodeType] = set()
    for inner in module.modules():
        names |= _names(getattr(type(inner), "forward", None), type(inner), seen, _DEPTH)
    return names


def _names(function: Any, owner: type, seen: set[types.CodeType], depth: int) -> set[str]:
    if not isinstance(function, types.FunctionType) or function.__code__ in seen:
        return set()
    seen.add(function.__code__)
    names: set[str] = set()
    for name in _of_code(function.__code__):
        holder, _, last = name.rpartition(".")
        called = function.__globals__.get(name) or getattr_static(owner, last, None)
        if called is torch.softmax or (last == "softmax" and function.__globals__.get(holder) is torch):
            names.add(
                "torch.softmax"
            )  # whose argument cannot be seen: compilers look it up by its name in torch
            continue
        names |= {last, str(getattr(called, "__name__", last))}  # the other where it is an alias
        if depth > 0 and not str(getattr(called, "__module__", "")).startswith("torch"):
            names |= _names(called, owner, seen, depth - 1)
    return names


def _of_code(code: types.CodeType) -> Iterator[str]:
    """The names in it, of globals and of attributes, an attribute of a global with that before it."""
    holder = ""
    for step in dis.get_instructions(code):
        if isinstance(step.argval, types.CodeType):
            yield from _of_code(step.argval)
        if step.opname.startswith(("LOAD_GLOBAL", "LOAD_NAME")):
            yield step.argval
        elif step.opname.startswith(("LOAD_ATTR", "LOAD_METHOD")):
            yield f"{holder}.{step.argval}"
        holder = step.argval if step.opname.startswith("LOAD_GLOBAL") else ""

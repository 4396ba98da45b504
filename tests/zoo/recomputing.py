"""Activation checkpoints as each torch has them: selective ones by either of their names, and around compiled modules."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import checkpoint as checkpoints


def selective(saved: Sequence[Any]) -> Callable[[], Any]:
    """A ``context_fn`` for checkpoints that store what these operators return, and compute the rest again."""
    if hasattr(checkpoints, "create_selective_checkpoint_contexts"):
        return functools.partial(checkpoints.create_selective_checkpoint_contexts, list(saved))
    keeps = lambda mode, operator, *args, **kwargs: operator in saved
    return functools.partial(checkpoints._pt2_selective_checkpoint_context_fn_gen, keeps)


@functools.cache
def compiles_within() -> bool:
    """True when a module can be compiled by its first call within a checkpoint; else its tracer runs into the recomputation."""
    layer = torch.compile(nn.Linear(2, 2), backend="aot_eager")
    x = torch.ones(1, 2, requires_grad=True)
    try:
        checkpoints.checkpoint(layer, x, use_reentrant=False)
    except torch._dynamo.exc.BackendCompilerFailed:
        return False
    return True


def called_before(layer: nn.Module, x: Tensor) -> nn.Module:
    """The compiled layer, compiled now where its checkpoint would be too late."""
    if not compiles_within():
        layer(x)
    return layer

"""Attention calls of watched modules in; their queries and keys, or their logits, to whoever watches, out.

Queries and keys exist nowhere but in the arguments of `scaled_dot_product_attention`; where a module does its own softmax,
its logits are what that is taken of. While anything is watched, functions of ours stand in for both: they call the
original, return what it returns, and show the arguments to an opaque op. The last watcher to leave puts the originals back.
"""

from __future__ import annotations

import functools
import threading
import types
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from foreshock.guard import guard

from . import attention_calls
from .attention_calls import Gate, Watcher, attend, chain, gates, looked_at, watchers
from .exporting import is_exporting


class Watching(RemovableHandle):
    """A watcher gets the calls of this module, with ``softmax`` its own softmaxes as well, until the handle is removed."""

    def __init__(self, module: nn.Module, gate: Gate, watcher: Watcher, *, softmax: bool) -> None:
        super().__init__(OrderedDict())
        self._module = weakref.ref(module)
        self._gate = gate
        self._watcher = watcher
        self._removed = False
        with _lock:
            watchers.setdefault(module, []).append(watcher)
            gates[gate] += 1
            _stand_in(module, softmax)

    def remove(self) -> None:
        with _lock:
            if self._removed:
                return
            self._removed = True
            module = self._module()
            if module is not None and self._watcher in watchers.get(module, []):
                watchers[module].remove(self._watcher)
                if not watchers[module]:
                    del watchers[module]
            gates[self._gate] -= 1
            if gates[self._gate] == 0:
                del gates[self._gate]
            if not gates:
                watchers.clear()
                _stand_aside()


_lock = threading.RLock()

_undo: list[Callable[[], None]] = []
_stands: list[tuple[Any, Any]] = []  # the fused function, and ours


def _stand_in(module: nn.Module, softmax: bool) -> None:
    """In torch, and wherever the module's own code knows the function by a name of its own."""
    if not _stands:
        original = functional.scaled_dot_product_attention
        _stands.append((original, _for_fused(original)))
    if softmax and not isinstance(vars(torch.Tensor).get("softmax"), _Method):
        _put_method("softmax")  # which functional.softmax and nn.Softmax call as well
    original, ours = _stands[0]
    spaces = [getattr(getattr(type(inner), "forward", None), "__globals__", {}) for inner in module.modules()]
    for space in {id(space): space for space in (vars(functional), *spaces)}.values():
        for name, value in list(space.items()):
            if value is original:
                _put(space, name, original, ours)


def _stand_aside() -> None:
    for undo in _undo:
        undo()
    _undo.clear()
    _stands.clear()


def _put(space: dict[str, Any], name: str, original: Any, ours: Any) -> None:
    def undo() -> None:
        if space.get(name) is ours:  # else somebody has put theirs over ours, which does nothing from now on
            space[name] = original

    space[name] = ours
    _undo.append(undo)


def _put_method(name: str) -> None:
    before, original = vars(torch.Tensor).get(name), getattr(torch.Tensor, name)
    ours = _Method(original, _for_softmax(original))

    def undo() -> None:
        if vars(torch.Tensor).get(name) is not ours:
            return
        if before is None:  # it is its base's
            delattr(torch.Tensor, name)
        else:
            setattr(torch.Tensor, name, before)

    setattr(torch.Tensor, name, ours)
    _undo.append(undo)


class _Method:
    """Ours for a tensor that is asked for it; the original for who asks the class: compilers and subclasses keep lists."""

    def __init__(self, original: Any, ours: Callable[..., Tensor]) -> None:
        self._original = original
        self._ours = ours

    def __get__(self, x: Tensor | None, owner: type) -> Any:
        return self._original if x is None else types.MethodType(self._ours, x)


def _for_fused(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    @functools.wraps(original)
    def stand_in(*args: Any, **kwargs: Any) -> Tensor:
        out = original(*args, **kwargs)
        if torch.compiler.is_compiling():  # no guard: a compiler traces this once, and the op guards itself
            if attention_calls.in_graphs and not is_exporting():
                _fused(*args, **kwargs)
        elif looked_at():
            with guard("watching attention"):
                _fused(*args, **kwargs)
        return out

    stand_in.__module__ = functional.__name__  # where a pickle finds it, or the original
    builtin = torch.jit._builtins._find_builtin(original)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    if builtin is not None:
        torch.jit._builtins._register_builtin(stand_in, builtin)  # a script gets the original
    return stand_in


def _for_softmax(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    @functools.wraps(original)
    def stand_in(*args: Any, **kwargs: Any) -> Tensor:
        out = original(*args, **kwargs)
        # Compiled code would have to write the logits to memory only for us to see them.
        if not torch.compiler.is_compiling() and looked_at():
            with guard("watching attention"):
                _logits(*args, **kwargs)
        return out

    return stand_in


def _fused(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> None:
    if _plain(query) and _plain(key) and (attn_mask is None or _plain(attn_mask)):
        mask = None if attn_mask is None else attn_mask.detach()
        trained = query.requires_grad or key.requires_grad
        attend(query.detach(), key.detach(), mask, is_causal, scale, chain, trained)


def _logits(input: Tensor, dim: int | None = None, *_: Any, **__: Any) -> None:  # noqa: A002 (torch's own name)
    if _plain(input) and input.dim() in (3, 4) and dim in (-1, input.dim() - 1):
        attend(input.detach(), None, None, False, None, chain, input.requires_grad)


def _plain(x: Tensor) -> bool:
    """Numbers on a device that is measured on: nothing that a subclass, a transformation or a tracer stands behind."""
    if type(x) not in (Tensor, nn.Parameter) or x.is_nested or x.device.type not in ("cpu", "cuda"):
        return False
    return torch.compiler.is_compiling() or not (
        torch._C._functorch.is_functorch_wrapped_tensor(x)
        or torch._C._get_tracing_state() is not None
        or torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.PROXY) is not None
    )

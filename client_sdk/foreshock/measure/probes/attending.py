"""Attention calls of watched modules in; their queries and keys, or their logits, to whoever watches, out.

Queries and keys exist nowhere but in the arguments of `scaled_dot_product_attention`; where a module does its own softmax,
its logits are what that is taken of. While anything is watched, functions of ours stand in for both: they call the
original, return what it returns, and show the arguments to an opaque op. The last watcher to leave puts the originals back.

Whose call it is: in eager code, the nearest watched module on the Python stack of this thread, so there is no state that
an exception could leave behind. Compiled code has no such stack: hooks around the module put `enter` and `leave` into the
graph. All three ops change one tensor, which keeps them in order in any graph, and what a hook hands over is a tensor too,
so that one graph serves all layers: a number would be a constant of the graph, and each layer a recompilation.
"""

from __future__ import annotations

import functools
import sys
import threading
import types
import weakref
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from foreshock.guard import guard

from .exporting import is_exporting


@dataclass(frozen=True)
class Call:
    """One call as a watched module made it."""

    q: Tensor  # [sequences, heads, queries, width]; without keys the logits, [sequences, heads, queries, keys]
    k: Tensor | None
    mask: Tensor | None
    causal: bool
    scale: float | None
    trained: bool


class Gate(Protocol):
    """Says when calls can be recorded: asked at every call, of any module. `Sites` is one."""

    def awaits(self, kind: str) -> bool: ...


class Watcher(Protocol):
    """Who is shown the calls of a module."""

    def lets_pass(self) -> bool:
        """True when no call is to be recorded now: asked before anything is prepared, where the gate is open."""

    def show(self, call: Call) -> None:
        """Measure it, if it is its turn."""


class Watching(RemovableHandle):
    """A watcher gets the calls of this module, with ``softmax`` its own softmaxes as well, until the handle is removed."""

    def __init__(self, module: nn.Module, gate: Gate, watcher: Watcher, *, softmax: bool) -> None:
        super().__init__(OrderedDict())
        self._module = weakref.ref(module)
        self._gate = gate
        self._watcher = watcher
        self._removed = False
        with _lock:
            _watchers.setdefault(module, []).append(watcher)
            _gates[gate] += 1
            _stand_in(module, softmax)

    def remove(self) -> None:
        with _lock:
            if self._removed:
                return
            self._removed = True
            module = self._module()
            if module is not None and self._watcher in _watchers.get(module, []):
                _watchers[module].remove(self._watcher)
                if not _watchers[module]:
                    del _watchers[module]
            _gates[self._gate] -= 1
            if _gates[self._gate] == 0:
                del _gates[self._gate]
            if not _gates:
                _watchers.clear()
                _stand_aside()


_lock = threading.RLock()
_watchers: weakref.WeakKeyDictionary[nn.Module, list[Watcher]] = weakref.WeakKeyDictionary()
_gates: Counter[Gate] = Counter()

# -- standing in -----------------------------------------------------------------------------------------------------------

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
            if not is_exporting():
                _fused(*args, **kwargs)
        elif _looked_at():
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
        if not torch.compiler.is_compiling() and _looked_at():
            with guard("watching attention"):
                _logits(*args, **kwargs)
        return out

    return stand_in


def _open() -> bool:
    """True when a call made now could be recorded: outside a backward pass, and somebody waits."""
    if torch._C._current_graph_task_id() != -1:
        return False
    return any(gate.awaits("attention") for gate in list(_gates))


def _looked_at() -> bool:
    """True when the call that eager code is making would be recorded."""
    if not _open():
        return False
    _entered.modules = []  # eager code is in no graph, whatever one that died has left
    watchers = [watcher for watcher in _watching() if not watcher.lets_pass()]
    return len(watchers) > 0


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
        attend(query.detach(), key.detach(), mask, is_causal, scale, _chain, trained)


def _logits(input: Tensor, dim: int | None = None, *_: Any, **__: Any) -> None:  # noqa: A002 (torch's own name)
    if _plain(input) and input.dim() in (3, 4) and dim in (-1, input.dim() - 1):
        attend(input.detach(), None, None, False, None, _chain, input.requires_grad)


def _plain(x: Tensor) -> bool:
    """Numbers on a device that is measured on: nothing that a subclass, a transformation or a tracer stands behind."""
    if type(x) not in (Tensor, nn.Parameter) or x.is_nested or x.device.type not in ("cpu", "cuda"):
        return False
    return torch.compiler.is_compiling() or not (
        torch._C._functorch.is_functorch_wrapped_tensor(x)
        or torch._C._get_tracing_state() is not None
        or torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.PROXY) is not None
    )


# -- whose call it is ------------------------------------------------------------------------------------------------------

_chain = torch.zeros(1, device="cpu")  # what the ops change
_entered = threading.local()  # .modules: ids, in compiled code that this thread runs; eager code empties it
_CALLS = (nn.Module._call_impl.__code__, nn.Module._wrapped_call_impl.__code__)


def hooks(module: nn.Module) -> Sequence[RemovableHandle]:
    """What tells compiled code that it is inside of this module. Attach them before the first compiled call."""
    # always_call and with_kwargs would cost a recompilation per layer where each layer is compiled for itself: dynamo
    # looks such hooks up by their number.
    before, after = Before(torch.full((), id(module), dtype=torch.int64, device="cpu")), After()
    return module.register_forward_pre_hook(before), module.register_forward_hook(after)


class Before:
    """The hook at a module's beginning. A copy or a pickle of the module gets one that does nothing."""

    def __init__(self, ticket: Tensor) -> None:
        self.ticket = ticket

    def __call__(self, module: nn.Module, args: Any) -> None:
        if torch.compiler.is_compiling() and not is_exporting():
            enter(self.ticket, _chain)

    def __reduce__(self) -> tuple[type[Silent], tuple[()]]:
        return Silent, ()


class After:
    """The hook at its end."""

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        if torch.compiler.is_compiling() and not is_exporting():
            leave(_chain)

    def __reduce__(self) -> tuple[type[Silent], tuple[()]]:
        return Silent, ()


class Silent:
    """A hook that does nothing."""

    def __call__(self, *_: Any) -> None:
        return None


def _watching() -> Sequence[Watcher]:
    """Who watches the module whose forward is running in this thread, the innermost that is watched."""
    module = _current()
    return () if module is None else tuple(_watchers.get(module, ()))


def _current() -> nn.Module | None:
    entered: list[int] = getattr(_entered, "modules", [])
    if entered:
        return next((module for module in list(_watchers) if id(module) == entered[-1]), None)
    frame = sys._getframe(1)
    while (
        frame is not None
    ):  # of a module's call only its own locals are looked at: a snapshot of others would keep tensors
        if frame.f_code in _CALLS and frame.f_locals["self"] in _watchers:
            module: nn.Module = frame.f_locals["self"]
            return module
        if frame.f_back is None:
            return None
        frame = frame.f_back
    return None


# -- the ops ---------------------------------------------------------------------------------------------------------------


def _enter(ticket: Tensor, chain: Tensor) -> None:
    if torch._C._current_graph_task_id() != -1:
        return
    if not hasattr(_entered, "modules"):
        _entered.modules = []
    module = int(ticket)
    if module in _entered.modules:  # it was left by an exception
        del _entered.modules[_entered.modules.index(module) :]
    _entered.modules.append(module)


def _leave(chain: Tensor) -> None:
    if torch._C._current_graph_task_id() == -1 and getattr(_entered, "modules", []):
        _entered.modules.pop()


def _attend(
    q: Tensor,
    k: Tensor | None,
    mask: Tensor | None,
    causal: bool,
    scale: float | None,
    chain: Tensor,
    trained: bool,
) -> None:
    if not _open() or (q.is_cuda and torch.cuda.is_current_stream_capturing()):
        return  # a replayed graph would not come back here
    with guard("the statistics of attention"):
        for watcher in _watching():
            watcher.show(Call(q, k, mask, causal, scale, trained))


def _nothing(*_: Any) -> None:
    return None


_library = torch.library.Library("foreshock", "FRAGMENT")  # type: ignore[no-untyped-call]  # torch leaves it untyped
_tags = tuple(
    getattr(torch.Tag, name) for name in ("cudagraph_unsafe", "pt2_compliant_tag") if hasattr(torch.Tag, name)
)
for _schema, _run in (
    ("enter_attention(Tensor ticket, Tensor(a!) chain) -> ()", _enter),
    (
        "attend(Tensor q, Tensor? k, Tensor? mask, bool causal, float? scale, Tensor(a!) chain, bool trained) -> ()",
        _attend,
    ),
    ("leave_attention(Tensor(a!) chain) -> ()", _leave),
):
    _name = _schema.partition("(")[0]
    _library.define(_schema, tags=_tags)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    _library.impl(_name, _run, "CPU")  # type: ignore[no-untyped-call]  # torch leaves it untyped
    _library.impl(_name, _run, "CUDA")  # type: ignore[no-untyped-call]  # torch leaves it untyped
    torch.library.register_fake(f"foreshock::{_name}", _nothing, lib=_library)

enter = torch.ops.foreshock.enter_attention.default
attend = torch.ops.foreshock.attend.default
leave = torch.ops.foreshock.leave_attention.default

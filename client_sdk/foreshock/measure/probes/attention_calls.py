"""A call of attention in; the watchers of the module that makes it, in eager and in compiled code, out.

In eager code it is the nearest watched module on the Python stack of this thread, so there is no state that an exception
could leave behind. Compiled code has no such stack: hooks around the module put `enter` and `leave` into the graph. All
ops change one tensor, which keeps them in order in any graph, and what a hook hands over is a tensor too, so that one
graph serves all layers: a number would be a constant of the graph, and each layer a recompilation.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol

import torch
from torch import Tensor, nn
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


watchers: weakref.WeakKeyDictionary[nn.Module, list[Watcher]] = weakref.WeakKeyDictionary()
gates: Counter[Gate] = Counter()
chain = torch.zeros(1, device="cpu")  # what the ops change
in_graphs = True  # False: compiled code passes unseen
entered = threading.local()  # .modules: ids, in compiled code that this thread runs; eager code empties it
_CALLS = (nn.Module._call_impl.__code__, nn.Module._wrapped_call_impl.__code__)


def _open() -> bool:
    """True when a call made now could be recorded: outside a backward pass, and somebody waits."""
    if torch._C._current_graph_task_id() != -1:
        return False
    return any(gate.awaits("attention") for gate in list(gates))


def leave_graphs() -> None:
    """Let compiled code pass unseen from now on."""
    global in_graphs
    in_graphs = False


def looked_at() -> bool:
    """True when the call that eager code is making would be recorded."""
    if not _open():
        return False
    entered.modules = []  # eager code is in no graph, whatever one that died has left
    waiting = [watcher for watcher in _watching() if not watcher.lets_pass()]
    return len(waiting) > 0


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
        if in_graphs and torch.compiler.is_compiling() and not is_exporting():
            enter(self.ticket, chain)

    def __reduce__(self) -> tuple[type[Silent], tuple[()]]:
        return Silent, ()


class After:
    """The hook at its end."""

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        if in_graphs and torch.compiler.is_compiling() and not is_exporting():
            leave(chain)

    def __reduce__(self) -> tuple[type[Silent], tuple[()]]:
        return Silent, ()


class Silent:
    """A hook that does nothing."""

    def __call__(self, *_: Any) -> None:
        return None


def _watching() -> Sequence[Watcher]:
    """Who watches the module whose forward is running in this thread, the innermost that is watched."""
    module = _current()
    return () if module is None else tuple(watchers.get(module, ()))


def _current() -> nn.Module | None:
    inside: list[int] = getattr(entered, "modules", [])
    if inside:
        return next((module for module in list(watchers) if id(module) == inside[-1]), None)
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        # Only of a module's call the locals are looked at: a snapshot of anybody's would keep their tensors alive.
        if frame.f_code in _CALLS and frame.f_locals["self"] in watchers:
            module: nn.Module = frame.f_locals["self"]
            return module
        frame = frame.f_back
    return None


# -- the ops ---------------------------------------------------------------------------------------------------------------


def _enter(ticket: Tensor, chain: Tensor) -> None:
    if torch._C._current_graph_task_id() != -1:
        return
    if not hasattr(entered, "modules"):
        entered.modules = []
    module = int(ticket)
    if module in entered.modules:  # it was left by an exception
        del entered.modules[entered.modules.index(module) :]
    entered.modules.append(module)


def _leave(chain: Tensor) -> None:
    if torch._C._current_graph_task_id() == -1 and getattr(entered, "modules", []):
        entered.modules.pop()


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

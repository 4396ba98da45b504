"""The one way from a training step into the monitor: `foreshock::observe`, an opaque op that writes a site's row.

Opaque, so a compiler neither removes nor reorders it and no graph breaks; declared to change its row, so it is not dead
code; gated inside, so the cadence never recompiles. Selective checkpointing sees one op that it does not store, and
none of the arithmetic within.
"""

from __future__ import annotations

import threading
import time

import torch
from torch import Tensor

from foreshock.guard import guard

from .site import Site

_sites: dict[int, Site] = {}
_lock = threading.Lock()
_next = 1


def register(site: Site) -> Site:
    """Give the site its number, by which the op finds it; ``forget`` takes it back."""
    global _next
    with _lock:
        site.index, _next = _next, _next + 1
        _sites[site.index] = site
    # A tensor, not a number: one compiled graph then serves all the layers of a model that are compiled one by one.
    site.ticket = torch.full((), site.index, dtype=torch.int64, device="cpu")
    return site


def forget(site: Site) -> None:
    """The op ignores this site from now on, also where a compiled graph still names it."""
    _sites.pop(site.index, None)


def _observe(xs: list[Tensor], row: Tensor, site: Tensor, trained: bool) -> None:
    found = _sites.get(int(site))  # it lies on the host
    if found is None or not found.wanted(trained):
        return
    if row.is_cuda and torch.cuda.is_current_stream_capturing():
        return  # a replayed graph would not come back here
    found.off = True  # until the measurement has succeeded: a site speaks its fault once
    with guard(f"the statistics of {found.place or found.kind}"):
        found.take(xs, row, trained)
        found.off = False


def _nothing(xs: list[Tensor], row: Tensor, site: Tensor, trained: bool) -> None:
    return None


_library = torch.library.Library("foreshock", "DEF")  # type: ignore[no-untyped-call]  # torch leaves it untyped
_tags = tuple(
    getattr(torch.Tag, name) for name in ("cudagraph_unsafe", "pt2_compliant_tag") if hasattr(torch.Tag, name)
)
_library.define("observe(Tensor[] xs, Tensor(a!) row, Tensor site, bool trained) -> ()", tags=_tags)  # type: ignore[no-untyped-call]  # torch leaves it untyped
_library.impl("observe", _observe, "CPU")  # type: ignore[no-untyped-call]  # torch leaves it untyped
_library.impl("observe", _observe, "CUDA")  # type: ignore[no-untyped-call]  # torch leaves it untyped
torch.library.register_fake("foreshock::observe", _nothing, lib=_library)

observe = torch.ops.foreshock.observe.default


def capturing() -> bool:
    """True while the user captures a CUDA graph: what is launched now would run again at each replay, unseen."""
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()  # type: ignore[no-untyped-call]  # torch leaves it untyped


def passing_seconds() -> float:
    """What a call costs that is let pass, by the example of one."""
    began = time.perf_counter()
    observe([_anything], _anything, _nowhere, False)
    return time.perf_counter() - began


_anything, _nowhere = torch.zeros(1, device="cpu"), torch.zeros((), dtype=torch.int64, device="cpu")

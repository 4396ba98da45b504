"""Logits in; a kernel's results out, or None where it cannot run: then, and from then on, the caller computes them itself."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from foreshock.guard import guard

BLOCK = 1024  # columns that a program holds at a time, eight a thread
WARPS = 4
TYPES = (torch.float32, torch.bfloat16, torch.float16)
OLDEST = (8, 0)  # compute capability that Triton is tested on

_off = find_spec("triton") is None


def suits(*logits: Tensor) -> bool:
    """True for real CUDA tensors whose rows lie in one piece, outside of any tracing: a kernel would not be traced."""
    if _off or torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0:
        return False
    return all(_suits(x) for x in logits)


def scan(
    logits: Tensor, rows_S: Tensor | None, count: int, *, squares: bool, sizes: bool, actions: Tensor | None
) -> Tensor | None:
    """What `tokens.scan` returns of these."""
    kinds = 4 + 2 * squares + 4 * sizes + (actions is not None)
    found = torch.empty((kinds, count), dtype=torch.float32, device=logits.device)
    inner, outer, stride = _layout(logits)

    def launch(kernels: Any) -> None:
        kernels.scan[(count,)](
            logits,
            rows_S if rows_S is not None else found,
            actions.contiguous() if actions is not None else found,
            found,
            logits.shape[-1],
            inner,
            outer,
            stride,
            count,
            PICKED=rows_S is not None,
            SQUARES=squares,
            SIZES=sizes,
            CHOSEN=actions is not None,
            ALIGNED=_aligned(outer, stride),
            BLOCK=_block(logits.shape[-1]),
            num_warps=WARPS,
            enable_fp_fusion=True,
        )

    return found if _ran(launch, logits) else None


def compare(p: Tensor, q: Tensor, rows_S: Tensor | None, count: int) -> Tensor | None:
    """What `tokens.compare` returns of these."""
    found = torch.empty((3, count), dtype=torch.float32, device=p.device)
    of_p, of_q = _layout(p), _layout(q)

    def launch(kernels: Any) -> None:
        kernels.compare[(count,)](
            p,
            q,
            rows_S if rows_S is not None else found,
            found,
            p.shape[-1],
            *of_p,
            *of_q,
            count,
            PICKED=rows_S is not None,
            ALIGNED=_aligned(*of_p[1:], *of_q[1:]),
            BLOCK=_block(p.shape[-1]),
            num_warps=WARPS,
            enable_fp_fusion=True,
        )

    return found if _ran(launch, p) else None


def nucleus(logits: Tensor, rows_R: Tensor, mass: float, steps: int) -> Tensor | None:
    """What `nucleus.within` returns of these."""
    count = rows_R.shape[0]
    found = torch.empty((2, count), dtype=torch.float32, device=logits.device)
    inner, outer, stride = _layout(logits)

    def launch(kernels: Any) -> None:
        kernels.nucleus[(count,)](
            logits,
            rows_R,
            found,
            logits.shape[-1],
            inner,
            outer,
            stride,
            count,
            mass,
            STEPS=steps,
            ALIGNED=_aligned(outer, stride),
            BLOCK=_block(logits.shape[-1]),
            num_warps=WARPS,
            enable_fp_fusion=True,
        )

    return found if count == 0 or _ran(launch, logits) else None


def _suits(x: Tensor) -> bool:
    return (
        x.is_cuda
        and type(x) in (Tensor, torch.nn.Parameter)
        and x.dtype in TYPES
        and x.dim() in (2, 3)
        and x.stride(-1) == 1
        and torch.version.hip is None
        and torch.cuda.get_device_capability(x.device) >= OLDEST
    )


def _layout(x: Tensor) -> tuple[int, int, int]:
    """Rows of the inner dimension, and the distances between two of the outer and two of the inner, in values."""
    return x.shape[-2], x.stride(0) if x.dim() == 3 else 0, x.stride(-2)


def _aligned(*strides: int) -> bool:
    return all(stride % 16 == 0 for stride in strides)


def _block(width: int) -> int:
    return min(BLOCK, 1 << max(4, (width - 1).bit_length()))


def _ran(launch: Any, logits: Tensor) -> bool:
    """Run it; at the first exception say so, and leave the kernels alone from then on."""
    global _off
    here: AbstractContextManager[Any] = torch.cuda.device(logits.device) if logits.is_cuda else nullcontext()
    ran = False
    with guard("the fused logit kernels"), here:
        from . import kernels

        launch(kernels)
        ran = True
    _off = _off or not ran
    return ran

"""Feature matrices and pairs of views as a training loop has them in; flat tensors, or a sentence that says what to pass, out."""

from __future__ import annotations

from torch import Tensor


def flatten(h: Tensor, mask: Tensor | None, labels: Tensor | None) -> dict[str, Tensor]:
    """``x`` […, width], ``valid`` [rows] and ``labels`` [rows] where given."""
    h = _matrix("features", h)
    given = {"x": h.detach()}
    for name, value in (("mask", mask), ("labels", labels)):
        if value is None:
            continue
        if not isinstance(value, Tensor) or value.shape != h.shape[:-1]:
            shape = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"{name} has shape {shape}; pass one entry per row of the features, {list(h.shape[:-1])}"
            )
        if value.device != h.device:
            raise ValueError(
                f"{name} is on {value.device}, the features on {h.device}; move it there with the batch"
            )
        if name == "mask":
            given["valid"] = value.detach().reshape(-1) > 0
        else:
            if value.is_floating_point():
                raise ValueError(f"labels has dtype {value.dtype}; pass class numbers, as integers")
            given["labels"] = value.detach().reshape(-1).long()
    return given


def pair(z1: Tensor, z2: Tensor) -> tuple[Tensor, Tensor]:
    """Both views [samples, width]."""
    z1, z2 = _matrix("z1", z1), _matrix("z2", z2)
    if z1.shape != z2.shape:
        raise ValueError(
            f"z1 has shape {list(z1.shape)}, z2 {list(z2.shape)}; pass the embeddings of the same samples in the same order"
        )
    return z1.detach().reshape(-1, z1.shape[-1]), z2.detach().reshape(-1, z2.shape[-1])


def _matrix(name: str, value: object) -> Tensor:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        what = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"{name} is {what}; pass a floating tensor [rows, width]")
    if value.dim() < 2 or value.shape[-1] == 0:
        raise ValueError(
            f"{name} has shape {list(value.shape)}; pass [rows, width] or [batch, tokens, width]"
        )
    return value

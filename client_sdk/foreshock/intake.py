"""What people pass to log() -> flat mappings of names to numbers and to vectors per step; tensors go to the device's row, unread."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .guard import say_once
from .losses import Losses

DEEPEST = 16  # levels of nesting
MOST_ENTRIES = 4096  # of a vector: what a frame can hold
MOST_SIZES = 8  # of one name's vectors; each is a series of its own
MOST_VECTORS = 1000  # names

# Immutable, so that they can be kept as they are and converted on the recorder's thread.
_NUMPY = (np.bool_, np.float16, np.float32, np.float64, np.int8, np.int16, np.int32, np.int64)
_PLAIN = frozenset((bool, int, float, *_NUMPY, np.uint8, np.uint16, np.uint32, np.uint64))
_TEXT = frozenset((str,))


class Intake:
    """Gathers the numbers of the step in course; of two for one name the last counts."""

    def __init__(self, run: str, losses: Losses, log_tensor: Callable[[str, Any], None]) -> None:
        self._run = run
        self._losses = losses
        self._log_tensor = log_tensor
        self._pending: dict[str, Any] = {}
        self._vectors: dict[str, NDArray[np.float64]] = {}
        self._sizes: dict[str, set[int]] = {}  # of the vectors of each name so far

    def take(self, numbers: Mapping[str, Any]) -> None:
        """Add them to the step. All plain numbers is the common case, and takes no loop of ours."""
        if (
            not self._vectors
            and _PLAIN.issuperset(map(type, numbers.values()))
            and _TEXT.issuperset(map(type, numbers))
        ):
            self._pending.update(numbers)
        else:
            self._sort("", numbers, 0)

    def close(self) -> dict[str, Any]:
        """The step's numbers; the next step begins empty."""
        closed, self._pending = self._pending, {}
        return closed

    def close_vectors(self) -> dict[str, NDArray[np.float64]]:
        """The step's vectors; the next step begins without."""
        if not self._vectors:
            return {}
        closed, self._vectors = self._vectors, {}
        return closed

    def __bool__(self) -> bool:
        return bool(self._pending or self._vectors)

    def _sort(self, prefix: str, numbers: Mapping[str, Any], depth: int) -> None:
        for key, value in numbers.items():
            name = f"{prefix}{key}"
            if self._vectors:
                self._vectors.pop(name, None)
            if type(value) in _PLAIN:
                self._pending[name] = value
            elif isinstance(value, Mapping) and depth < DEEPEST:
                self._sort(f"{name}/", value, depth + 1)
            elif _is_tensor(value):
                if value.numel() == 1 or (value.dim() == 1 and self._fits(name, value.numel())):
                    self._pending.pop(name, None)  # the last one counts, whichever row it travels in
                    self._log_tensor(name, value)
                elif value.dim() != 1:
                    self._refuse(
                        name,
                        f"a tensor of shape {list(value.shape)}",
                        f"{name}.mean(), another single number, or one dimension of {MOST_ENTRIES:,} at most",
                    )
            elif _is_vector(value):
                if self._fits(name, len(value)):
                    self._pending.pop(name, None)
                    self._vectors[name] = np.array(value, np.float64)  # copied: theirs may change
            elif (number := _number(value)) is not None:
                self._pending[name] = number
            else:
                self._refuse(name, f"a {type(value).__name__}", "a number")

    def _fits(self, name: str, size: int) -> bool:
        """Whether a vector of this name may have so many entries; if not, it is counted, and said once per name."""
        sizes = self._sizes.get(name, set())
        if size in sizes:
            return True
        if not 1 < size <= MOST_ENTRIES:
            self._refuse(
                name, f"{size:,} numbers", f"2 to {MOST_ENTRIES:,} in one dimension, such as a histogram"
            )
            return False
        if len(sizes) >= MOST_SIZES:
            self._refuse(
                name, f"a vector of a {MOST_SIZES + 1}th size", "vectors of one size, such as a histogram"
            )
            return False
        if not sizes and len(self._sizes) >= MOST_VECTORS:
            self._refuse(
                name, f"the {MOST_VECTORS + 1}th vector's name", "vectors under the same names at each step"
            )
            return False
        self._sizes[name] = sizes | {size}
        return True

    def _refuse(self, name: str, what: str, instead: str) -> None:
        self._losses.add("not a number")
        say_once(
            ("not a number", self._run, name),
            "log(%s=...) got %s, which is not recorded; log %s. Said once per name",
            name,
            what,
            instead,
        )


def _number(value: Any) -> float | None:
    """A real number that is not a plain one: 0-d arrays, further numpy types, their subclasses."""
    if isinstance(value, (np.generic, np.ndarray)):
        return float(value.item()) if value.size == 1 and value.dtype.kind in "biuf" else None
    if isinstance(value, (int, float)):
        return float(value)
    return None


def _is_vector(value: Any) -> bool:
    """An array of real numbers in one dimension, and more than one."""
    return (
        isinstance(value, np.ndarray) and value.ndim == 1 and value.size != 1 and value.dtype.kind in "biuf"
    )


def _is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")  # without torch there is no tensor
    return torch is not None and isinstance(value, torch.Tensor)

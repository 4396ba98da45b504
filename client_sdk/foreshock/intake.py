"""What people pass to log() -> one flat mapping of names to numbers per step; tensors go to the device's row, unread."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .guard import say_once
from .losses import Losses

DEEPEST = 16  # levels of nesting

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

    def take(self, numbers: Mapping[str, Any]) -> None:
        """Add them to the step. All plain numbers is the common case, and takes no loop of ours."""
        if _PLAIN.issuperset(map(type, numbers.values())) and _TEXT.issuperset(map(type, numbers)):
            self._pending.update(numbers)
        else:
            self._sort("", numbers, 0)

    def close(self) -> dict[str, Any]:
        """The step's numbers; the next step begins empty."""
        closed, self._pending = self._pending, {}
        return closed

    def __bool__(self) -> bool:
        return bool(self._pending)

    def _sort(self, prefix: str, numbers: Mapping[str, Any], depth: int) -> None:
        for key, value in numbers.items():
            name = f"{prefix}{key}"
            if type(value) in _PLAIN:
                self._pending[name] = value
            elif isinstance(value, Mapping) and depth < DEEPEST:
                self._sort(f"{name}/", value, depth + 1)
            elif _is_tensor(value):
                if value.numel() == 1:
                    self._pending.pop(name, None)  # the last one counts, whichever row it travels in
                    self._log_tensor(name, value)
                else:
                    self._refuse(
                        name,
                        f"a tensor of shape {list(value.shape)}",
                        f"{name}.mean(), or another single number",
                    )
            elif (number := _number(value)) is not None:
                self._pending[name] = number
            else:
                self._refuse(name, f"a {type(value).__name__}", "a number")

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


def _is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")  # without torch there is no tensor
    return torch is not None and isinstance(value, torch.Tensor)

"""What the ring and the stopwatch need of a CUDA device: persistent buffers, pinned mirrors, events, a side stream for copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .collector import Event
from .stopwatch import TimedEvent


class CudaPrimitives:
    """One device's side of `collector.DeviceRing`."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch leaves it untyped

    def device_buffer(self, size: int) -> Tensor:
        return torch.zeros(size, dtype=torch.float32, device=self._device)

    def host_buffer(self, size: int) -> Tensor:
        return torch.zeros(size, dtype=torch.float32, pin_memory=True)

    def event(self) -> Event:
        made: Event = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return made

    def main_stream(self) -> Any:
        return torch.cuda.current_stream(self._device)

    def copy_after(self, ready: Event, pairs: Sequence[tuple[Tensor, Tensor]], done: Event) -> None:
        with torch.cuda.stream(self._side):
            self._side.wait_event(ready)  # type: ignore[arg-type]  # made by event(), so it is torch's own
            for host, device in pairs:
                host.copy_(device, non_blocking=True)
            done.record(self._side)

    def capturing(self) -> bool:
        return torch.cuda.is_current_stream_capturing()


class CudaTiming:
    """One device's side of `stopwatch.Stopwatch`."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def timed_event(self) -> TimedEvent:
        made: TimedEvent = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return made

    def main_stream(self) -> Any:
        return torch.cuda.current_stream(self._device)

    def capturing(self) -> bool:
        return torch.cuda.is_current_stream_capturing()

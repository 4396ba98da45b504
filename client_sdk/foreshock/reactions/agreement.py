"""What the first rank has decided -> the same on every rank, by one broadcast of a fixed size that all of them call for."""

from __future__ import annotations

import json
import sys
from collections import deque
from dataclasses import asdict, dataclass, replace
from typing import Any

from foreshock.control import Alert

SIZE = 4096  # bytes of the broadcast
LONGEST_MESSAGE = 300  # characters of an alert's sentence that travel


@dataclass(frozen=True)
class Decision:
    """Reaction number so and so, of this name, is to be applied with this value."""

    reaction: int
    name: str
    alert: Alert
    value: float


def world(group: Any = None) -> int:
    """How many processes torch.distributed has; 1 where it is not running."""
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return 1
    return int(distributed.get_world_size(group))


def shared(waiting: deque[Decision], group: Any = None) -> list[Decision]:
    """A collective: global rank 0's decisions, as many as fit, taken out of its queue; every rank of the group gets the same list."""
    import torch
    from torch import distributed

    buffer = torch.zeros(SIZE, dtype=torch.uint8)
    if distributed.get_rank() == 0:
        body = _encoded(waiting)
        buffer[: len(body)] = torch.frombuffer(bytearray(body), dtype=torch.uint8)
    if "cpu:" not in str(distributed.get_backend_config(group)):
        buffer = buffer.cuda()  # NCCL carries nothing else
    distributed.broadcast(buffer, src=0, group=group)
    return _decoded(bytes(buffer.cpu().numpy().tobytes()))  # sync: the user asked for it by calling agree()


def _encoded(waiting: deque[Decision]) -> bytes:
    """As many as fit, first come first; what is left waits for the next time."""
    parts: list[str] = []
    size = 2
    while waiting:
        one = waiting[0]
        alert = replace(one.alert, message=one.alert.message[:LONGEST_MESSAGE])
        part = json.dumps([one.reaction, one.name, asdict(alert), one.value])
        if size + len(part) + 1 > SIZE:
            if parts:
                break
            waiting.popleft()  # alone too large: names of thousands of characters
            continue
        parts.append(part)
        size += len(part) + 1
        waiting.popleft()
    return f"[{','.join(parts)}]".encode()


def _decoded(body: bytes) -> list[Decision]:
    told = json.loads(body.rstrip(b"\0") or b"[]")
    return [Decision(int(number), name, Alert(**alert), float(value)) for number, name, alert, value in told]

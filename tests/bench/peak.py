"""The subjects of `logits`, one after another -> the bytes of memory that a call of each needs beside the logits, as JSON.

Linux only: the kernel keeps the peak of a process's resident pages, and lets the process set it back.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
from pathlib import Path

import torch
from tests.bench.logits import SUBJECTS, shapes


def resident(field: str) -> int:
    """VmRSS, what is resident now, or VmHWM, the most that was."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise RuntimeError(f"the kernel does not say {field}")


def main(dtype: str, count: int, vocabulary: int) -> dict[str, int]:
    torch.set_num_threads(1)
    _, logits = next(shapes(count, vocabulary, torch.device("cpu")))
    logits = logits.to(getattr(torch, dtype))
    found = {}
    for subject, entropy in SUBJECTS.items():
        entropy(logits[:2, :4096].contiguous())  # code and tables that are loaded once
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what was freed goes back, so that using it again counts
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before = resident("VmRSS")
        entropy(logits)
        found[subject] = max(0, resident("VmHWM") - before)
    return found


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))

"""The token-entropy pass: ours against the formulas that verl and TRL publish; time, memory, and error against float64.

Ours returns entropy, varentropy, top-1 probability and log-sum-exp, and where it says so also the two sums of squares; the
others entropy alone. On the CPU all are plain PyTorch on one thread, so that other work on the machine disturbs least; on a
GPU ours is its fused kernel. The two formulas are written here from their definition: verl's lse − Σ softmax·logit in the
dtype of the logits, and the same on float32 chunks of 2048 rows; TRL's −Σ exp(lp)·lp in the dtype of the logits, on chunks of
128 rows. Memory is what a call needs beside the logits at its worst moment: on the CPU the peak of a process's resident pages
over what it held before, in a process that does nothing else (`peak.py`); on a GPU what the allocator counted.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from tests.bench.report import Measure
from torch import Tensor

from foreshock.measure.statistics import tokens

VOCABULARY = 151_936


def ours(logits_NV: Tensor) -> Tensor:
    """Entropy per token, among three more."""
    return tokens.scan(logits_NV)[0]


def ours_with_squares(logits_NV: Tensor) -> Tensor:
    """The same, among five more."""
    return tokens.scan(logits_NV, squares=True)[0]


def verl(logits_NV: Tensor) -> Tensor:
    """log-sum-exp minus the expected logit."""
    return logits_NV.logsumexp(-1) - (logits_NV.softmax(-1) * logits_NV).sum(-1)


def verl_chunked(logits_NV: Tensor) -> Tensor:
    """The same in float32, some rows at a time."""
    return torch.cat([verl(rows.float()) for rows in torch.split(logits_NV, 2048)])


def trl(logits_NV: Tensor) -> Tensor:
    """Minus the expected log-probability, some rows at a time."""
    parts = []
    for rows in torch.split(logits_NV, 128):
        logp = rows.log_softmax(-1)
        parts.append(-(logp.exp() * logp).sum(-1))
    return torch.cat(parts)


SUBJECTS: dict[str, Callable[[Tensor], Tensor]] = {
    "foreshock": ours,
    "foreshock, with sums of squares": ours_with_squares,
    "verl formula": verl,
    "verl formula, float32 chunks": verl_chunked,
    "TRL formula": trl,
}


def truth(logits_NV: Tensor) -> Tensor:
    """−Σ p ln p in float64 of the very logits given; an impossible token (−inf) adds nothing."""
    parts = []
    for rows in torch.split(logits_NV, 16):
        logp = rows.double().log_softmax(-1)
        parts.append(-torch.where(logp.isinf(), 0.0, logp.exp() * logp).sum(-1))
    return torch.cat(parts)


def shapes(count: int, vocabulary: int, device: torch.device) -> Iterator[tuple[str, Tensor]]:
    """Kinds of logits that training meets, in float32."""
    g = torch.Generator().manual_seed(0)
    noise = torch.randn(count, vocabulary, generator=g)
    peaked = noise.clone()
    peaked[:, 7] += 20.0
    masked = 2.8 * noise
    masked[:, vocabulary // 2 :] = -math.inf
    yield "typical", (2.8 * noise).to(device)
    yield "flat", (0.05 * noise).to(device)
    yield "peaked", peaked.to(device)
    yield "offset by 200", (2.8 * noise + 200.0).to(device)
    yield "half the vocabulary impossible", masked.to(device)


def run(folder: Path, quick: bool) -> list[Measure]:
    """Rows for CPU and, where there is one, the GPU."""
    count, vocabulary, rounds = (8, 2048, 3) if quick else (256, VOCABULARY, 15)
    measures = []
    torch.set_num_threads(1)
    devices = [torch.device("cpu")] + ([torch.device("cuda")] if torch.cuda.is_available() else [])
    for device in devices:
        for kind, logits in shapes(count, vocabulary, device):
            for dtype in (torch.bfloat16, torch.float32):
                given = logits.to(dtype)
                where = f"{count} x {vocabulary} {str(dtype).removeprefix('torch.')} logits, {device.type}"
                if kind == "typical":
                    measures.append(_times(f"entropy of {where}", given, rounds))
                    measures.append(_memory(f"entropy of {where}: memory at the peak", given))
                measures.append(_errors(f"entropy of {where}: largest error against float64, {kind}", given))
    return measures


def _times(what: str, logits: Tensor, rounds: int) -> Measure:
    measure = Measure(what, "ms", "lower")
    for turn in range(rounds + 1):
        for subject, entropy in SUBJECTS.items():
            _wait(logits.device)
            began = time.perf_counter()
            entropy(logits)
            _wait(logits.device)
            if turn:  # the first one warms up
                measure.add(subject, (time.perf_counter() - began) * 1e3)
    return measure


def _memory(what: str, logits: Tensor) -> Measure:
    measure = Measure(what, "MiB", "lower")
    for subject, size in (_on_gpu if logits.is_cuda else _on_cpu)(logits).items():
        measure.add(subject, size / 2**20)
    return measure


def _on_gpu(logits: Tensor) -> dict[str, int]:
    found = {}
    for subject, entropy in SUBJECTS.items():
        entropy(logits[:2])  # whatever is set up once
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        entropy(logits)
        found[subject] = torch.cuda.max_memory_allocated() - before
    return found


def _on_cpu(logits: Tensor) -> dict[str, int]:
    dtype = str(logits.dtype).removeprefix("torch.")
    command = [sys.executable, "-m", "tests.bench.peak", dtype, *map(str, logits.shape)]
    found: dict[str, int] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return found


def _errors(what: str, logits: Tensor) -> Measure:
    measure = Measure(what, "nat", "lower")
    expected = truth(logits)
    for subject, entropy in SUBJECTS.items():
        measure.add(subject, float((entropy(logits).double() - expected).abs().max()))
    return measure


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

"""The fused kernels against what they stand in for: in Triton's interpreter, through the compiler, and where they cannot run."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.sdk.fused_cases import CASES, eager, hostile
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from foreshock import guard
from foreshock.measure.statistics import fused, nucleus, tokens
from foreshock.measure.statistics.fused import launch

torch.set_num_threads(1)
needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="Triton has no build for this system")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """What the kernels make of every case, line by line in the interpreter."""
    path = tmp_path_factory.mktemp("kernels") / "found.pt"
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "tests.sdk.fused_cases", str(path)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=120)
    found: dict[str, Tensor] = torch.load(path)
    return found


@needs_triton
@pytest.mark.parametrize("name", CASES)
def test_a_kernel_reads_what_the_eager_pass_reads(name: str, interpreted: dict[str, Tensor]) -> None:
    expected, found = eager(CASES[name]), interpreted[name]
    assert found.shape == expected.shape
    assert torch.equal(found.isnan(), expected.isnan())
    assert torch.equal(found.isinf(), expected.isinf())
    assert torch.allclose(found, expected, rtol=2e-6, atol=4e-6, equal_nan=True)


@needs_triton
def test_a_kernel_reads_what_the_definition_says(interpreted: dict[str, Tensor]) -> None:
    sound = [0, 4, 5, 6, 7, 8, 9, 10, 11]
    logits = hostile()[sound].double()
    logp = logits.log_softmax(1)
    p, surprise = logp.exp(), -logp.clamp_min(-1e6)
    entropy = (p * surprise).sum(1)
    highest = logits.topk(2).values
    possible = ~logits.isinf()
    expected = [
        entropy,
        (p * (surprise - entropy.unsqueeze(1)).square()).sum(1),
        p.amax(1),
        logits.logsumexp(1),
        p.square().sum(1),
        -(p.square() * surprise).sum(1),
        highest[:, 0],
        logits.masked_fill(~possible, 0.0).abs().amax(1),
        logits.masked_fill(~possible, 0.0).sum(1) / possible.sum(1),
        highest[:, 0] - highest[:, 1],
    ]
    found = interpreted["hostile rows"][:10, sound]
    assert np.allclose(found.double().numpy(), torch.stack(expected).numpy(), rtol=2e-6, atol=6e-6)


@needs_triton
@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
@pytest.mark.parametrize("capability", [80, 90])
def test_the_kernels_compile_for_a_gpu_and_keep_to_its_registers(
    dtype: str, capability: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from triton import compile as compiled
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from foreshock.measure.statistics.fused import kernels

    signature = dict.fromkeys(kernels.scan.arg_names, "i32")
    signature |= {
        "logits": f"*{dtype}",
        "rows": "*i64",
        "actions": "*i64",
        "found": "*fp32",
        "stride_outer": "i64",
    }
    flags = {
        "PICKED": True,
        "SQUARES": True,
        "SIZES": True,
        "CHOSEN": True,
        "ALIGNED": True,
        "BLOCK": launch.BLOCK,
    }
    pair = dict.fromkeys(kernels.compare.arg_names, "i32")
    pair |= {
        "p": f"*{dtype}",
        "q": "*fp32",
        "rows": "*i64",
        "found": "*fp32",
        "p_outer": "i64",
        "q_outer": "i64",
    }
    one = signature | {"mass": "fp32", "STEPS": "constexpr"}
    one = {name: one.get(name, "i32") for name in kernels.nucleus.arg_names}
    flags["STEPS"] = nucleus.STEPS
    for function, types in ((kernels.scan, signature), (kernels.compare, pair), (kernels.nucleus, one)):
        constants = {name: value for name, value in flags.items() if name in types}
        source = ASTSource(
            fn=function,
            signature=types | dict.fromkeys(constants, "constexpr"),
            constexprs=constants,
        )
        made = compiled(
            source,
            target=GPUTarget("cuda", capability, 32),
            options={"num_warps": launch.WARPS, "enable_fp_fusion": True},
        )
        assert made.asm["cubin"]
        assert ".local" not in made.asm["ptx"]


def test_real_cuda_tensors_alone_go_to_the_kernels() -> None:
    assert not fused.suits(hostile())
    with FakeTensorMode():
        assert not fused.suits(torch.empty(4, 10, device="cuda"))
    asked: list[bool] = []

    def trace(x: Tensor) -> Tensor:
        asked.append(fused.suits(x))
        return tokens.scan(x)

    make_fx(trace)(hostile())
    torch.compile(trace, backend="eager", fullgraph=True)(hostile())
    assert not any(asked)


def test_a_kernel_that_fails_is_left_alone_and_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    logits = hostile()
    expected = tokens.scan(logits)
    tried: list[int] = []

    class Broken:
        def __getitem__(self, grid: object) -> object:
            tried.append(1)
            raise RuntimeError("no compiler here")

    monkeypatch.setenv("FORESHOCK_STRICT", "0")
    monkeypatch.setattr(launch, "_off", False)
    monkeypatch.setattr(launch, "_suits", lambda x: True)
    monkeypatch.setattr(fused, "kernels", SimpleNamespace(scan=Broken()), raising=False)
    before = guard.faults().get("the fused logit kernels", 0)
    for _ in range(3):
        assert torch.allclose(tokens.scan(logits), expected, equal_nan=True)
    assert len(tried) == 1
    assert guard.faults()["the fused logit kernels"] == before + 1
    assert "no compiler here" in caplog.text
    assert not fused.suits(logits)

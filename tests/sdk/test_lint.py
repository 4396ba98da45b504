"""No statistic makes the host wait for the device: shown by tracing, with fake CUDA tensors, by compiling, and in the text."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.sdk.device_functions import DEVICE_FUNCTIONS, DeviceFunction
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

import foreshock

torch.set_num_threads(1)
every_function = pytest.mark.parametrize("function", DEVICE_FUNCTIONS, ids=lambda function: function.name)

# Operators that wait for the device, or whose output's shape depends on data, on CUDA.
WAITING = (
    "_linalg_check_errors",
    "_linalg_eigh",
    "_linalg_eigvals",
    "_linalg_slogdet",
    "_linalg_svd",
    "_local_scalar_dense",
    "_unique",
    "allclose",
    "bincount",
    "equal",
    "is_nonzero",
    "linalg_eig",
    "linalg_lstsq",
    "linalg_matrix_exp",
    "linalg_pinv",
    "masked_select",
    "multinomial",
    "nonzero",
    "repeat_interleave.Tensor",
    "scalar_tensor",  # what torch.where makes of a Python number, and then copies to the device from pageable memory
    "unique",
)
HARMLESS = ("nonzero_static", "nonzero_numpy")


class Waits(Exception):
    """An operator that would make the host wait."""


class NoWaiting(TorchDispatchMode):
    """Raises at the first operator that waits for the device, at copies to the host, and at tensors made from Python data."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = str(func).removeprefix("aten.")
        if name.startswith(WAITING) and not name.startswith(HARMLESS):
            raise Waits(name)
        if name.startswith(("index.Tensor", "index_put", "_index_put")):
            for index in args[1]:
                if index is not None and index.dtype in (torch.bool, torch.uint8):
                    raise Waits(f"{name} with a mask")
        if name.startswith("histc") and (len(args) < 4 or args[2] == args[3]):
            raise Waits(f"{name} without a range")
        if name.startswith(("lift_fresh", "_to_copy")) and (
            name.startswith("lift_fresh") or kwargs.get("device") is not None
        ):
            raise Waits(name)  # torch.tensor(data); .cpu(), .to(device)
        return func(*args, **kwargs)


@every_function
def test_no_operator_that_waits_is_reached(function: DeviceFunction) -> None:
    given = function.inputs()
    with NoWaiting():
        function.run(given)


@every_function
def test_fake_cuda_tensors_pass_through(function: DeviceFunction) -> None:
    given = function.inputs()
    with FakeTensorMode():
        fake = {
            name: torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda")
            for name, tensor in given.items()
        }
        for output in function.run(fake):
            assert output.device.type == "cuda"


@every_function
def test_a_graph_can_be_traced_and_computes_the_same(function: DeviceFunction) -> None:
    given = function.inputs()
    names = list(given)

    def flat(*tensors: Tensor) -> list[Tensor]:
        return list(function.run(dict(zip(names, tensors, strict=True))))

    graph = make_fx(flat)(*given.values())
    for traced, direct in zip(graph(*given.values()), function.run(given), strict=True):
        assert torch.equal(traced, direct) or torch.allclose(traced, direct, equal_nan=True)


@every_function
def test_it_compiles_without_a_graph_break(function: DeviceFunction) -> None:
    given = function.inputs()
    torch._dynamo.reset()
    compiled = torch.compile(lambda tensors: list(function.run(tensors)), backend="eager", fullgraph=True)
    for ours, direct in zip(compiled(given), function.run(given), strict=True):
        assert torch.allclose(ours, direct, equal_nan=True)


SINS: dict[str, Callable[[Tensor], object]] = {
    "item": lambda x: x.sum().item(),
    "float": lambda x: float(x.sum()),
    "if": lambda x: 1 if x.sum() > 0 else 0,
    "mask index": lambda x: x[x > 0],
    "mask assignment": lambda x: x.clone().__setitem__(x > 0, torch.zeros(())),
    "nonzero": lambda x: (x > 0).nonzero(),
    "where": lambda x: torch.where(x > 0),
    "where with a number": lambda x: torch.where(x > 0, x, 0.0),
    "unique": lambda x: x.unique(),
    "bincount": lambda x: x.flatten().abs().long().bincount(),
    "eigvalsh": lambda x: torch.linalg.eigvalsh(x.T @ x),
    "svdvals": torch.linalg.svdvals,
    "cholesky": lambda x: torch.linalg.cholesky(x.T @ x + torch.eye(4)),
    "equal": lambda x: torch.equal(x, x),
    "histc": lambda x: torch.histc(x, 10, 1, 1),
    "tensor": lambda x: x + torch.tensor([1.0, 2.0, 3.0, 4.0]),
    "to": lambda x: x.to("meta"),
    "repeat_interleave": lambda x: torch.repeat_interleave(x[0].abs().long(), x[0].abs().long()),
}
FAKE_SEES = ("item", "float", "if", "mask index", "nonzero", "where", "unique", "equal", "tensor")


@pytest.mark.parametrize("sin", SINS)
def test_the_tracer_catches_what_it_is_there_for(sin: str) -> None:
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    with pytest.raises(Waits), NoWaiting():
        SINS[sin](x)


@pytest.mark.parametrize("sin", FAKE_SEES)
def test_fake_tensors_catch_what_they_are_there_for(sin: str) -> None:
    def on_fake() -> None:
        with FakeTensorMode():
            SINS[sin](torch.empty(8, 4, device="cuda"))

    with pytest.raises(Exception, match=r"."):
        on_fake()


# -- the text ---------------------------------------------------------------------------------------------------------

PACKAGE = Path(foreshock.__file__).parent / "measure"
HOST_SIDE = {"finish.py", "problems"}  # they get numpy arrays, away from the training thread
DEVICE_SIDE = sorted(path for path in PACKAGE.rglob("*.py") if not HOST_SIDE & {path.name, path.parent.name})
BANNED = re.compile(
    r"\.item\(|\.tolist\(|\.cpu\(|\.numpy\(|\.to\(\s*[\"']cpu|\bsynchronize\(|\.wait\(|record_stream|"
    r"torch\.tensor\(|torch\.(linalg\.)?(eigh|eigvalsh|svd|svdvals|cholesky|inv|solve|pinv|matrix_rank|cond|unique|bincount|nonzero)\(|"
    r"\.nonzero\(|\.unique\(|masked_select|(?<!\.)\bfloat\((?!width\)|self\._sent)|\bbool\("
)
MARK = "# sync:"


def offences(path: Path) -> Iterator[str]:
    """Lines that reach the device's values, without a mark that says why they may; strings and comments do not count."""
    source = path.read_text(encoding="utf-8")
    lines = source.splitlines()
    code = [list(line) for line in lines]
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.STRING, tokenize.COMMENT):
            for row in range(token.start[0], token.end[0] + 1):
                begin = token.start[1] if row == token.start[0] else 0
                end = token.end[1] if row == token.end[0] else len(code[row - 1])
                code[row - 1][begin:end] = [" "] * (end - begin)
    for number, (line, bare) in enumerate(zip(lines, code, strict=True), 1):
        if BANNED.search("".join(bare)) and MARK not in line:
            yield f"{path.name}:{number}: {line.strip()}"


def test_the_text_reaches_for_no_value_of_the_device_unmarked() -> None:
    assert len(DEVICE_SIDE) > 15
    assert [offence for path in DEVICE_SIDE for offence in offences(path)] == []


def test_marks_are_few_and_in_the_collector_alone() -> None:
    marked = [
        path.name
        for path in DEVICE_SIDE
        for line in path.read_text(encoding="utf-8").splitlines()
        if MARK in line
    ]
    assert set(marked) == {"collector.py"}
    assert len(marked) <= 4


@pytest.mark.parametrize(
    "line", ["a = x.item()", "b = x.cpu()", "c = float(x)", "if bool(x):", "torch.tensor([1])", "x.tolist()"]
)
def test_the_ban_list_catches_what_it_is_there_for(line: str, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(line, encoding="utf-8")
    assert list(offences(tmp_path / "a.py"))
    (tmp_path / "a.py").write_text(f"{line}  # sync: on purpose", encoding="utf-8")
    assert not list(offences(tmp_path / "a.py"))

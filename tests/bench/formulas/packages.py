"""Other people's modules, without what their packages want to import besides."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
import types
from typing import Any

import torch
from torch import Tensor


def module(name: str) -> Any:
    return importlib.import_module(name)


def source(package: str, path: str) -> Any:
    """One file of a package, without the package around it and what that wants to import."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(package, name=package)
    where = f"{found.submodule_search_locations[0]}/{path}"
    spec = importlib.util.spec_from_file_location(f"{package}.{path[:-3].replace('/', '.')}", where)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def callback(path: str) -> Any:
    """A callback of stable-pretraining; a training framework and a logger that its arithmetic does not use are left empty."""
    for name in (
        "lightning",
        "lightning.pytorch",
        "loguru",
        *(f"stable_pretraining.callbacks.{n}" for n in ("", "registry", "queue", "utils")),
    ):
        module = types.ModuleType(name.rstrip("."))
        module.__dict__.update(
            __path__=[],
            Callback=object,
            LightningModule=object,
            Trainer=object,
            logger=logging.getLogger("stable"),
        )
        module.__dict__.update(
            log=print, find_or_create_queue_callback=None, log_header=print, resolve_verbose=bool
        )
        sys.modules.setdefault(name.rstrip("."), module)
    return source("stable_pretraining", f"callbacks/{path}")


def stable_rankme(x: Tensor) -> float:
    made = callback("rankme.py").RankMe("rankme", "x", len(x), x.shape[1])
    made._target_queue = types.SimpleNamespace(data=x.double())
    found: list[float] = []
    module = types.SimpleNamespace(log=lambda name, value: found.append(value))
    made.on_validation_batch_end(types.SimpleNamespace(global_rank=0), module, {}, {}, 0)
    return found[0]


def stable_lidar(x: Tensor, items: int, each: int) -> float:
    made = callback("lidar.py").LiDAR("lidar", "x", len(x), x.shape[1], items, each)
    torch.set_default_dtype(torch.float64)  # it makes its identity in the default type
    try:
        return float(made._compute_lidar(x.double())["lidar"])
    finally:
        torch.set_default_dtype(torch.float32)

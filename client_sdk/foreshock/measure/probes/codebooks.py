"""Modules in; the codebooks of its vector quantisers, and hooks that show the indices they choose, out."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from foreshock.measure.statistics import codebook as statistics

from .activations import Hook, first_floating
from .choose import evenly
from .coding import Coding
from .subject import Attached, Planned, Subject

if TYPE_CHECKING:
    from foreshock.measure.sites import Sites

MOST_CODES = 1 << 20
_CLASSED = re.compile(r"VectorQuant|Quantiz|Codebook|FSQ|LFQ")
_CLASSED_SHORT = re.compile(r"^(?:FSDP)?VQ(?!A(?![a-z]))")  # VQA answers questions
_SIZES = (
    "codebook_size",
    "num_codes",
    "n_codes",
    "n_embed",
    "n_e",
    "num_embeddings",
    "_num_embeddings",
    "num_tokens",
    "K",
)
_TABLES = re.compile(r"^_?(?:codebook|embed|embedding|embeddings|codes)$")
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.uint8)


@dataclass(frozen=True)
class Codebook:
    """A vector quantiser, its number of codes, and the embedding that it may look them up in; ``said`` by its class, or else
    taken for one by what it holds, and then only integers are believed to be indices."""

    name: str
    module: nn.Module
    size: int
    table: nn.Embedding | None
    said: bool = True

    def pick(self, module: nn.Module, args: Any, output: Any) -> tuple[Sequence[Tensor], bool]:
        """The indices among what it returns, however nested; of an embedding, those that it is given."""
        x = first_floating(output)
        trained = x is not None and x.requires_grad
        if isinstance(module, nn.Embedding):
            return _integers(args)[:1], trained
        found = _integers(output)
        if not found and self.said:
            found = [part for part in _tensors(output) if part.dim() == 2 and part.shape[1] == self.size]
        most = found[:1]
        for index in found[1:]:
            if index.numel() > most[0].numel():
                most = [index]
        return most, trained


def plan(subject: Subject) -> list[Planned]:
    """The innermost modules that quantise by a codebook."""
    found = {book.name: book for book in codebooks(subject.modules()) if subject.wants(book.name)}
    chosen = [found[name] for name, _ in evenly([(name, book.module) for name, book in found.items()])]
    return [
        Planned(
            place=subject.place(book.name),
            module=type(book.module).__name__,
            measured=f"use of {book.size} codes",
            family="codebook",
            kind="codes",
            attach=functools.partial(_attach, book, subject.place(book.name), subject.device),
            operations=20.0 * book.size,
            values=4.0 * book.size,
            series=len(statistics.series(subject.place(book.name))),
        )
        for book in chosen
    ]


def codebooks(modules: Sequence[tuple[str, nn.Module]]) -> list[Codebook]:
    """The quantisers that hold no other quantiser and whose number of codes can be told."""
    found = {}
    for name, module in modules:
        if _CLASSED.search(type(module).__name__):
            if size := _size(module):
                found[name] = Codebook(name, module, size, _table(module, size))
        elif table := _held(module):
            found[name] = Codebook(name, module, table.num_embeddings, table, said=False)
    outer = {name for name in found for other in found if name != other and _within(other, name)}
    return [book for name, book in found.items() if name not in outer]


def _attach(book: Codebook, place: str, device: torch.device, sites: Sites) -> Attached:
    site = sites.site(
        ("codes", place),
        place,
        "codes",
        lambda: statistics.series(place),
        Coding(("index",), book.size),
        device,
    )
    # Whichever is called first in a step is recorded. Silence proves nothing: many are used through other methods.
    hooked = [book.module] if book.table is None else [book.module, book.table]
    return Attached([module.register_forward_hook(Hook(site, book.pick)) for module in hooked])


def _within(name: str, outer: str) -> bool:
    return name.startswith(f"{outer}.") if outer else True


def _size(module: nn.Module) -> int | None:
    for attribute in _SIZES:
        value = getattr(module, attribute, None)
        if isinstance(value, int) and 2 <= value <= MOST_CODES:
            return value
    for name, child in module.named_children():
        if isinstance(child, nn.Embedding) and _TABLES.match(name):
            return child.num_embeddings
    tensors = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    for name, tensor in tensors:
        if _TABLES.match(name) and not is_lazy(tensor) and tensor.dim() in (2, 3):
            return tensor.shape[-2]
    return None


def _held(module: nn.Module) -> nn.Embedding | None:
    """The table of a module of layers alone, as a quantiser is and a model is not: an embedding called a codebook, or one
    called as tables are where the class begins with VQ. Words are looked up in an ``embedding`` too, so its name says nothing."""
    children = list(module.named_children())
    if any(True for _, child in children for _ in child.children()):
        return None
    short = _CLASSED_SHORT.match(type(module).__name__)
    for name, child in children:
        named = _TABLES.match(name) if short else name.lstrip("_") == "codebook"
        if named and isinstance(child, nn.Embedding) and 2 <= child.num_embeddings <= MOST_CODES:
            return child
    return None


def _table(module: nn.Module, size: int) -> nn.Embedding | None:
    tables = [child for child in module.modules() if isinstance(child, nn.Embedding)]
    return next((table for table in tables if table.num_embeddings == size), None)


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def _integers(value: Any) -> list[Tensor]:
    return [part for part in _tensors(value) if part.dtype in _INTEGERS and part.dim() >= 1]

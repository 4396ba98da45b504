"""Whether a model is being exported: what hooks would leave in the exported program has no place there."""

from __future__ import annotations

from collections.abc import Callable

import torch

is_exporting: Callable[[], bool]
"""True inside `torch.export.export`; a compiler can trace it."""

if hasattr(torch.compiler, "is_exporting"):
    is_exporting = torch.compiler.is_exporting
else:  # torch before 2.7
    from torch.export import _trace

    is_exporting = lambda: getattr(_trace, "_EXPORT_FLAGS", None) is not None

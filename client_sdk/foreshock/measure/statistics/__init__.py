"""What is measured: pure functions of device tensors, and the table that says what each number means.

The functions name their operations (`unsqueeze`, `logical_not`) where Python has signs for them: indexing and ``~`` enter
a device guard, which the lint's fake CUDA tensors cannot pass on a machine without CUDA.
"""

from .table import STATISTICS, Statistic

__all__ = ["STATISTICS", "Statistic"]

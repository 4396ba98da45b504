"""What is measured: pure functions of device tensors, and the table that says what each number means.

The functions name their operations (`unsqueeze`, `logical_not`) where Python has signs for them: indexing and ``~`` enter
a device guard, which the lint's fake CUDA tensors cannot pass on a machine without CUDA.
"""

from .catalogue.entry import Statistic
from .table import STATISTICS

__all__ = ["STATISTICS", "Statistic"]

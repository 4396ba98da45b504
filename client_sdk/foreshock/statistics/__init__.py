"""What is measured: pure functions of device tensors, and the table that says what each number means."""

from .table import STATISTICS, Statistic

__all__ = ["STATISTICS", "Statistic"]

"""The logit pass as one kernel: used for CUDA tensors where Triton is there; everywhere else `tokens` computes the same."""

from .launch import compare, nucleus, scan, suits

__all__ = ["compare", "nucleus", "scan", "suits"]

"""Tensors in, finished rows of readings out: probes pick, statistics reduce, one row leaves the device."""

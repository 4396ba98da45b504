"""What the host computes of matrices that the device must not: each problem knows its payload and its arithmetic. Needs numpy alone.

A problem is a frozen dataclass of numbers, so its name and its fields are all that another process must be told.
"""

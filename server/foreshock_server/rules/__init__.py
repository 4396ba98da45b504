"""Blocks -> Alert and Transition rows: pure detectors and a pure state machine, driven by a durable cursor."""

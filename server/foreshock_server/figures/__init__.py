"""Stored series -> Plotly figures: the same object for the page and for a notebook. A panel is one function."""

# Importing them registers their figures.
from foreshock_server.figures import health, policy, representation, signal

__all__ = ["health", "policy", "representation", "signal"]

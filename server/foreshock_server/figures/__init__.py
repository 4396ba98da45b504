"""Stored series -> Plotly figures: the same object for the page and for a notebook. A panel is one function."""

# Importing them registers their figures.
from foreshock_server.figures import health, ledger, policy, representation, signal, simplex

__all__ = ["health", "ledger", "policy", "representation", "signal", "simplex"]

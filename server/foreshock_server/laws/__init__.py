"""Laws that the literature found between series, fitted to a run while it goes on; withheld where the run cannot carry them."""

"""One file per family: every statistic of that family as data. Needs no torch."""

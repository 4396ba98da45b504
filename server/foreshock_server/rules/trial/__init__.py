"""Rules tried out: on drawn series, on stored runs, and the threshold that healthy runs suggest. Nothing here stores anything."""

"""Which tensor, at which step: what stands between the user's objects and the statistics."""

"""Two small transformers learn arithmetic by reinforcement: one collapses, its twin does not."""

"""What a training loop does about an alert: decided once, applied by all ranks at one step, written down, harmless until asked for."""

"""Whatever is killed, at whatever moment: what must be there afterwards, counted exactly."""

"""Small real trainings in pairs: one in which something collapses, and a healthy twin. Each module has a `PAIR`."""

"""A claimed Delivery -> a message at its receiver, with the outcome on the row."""

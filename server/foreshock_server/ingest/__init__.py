"""POSTed bytes -> stored blocks: decode, validate, store once, acknowledge."""

"""Who may ask: one key for programs, a cookie made from it for the page, and only our own hosts without a key."""

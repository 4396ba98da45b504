"""The Foreshock service: stores blocks, evaluates rules, sends alerts, serves figures."""

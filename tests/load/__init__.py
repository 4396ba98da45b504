"""Many runs at once, for minutes: does the server keep up, and does anything grow?"""

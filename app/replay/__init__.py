"""The second shell: the core's fold over what topics hold, beside the workers and without any effect on them."""

"""Monitors: the user's scoring functions, in processes of their own beside the worker."""

"""Drift: whether what a model is asked and answers is still distributed as in a reference."""

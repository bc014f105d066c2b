"""Formulas over what measures read."""

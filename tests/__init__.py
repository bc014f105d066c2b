"""Tests of Tally."""

import scipy.special  # noqa: F401 - else the first example that needs it would load it, and miss its deadline

"""Data in, data out: no clock, no input or output, no framework, no logging."""

"""The fast lane: partitions, their epochs and their loading."""

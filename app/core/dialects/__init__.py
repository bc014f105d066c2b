"""How events are wrapped, and the canonical event that each means."""

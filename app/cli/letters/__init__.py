"""Dead letters: shown, sent back, dropped."""

"""Mergeable counts in panes of event time. They have no meaning here: measures give it."""

"""What goes wrong with Elasticsearch, for whoever does not need its client."""


class HistoryError(Exception):
    """The documents cannot be read; the message is one sentence that says why."""

"""A second opinion: section by section what the rules say of a story, worked out from all of its events at once.

Nothing here imports `app.core`. It keeps every event, sorts, and applies the rules as they are written down, however
slow that is; `test_oracle` compares the series that come out with those of the ledger.
"""

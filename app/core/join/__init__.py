"""The join by puid: an exchange, what it counts as, and the fold of a batch of records."""

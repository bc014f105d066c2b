"""How the worker reaches Kafka."""

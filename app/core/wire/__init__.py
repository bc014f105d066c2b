"""Bytes in Kafka: records, headers, and the partitions of keys."""

"""Labels from files: read, checked, sent, and how many of them found their prediction."""

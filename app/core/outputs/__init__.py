"""What is shown: series, reports, documents."""

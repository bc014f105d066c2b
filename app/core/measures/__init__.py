"""What is counted of a model, one file a measure; `catalogue` lists them."""

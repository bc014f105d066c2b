"""What bodies say: one file a payload form, and the marks that predictions and labels become."""

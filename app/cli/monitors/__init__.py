"""`tally monitor`: monitors tried on files, fitted to training data, taken over from Hydrosphere."""

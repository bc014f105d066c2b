"""The demo: recorded traffic of real models, so that Tally can be watched at work with nothing else installed."""

"""Features become log-probabilities, and log-probabilities become words. Imports `features`."""

"""A corpus becomes a checkpoint, and a checkpoint a report. Imports `model` and `features`."""

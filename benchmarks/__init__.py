"""Measurements, run by command and never asserted in the test suite; what they gave is in RESULTS.md."""

"""Bytes become a waveform, and a waveform becomes features. Imports nothing of ours."""

"""Imported by the process that all servers are forked from: with the model in memory already, they start in moments."""

from tests.service.jobs.processes import recogniser

recogniser()

"""The interface for machines, version 1: JSON over HTTP, with bearer tokens and without cookies."""

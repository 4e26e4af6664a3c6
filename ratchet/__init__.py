"""Ratchet: continuous training for labelled data. Models only move forward."""

__version__ = "0.1.0"

"""A conformance suite of the Open Inference Protocol, for any server: see README.md beside this file."""

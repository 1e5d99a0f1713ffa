"""Labelled structures as read-only arrays, their neighbour pairs, and builders of test systems."""

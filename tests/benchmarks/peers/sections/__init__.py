"""Sections of the table; each is a function of the `Bench` that returns rows."""

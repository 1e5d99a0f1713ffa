"""Slow, obvious re-implementations that serve as oracles. They import nothing from gapkit."""

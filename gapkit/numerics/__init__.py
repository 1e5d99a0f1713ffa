"""Numerics: arrays in, arrays out, no atoms here."""

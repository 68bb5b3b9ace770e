"""Measured primary beams of telescopes: the tables beside this file, and `radrim.measure.beams.telescopes`."""

"""Measurement Sets and UVFITS files on disk: reading and writing tables, columns and rows."""

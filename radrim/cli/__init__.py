"""The command `radrim`. Its modules import heavy packages only when a command runs."""

"""The command `radrim`: light modules, each of which imports its work when it runs."""

"""The learned minor cycle: the solver, isolated points, and what is done once at the end."""

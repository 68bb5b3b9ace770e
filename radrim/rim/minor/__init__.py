"""The learned minor cycle: the solver, isolated points, the CLEAN stage and the final stage."""

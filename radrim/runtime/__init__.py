"""How a run uses the machine: threads and clusters, memory, files written as a whole, processes."""

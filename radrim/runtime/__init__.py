"""How a run uses the machine: threads and clusters, memory, files that are never half-written, processes."""

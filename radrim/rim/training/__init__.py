"""Training of the networks: simulated problems, losses and trainers.

This module imports nothing, so that processes that only make problems start without torch.
"""

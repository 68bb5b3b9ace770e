"""Training of the networks: problems, losses, trainers.

Nothing is imported here, so that processes that only make problems start without torch.
"""

"""Training of the networks: problems, losses, trainers. Imports nothing here, so that processes that only make
problems start without torch.
"""

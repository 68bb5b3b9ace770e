"""The learned minor cycle: the invertible Recurrent Inference Machine, its predecessor, their inputs and training.

Needs only numpy, scipy, torch and safetensors, so that training also runs on a bare GPU machine. Bottom up:
`reversible`, `blocks`, `inputs`, `machine`, `model` (the i-RIM), `plain` (the RIM), `loss`, `checkpoint`. Nothing is
imported here, so that processes that only make training problems start without torch.
"""

"""The learned minor cycle: the invertible Recurrent Inference Machine, its predecessor, their inputs and training.

`network` needs only numpy, scipy, torch and safetensors, so that it also trains on a bare GPU machine. Nothing is
imported here, so that processes that only make training problems start without torch.
"""

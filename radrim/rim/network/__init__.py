"""The networks: i-RIM, RIM, prior and uncertainty. They need only numpy, scipy, torch and safetensors."""

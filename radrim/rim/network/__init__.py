"""The networks: i-RIM, RIM, prior and uncertainty. Needs only numpy, scipy, torch and safetensors."""

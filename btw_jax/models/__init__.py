"""Neural networks, in Flax Linen.

They use Linen rather than NNX because `apply` of a Linen module is a pure
function of its parameters: `vmap` maps it over seeds, `pmap` over devices.
"""

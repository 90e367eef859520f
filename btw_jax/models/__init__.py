"""Networks, in Flax Linen.

Linen rather than NNX: a Linen module's `apply` is a pure function of its
parameters, which is what `vmap` over seeds and `pmap` over devices map.
"""

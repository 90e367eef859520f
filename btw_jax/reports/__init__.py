"""Pictures and figures of what a run left on disk; no JAX."""

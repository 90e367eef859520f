import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from scipy import stats

from btw_jax.methods.balance import mla
from btw_jax.models import shared_head
from support import balances


def _certainty(task, outputs):
  """Computes the certainty of one output, from distributions."""
  if task == "multiclass":
    return -stats.entropy(special.softmax(outputs))
  if task == "regression":
    # The entropy of a normal distribution is log std + ½ log(2πe).
    std = np.log1p(np.exp(outputs[1])) + 0.01
    return 0.5 * np.log(2 * np.pi * np.e) - stats.norm(scale=std).entropy()
  return -sum(stats.bernoulli(special.expit(x)).entropy() for x in outputs)


@pytest.mark.parametrize(
  "task", ["multiclass", "binary", "multilabel", "regression"]
)
def test_modalities_are_mixed_by_their_certainty(task):
  forward = balances.forward_of(
    3, lambda sizes: shared_head.SharedHead(sizes, mla.CERTAINTIES[task]),
    task=task,
  )  # fmt: skip
  batch = forward.batch
  # Large embeddings make certainties that differ.
  embeddings = 4 * forward.encode(batch)
  (outputs,), usage = forward.fuse(embeddings, batch, forward.multipliers)
  assert usage is None
  head = jax.device_get(forward.params["head"])
  for i, present in enumerate(np.asarray(batch.present)):
    if not present.any():
      continue
    ms = np.flatnonzero(present)
    each = [
      float(forward.multipliers[i, m]) * np.asarray(embeddings[i, m], float)
      @ head["kernel"] + head["bias"]
      for m in ms
    ]  # fmt: skip
    shares = special.softmax([_certainty(task, x) for x in each])
    expected = sum(s * x for s, x in zip(shares, each, strict=True))
    np.testing.assert_allclose(outputs[i], expected, rtol=1e-3, atol=1e-4)
  # The last example has nothing: its prediction is finite all the same.
  assert np.all(np.isfinite(outputs[-1]))


def test_one_modality_is_the_head_alone_and_gradients_are_finite():
  network = lambda sizes: shared_head.SharedHead(  # noqa: E731
    sizes, mla.CERTAINTIES["multiclass"]
  )
  forward = balances.forward_of(3, network)
  embeddings = forward.encode(forward.batch)
  present = np.zeros((12, 3), bool)
  present[:6, 1] = True
  batch = forward.batch._replace(present=jnp.asarray(present))

  def outputs(params, multipliers):
    return forward.with_params(params).fuse(embeddings, batch, multipliers)[0]

  head = forward.params["head"]
  np.testing.assert_allclose(
    outputs(forward.params, None)[0, :6],
    embeddings[:6, 1] @ head["kernel"] + head["bias"],
    rtol=1e-5,
    atol=1e-6,
  )
  slopes = jax.grad(lambda params: jnp.sum(outputs(params, None) ** 2))(
    forward.params
  )
  assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(slopes))

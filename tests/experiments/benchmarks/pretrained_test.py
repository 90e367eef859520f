from experiments.benchmarks import pretrained


def test_only_what_trains_has_gradients_and_moments():
  found = pretrained.bytes_per_parameter()
  # The parameters themselves, and little for the activations.
  assert 4 < found[pretrained.FROZEN] < 5
  assert found[pretrained.FROZEN] < found[pretrained.LORA]
  assert found[pretrained.LORA] < found[pretrained.FROZEN] + 0.5
  # Parameters, gradients and two moments.
  assert 16 < found[pretrained.FULL] < 18

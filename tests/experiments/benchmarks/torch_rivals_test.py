import types

import jax
import pytest

from experiments.benchmarks import timing
from experiments.benchmarks import torch_rivals


@pytest.fixture
def found(monkeypatch):
  """Returns what a stand-in for PyTorch knows: has it a GPU, its precision."""
  found = {"gpu": False, "precision": "highest"}
  torch = types.SimpleNamespace(
    cuda=types.SimpleNamespace(is_available=lambda: found["gpu"]),
    set_float32_matmul_precision=lambda name: found.update(precision=name),
  )
  monkeypatch.setattr(timing, "import_optional", lambda name: torch)
  return found


def test_pytorch_stays_on_the_cpu_with_jax(found):
  found["gpu"] = True
  assert torch_rivals.import_torch()[1] == "cpu"
  assert found["precision"] == "highest"


def test_pytorch_uses_the_gpu_and_the_precision_of_jax(found, monkeypatch):
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  found["gpu"] = True
  assert torch_rivals.import_torch()[1] == "cuda"
  assert found["precision"] == "high"


def test_pytorch_without_a_gpu_is_not_compared_with_one(found, monkeypatch):
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  torch, _ = torch_rivals.import_torch()
  assert torch is None

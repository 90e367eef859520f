"""The computations of the suites `train` and `moe` in eager PyTorch.

They run where JAX runs: on a GPU if JAX uses one. There they multiply float32
numbers as JAX does by default, in TF32.
"""

from collections.abc import Callable, Sequence
import types

from absl import logging
import jax
import numpy as np

from experiments.benchmarks import timing


def fusion_epoch(
  widths: Sequence[int],
  *,
  hidden_dim: int,
  dropout: float,
  learning_rate: float,
  num_examples: int,
  batch_size: int,
  compiled: bool = False,
) -> Callable[[], None] | None:
  """Returns an epoch of a weighted fusion model; None without PyTorch.

  `compiled` passes the loss and the optimizer's step through `torch.compile`.
  """
  torch, device = import_torch()
  if torch is None:
    return None
  torch.manual_seed(0)
  encoders = torch.nn.ModuleList(
    [
      torch.nn.Sequential(
        torch.nn.Linear(width, hidden_dim),
        torch.nn.ReLU(),
        torch.nn.Dropout(dropout),
        torch.nn.Linear(hidden_dim, hidden_dim),
        torch.nn.ReLU(),
      )
      for width in widths
    ]
  ).to(device)
  head = torch.nn.Sequential(
    torch.nn.Linear(len(widths) * hidden_dim, hidden_dim),
    torch.nn.ReLU(),
    torch.nn.Dropout(dropout),
    torch.nn.Linear(hidden_dim, 1),
  ).to(device)
  parameters = [*encoders.parameters(), *head.parameters()]
  optimizer = torch.optim.AdamW(parameters, learning_rate)
  features = [
    torch.randn(num_examples, width, device=device) for width in widths
  ]
  target = torch.randint(0, 2, (num_examples,), device=device).float()
  weights = torch.ones(num_examples, len(widths), device=device)
  cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits

  def loss(rows):
    embeddings = [
      encoder(x[rows]) * weights[rows][:, m : m + 1]
      for m, (encoder, x) in enumerate(zip(encoders, features, strict=True))
    ]
    outputs = head(torch.cat(embeddings, dim=-1))[:, 0]
    return cross_entropy(outputs, target[rows])

  def descend():
    optimizer.step()

  if compiled:
    loss, descend = map(torch.compile, (loss, descend))

  def epoch():
    order = torch.randperm(num_examples, device=device)
    for start in range(0, num_examples - batch_size + 1, batch_size):
      rows = order[start : start + batch_size]
      optimizer.zero_grad()
      loss(rows).backward()
      descend()
    _wait(torch, device)

  return epoch


def expert_steps(
  tokens: np.ndarray,
  chosen: np.ndarray,
  gates: np.ndarray,
  *,
  num_experts: int,
  hidden_dim: int,
  learning_rate: float,
  num_steps: int,
) -> Callable[[], None] | None:
  """Returns steps of a mixture of experts; None without PyTorch.

  This is the usual loop over experts: gather the tokens of an expert, apply
  it, add its outputs to the result. tokens: `[B, D]`; chosen, gates: `[B, K]`.
  """
  torch, device = import_torch()
  if torch is None:
    return None
  torch.manual_seed(0)
  width = tokens.shape[-1]
  layers = torch.nn.ModuleList(
    [
      torch.nn.Sequential(
        torch.nn.Linear(width, hidden_dim),
        torch.nn.ReLU(),
        torch.nn.Linear(hidden_dim, width),
      )
      for _ in range(num_experts)
    ]
  ).to(device)
  tokens, chosen, gates = (
    torch.from_numpy(x).to(device) for x in (tokens, chosen, gates)
  )
  tokens.requires_grad_()
  gates.requires_grad_()

  optimizer = torch.optim.SGD(layers.parameters(), learning_rate)

  def step():
    tokens.grad = gates.grad = None
    optimizer.zero_grad()
    mixed = torch.zeros_like(tokens)
    for e, layer in enumerate(layers):
      rows, place = torch.where(chosen == e)
      outputs = layer(tokens[rows]) * gates[rows, place, None]
      mixed = mixed.index_add(0, rows, outputs)
    (mixed**2).sum().backward()
    optimizer.step()

  def steps():
    for _ in range(num_steps):
      step()
    _wait(torch, device)

  return steps


def import_torch() -> tuple[types.ModuleType | None, str]:
  """Returns PyTorch, None if it cannot run where JAX runs, and its device."""
  torch = timing.import_optional("torch")
  if torch is None or jax.default_backend() == "cpu":
    return torch, "cpu"
  if not torch.cuda.is_available():
    logging.warning(
      "PyTorch finds no GPU, but JAX runs on one: rows that compare with"
      " PyTorch are left out; to have them, install PyTorch for this GPU"
    )
    return None, "cuda"
  torch.set_float32_matmul_precision("high")
  return torch, "cuda"


def _wait(torch, device):
  """Waits until the work of PyTorch is finished."""
  if device == "cuda":
    torch.cuda.synchronize()

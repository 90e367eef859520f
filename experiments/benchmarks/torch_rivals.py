"""The computations of the suites `train` and `moe` in eager PyTorch."""

from collections.abc import Callable, Sequence

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
) -> Callable[[], None] | None:
  """Returns an epoch of a weighted fusion model; None without PyTorch."""
  torch = timing.import_optional("torch")
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
  )
  head = torch.nn.Sequential(
    torch.nn.Linear(len(widths) * hidden_dim, hidden_dim),
    torch.nn.ReLU(),
    torch.nn.Dropout(dropout),
    torch.nn.Linear(hidden_dim, 1),
  )
  parameters = [*encoders.parameters(), *head.parameters()]
  optimizer = torch.optim.AdamW(parameters, learning_rate)
  features = [torch.randn(num_examples, width) for width in widths]
  target = torch.randint(0, 2, (num_examples,)).float()
  weights = torch.ones(num_examples, len(widths))
  loss = torch.nn.functional.binary_cross_entropy_with_logits

  def epoch():
    order = torch.randperm(num_examples)
    for start in range(0, num_examples - batch_size + 1, batch_size):
      rows = order[start : start + batch_size]
      embeddings = [
        encoder(x[rows]) * weights[rows][:, m : m + 1]
        for m, (encoder, x) in enumerate(zip(encoders, features, strict=True))
      ]
      outputs = head(torch.cat(embeddings, dim=-1))[:, 0]
      optimizer.zero_grad()
      loss(outputs, target[rows]).backward()
      optimizer.step()

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
  torch = timing.import_optional("torch")
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
  )
  tokens, chosen, gates = map(torch.from_numpy, (tokens, chosen, gates))
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

  return steps

"""Decompositions (PID) of the decisions of a finished run's models."""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import errors
from btw_jax import predictions
from btw_jax.analysis import decisions
from btw_jax.analysis import pid
from btw_jax.pipeline import finished_run
from btw_jax.reports import tables as tables_lib

# joint -> its description; `ModelDecisions.joint` computes it.
JOINTS = {
  "grid": "the first source of each example with the second of each other one",
  "binned": "the decisions of each modality's own model",
  "masked": "the decisions of the model when all other modalities are noise",
}
# unit -> number of them in a nat
UNITS = {"nats": 1.0, "bits": 1 / np.log(2)}
# atom -> heading
_HEADINGS = {
  "redundant": "R",
  "unique1": "U1",
  "unique2": "U2",
  "synergistic": "S",
}

_BROJA, _SENSORY = (
  jax.jit(f, static_argnames="num_iterations") for f in (pid.broja, pid.sensory)
)


class Pair(NamedTuple):
  """Two sources, each of one or more modalities, and an optional control.

  Attributes:
    first: positions of the first source's modalities.
    second: positions of the second source's modalities.
    control: position of the modality that is held fixed, or None.
  """

  first: tuple[int, ...]
  second: tuple[int, ...]
  control: int | None = None


@dataclasses.dataclass(frozen=True)
class Options:
  """The way joint distributions are computed.

  Attributes:
    joint: a name of `JOINTS`.
    num_examples: number of values of each source (grid).
    num_others: number of examples that all other modalities are taken from
      (grid).
    num_controls: number of values of the control (grid).
    num_bins: number of intervals of a regression's decision.
    num_iterations: largest number of steps of the solver.
    seed: of the drawn examples and the noise.
  """

  joint: str
  num_examples: int
  num_others: int
  num_controls: int
  num_bins: int
  num_iterations: int
  seed: int


def pairs(num_modalities: int, control: int | None = None) -> list[Pair]:
  """Lists all pairs of modalities, then each modality against the others.

  The modality at `control` is held fixed, and in no pair.
  """
  free = [m for m in range(num_modalities) if m != control]
  all_pairs = [
    Pair((a,), (b,), control) for a, b in itertools.combinations(free, 2)
  ]
  if len(free) > 2:
    all_pairs += [
      Pair((m,), tuple(n for n in free if n != m), control) for m in free
    ]
  return all_pairs


@dataclasses.dataclass(frozen=True)
class ModelDecisions:
  """The decisions of the models of one weighting.

  Attributes:
    run: a finished run.
    weighting: one of its weightings.
    options: how joint distributions are computed.
  """

  run: finished_run.FinishedRun
  weighting: str
  options: Options

  def decompose(self, pair: Pair) -> pid.Decomposition:
    """Decomposes a pair of sources; `[S]` each, the mean over labels."""
    solve = _BROJA if pair.control is None else _SENSORY
    num_iterations = self.options.num_iterations
    decomposition = solve(self.joint(pair), num_iterations=num_iterations)
    return jax.tree.map(lambda x: np.asarray(x).mean(axis=1), decomposition)

  def joint(self, pair: Pair) -> jax.Array:
    """Computes the joint distribution of the sources and the decision.

    Returns `[S, labels, (L,) X1, X2, C]`: the control first, one label where
    the task has no labels.
    """
    sources = [pair.first, pair.second]
    if pair.control is not None:
      sources.insert(0, (pair.control,))
    if self.options.joint == "grid":
      return self._grid(sources)
    if self.options.joint == "binned":
      unimodal = self._probabilities(jnp.asarray(self.run.split.unimodal))
      # A source of several modalities decides by the mean of their models.
      alone = [jnp.mean(unimodal[:, list(s)], axis=1) for s in sources]
    else:
      alone = [self._decide_alone(s) for s in sources]
    target = self._probabilities(self._outputs)
    return decisions.soft(
      [self._labels_first(x) for x in alone], self._labels_first(target)
    )

  def _grid(self, sources):
    split = self.run.split
    sizes = [self.options.num_examples] * len(sources)
    if len(sources) == 3:
      sizes[0] = self.options.num_controls
    num_examples, num_modalities = split.batch.present.shape[-2:]
    rng = np.random.default_rng(self.options.seed)
    sizes = [min(size, num_examples) for size in sizes]
    chosen = [
      (source, rng.choice(num_examples, size, replace=False))
      for source, size in zip(sources, sizes, strict=True)
    ]
    others = set(range(num_modalities)) - {m for s in sources for m in s}
    if others:
      size = min(self.options.num_others, num_examples)
      examples = rng.choice(num_examples, size, replace=False)
      chosen.append((sorted(others), examples))
    rows = decisions.cartesian_rows(num_modalities, *chosen)
    recombined = decisions.recombine(split, rows, self.run.groups)
    outputs, _ = self.run.predict(self.weighting, recombined)
    probs = self._labels_first(self._probabilities(outputs))
    return decisions.grid(probs, *sizes)

  def _decide_alone(self, source):
    """Decides on a source, with noise in place of all other modalities."""
    num_modalities = self.run.batch.present.shape[-1]
    others = [m for m in range(num_modalities) if m not in source]
    key = jax.random.key(self.options.seed)
    split = self.run.intervene("noise", others, key)
    return self._probabilities(self.run.predict(self.weighting, split)[0])

  @functools.cached_property
  def _outputs(self):
    """The outputs `[S, N, K]` for the examples as they are."""
    return self.run.predict(self.weighting, self.run.split)[0]

  def _probabilities(self, outputs):
    """Returns `[S, ..., N, C]`, for labels `[S, ..., N, L, C]`."""
    predict = self.run.task.predict
    prediction = predict(outputs)
    if not isinstance(prediction, predictions.CONTINUOUS):
      return decisions.probabilities(prediction)
    # Each seed has its own intervals, the same for all of its models.
    edges = jax.vmap(lambda p: decisions.edges(p, self.options.num_bins))(
      predict(self._outputs)
    )
    return jax.vmap(decisions.probabilities)(prediction, edges)

  def _labels_first(self, probs):
    """Moves the axis of labels: `[S, labels, N, C]`."""
    return probs[:, None] if probs.ndim == 3 else jnp.moveaxis(probs, 2, 1)


def measure(
  run: finished_run.FinishedRun, pairs: Sequence[Pair], options: Options
) -> list[dict[str, Any]]:
  """Decomposes the decisions of every weighting of a run.

  Returns a row for JSON per pair and weighting.
  """
  models = [ModelDecisions(run, name, options) for name in run.weightings]
  return [
    _row(model.weighting, pair, run.modalities, model.decompose(pair))
    for pair in pairs
    for model in models
  ]


def _row(weighting, pair, modalities, decomposition):
  """Makes a row of a decomposition, `[S]` each."""

  def name(positions):
    # A source of several modalities is all but the other source.
    return "rest" if len(positions) > 1 else modalities[positions[0]]

  return {
    "weighting": weighting,
    "first": name(pair.first),
    "second": name(pair.second),
    "control": None if pair.control is None else modalities[pair.control],
    "nats": {k: v.tolist() for k, v in decomposition._asdict().items()},
  }


def control_position(modalities: Sequence[str], control: str) -> int | None:
  """Returns the position of the control's modality; None if it is empty.

  Raises:
    InputError: if it is unknown, or leaves too few modalities to decompose.
  """
  if control:
    errors.check_names("control", [control], modalities)
  if len(modalities) < 2 + bool(control):
    flag = f"--control={control}" if control else "--workdir"
    beside = " beside the control" if control else ""
    raise errors.InputError(
      f"{flag}: the run has modalities {', '.join(modalities)}: train one with"
      f" two or more{beside}."
    )
  return modalities.index(control) if control else None


def table(rows: Sequence[Mapping[str, Any]], unit: str) -> list[dict[str, Any]]:
  """Makes the rows of a table from `measure`: means and deviations over seeds.

  `unit` is a name of `UNITS`.
  """
  lines = []
  for row in rows:
    sources = f"{row['first']}, {row['second']}"
    if row["control"]:
      sources += f" given {row['control']}"
    atoms = {k: UNITS[unit] * np.array(v) for k, v in row["nats"].items()}
    cells = {
      heading: tables_lib.mean_std(atoms[atom], 1.0, 4)
      for atom, heading in _HEADINGS.items()
    }
    lines.append(
      {
        f"sources, {unit}": sources,
        "weighting": row["weighting"],
        # A rounded negative number must not be printed as -0.
        **{k: v.replace("-0.0000", "0.0000") for k, v in cells.items()},
        "gap": f"{atoms['gap'].max():.0e}",
      }
    )
  return lines

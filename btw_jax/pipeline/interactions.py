"""Decompositions of what the models of a run decide."""

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

# name -> what it is; `Models.joint` says how
JOINTS = {
  "grid": "each example's first source with each one's second",
  "binned": "what each modality's own model decides",
  "masked": "what the model decides when all else is noise",
}


# unit -> how many are a nat
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
  """Two sources, of one modality each or more, and what is held fixed.

  Attributes:
    first: positions of modalities.
    second: positions of modalities.
    control: position of one, or None.
  """

  first: tuple[int, ...]
  second: tuple[int, ...]
  control: int | None = None


@dataclasses.dataclass(frozen=True)
class Options:
  """How joints are made.

  Attributes:
    joint: a name of `JOINTS`.
    num_examples: values of each source (grid).
    num_others: examples that all other modalities are taken from (grid).
    num_controls: values of the control (grid).
    num_bins: intervals of a quantity.
    num_iterations: of the solver, at most.
    seed: of the examples that are drawn, and of noise.
  """

  joint: str
  num_examples: int
  num_others: int
  num_controls: int
  num_bins: int
  num_iterations: int
  seed: int


def pairs(num_modalities: int, control: int | None = None) -> list[Pair]:
  """All pairs of modalities, then each against the rest.

  Args:
    num_modalities: M.
    control: position of a modality that is held fixed, and in no pair.

  Returns:
    Pairs, each of them once.
  """
  free = [m for m in range(num_modalities) if m != control]
  found = [
    Pair((a,), (b,), control) for a, b in itertools.combinations(free, 2)
  ]
  if len(free) > 2:
    found += [
      Pair((m,), tuple(n for n in free if n != m), control) for m in free
    ]
  return found


@dataclasses.dataclass(frozen=True)
class Models:
  """The models of one weighting, and how they are asked.

  Attributes:
    subject: a run.
    weighting: one of its.
    options: how joints are made.
  """

  subject: finished_run.FinishedRun
  weighting: str
  options: Options

  def decompose(self, pair: Pair) -> pid.Decomposition:
    """Atoms of a pair of sources.

    Args:
      pair: the sources.

    Returns:
      `[S]` each; of several labels the mean.
    """
    decompose = _BROJA if pair.control is None else _SENSORY
    num_iterations = self.options.num_iterations
    found = decompose(self.joint(pair), num_iterations=num_iterations)
    return jax.tree.map(lambda atom: np.asarray(atom).mean(axis=1), found)

  def joint(self, pair: Pair) -> jax.Array:
    """Of the sources, the control first, and the decision.

    Args:
      pair: the sources.

    Returns:
      `[S, labels, (L,) X1, X2, C]`, one label where there are no more.
    """
    sources = [pair.first, pair.second]
    if pair.control is not None:
      sources.insert(0, (pair.control,))
    if self.options.joint == "grid":
      return self._grid(sources)
    if self.options.joint == "binned":
      each = self._decided(jnp.asarray(self.subject.split.unimodal))
      # Several decide by the mean of what they would alone.
      alone = [jnp.mean(each[:, list(s)], axis=1) for s in sources]
    else:
      alone = [self._alone(s) for s in sources]
    target = self._decided(self._usual)
    return decisions.soft(
      [self._labels_first(x) for x in alone], self._labels_first(target)
    )

  def _grid(self, sources):
    split = self.subject.split
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
    rest = set(range(num_modalities)) - {m for s in sources for m in s}
    if rest:
      size = min(self.options.num_others, num_examples)
      others = rng.choice(num_examples, size, replace=False)
      chosen.append((sorted(rest), others))
    rows = decisions.product(num_modalities, *chosen)
    crossed = decisions.recombine(split, rows, self.subject.groups)
    outputs, _ = self.subject.answer(self.weighting, crossed)
    return decisions.grid(self._labels_first(self._decided(outputs)), *sizes)

  def _alone(self, kept):
    """What is decided when all but some modalities are noise."""
    num_modalities = self.subject.batch.present.shape[-1]
    others = [m for m in range(num_modalities) if m not in kept]
    key = jax.random.key(self.options.seed)
    split = self.subject.intervene("noise", others, key)
    return self._decided(self.subject.answer(self.weighting, split)[0])

  @functools.cached_property
  def _usual(self):
    """Outputs `[S, N, K]` for the examples as they are."""
    return self.subject.answer(self.weighting, self.subject.split)[0]

  def _decided(self, outputs):
    """Probabilities `[S, ..., N, C]`, of labels `[S, ..., N, L, C]`."""
    predict = self.subject.trainers.task.predict
    prediction = predict(outputs)
    if not isinstance(prediction, predictions.POINTS):
      return decisions.probabilities(prediction)
    # The same for all of a run's models, each seed's own.
    own = jax.vmap(lambda p: decisions.edges(p, self.options.num_bins))(
      predict(self._usual)
    )
    return jax.vmap(decisions.probabilities)(prediction, own)

  def _labels_first(self, probs):
    """`[S, labels, N, C]`."""
    return probs[:, None] if probs.ndim == 3 else jnp.moveaxis(probs, 2, 1)


def measure(
  subject: finished_run.FinishedRun, pairs: Sequence[Pair], options: Options
) -> list[dict[str, Any]]:
  """Decompositions of what every weighting of a run decides.

  Args:
    subject: the run.
    pairs: the sources.
    options: how joints are made.

  Returns:
    Rows for JSON, one per pair and weighting.
  """
  names = subject.written.shape.modalities
  models = [Models(subject, name, options) for name in subject.multimodal]
  return [
    _row(own.weighting, pair, names, own.decompose(pair))
    for pair in pairs
    for own in models
  ]


def _row(name, pair, modalities, found):
  """A decomposition, `[S]` each."""

  def of(positions):
    if len(positions) > 1:
      return "rest"
    return modalities[positions[0]]

  return {
    "weighting": name,
    "first": of(pair.first),
    "second": of(pair.second),
    "control": None if pair.control is None else modalities[pair.control],
    "nats": {k: v.tolist() for k, v in found._asdict().items()},
  }


def check(names: Sequence[str], control: str) -> int | None:
  """The position of a control.

  Args:
    names: of the modalities.
    control: one of them, or empty.

  Returns:
    It, or None.

  Raises:
    InputError: if it is unknown, or leaves nothing to decompose.
  """
  if len(names) < 2 + bool(control):
    flag, beside = "--workdir", ""
    if control:
      flag, beside = f"--control={control}", " beside the control"
    raise errors.InputError(
      f"{flag}: the run has modalities {', '.join(names)}: train one with two"
      f" or more{beside}."
    )
  if control and control not in names:
    raise errors.InputError(
      f"--control={control}: no modality of the run: use one of"
      f" {', '.join(names)}."
    )
  return names.index(control) if control else None


def table(rows: Sequence[Mapping[str, Any]], unit: str) -> list[dict[str, Any]]:
  """Rows of a table: means over seeds with their spread.

  Args:
    rows: as `measure` gives them.
    unit: a name of `UNITS`.

  Returns:
    A row each.
  """
  lines = []
  for one in rows:
    sources = f"{one['first']}, {one['second']}"
    if one["control"]:
      sources += f" given {one['control']}"
    each = {k: UNITS[unit] * np.array(v) for k, v in one["nats"].items()}
    atoms = {
      name: tables_lib.mean_std(each[atom], 1.0, 4)
      for atom, name in _HEADINGS.items()
    }
    lines.append(
      {
        f"sources, {unit}": sources,
        "weighting": one["weighting"],
        # Not -0.
        **{k: v.replace("-0.0000", "0.0000") for k, v in atoms.items()},
        "gap": f"{each['gap'].max():.0e}",
      }
    )
  return lines

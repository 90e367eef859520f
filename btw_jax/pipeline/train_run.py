"""One run: a model per modality, then the multimodal models, weighted."""

from collections.abc import Mapping, Sequence
import contextlib
import dataclasses
import datetime
import time
from typing import Any

from absl import logging
import jax

from btw_jax import errors
from btw_jax import types
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import fingerprints
from btw_jax.data import loading
from btw_jax.methods.balance import catalog
from btw_jax.mutual_information import knn
from btw_jax.pipeline import balancing
from btw_jax.pipeline import build
from btw_jax.pipeline import choices as choices_lib
from btw_jax.pipeline import choose
from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import evaluation
from btw_jax.pipeline import files
from btw_jax.pipeline import interrupt as interrupt_lib
from btw_jax.pipeline import mitigations
from btw_jax.pipeline import modality_tests
from btw_jax.pipeline import prediction_table
from btw_jax.pipeline import progress as progress_lib
from btw_jax.pipeline import refit
from btw_jax.pipeline import restore
from btw_jax.pipeline import results_table
from btw_jax.pipeline import run_data
from btw_jax.pipeline import saved_config
from btw_jax.pipeline import stages
from btw_jax.pipeline import workdir as workdir_lib
from btw_jax.reports import training_plot
from btw_jax.training import model_checkpoints
from btw_jax.training import selection
from btw_jax.training import state as state_lib
from btw_jax.training import vectorized_runs


def train(
  config: config_lib.RunConfig,
  interrupt: interrupt_lib.Interrupt | None = None,
  loaded: dataset_lib.LoadedSplits | None = None,
) -> dict[str, Any]:
  """Trains both stages, evaluates, and leaves all files in the workdir.

  A run that is finished is not trained again.

  Args:
    config: the run.
    interrupt: requests to stop; listens from the start by default.
    loaded: the splits of a data set in memory, in place of `config.data`'s.

  Returns:
    The content of `results.json`.

  Raises:
    InputError: if a setting or a file is wrong.
    Interrupted: if the run stopped as requested.
  """
  start = time.monotonic()
  # From the start: JAX swallows a KeyboardInterrupt in one of its callbacks.
  interrupt = interrupt or interrupt_lib.Interrupt()
  datasets, saved = read_datasets(config, loaded)
  if config.resume:
    saved_config.check_same_data(saved)
    if workdir_lib.is_finished(config):
      logging.info(
        "%s: the run is finished, nothing is trained; --noresume trains it"
        " anew",
        config.workdir,
      )
      return workdir_lib.read_results(config.workdir)
  run = prepare(saved, datasets, interrupt)
  with contextlib.closing(run.workdir), contextlib.closing(run.progress):
    unimodal, unimodal_best = stages.train_unimodal(
      run, "unimodal", vectorized_runs.RunSpec("uniform", 0.0, 1.0)
    )
    if not config.refit:
      model_checkpoints.save(config.workdir, "unimodal", unimodal)
    stages.stop_if_requested(run, "the models so far and metrics.csv are saved")
    run = dataclasses.replace(
      run,
      unimodal_fingerprint=fingerprints.of_arrays(
        jax.tree.leaves(unimodal.params)
      ),
    )
    splits = stages.add_unimodal(run, unimodal, run.inputs.splits)
    modality_tests.warn_of_constants(splits["train"], run.shape.modalities)
    if (
      run.trainers.task.unit == "mae"
      and "mi" in run.trainers.multimodal.rule.measures
    ):
      modality_tests.warn_of_ties(splits["train"], run.shape.modalities)
    plan = plan_settings(run, splits)
    trained, plan, tested = train_settings(
      run, plan, unimodal, unimodal_best, splits
    )
    validation = choose.validation(run, trained, splits["valid"])
    kept, weightings = choose.settings(run, plan, trained, validation)
    models = restore.Models(
      run.trainers,
      unimodal,
      {name: setting.models for name, setting in kept.items()},
      choices_lib.Choices(
        choose.order_modalities(run, unimodal_best, splits["valid"]),
        [m for m, tests in tested.items() if tests["idle"]],
        weightings,
      ),
      balancing.predicting_trainers(run.trainers, plan, kept),
    )
    save(run, models)
    if config.refit:
      models = refit.refit(run, models, unimodal_best, kept)
    return finish(run, models, tested, start)


def read_datasets(
  config: config_lib.RunConfig,
  loaded: dataset_lib.LoadedSplits | None = None,
) -> tuple[list[dataset_lib.Dataset], saved_config.SavedConfig]:
  """Reads the data of a run, and what `config.json` is to say of both.

  Raises:
    InputError: if the data is wrong, or the workdir holds another run.
  """
  saved_config.check_same_config(config)
  datasets = run_data.read(config, loaded)
  # Those of other seeds hold the same examples, in other splits.
  first = datasets[0]
  encoder = run_data.text_encoder(config)
  shape = saved_config.DataShape.from_dataset(first, len(datasets), encoder)
  workdir_lib.check_modalities(shape.modalities)
  sizes = {s: len(e) for s, e in first.splits.items()}
  fingerprint = fingerprints.of_examples(list(first.splits.values()))
  if encoder:
    fingerprint = fingerprints.of_arrays([fingerprint, encoder])
  return datasets, saved_config.SavedConfig(config, shape, sizes, fingerprint)


def prepare(
  saved: saved_config.SavedConfig,
  datasets: Sequence[dataset_lib.Dataset],
  interrupt: interrupt_lib.Interrupt,
) -> stages.Run:
  """Checks everything before any training, and opens the workdir."""
  config, shape = saved.config, saved.shape
  inputs = loading.prepare(datasets, run_data.reading(config))
  weighting = config.weighting
  plan = balancing.plan(config)
  hook = mitigations.make_hook(config, shape.modalities, inputs.scalers)
  trainers = build.build_trainers(
    config, shape, plan.variants, saved.sizes["train"], hook
  )
  balancing.check(config, trainers, shape.modalities)
  _check_num_samples(saved, trainers)
  if plan.gate and not weighting.num_exchanges:
    raise errors.InputError(
      f"--num_exchanges=0: --weighting={','.join(weighting.names)} needs the"
      " tests of modalities: give at least 1, better 20."
    )
  if config.refit and inputs.splits["train"].on_disk:
    raise errors.InputError(
      "--refit: the examples are streamed from disk: use --reading=memory, or"
      " leave it out."
    )
  for note in inputs.dataset.notes:
    logging.info("%s: %s", config.data.dataset, note)
  return stages.Run(
    config=config,
    inputs=inputs,
    shape=shape,
    trainers=trainers,
    workdir=workdir_lib.Workdir(saved, trainers.task.unit),
    progress=progress_lib.Progress(
      _num_stages(config, plan), config.num_epochs
    ),
    interrupt=interrupt,
  )


def _check_num_samples(saved, trainers):
  """Refuses too few examples for the nearest-neighbour estimate."""
  rule, least = trainers.multimodal.rule, knn.NUM_NEIGHBOURS + 2
  if trainers.task.unit != "mae" or "mi" not in rule.measures:
    return
  split = rule.information_from
  if saved.sizes[split] < least:
    raise errors.InputError(
      f"{split}: has {saved.sizes[split]} examples: the information of"
      f" modalities needs {least} (regression): give more, or use"
      " --weighting=uniform."
    )


def _num_stages(config, plan):
  """Returns the number of stages, each with its own program."""
  number = 2 + (plan.gate is not None) + len(plan.balanced)
  # Stage 1 and stage 2 again, without the scale and the rate.
  number *= 1 + config.refit
  return number + (len(config.weighting.scales) > 1) + (config.tune > 1)


def plan_settings(
  run: stages.Run, splits: Mapping[str, types.Split]
) -> selection.Plan:
  """Plans the settings of stage 2, at the scale and rate given or tuned."""
  scales = run.config.weighting.scales
  plain = vectorized_runs.RunSpec("uniform", 0.0, scales[0])
  if len(scales) > 1:
    specs = [plain._replace(scale=scale) for scale in scales]
    plain = _tune_uniform(run, "scale", specs, splits)
    logging.info("embedding scale: %g, tuned on the uniform model", plain.scale)
  if run.config.tune > 1:
    rates = balancing.rates(run.config.tune)
    specs = [plain._replace(rate=rate) for rate in rates]
    plain = _tune_uniform(run, "rate", specs, splits)
    logging.info(
      "learning rate: %g, tuned on the uniform model",
      plain.rate * run.config.learning_rate,
    )
  return balancing.plan(run.config, plain.scale, plain.rate)


def _tune_uniform(run, stage, specs, splits):
  """Trains settings of the uniform model, and returns the best of them."""
  trained = stages.fit_settings(
    run, stage, run.trainers.unweighted, specs, splits
  )
  stages.stop_if_requested(
    run, "no multimodal model was saved; metrics.csv is complete"
  )
  validation = choose.validation(run, trained, splits["valid"])
  return specs[selection.select_own(validation, range(len(specs)))]


def train_settings(
  run: stages.Run,
  plan: selection.Plan,
  unimodal: model_checkpoints.Unimodal,
  unimodal_best: state_lib.Best,
  splits: Mapping[str, types.Split],
) -> tuple[list[stages.Trained], selection.Plan, dict[str, Any]]:
  """Trains stage 2: a program for the weightings, one for each other kind.

  The other kinds are each balancing method, and the gate. `unimodal` are the
  models of stage 1, `unimodal_best` their best epochs, `[S, U, ...]`. Returns
  the trained settings, the plan of these, and the tests of modalities that have
  decided about the gate.
  """
  trainer, settings = run.trainers.multimodal, run.config.weighting
  trained = stages.fit_settings(
    run, "multimodal", trainer, plan.weighted, splits
  )
  balanced = _train_balanced(run, plan, unimodal, splits)
  # A method that was stopped halfway has no row.
  plan = plan.with_methods(balanced)
  for of_method in balanced.values():
    trained += of_method
  tested = {}
  # A run that was stopped saves what it has, without further training.
  if settings.num_exchanges and not stages.is_stopping(run):
    run.progress.do("testing what each modality tells")
    tested = modality_tests.measure(
      trainer,
      trained[0].models.params,
      plan.specs[0].scale,
      # The outputs of epochs that the examples did not choose.
      splits["valid"]._replace(unimodal=unimodal_best.crossfit.outputs),
      [dataset.splits["valid"].ids for dataset in run.inputs.datasets],
      run.shape.modalities,
      run.config.seeds,
      settings.num_exchanges,
    )
    modality_tests.log(tested)
  gated = plan.with_gate(modality_tests.is_open(tested))
  if gated.gate:
    gate = stages.fit_settings(
      run, "gate", run.trainers.unweighted, [gated.gate], splits
    )
    # A gate that was stopped halfway is not judged.
    if not stages.is_stopping(run):
      return trained + gate, gated, tested
  elif plan.gate and not stages.is_stopping(run):
    run.progress.skip_stage()
  return trained, plan.with_gate(modality_tests.is_open({})), tested


def _train_balanced(run, plan, unimodal, splits):
  """Returns balancing method -> its settings, of those that were finished."""
  trained = {}
  for name, specs in plan.balanced.items():
    if stages.is_stopping(run):
      break
    trainer = balancing.trainer(run.trainers, name, specs, run.config, unimodal)
    of_method = stages.fit_settings(run, name, trainer, specs, splits)
    if not stages.is_stopping(run):
      trained[name] = of_method
  return trained


def save(run: stages.Run, models: restore.Models) -> None:
  """Saves the choices, and one checkpoint per weighting without a refit.

  Raises:
    Interrupted: if the run was asked to stop.
  """
  models.choices.write(run.workdir.path)
  # Models that are trained again are saved then: a second start of a finished
  # run must not replace them by those before.
  if not run.config.refit or stages.is_stopping(run):
    model_checkpoints.save(run.config.workdir, "unimodal", models.unimodal)
    for name, multimodal in models.multimodal.items():
      model_checkpoints.save(run.config.workdir, name, multimodal)
  stages.stop_if_requested(
    run,
    "the best epochs so far are saved",
    "; to evaluate it now, use the program evaluate with"
    f" --workdir={run.config.workdir}",
  )


def finish(
  run: stages.Run,
  models: restore.Models,
  tested: Mapping[str, Any],
  start: float,
) -> dict[str, Any]:
  """Evaluates on the test split, for the first time, and writes the results.

  Without a test split it evaluates on the validation split. `tested` maps a
  modality to what `modality_tests.measure` found; the run started at `start`
  seconds. Returns the content of `results.json`.
  """
  run.progress.do("evaluating")
  config, path = run.config, run.workdir.path
  chosen = models.choices.weightings
  split = "test" if "test" in run.inputs.dataset.splits else "valid"
  scores = evaluation.score(
    models,
    run.shape,
    [dataset.splits[split] for dataset in run.inputs.datasets],
    config.seeds,
    reading=run_data.reading(config),
    sentiment=config.data.sentiment,
  )
  multimodal = next(iter(models.multimodal.values()))
  results = {
    "dataset": config.data.dataset,
    "task": run.shape.task,
    "unit": run.trainers.task.unit,
    "modalities": list(run.shape.modalities),
    "sizes": {s: len(e) for s, e in run.inputs.dataset.splits.items()},
    "split": split,
    "seeds": config.seeds,
    "mitigation": list(config.mitigation.methods),
    "embedding_scale": next(iter(chosen.values()))["choice"]["scale"],
    "rows": [{**row, **chosen.get(row["name"], {})} for row in scores.rows],
    "information": dict(tested),
    "refit": config.refit,
    "num_parameters": {
      "unimodal": _num_parameters(models.unimodal.params, config.num_seeds),
      "multimodal": _num_parameters(multimodal.params, config.num_seeds),
    },
    **_describe_tuning(config),
    "epoch_seconds": dict(run.epoch_seconds),
    "seconds": round(time.monotonic() - start, 1),
    "finished": datetime.date.today().isoformat(),
  }
  prediction_table.write(
    path / "predictions.csv",
    prediction_table.columns(run.shape),
    scores.predictions,
  )
  files.write_text(
    path / "results.md", results_table.tables(results, style="github") + "\n"
  )
  files.write_json(path / "results.json", results)
  files.write(
    path / "training.png", lambda file: training_plot.picture(path, file)
  )
  return results


def _describe_tuning(config):
  """Returns what the balancing methods do, and what uniform chose from."""
  return {
    "balance": {
      name: catalog.METHODS[name]._asdict() for name in config.balance.methods
    },
    "tune": config.tune,
    "learning_rates": [
      rate * config.learning_rate for rate in balancing.rates(config.tune)
    ],
  }


def _num_parameters(params, num_seeds):
  """Returns the number of parameters of one seed."""
  return sum(leaf.size for leaf in jax.tree.leaves(params)) // num_seeds

"""`btw_jax.fit` and `load`, and estimators in scikit-learn's tools."""

import pickle
import re

import numpy as np
import pandas as pd
import pytest
from sklearn import base
from sklearn import metrics
from sklearn import model_selection

import btw_jax
from btw_jax import errors
from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import train_run
from support import dataset_files

pytestmark = pytest.mark.slow

TINY = {
  "num_seeds": 2, "num_epochs": 4, "hidden_dim": 8, "embedding_dim": 8,
  "num_exchanges": 0, "verbose": False, "learning_rate": 4e-2,
}  # fmt: skip
NAMES = np.array(["glad", "mad", "sad"])


def _draw(number, seed):
  """Returns two modalities and the names of three classes."""
  rng = np.random.default_rng(seed)
  codes = rng.integers(0, 3, number)
  text = np.eye(3)[codes] + 0.3 * rng.normal(size=(number, 3))
  audio = rng.normal(size=(number, 2))
  audio[1] = np.nan
  return {"text": text, "audio": audio}, NAMES[codes]


@pytest.fixture(scope="module")
def splits():
  return {
    split: _draw(number, seed)
    for seed, (split, number) in enumerate(
      (("train", 80), ("valid", 40), ("test", 30))
    )
  }


@pytest.fixture(scope="module")
def result(splits):
  return btw_jax.fit(
    *splits["train"],
    valid=splits["valid"],
    test=splits["test"],
    weighting="uniform,kl+mi",
    **TINY,
  )


def test_fit_gives_the_numbers_of_train(result, splits, tmp_path):
  for split, (modalities, labels) in splits.items():
    present = ~np.isnan(modalities["audio"]).all(axis=1)
    np.savez(
      tmp_path / f"{split}.npz", x_text=modalities["text"], y=labels,
      x_audio=modalities["audio"], present_audio=present,
    )  # fmt: skip
  settings = {k: v for k, v in TINY.items() if k != "verbose"}
  config = config_lib.make(
    dataset="npz", data_dir=str(tmp_path), workdir=str(tmp_path / "run"),
    weighting=("uniform", "kl+mi"), **settings,
  )  # fmt: skip

  class Never:
    requested = False

  expected = train_run.train(config, Never())
  assert result.results["rows"] == expected["rows"]
  for file in ("metrics.csv", "weights.csv", "predictions.csv"):
    written = (tmp_path / "run" / file).read_bytes()
    assert (result.workdir / file).read_bytes() == written


def test_a_loaded_run_predicts_what_training_wrote(result, splits, tmp_path):
  folder = tmp_path / "saved"
  result.save(folder)
  loaded = btw_jax.load(folder)
  modalities, labels = splits["test"]
  written = dataset_files.read_table(folder / "predictions.csv")
  by_seed = []
  for seed in (0, 1):
    rows = [
      r for r in written
      if r["weighting"] == "kl+mi" and r["seed"] == str(seed)
    ]  # fmt: skip
    probs = loaded.predict(modalities, weighting="kl+mi", seed=seed)
    for row, p, label in zip(rows, probs, labels, strict=True):
      assert [row[f"p_{name}"] for name in NAMES] == [f"{x:.7g}" for x in p]
      assert row["target"] == label
    by_seed.append(probs)
  together = loaded.predict(modalities, weighting="kl+mi")
  np.testing.assert_allclose(together, np.mean(by_seed, axis=0), rtol=1e-12)
  assert str(loaded) == str(result)
  np.testing.assert_array_equal(loaded.weights, result.weights)
  np.testing.assert_array_equal(loaded.predict(modalities), result.predict(
    {"audio": modalities["audio"], "text": modalities["text"]}
  ))  # fmt: skip


def test_min_max_weights_are_loaded_with_their_range(splits, tmp_path):
  result = btw_jax.fit(
    *splits["train"], valid=splits["valid"], test=splits["test"],
    weighting="uniform,mi,kl+mi", normalise="minmax", refresh_every=2,
    **TINY | {"num_seeds": 1},
  )  # fmt: skip
  result.save(tmp_path / "saved")
  loaded = btw_jax.load(tmp_path / "saved")
  modalities, _ = splits["test"]
  written = dataset_files.read_table(tmp_path / "saved/predictions.csv")
  for name in result.weightings:
    rows = [r for r in written if r["weighting"] == name]
    probs = loaded.predict(modalities, weighting=name)
    for row, p in zip(rows, probs, strict=True):
      assert [row[f"p_{c}"] for c in NAMES] == [f"{x:.7g}" for x in p]
    weights = loaded.weigh(modalities, weighting=name)
    np.testing.assert_array_equal(
      weights, result.weigh(modalities, weighting=name)
    )
    if name == "kl+mi":
      assert np.all(weights.sum(axis=1) < 0.95)
      # A single modality is not given all the weight either.
      assert 0 < weights[1, 0] < 0.95 and weights[1, 1] == 0
    else:
      np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)


def test_a_run_that_was_not_to_resume_is_loaded(splits, tmp_path):
  settings = TINY | {"num_seeds": 1, "num_epochs": 1, "resume": False}
  result = btw_jax.fit(*splits["train"], workdir=tmp_path / "run", **settings)
  assert str(btw_jax.load(tmp_path / "run")) == str(result)


def test_a_result_predicts_weighs_and_scores(result, splits):
  modalities, labels = splits["test"]
  probs = result.predict(modalities)
  np.testing.assert_allclose(probs.sum(axis=1), 1, rtol=1e-6)
  np.testing.assert_array_equal(result.predict_proba(modalities), probs)
  np.testing.assert_array_equal(result.classes, NAMES)
  decided = result.decide(modalities)
  np.testing.assert_array_equal(decided, NAMES[probs.argmax(axis=1)])
  accuracy = result.score(modalities, labels)
  assert accuracy == np.mean(decided == labels) > 0.6
  assert result.weights.shape == (80, 2)
  np.testing.assert_allclose(result.weights.sum(axis=1), 1, rtol=1e-5)
  np.testing.assert_array_equal(result.weights[1], [1, 0])
  weights = result.weigh(modalities, weighting="kl+mi")
  assert weights.shape == (30, 2)
  np.testing.assert_array_equal(weights[1], [1, 0])
  assert np.ptp(weights[2:, 0]) > 0.01
  assert "text alone" in str(result)
  assert "evaluated on 30 test examples" in repr(result)
  assert result.weightings == ["uniform", "kl+mi"]
  assert result.modalities == ("text", "audio")


def test_a_pickled_result_brings_its_models(result, splits):
  modalities, _ = splits["test"]
  copy = pickle.loads(pickle.dumps(result))
  assert copy.workdir != result.workdir
  np.testing.assert_array_equal(
    copy.predict(modalities), result.predict(modalities)
  )
  np.testing.assert_array_equal(copy.weights, result.weights)
  folder = copy.workdir
  del copy
  assert not folder.exists()


def test_pictures_and_pages_are_written(result, tmp_path):
  result.report(tmp_path / "report.html")
  page = (tmp_path / "report.html").read_text(encoding="utf-8")
  assert "kl+mi" in page and "<svg" not in page
  figure = result.plot(tmp_path / "new/run.png")
  assert len(figure.axes) >= 2
  assert (tmp_path / "new/run.png").read_bytes()[:4] == b"\x89PNG"


def test_columns_are_matched_by_name():
  modalities, labels = _draw(60, 5)
  text = pd.DataFrame(modalities["text"], columns=["x", "y", "z"])
  given = {"text": text, "audio": modalities["audio"]}
  settings = TINY | {"num_seeds": 1, "weighting": "uniform"}
  moved = {"text": text[["z", "x", "y"]], "audio": modalities["audio"]}
  result = btw_jax.fit(given, labels, test=(moved, labels), **settings)
  probs = result.predict(given)
  np.testing.assert_array_equal(result.predict(moved), probs)
  rows = dataset_files.read_table(result.workdir / "predictions.csv")
  written = [[float(r[f"p_{name}"]) for name in NAMES] for r in rows]
  np.testing.assert_allclose(written, probs, rtol=1e-5)
  renamed = moved | {"text": text.rename(columns={"y": "v"})}
  message = "modality 'text' has no column 'y', which the training split has"
  with pytest.raises(errors.InputError, match=message):
    result.predict(renamed)
  # Arrays without names are taken as they are.
  plain = given | {"text": text.to_numpy()}
  np.testing.assert_array_equal(result.predict(plain), probs)
  labels = pd.Series(labels).iloc[::-1]
  with pytest.raises(errors.InputError, match="labels: the index of row 0 is"):
    result.score(given, labels)


def test_all_examples_may_lack_a_modality(result, splits):
  modalities, _ = splits["test"]
  lacking = modalities | {"audio": np.full((30, 2), np.nan)}
  expected = result.predict(lacking)
  for audio in (None, [None] * 30):
    probs = result.predict(modalities | {"audio": audio})
    np.testing.assert_array_equal(probs, expected)
  one = {"text": modalities["text"][:1], "audio": None}
  np.testing.assert_allclose(result.predict(one), expected[:1], rtol=1e-5)
  np.testing.assert_array_equal(result.weigh(one), [[1, 0]])


def test_what_is_wrong_is_said_in_one_line(result, splits, tmp_path):
  modalities, labels = splits["train"]

  def refuse(message, call):
    with pytest.raises(errors.InputError, match=message) as error:
      call()
    assert "\n" not in str(error.value)

  refuse(
    "'text' has 2 features, but the model was trained on 3 features",
    lambda: result.predict(modalities | {"text": np.ones((80, 2))}),
  )
  refuse(
    "weighting=mi: no weighting 'mi'",
    lambda: result.predict(modalities, weighting="mi"),
  )
  refuse(
    "^seed=7: the run has no such seed: use one of 0, 1",
    lambda: result.predict(modalities, seed=7),
  )
  refuse(
    "data_dir: fit takes arrays",
    lambda: btw_jax.fit(modalities, labels, data_dir="x"),
  )
  refuse(
    "labels of train have shape .79,. for 80 examples",
    lambda: btw_jax.fit(modalities, labels[1:]),
  )
  refuse(
    "valid: a dict: give a pair of modalities and labels",
    lambda: btw_jax.fit(modalities, labels, valid=modalities),
  )
  refuse(
    "labels of test: the label of row 0 is bad, but the training labels",
    lambda: btw_jax.fit(
      modalities, labels, **TINY, test=(modalities, np.full(80, "bad"))
    ),
  )
  refuse(
    "modality 'text', row 3, column 1 is nan: replace it",
    lambda: btw_jax.fit(
      {"text": _with_nan(modalities["text"])}, labels, **TINY
    ),
  )
  (tmp_path / "file").write_text("")
  refuse("is not empty: choose another folder", lambda: result.save(tmp_path))
  refuse("config.json: no such file", lambda: btw_jax.load(tmp_path))


def _with_nan(values):
  values = np.array(values)
  values[3, 1] = np.nan
  return values


def test_without_a_test_split_the_table_is_of_validation(splits, capfd):
  settings = TINY | {"num_seeds": 1, "num_epochs": 2, "verbose": True}
  result = btw_jax.fit(*splits["train"], weighting="uniform", **settings)
  assert "evaluated on 24 validation examples" in str(result)
  assert len(result.weights) == 80
  log = capfd.readouterr().err
  assert "train: 1 of 80 rows of 'audio' are NaN or empty: these" in log
  assert re.search(r"stage 2 of 2, multimodal: epoch 2 of 2, .* 0 s left", log)


def test_scikit_learn_clones_splits_and_scores(splits):
  modalities, labels = splits["train"]
  settings = {k: v for k, v in TINY.items() if k != "verbose"}
  settings |= {"num_seeds": 1, "weighting": "uniform"}
  classifier = btw_jax.Classifier(**settings)
  copy = base.clone(classifier).set_params(seed=3)
  assert copy.get_params() == settings | {"seed": 3}
  assert classifier.get_params() == settings
  assert "learning_rate=0.04" in repr(classifier)
  given = btw_jax.Modalities(modalities)
  scores = model_selection.cross_val_score(classifier, given, labels, cv=2)
  (first, second), *_ = model_selection.StratifiedKFold(2).split(given, labels)
  fitted = base.clone(classifier).fit(given[first], labels[first])
  decided = fitted.predict(given[second])
  assert scores[0] == metrics.accuracy_score(labels[second], decided)
  np.testing.assert_array_equal(fitted.classes_, NAMES)
  assert fitted.score(given[second], labels[second]) == scores[0] > 0.5
  # Labels come back as they were given, not as the names of classes.
  numbers = np.searchsorted(NAMES, labels) * 2 - 1
  fitted = base.clone(classifier).fit(given, numbers)
  assert set(fitted.predict(given)) <= {-1, 1, 3}


def test_a_regression_has_means_and_deviations(splits):
  modalities, labels = splits["train"]
  target = 100 + 10 * np.searchsorted(NAMES, labels) + 0.5
  settings = TINY | {"num_seeds": 2, "num_epochs": 8, "weighting": "uniform"}
  regressor = btw_jax.Regressor(**settings).fit(modalities, target)
  mean, std = regressor.predict(modalities, return_std=True)
  by_seed = [
    regressor.result_.predict(modalities, seed=seed) for seed in (0, 1)
  ]
  np.testing.assert_allclose(mean, (by_seed[0].mean + by_seed[1].mean) / 2)
  # The variance of a mixture: mean of variances plus variance of means.
  spread = (by_seed[0].mean - by_seed[1].mean) ** 2 / 4
  within = (by_seed[0].std ** 2 + by_seed[1].std ** 2) / 2
  np.testing.assert_allclose(std, np.sqrt(spread + within))
  assert regressor.score(modalities, target) == pytest.approx(
    metrics.r2_score(target, mean)
  )
  with pytest.raises(errors.InputError, match="a regression has no classes"):
    regressor.result_.predict_proba(modalities)


def test_a_temporary_run_is_removed_with_its_result(splits):
  settings = TINY | {"num_seeds": 1, "num_epochs": 1, "weighting": "uniform"}
  result = btw_jax.fit(*splits["train"], **settings)
  folder = result.workdir
  assert folder.exists()
  del result
  assert not folder.exists()

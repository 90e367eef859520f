import dataclasses

import numpy as np
import pytest

from btw_jax.data import assembly
from btw_jax.data import batching
from btw_jax.data import scaling
from support import dataset_files


def test_scaling_knows_only_the_training_split(write):
  train = dataset_files.arrays()
  train["x_text"][:, 2] = 5.0
  present = np.arange(20) % 4 > 0
  options = write(
    x_text=train["x_text"], x_audio=train["x_audio"], present_text=present
  )
  dataset = assembly.load("npz", options)
  scaler = scaling.fit(dataset)
  batch = batching.stack(dataset.splits["train"], scaler)
  text = batch.features[:, 0]
  np.testing.assert_allclose(text[present].mean(0), 0, atol=1e-6)
  np.testing.assert_allclose(text[present].std(0), [1, 1, 0], atol=1e-5)
  np.testing.assert_array_equal(text[~present], 0)
  np.testing.assert_array_equal(batch.features[:, 1, 2], 0)
  np.testing.assert_array_equal(batch.present[:, 0], present)
  # A column that is constant in train stays 0 elsewhere.
  test = batching.stack(dataset.splits["test"], scaler)
  np.testing.assert_array_equal(test.features[:, 0, 2], 0)
  expected = dataset.splits["test"].features["text"][:, 0]
  x = train["x_text"][present, 0].astype(np.float64)
  np.testing.assert_allclose(
    test.features[:, 0, 0], (expected - x.mean()) / x.std(), rtol=1e-4
  )


def _steps_batches(write, tmp_path, *, irregular):
  options = write(**dataset_files.sequence(irregular=irregular))
  for seed, split in enumerate(("valid", "test"), 1):
    np.savez(
      tmp_path / f"{split}.npz",
      **{
        **dataset_files.arrays(seed=seed),
        **dataset_files.sequence(seed=seed, irregular=irregular),
      },
    )
  options = dataclasses.replace(options, average_steps=False)
  dataset = assembly.load("npz", options)
  scaler = scaling.fit(dataset)
  return dataset, [
    batching.stack(dataset.splits[s], scaler) for s in ("train", "test")
  ]


@pytest.mark.parametrize("irregular", [True, False])
def test_sequences_keep_their_steps_when_asked_to(write, tmp_path, irregular):
  dataset, (train, test) = _steps_batches(write, tmp_path, irregular=irregular)
  assert dataset.num_steps == (4, 0)
  assert batching.groups(dataset.num_steps, dataset.widths) == ((0,),)
  (steps,) = train.sequences
  fields = dataset_files.sequence(irregular=irregular)
  np.testing.assert_array_equal(steps.length[:, 0], fields["length_text"])
  valid = np.arange(4) < fields["length_text"][:, None]
  valid = np.broadcast_to(valid[..., None], (20, 4, 3))
  if irregular:
    valid = valid & fields["observed_text"]
    np.testing.assert_array_equal(steps.observed[:, 0], valid)
    inside = np.arange(4) < fields["length_text"][:, None]
    last = fields["time_text"][inside].max()
    np.testing.assert_allclose(
      steps.times[:, 0], fields["time_text"] / last, rtol=1e-5
    )
  else:
    assert steps.times is None
    assert steps.observed is None
  # Valid training steps standardise the values; padding is 0.
  for d in range(3):
    valid_values = fields["x_text"][..., d][valid[..., d]]
    expected = (
      fields["x_text"][..., d] - valid_values.mean()
    ) / valid_values.std()
    np.testing.assert_allclose(
      steps.values[:, 0, :, d], np.where(valid[..., d], expected, 0), atol=1e-5
    )
    other = dataset_files.sequence(seed=2, irregular=irregular)["x_text"][
      0, 0, d
    ]
    if valid[0, 0, d] and not irregular:
      np.testing.assert_allclose(
        test.sequences[0].values[0, 0, 0, d],
        (other - valid_values.mean()) / valid_values.std(),
        atol=1e-5,
      )
  # The vector modality does not change when the other keeps its steps.
  np.testing.assert_array_equal(train.features[:, 0], 0)
  np.testing.assert_allclose(train.features[:, 1, :2].mean(0), 0, atol=1e-6)


def test_scaling_in_parts_is_scaling_at_once(stays, monkeypatch):
  dataset = assembly.load(
    dataset_files.STAYS, dataclasses.replace(stays, stream=False)
  )
  whole = scaling.fit(dataset)
  monkeypatch.setattr("btw_jax.data.dataset._CHUNK", 5)
  train = dataset.splits["train"]
  assert [len(part) for part in train.chunks()] == [5, 5, 2]
  for a, b in zip(scaling.fit(dataset), whole, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5)
  # NumPy computes the same from all valid values at once.
  for m, modality in enumerate(dataset.modalities):
    valid = train.observed(modality) & train.present[modality][:, None, None]
    x = train.features[modality].astype(np.float64)
    for d in range(0, x.shape[2], 29):
      valid_values = x[..., d][valid[..., d]]
      np.testing.assert_allclose(
        whole.mean[m, d], valid_values.mean(), atol=1e-6
      )
      if valid_values.std() > 0:
        np.testing.assert_allclose(
          whole.inverse_std[m, d], 1 / valid_values.std(), rtol=1e-5
        )

import pathlib

import numpy as np
import pytest

from btw_jax import errors
from btw_jax.data.questions import signals
from btw_jax.data.questions import vocabulary
from btw_jax.data.questions import world

_SPLITS = ("train", "valid", "test")
_STORED = pathlib.Path(__file__).parents[4] / "shared/data/spoken_digits"


def _arrays(number, seed):
  """Returns the arrays of a file; the frames past the length are zeros."""
  rng = np.random.default_rng(seed)
  length = rng.integers(20, 65, number)
  frames = rng.normal(seed, 1 + seed, (number, 64, 32))
  frames *= (np.arange(64) < length[:, None])[..., None]
  return {
    "x_image": rng.integers(17, size=(number, 64)).astype(np.float16),
    "x_audio": frames.astype(np.float16),
    "length_audio": length,
    "y": np.arange(number) % 10,
  }


@pytest.fixture
def folder(tmp_path):
  for seed, split in enumerate(_SPLITS):
    np.savez(tmp_path / f"{split}.npz", **_arrays(40, seed))
  return tmp_path


def test_spoken_frames_are_scaled_by_those_of_training(folder):
  train = np.load(folder / "train.npz")
  rows = zip(train["x_audio"], train["length_audio"], strict=True)
  frames = np.concatenate([x[:length].astype(float) for x, length in rows])
  stored = np.load(folder / "test.npz")
  loaded = signals.load("test", "spoken", str(folder))
  assert loaded.audio.shape == (40, *signals.SPOKEN_SHAPE)
  for row in range(40):
    frame = 3
    expected = stored["x_audio"][row, 2 * frame] - frames.mean(axis=0)
    np.testing.assert_allclose(
      loaded.audio[row, frame], expected / frames.std(axis=0), atol=1e-3
    )
  np.testing.assert_array_equal(
    loaded.images[5].ravel() * 16, stored["x_image"][5]
  )
  np.testing.assert_array_equal(loaded.spoken, stored["y"])
  np.testing.assert_array_equal(loaded.digits, stored["y"])


def test_the_length_counts_the_frames_that_are_kept(folder):
  stored = np.load(folder / "valid.npz")["length_audio"]
  loaded = signals.load("valid", "spoken", str(folder))
  kept = [len(range(0, length, 2)) for length in stored]
  np.testing.assert_array_equal(loaded.length, kept)


def test_questions_are_asked_about_spoken_digits(folder):
  questions = world.make(
    "test", 300, tasks=("same", "spoken"), audio="spoken", data_dir=str(folder)
  )
  pool = signals.load("test", "spoken", str(folder))
  for row in range(40):
    (sound,) = np.flatnonzero(
      np.all(pool.audio == questions.audio[row], axis=(1, 2))
    )
    assert pool.spoken[sound] == questions.spoken[row]
    assert pool.length[sound] == questions.audio_length[row]
  placeholders = np.sum(questions.tokens == vocabulary.AUDIO, axis=1)
  frames = world.describe("spoken").frames_per_token
  np.testing.assert_array_equal(placeholders, questions.audio.shape[1] / frames)


def test_stored_splits_share_no_speaker():
  if not _STORED.is_dir():
    pytest.skip(f"{_STORED} is missing")
  speakers = [set(np.load(_STORED / f"{s}.npz")["subject"]) for s in _SPLITS]
  assert len(set.union(*speakers)) == sum(map(len, speakers))
  loaded = signals.load("train", "spoken", str(_STORED))
  mask = np.arange(32) < loaded.length[:, None]
  np.testing.assert_allclose(loaded.audio[mask].mean(axis=0), 0, atol=0.05)
  np.testing.assert_allclose(loaded.audio[mask].std(axis=0), 1, atol=0.05)


def test_tones_of_another_split_come_from_other_speakers():
  """Sounds of one split are closer to each other than to another split."""
  means = {}
  for split in _SPLITS:
    loaded = signals.load(split, "tones", "")
    # A mean over frames keeps the speaker's pitch, and hides the onset.
    means[split] = loaded.audio[loaded.spoken == 3].mean(axis=1)
  for one in _SPLITS:
    distances = {
      other: _nearest(means[one], means[other], one == other)
      for other in _SPLITS
    }
    own = distances.pop(one)
    assert all(far > 1.2 * own for far in distances.values()), distances


def _nearest(points, others, are_same):
  """Returns the mean distance of points to the nearest other one."""
  distances = np.linalg.norm(points[:, None] - others, axis=-1)
  if are_same:
    np.fill_diagonal(distances, np.inf)
  return distances.min(axis=1).mean()


def test_every_split_has_tones_of_every_digit():
  for split in _SPLITS:
    loaded = signals.load(split, "tones", "")
    assert loaded.audio.shape[1:] == signals.TONES_SHAPE
    assert np.ptp(np.bincount(loaded.spoken, minlength=10)) == 0
    assert np.all(loaded.length == signals.TONES_SHAPE[0])


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04"])
def test_a_file_that_is_no_archive_is_named(folder, content):
  (folder / "valid.npz").write_bytes(content)
  with pytest.raises(errors.InputError, match=r"valid\.npz: cannot be read"):
    signals.load("valid", "spoken", str(folder))


def test_a_folder_without_files_is_named(tmp_path):
  with pytest.raises(errors.InputError, match=r"test\.npz: cannot .*data_dir"):
    signals.load("test", "spoken", str(tmp_path))


def test_a_single_array_is_no_archive(folder):
  with (folder / "valid.npz").open("wb") as file:
    np.save(file, np.zeros(3))
  with pytest.raises(errors.InputError, match=r"valid\.npz: cannot be read"):
    signals.load("valid", "spoken", str(folder))


@pytest.mark.parametrize(
  ("name", "value", "message"),
  [
    ("y", None, "has no array 'y'"),
    ("x_audio", np.zeros((40, 32, 32)), "'x_audio' has shape"),
    ("x_image", np.zeros((40, 63)), r"'x_image' has .*give \(40, 64\)"),
    ("length_audio", np.ones(39), r"'length_audio' has .*give \(40,\)"),
    ("y", np.arange(40) % 9, "'y' holds .*: give each digit from 0 to 9"),
  ],
)
def test_arrays_that_do_not_fit_are_named(folder, name, value, message):
  arrays = {**_arrays(40, 0), name: value}
  np.savez(
    folder / "test.npz", **{k: v for k, v in arrays.items() if v is not None}
  )
  with pytest.raises(errors.InputError, match=message) as caught:
    signals.load("test", "spoken", str(folder))
  assert "test.npz" in str(caught.value)

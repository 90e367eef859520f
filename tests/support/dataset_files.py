"""Small files in exactly the schema of the published data sets."""

import csv
import gzip
import json
import pathlib
import pickle

import numpy as np

from btw_jax.data import assembly
from btw_jax.data import builders
from btw_jax.data import catalog

SIZES = {"train": 12, "valid": 5, "test": 6}
# The fixture `stays` prepares this data set.
STAYS = "tfds:mimic_los_missing"


def dump(path, content, *, protocol=4, zipped=False):
  """Writes a pickle, gzipped if asked for."""
  opener = gzip.open if zipped else open
  with opener(path, "wb") as file:
    pickle.dump(content, file, protocol=protocol)
  return path


def _rng(split):
  return np.random.default_rng(SIZES[split])


def _sentiment(rng, n):
  return rng.uniform(-3, 3, n).astype(np.float32)


def _unpadded(rng, n, steps, width):
  """Returns random sequences without zeros, and their lengths."""
  length = rng.integers(1, steps + 1, n)
  return rng.uniform(0.5, 1.5, (n, steps, width)).astype(np.float32), length


def _texts(n):
  """Returns texts of words that the golden BERT knows; one is missing."""
  words = ["it", "was", "not", "a", "great", "movie", "!", "unbelievably"]
  texts = [" ".join(words[: 1 + i % 5] * (1 + i % 3)) for i in range(n)]
  return [*texts[:3], "", *texts[4:]]


def mmsa_split(split, *, aligned=True, widths=(74, 35), steps=(9, 7)):
  """Returns the fields of a split of MMSA's pickles."""
  rng, n = _rng(split), SIZES[split]
  text, tokens = _unpadded(rng, n, 50, 768)
  # BERT has features for padding too.
  masks = np.arange(50) < tokens[:, None]
  fields = {
    "raw_text": np.array(_texts(n)),
    "id": [f"{split}{i // 2}$_${i}" for i in range(n)],
    "text": text,
    "text_bert": np.stack(
      [rng.integers(0, 99, (n, 50)), masks, np.zeros((n, 50))], 1
    ).astype(np.float32),
    "annotations": np.array(["Neutral"] * n),
    "classification_labels": np.zeros(n),
    "regression_labels": _sentiment(rng, n),
  }
  for name, width, most in zip(("audio", "vision"), widths, steps, strict=True):
    num_steps = 50 if aligned else most
    x, length = _unpadded(rng, n, num_steps, width)
    x[np.arange(num_steps) >= length[:, None]] = 0
    fields[name] = x
    if not aligned:
      fields[f"{name}_lengths"] = length.tolist()
  fields["audio"][2, 0, 1] = -np.inf
  return fields


def mmsa(folder, *, aligned=True, changes=None, **options):
  """Writes `[un]aligned_50.pkl`."""
  content = {s: mmsa_split(s, aligned=aligned) for s in SIZES}
  for split, fields in (changes or {}).items():
    content[split] |= fields
    for field in [f for f, v in fields.items() if v is None]:
      del content[split][field]
  name = "aligned_50.pkl" if aligned else "unaligned_50.pkl"
  return dump(pathlib.Path(folder, name), content, **options), content


def multibench_split(split, *, triples=False):
  """Returns the fields of a split of MultiBench, padded on the left."""
  rng, n = _rng(split), SIZES[split]
  fields = {}
  for name, width in (("vision", 35), ("audio", 74), ("text", 300)):
    x, length = _unpadded(rng, n, 50, width)
    x[np.arange(50) < 50 - length[:, None]] = 0
    fields[name] = x
  fields["text"][3] = 0
  fields["audio"][1, -1, 5] = -np.inf
  fields["labels"] = _sentiment(rng, n).reshape(n, 1, 1)
  names = [f"{split}{i // 2}" for i in range(n)]
  if triples:
    fields["id"] = np.array(
      [[v, f"{i}.5", f"{i}.9"] for i, v in enumerate(names)]
    )
  else:
    fields["id"] = np.array([f"{v}[{i}]" for i, v in enumerate(names)])
  return fields


def multibench(folder, *, mosei=False):
  """Writes `mosi_raw.pkl` or `mosei_senti_data.pkl`."""
  content = {s: multibench_split(s, triples=mosei) for s in SIZES}
  name = "mosei_senti_data.pkl" if mosei else "mosi_raw.pkl"
  return dump(pathlib.Path(folder, name), content), content


def mmim_split(split, *, num_labels=1):
  """Returns the list of examples of a split of MMIM's pickles."""
  rng = _rng(split)
  rows = []
  for i in range(SIZES[split]):
    tv, ta, words = rng.integers(1, 6), rng.integers(1, 9), rng.integers(1, 5)
    visual = rng.uniform(0.5, 1.5, (tv, 35)).astype(np.float32)
    acoustic = rng.uniform(0.5, 1.5, (ta, 74)).astype(np.float32)
    if i == 1:
      visual[0, 3] = np.nan
    features = (
      rng.integers(0, 99, words), visual, acoustic,
      [f"word{w}" for w in rng.integers(0, 50, words)], tv, ta,
    )  # fmt: skip
    label = rng.uniform(-3, 3, (1, num_labels)).astype(np.float32)
    # As in CMU-MOSEI, a clip may occur twice.
    rows.append((features, label, f"{split}{i // 2}[{i // 4}]"))
  return rows


def mmim(folder, *, num_labels=1):
  """Writes `train.pkl`, `dev.pkl` and `test.pkl`."""
  content = {s: mmim_split(s, num_labels=num_labels) for s in SIZES}
  for split, rows in content.items():
    name = {"valid": "dev"}.get(split, split)
    dump(pathlib.Path(folder, f"{name}.pkl"), rows)
  return content


def mimic_stay(rng, row, label, *, missing=False):
  """Returns one stay in the format of FuseMoE's pipeline."""
  steps = int(rng.integers(2, 9))
  mask = (rng.random((steps, 30)) < 0.5).astype(int)
  mask[0, 0] = 1
  stay = {
    "name": f"subject{row // 2}",
    "hadm_id": float(20_000 + row),
    "stay_id": float(30_000 + row),
    "ts_tt": np.sort(rng.uniform(0, 48, steps)).astype(object),
    "irg_ts": rng.normal(size=(steps, 30)),
    "irg_ts_mask": mask,
    "reg_ts": rng.normal(size=(int(rng.integers(40, 50)), 30)),
    "label": label,
  }
  for name, features, times, width, count in (
    ("text", "text_embeddings", "text_time_to_end", 768, 7),
    ("cxr", "cxr_feats", "cxr_time", 1024, 2),
    ("ecg", "ecg_feats", "ecg_time", 256, 3),
  ):
    gone = missing and (row + len(name)) % 3 == 0
    if missing:
      stay[f"{name}_missing"] = int(gone)
    if gone and name == "cxr":
      continue
    number = 0 if gone else int(rng.integers(1, count + 1))
    vectors = [rng.normal(size=width).astype(np.float32) for _ in range(number)]
    if name == "ecg" and row == 1 and not gone:
      vectors[0][:2] = np.nan, np.inf
    stay[features] = [] if gone else vectors
    stay[times] = [] if gone else np.sort(rng.uniform(0, 48, number)).astype(
      object
    )  # fmt: skip
    if name == "text":
      stay["text_data"] = ["a note"] * number
  return stay


def mimic(folder, task="ihm", *, missing=False, overlap=False):
  """Writes `{train,val,test}_{task}[-missingInd]_stays.pkl`."""
  file = {
    "ihm": "ihm-48-cxr-notes-ecg",
    "los": "los-48-cxr-notes-ecg",
    "los_binary": "los-48-cxr-notes-ecg",
    "pheno": "pheno-all-cxr-notes-ecg",
  }[task]
  content = {}
  start = 0
  for split, n in SIZES.items():
    rng = _rng(split)
    labels = {
      "ihm": np.arange(n) % 2,
      "los": np.arange(n) % 4,
      "los_binary": np.arange(n) % 2,
      "pheno": (rng.random((n, 25)) < 0.5).astype(int),
    }[task]
    content[split] = [
      mimic_stay(rng, start + i, labels[i], missing=missing) for i in range(n)
    ]
    start += n - 1 if overlap else n + n % 2
    name = {"valid": "val"}.get(split, split)
    suffix = "-missingInd" if missing else ""
    dump(
      pathlib.Path(folder, f"{name}_{file}{suffix}_stays.pkl"), content[split]
    )
  return content


def arrays(n=20, seed=0):
  """Returns the fields of a split of an NPZ file."""
  rng = np.random.default_rng(seed)
  return {
    "x_text": rng.normal(size=(n, 3)).astype("f"),
    "x_audio": rng.normal(size=(n, 2)).astype("f"),
    "y": np.arange(n) % 2,
    "id": np.array([f"clip{i}" for i in range(n)]),
  }


def sequence(n=20, seed=0, *, irregular=True):
  """Returns a modality of 4 steps and 3 features with all optional fields."""
  rng = np.random.default_rng(seed)
  length = np.arange(n) % 4 + 1
  fields = {"x_text": rng.normal(size=(n, 4, 3)) + 5, "length_text": length}
  if irregular:
    fields["time_text"] = np.cumsum(rng.random((n, 4)), axis=1)
    fields["observed_text"] = rng.random((n, 4, 3)) < 0.8
  return fields


def load(name, folder, **options):
  """Loads the data set of a folder and keeps all steps."""
  options = {"average_steps": False, **options}
  return assembly.load(name, catalog.Options(data_dir=str(folder), **options))


def prepare(name, source_path, folder, **options):
  """Converts a data set and returns the builder."""
  builder = builders.make(
    name,
    str(source_path),
    str(folder),
    catalog.Options(average_steps=False, **options),
  )
  builder.download_and_prepare(download_dir=str(folder / "scratch"))
  return builder


def write_npz(folder, *, missing=0.0, test_order=None, multilabel=False):
  """Writes a binary problem: `sound` has the label, `words` less of it."""
  folder.mkdir()
  for seed, (split, n) in enumerate(
    (("train", 60), ("valid", 30), ("test", 40))
  ):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    arrays = {
      "x_sound": y[:, None] + 0.5 * rng.normal(size=(n, 3)),
      "x_words": y[:, None] + 2.0 * rng.normal(size=(n, 2)),
      "present_words": rng.random(n) >= missing,
      "id": [f"{split}{i}" for i in range(n)],
    }
    if split == "test" and test_order is not None:
      y = y[test_order.permutation(n)]
    arrays["y"] = np.stack([y, 1 - y], 1) if multilabel else y
    np.savez(folder / f"{split}.npz", **arrays)
  return folder


def write_routing(
  path,
  values,
  *,
  runs,
  modalities=("sound", "words"),
  epochs=2,
  stage="multimodal",
):
  """Writes shares `[S, L, M, E]` to a routing table.

  Earlier epochs of the run ("mi", 0.5) have different shares.
  """
  columns = ["stage", "run", "strength", "scale", "seed", "epoch", "layer"]
  experts = [f"expert{e}" for e in range(values.shape[-1])]
  with path.open("w", newline="") as file:
    writer = csv.DictWriter(file, [*columns, "modality", *experts])
    writer.writeheader()
    for run, strength in runs:
      for epoch in range(epochs):
        for s, layer, m in np.ndindex(values.shape[:3]):
          shares = values[s, layer, m]
          if (run, strength, epoch) != ("mi", 0.5, epochs - 1):
            shares = np.roll(shares, 1)
          writer.writerow(
            {
              "stage": stage, "run": run, "strength": strength,
              "scale": 1.0, "seed": 10 + s, "epoch": epoch, "layer": layer,
              "modality": modalities[m],
              **dict(zip(experts, shares, strict=True)),
            }
          )  # fmt: skip


def read_table(path):
  """Reads the rows of a CSV file."""
  with pathlib.Path(path).open(newline="", encoding="utf-8") as file:
    return list(csv.DictReader(file))


def read_json(path):
  """Reads a JSON file."""
  return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))

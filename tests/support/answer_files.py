"""Files with answers, written as the programs they come from write them."""

import contextlib
import csv
import dataclasses
import json
import pathlib

import numpy as np
import openpyxl
import pytest

from btw_jax import errors
from btw_jax.data.answers import choices


@dataclasses.dataclass(frozen=True)
class World:
  """Questions and the probabilities that a model gives to their options.

  Attributes:
    ids: `[N]` ids.
    probs: condition -> `[N, C]`, NaN past the options of a question.
    labels: `[N]` int.
    texts: `[N]` texts of the options.
  """

  ids: list[str]
  probs: dict[str, np.ndarray]
  labels: np.ndarray
  texts: list[tuple[str, ...]]

  @property
  def counts(self) -> np.ndarray:
    """Returns the number of options of each question."""
    return np.array([len(row) for row in self.texts])

  def log_probs(self, condition: str) -> np.ndarray:
    """Returns the log-probabilities; −inf past the options."""
    with np.errstate(divide="ignore"):
      return np.log(np.nan_to_num(self.probs[condition]))

  def decisions(self, condition: str) -> np.ndarray:
    """Returns the position of the likeliest option."""
    return np.nan_to_num(self.probs[condition]).argmax(1)

  def rows(self, condition: str) -> list[list[float]]:
    """Returns the probabilities of the options of each question."""
    pairs = zip(self.probs[condition], self.counts, strict=True)
    return [row[:n].tolist() for row, n in pairs]


def make_world(n: int = 12, seed: int = 0) -> World:
  """Returns questions with three or four options under three conditions."""
  rng = np.random.default_rng(seed)
  counts = 3 + np.arange(n) % 2
  probs = {}
  for name in ("both", "vision", "text"):
    values = rng.dirichlet(np.ones(4), n)
    values[np.arange(4) >= counts[:, None]] = np.nan
    probs[name] = values / np.nansum(values, axis=1, keepdims=True)
  words = ("cat", "two dogs", "a horse and a cow", "7")
  return World(
    ids=[str(100 + row) for row in range(n)],
    probs=probs,
    labels=rng.integers(0, counts),
    texts=[tuple(f"{w} {row}" for w in words[:c]) for row, c in
           enumerate(counts)],
  )  # fmt: skip


def write_lines(path: pathlib.Path, records) -> pathlib.Path:
  """Writes one JSON object per line."""
  path.write_text("".join(json.dumps(record) + "\n" for record in records))
  return path


def _per_condition(world, write):
  """Calls `write(condition)`, which returns a path; returns `--input`."""
  return ",".join(f"{name}={write(name)}" for name in world.probs)


def lm_eval_records(world: World, condition: str) -> list[dict]:
  """Returns the lines of lm-evaluation-harness, whose numbers are texts."""
  records = []
  for row, probs in enumerate(world.rows(condition)):
    # Sums over tokens: not normalised.
    sums = np.log(probs) - 5 - row
    pairs = [[repr(float(value)), "False"] for value in sums]
    texts, context = world.texts[row], f"Question {row}?\nAnswer:"
    records.append(
      {
        "doc_id": int(world.ids[row]),
        "doc": {
          "question": f"Question {row}?",
          "choices": list(texts),
          "answer": int(world.labels[row]),
          "category": f"category {row % 3}",
          "image_id": row // 2,
          "score": 0.5,
        },
        "target": str(world.labels[row]),
        "arguments": {
          f"gen_args_{i}": {"arg_0": context, "arg_1": f" {text}"}
          for i, text in enumerate(texts)
        },
        "resps": [[pair] for pair in pairs],
        "filtered_resps": pairs,
        "filter": "none",
        "metrics": ["acc", "acc_norm"],
        "doc_hash": "0" * 64,
        "prompt_hash": "0" * 64,
        "target_hash": "0" * 64,
        "acc": 1.0,
        "acc_norm": 0.0,
      }
    )
  return records


def lmms_eval_records(world: World, condition: str) -> list[dict]:
  """Returns the lines of lmms-eval, without documents and arguments."""
  keep = ("doc_id", "target", "filtered_resps", "doc_hash")
  return [
    {**{key: record[key] for key in keep}, "input": "<image> Question?"}
    for record in lm_eval_records(world, condition)
  ]


def write_lm_eval(folder, world):
  return _per_condition(
    world,
    lambda name: write_lines(
      folder / f"{name}_samples_mmlu_2025-01-02T03-04-05.678901.jsonl",
      lm_eval_records(world, name),
    ),
  )


def write_lmms_eval(folder, world):
  return _per_condition(
    world,
    lambda name: write_lines(
      folder / f"20250102_030405_samples_{name}.jsonl",
      lmms_eval_records(world, name),
    ),
  )


def vlmevalkit_rows(world: World, condition: str) -> list[dict]:
  """Returns the rows of VLMEvalKit; None is an empty cell."""
  rows = []
  for row, decision in enumerate(world.decisions(condition)):
    texts = [*world.texts[row], None][:4]
    rows.append(
      {
        "index": int(world.ids[row]),
        "question": f"Question {row}?",
        **dict(zip("ABCD", texts, strict=True)),
        "answer": "ABCD"[world.labels[row]],
        "category": f"category {row % 3}",
        "image_path": f"images/{row // 2}.jpg",
        "prediction": f"{'ABCD'[decision]}. {texts[decision]}",
      }
    )
  return rows


def write_xlsx(path, rows):
  """Writes rows to the first sheet."""
  book = openpyxl.Workbook()
  book.active.append(list(rows[0]))
  for row in rows:
    book.active.append(list(row.values()))
  book.save(path)
  return path


def write_csv(path, rows, delimiter=","):
  """Writes rows, with a header."""
  with open(path, "w", newline="") as file:
    writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
  return path


def write_vlmevalkit(folder, world):
  return _per_condition(
    world,
    lambda name: write_xlsx(
      folder / f"Qwen_MMBench_{name}.xlsx", vlmevalkit_rows(world, name)
    ),
  )


def pid_lvlm_records(world: World) -> list[dict]:
  """Returns the records; probabilities are padded with zeros."""
  padded = {name: np.nan_to_num(probs) for name, probs in world.probs.items()}
  return [
    {
      "id": name,
      "image": f"images/{row // 2}.jpg",
      "num_options": int(world.counts[row]),
      "conversations": [
        {"from": "human", "value": "<image>\nQuestion?"},
        {
          "from": "gpt",
          "value": "ABCD"[world.labels[row]],
          "label": "ABCD"[world.labels[row]],
          "v_prob": padded["vision"][row].tolist(),
          "l_prob": padded["text"][row].tolist(),
          "vl_prob": padded["both"][row].tolist(),
        },
      ],
    }
    for row, name in enumerate(world.ids)
  ]


def write_pid_lvlm(folder, world):
  path = folder / "pid.json"
  path.write_text(json.dumps(pid_lvlm_records(world)))
  return str(path)


def logprobs(listed: dict[str, float], chosen: str | None = None) -> dict:
  """Returns `logprobs` of one token: `listed` is token -> probability."""
  items = [
    {"token": token, "logprob": float(np.log(prob)), "bytes": None}
    for token, prob in sorted(listed.items(), key=lambda item: -item[1])
  ]
  first = next((i for i in items if i["token"] == chosen), items[0])
  return {"content": [{**first, "top_logprobs": items}]}


def batch_records(world: World, condition: str) -> list[dict]:
  """Returns the lines of the batch API; letters hold .9 of the mass."""
  records = []
  for row, probs in enumerate(world.rows(condition)):
    listed = {"The": 0.06, "\n": 0.03}
    for letter, prob in zip("ABCD", probs, strict=False):
      listed[letter], listed[f" {letter}"] = 0.6 * prob, 0.3 * prob
    answer = {"index": 0, "logprobs": logprobs(listed), "finish_reason": "stop"}
    records.append(
      {
        "id": f"batch_req_{row}",
        "custom_id": world.ids[row],
        "options": list(world.texts[row]),
        "label": "ABCD"[world.labels[row]],
        "response": {
          "status_code": 200,
          "body": {"id": "chatcmpl-1", "choices": [answer]},
        },
        "error": None,
      }
    )
  return records


def write_top_logprobs(folder, world):
  return _per_condition(
    world,
    lambda name: write_lines(
      folder / f"batch_{name}.jsonl", batch_records(world, name)
    ),
  )


def table_rows(world: World) -> list[dict]:
  """Returns the rows of a table in long form."""
  return [
    {
      "id": world.ids[row],
      "condition": name,
      "label": choices.letter(int(world.labels[row])),
      "category": f"category {row % 3}",
      **{f"p_{a}": "" for a in "ABCD"},
      **{f"p_{a}": repr(p) for a, p in zip("ABCD", probs, strict=False)},
    }
    for name in world.probs
    for row, probs in enumerate(world.rows(name))
  ]


def write_table(folder, world):
  return str(write_csv(folder / "answers.csv", table_rows(world)))


def write_arrays(folder, world):
  path = folder / "answers.npz"
  np.savez(
    path, **world.probs, labels=world.labels, ids=np.array(world.ids),
    group_category=np.arange(len(world.ids)) % 3,
  )  # fmt: skip
  return str(path)


WRITERS = {
  "lm_eval": write_lm_eval,
  "lmms_eval": write_lmms_eval,
  "vlmevalkit": write_vlmevalkit,
  "pid_lvlm": write_pid_lvlm,
  "top_logprobs": write_top_logprobs,
  "table": write_table,
  "arrays": write_arrays,
}
# These hold decisions only.
HARD = ("vlmevalkit",)


@contextlib.contextmanager
def refuses(*parts):
  """Expects an error of one line that has each of the parts, in order."""
  with pytest.raises(errors.InputError) as error:
    yield
  message = str(error.value)
  assert "\n" not in message
  place = 0
  for part in parts:
    assert part in message[place:], message
    place = message.index(part, place) + len(part)

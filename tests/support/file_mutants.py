"""Seeded damage to files: cut, flipped, swapped, retyped and reordered."""

import csv
import gzip
import io
import json
import pathlib
import pickle
import zlib

import numpy as np
import pandas as pd

KINDS = ("cut", "flip", "swap", "retype", "reorder")
ODD = (
  None, "", "x", "nan", "-inf", "1e999", "'", '"', "\x00", "1,5", "=1+1",
  "9" * 30, "ä" * 3, -1, 0, 10**18, 10**30, 1e308, float("nan"), float("inf"),
  True, [], {}, [1, 2], {"a": 1}, b"\xff",
)  # fmt: skip
_DTYPES = (
  "int8", "uint64", "float16", "float64", "bool", "complex64", "U4", "S4",
  "datetime64[s]", "object",
)  # fmt: skip


def mutate(path: pathlib.Path, kind: str, rng: np.random.Generator) -> None:
  """Damages a file in place."""
  if kind in ("retype", "reorder"):
    _CONTENT[path.suffix](path, kind, rng)
  elif path.suffix == ".gz" and rng.random() < 0.7:
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(_damage(content, kind, rng)))
  else:
    path.write_bytes(_damage(path.read_bytes(), kind, rng))


def num_rows(path: pathlib.Path) -> int | None:
  """Counts the rows of a text table after its header; None if it is broken."""
  content = path.read_bytes()
  try:
    content = gzip.decompress(content) if path.suffix == ".gz" else content
    text = content.decode("utf-8-sig")
  except (OSError, EOFError, ValueError, zlib.error):
    return None
  delimiter = "\t" if ".tsv" in path.name else ","
  rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
  return sum(bool(row) for row in rows) - 1


def _damage(content, kind, rng):
  content = bytearray(content)
  if kind == "cut":
    return content[: rng.integers(len(content))]
  if kind == "flip":
    for _ in range(rng.integers(1, 4)):
      content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    return content
  size = int(rng.integers(1, max(2, len(content) // 4)))
  first, second = sorted(rng.integers(0, len(content) - size + 1, 2))
  second = max(second, min(first + size, len(content) - size))
  a, b = content[first : first + size], content[second : second + size]
  content[second : second + size] = a
  content[first : first + size] = b
  return content


def _odd(rng):
  return ODD[rng.integers(len(ODD))]


def _mutate_text(path, kind, rng):
  is_gz, tab = path.suffix == ".gz", ".tsv" in path.name
  content = path.read_bytes()
  text = (gzip.decompress(content) if is_gz else content).decode()
  delimiter = "\t" if tab else ","
  rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
  if kind == "reorder":
    # The rows, with or without the header, or the columns.
    start = int(rng.integers(2))
    if rng.random() < 0.5:
      rows[start:] = [
        rows[start + i] for i in rng.permutation(len(rows[start:]))
      ]
    else:
      order = rng.permutation(len(rows[0]))
      rows = [[row[i] for i in order if i < len(row)] for row in rows]
  else:
    row = rng.integers(len(rows))
    column = rng.integers(len(rows[row]))
    for i in range(row, len(rows) if rng.random() < 0.3 else row + 1):
      rows[i][column] = str(_odd(rng))
  lines = io.StringIO(newline="")
  csv.writer(lines, delimiter=delimiter).writerows(rows)
  content = lines.getvalue().encode()
  path.write_bytes(gzip.compress(content) if is_gz else content)


def _mutate_parquet(path, kind, rng):
  table = pd.read_parquet(path)
  if kind == "reorder":
    axis = int(rng.integers(2))
    order = rng.permutation(table.shape[axis])
    table = table.take(order, axis=axis)
  else:
    column = table.columns[rng.integers(table.shape[1])]
    values = table[column].tolist()
    kinds = {
      "words": lambda v: f"w{v}", "lists": lambda v: [v, v],
      "whole": lambda v: int(float(v) * 3), "none": lambda v: None,
      "times": lambda v: pd.Timestamp(2020, 1, 1), "true": lambda v: True,
    }  # fmt: skip
    change = list(kinds.values())[rng.integers(len(kinds))]
    table[column] = [change(v) for v in values]
  table.to_parquet(path, index=bool(rng.integers(2)))


def _mutate_npz(path, kind, rng):
  with np.load(path, allow_pickle=True) as file:
    arrays = dict(file)
  name = sorted(arrays)[rng.integers(len(arrays))]
  arrays[name] = _mutate_array(arrays[name], kind, rng)
  np.savez(path, **arrays)


def _mutate_array(x, kind, rng):
  if kind == "reorder":
    x = x.T if rng.random() < 0.3 else x
    return rng.permutation(x) if x.ndim else x
  change = rng.integers(4)
  if change == 0 or not x.size:
    return x[..., None]
  if change == 1:
    return x[: rng.integers(len(x))] if x.ndim else x
  if change == 2:
    x = x.astype(object)
    x.reshape(-1)[rng.integers(x.size)] = 0
    return x
  try:
    with np.errstate(all="ignore"):
      return x.astype(_DTYPES[rng.integers(len(_DTYPES))])
  except (ValueError, TypeError, OverflowError):
    return x.astype(str)


def _mutate_pickle(path, kind, rng):
  content = pickle.loads(path.read_bytes())
  path.write_bytes(pickle.dumps(_mutate_node(content, kind, rng), protocol=4))


def _mutate_json(path, kind, rng):
  text = path.read_text()
  if path.suffix == ".jsonl":
    records = [json.loads(line) for line in text.splitlines()]
    lines = [json.dumps(x) for x in _mutate_node(records, kind, rng, top=True)]
    path.write_text("".join(f"{line}\n" for line in lines))
  else:
    node = _mutate_node(json.loads(text), kind, rng)
    path.write_text(json.dumps(node, default=str))


def _mutate_node(node, kind, rng, *, top=False):
  """Changes one place of nested containers."""
  if isinstance(node, np.ndarray) and node.ndim:
    return _mutate_array(node, kind, rng)
  is_container = isinstance(node, dict | list | tuple) and len(node)
  if is_container and (top or rng.random() < 0.85):
    if kind == "reorder" and rng.random() < 0.4:
      order = rng.permutation(len(node))
      if isinstance(node, dict):
        keys, values = list(node), list(node.values())
        return {keys[i]: values[j] for i, j in enumerate(order)}
      return type(node)(node[i] for i in order)
    if isinstance(node, dict):
      key = list(node)[rng.integers(len(node))]
      return node | {key: _mutate_node(node[key], kind, rng)}
    place = int(rng.integers(len(node)))
    changed = _mutate_node(node[place], kind, rng)
    return type(node)([*node[:place], changed, *node[place + 1 :]])
  odd = _odd(rng)
  return odd.hex() if isinstance(odd, bytes) else odd


def _mutate_bytes(path, kind, rng):
  """Stands for changes of the content of a format that has no writer here."""
  kind = {"retype": "flip", "reorder": "swap"}[kind]
  path.write_bytes(_damage(path.read_bytes(), kind, rng))


_CONTENT = {
  ".csv": _mutate_text, ".tsv": _mutate_text, ".gz": _mutate_text,
  ".parquet": _mutate_parquet, ".npz": _mutate_npz, ".pkl": _mutate_pickle,
  ".json": _mutate_json, ".jsonl": _mutate_json, ".xlsx": _mutate_bytes,
  ".mat": _mutate_bytes,
}  # fmt: skip

"""Realistic pickles, and seeded damage to them."""

import collections
import pickle
import pickletools
import sys
import types

import numpy as np
import pandas

# A module whose functions leave a trace; nothing may call them.
CANARY = "pickle_canary"

_NAMES = [
  (CANARY, "sing"), (CANARY, "Bird"), ("os", "system"), ("builtins", "eval"),
  ("builtins", "list"), ("builtins", "range"), ("builtins", "bytearray"),
  ("builtins", "frozenset"), ("numpy", "ndarray"), ("numpy", "dtype"),
  ("numpy._core.multiarray", "_reconstruct"),
  ("numpy._core.multiarray", "scalar"), ("numpy._core.numeric", "_frombuffer"),
  ("collections", "OrderedDict"), ("collections", "defaultdict"),
  ("pandas", "DataFrame"), ("pandas", "Index"), ("pandas", "RangeIndex"),
  ("pandas", "Categorical"), ("pandas.core.indexes.base", "_new_Index"),
  ("pandas._libs.internals", "_unpickle_block"),
  ("pandas._libs.arrays", "__pyx_unpickle_NDArrayBacked"),
  ("pyarrow.lib", "_restore_array"), ("pyarrow.lib", "py_buffer"),
]  # fmt: skip


def canary():
  """Puts the module into `sys.modules`; returns the list of its calls."""
  calls = []
  module = types.ModuleType(CANARY)
  module.sing = lambda *args, **kwargs: calls.append("sing")

  class Bird:
    def __new__(cls, *args, **kwargs):
      calls.append("new")
      return object.__new__(cls)

    def __setstate__(self, state):
      calls.append("setstate")

  module.Bird = Bird
  sys.modules[CANARY] = module
  return calls


def state():
  """Returns the attributes of all that a pickle may name, to compare."""
  found = {}
  for module, name in _NAMES:
    value = getattr(sys.modules.get(module), name, None)
    found[module, name] = (
      id(value),
      {key: id(v) for key, v in getattr(value, "__dict__", {}).items()},
      getattr(value, "__defaults__", None),
      getattr(value, "__kwdefaults__", None),
    )
  return found


def contents():
  """Returns data as it stands in the files that people have."""
  rng = np.random.default_rng(0)
  text = np.array([f"words {i}" for i in range(4)])
  split = {
    "text": rng.normal(size=(4, 3, 2)).astype("f"),
    "id": ["a$_$1", "b$_$2", "c$_$3", "d$_$4"],
    "raw_text": text,
    "audio_lengths": [1, 2, 3, 4],
    "regression_labels": np.asfortranarray(rng.normal(size=(4, 1))),
  }
  row = ((rng.normal(size=(2, 3)), ["w", "x"], 3, np.int64(4)), "id[1]")
  stay = {
    "ts_tt": np.array([1.5, 2, None, "x"], dtype=object),
    "label": np.bool_(True),
    "seen": {1, "a", (2, "b")},
    "when": np.array(["2020-01-01"], dtype="M8[D]"),
    "parts": np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8", (2,))]),
    "more": collections.OrderedDict(a=collections.defaultdict(list, b=[1])),
    "bytes": [b"\xff", bytearray(b"ab"), 1 + 2j, slice(1, 2), frozenset([3])],
  }
  table = pandas.DataFrame(
    {
      "a": [1.5, 2.5], "b": [1, 2], "c": ["x", "y"],
      "k": pandas.Categorical(["u", "v"]),
    },
    index=pandas.MultiIndex.from_tuples([(1, "a"), (2, "b")]),
  )  # fmt: skip
  return {
    "mmsa": {"train": split},
    "mmim": [row, row],
    "mimic": [stay],
    "table": table,
    "series": pandas.Series([1.5, 2.5], index=["x", "y"], name="s"),
  }


def files():
  """Returns pickles of all contents, by several protocols."""
  return [
    pickle.dumps(content, protocol)
    for content in contents().values()
    for protocol in (0, 2, 4, 5)
  ]


def _flip(rng, code):
  code = bytearray(code)
  for _ in range(rng.integers(1, 4)):
    code[rng.integers(len(code))] ^= 1 << int(rng.integers(8))
  return bytes(code)


def _cut(rng, code):
  start, end = sorted(rng.integers(len(code), size=2))
  return code[:start] + code[end:] if rng.random() < 0.5 else code[:end]


def _positions(code):
  return [at for _, _, at in pickletools.genops(code)]


def _insert(rng, code):
  """Inserts operations, most of which act on what stands there."""
  at = int(rng.choice(_positions(code)))
  choices = [
    bytes([op]) for op in b"Rb\x81\x92o(t)]}s\x90\x91eu02h\x94\x85\x86"
  ]
  module, name = _NAMES[rng.integers(len(_NAMES))]
  choices += [
    f"c{module}\n{name}\n".encode(), f"i{module}\n{name}\n".encode(),
    b"h\x01", b"h\x05", b"K\x05", b"X\x01\x00\x00\x00a", b"J\xff\xff\xff\xff",
    b"\x82\x01", b"P1\n", b"\x97", b"\x98", b"\x8a\x08" + b"\x7f" * 8,
  ]  # fmt: skip
  inserted = [choices[i] for i in rng.integers(len(choices), size=3)]
  return code[:at] + b"".join(inserted) + code[at:]


def _rename(rng, code):
  """Replaces a name by another one that is or is not allowed."""
  ops = list(pickletools.genops(code))
  starts = [i for i, (op, _, _) in enumerate(ops)
            if op.name in ("GLOBAL", "STACK_GLOBAL")]  # fmt: skip
  if not starts:
    return _insert(rng, code)
  i = int(rng.choice(starts))
  start, end = ops[i][2], ops[i + 1][2]
  module, name = _NAMES[rng.integers(len(_NAMES))]
  drop = b"" if ops[i][0].name == "GLOBAL" else b"00"
  other = f"c{module}\n{name}\n".encode()
  return code[:start] + drop + other + code[end:]


def _swap(rng, code):
  """Exchanges two runs of operations, so that arguments change places."""
  positions = _positions(code)
  cuts = sorted(int(c) for c in rng.choice(positions, 4))
  a, b, c, d = cuts
  return code[:a] + code[c:d] + code[b:c] + code[a:b] + code[d:]


def _repeat(rng, code):
  a, b = sorted(int(c) for c in rng.choice(_positions(code), 2))
  return code[:b] + code[a:b] * int(rng.integers(1, 5)) + code[b:]


def _retype(rng, code):
  """Changes a small number: a size, a shape, a flag or a place in the memo."""
  places = [
    at + 1 for op, _, at in pickletools.genops(code)
    if op.name in ("BININT1", "BINGET", "BINPUT", "SHORT_BINUNICODE")
  ]  # fmt: skip
  if not places:
    return _flip(rng, code)
  code = bytearray(code)
  for at in rng.choice(places, 2):
    code[at] = rng.choice([0, 1, 2, 3, 127, 255, rng.integers(256)])
  return bytes(code)


MUTATIONS = (_flip, _cut, _insert, _rename, _swap, _repeat, _retype)


def mutants(number, seed=0):
  """Yields damaged pickles."""
  rng = np.random.default_rng(seed)
  originals = files()
  for i in range(number):
    mutate = MUTATIONS[i % len(MUTATIONS)]
    yield mutate(rng, originals[rng.integers(len(originals))])

"""Question files with pictures, for pretrained models."""

import json

import numpy as np
from PIL import Image


def write(folder, num_questions=24):
  """Writes a file whose odd questions have a picture; returns its path."""
  folder.mkdir(exist_ok=True)
  rng = np.random.default_rng(0)
  entries = []
  for number in range(num_questions):
    has_image = number % 2
    entry = {
      "id": f"question {number}",
      "question": "Which digit is shown?" if has_image else "two plus one is ?",
      "multiple_choices": dict(
        zip("ABC", ["one", "two", "three"], strict=True)
      ),
      "multiple_choices_answer": "ABC"[number % 3],
    }
    if has_image:
      entry["image"] = f"{number}.png"
      pixels = rng.integers(0, 256, (20 + number, 30, 3), np.uint8)
      Image.fromarray(pixels).save(folder / entry["image"])
    if number % 4 == 1:
      entry["facts"] = ["Snow is cold."]
    entries.append(entry)
  path = folder / "questions.json"
  path.write_text(json.dumps(entries), encoding="utf-8")
  return path

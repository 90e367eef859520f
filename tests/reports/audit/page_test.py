"""The page of an audit says what audit.json holds, and nothing else."""

import html
import itertools
import re

import pytest

from btw_jax.reports import palette
from btw_jax.reports.audit import page as audit_page
from btw_jax.reports.audit import tables as audit_tables
from support import audit_contents as audits
from support import browser

_HOSTILE = "<script>alert(1)</script>"


def _terms(text):
  return re.findall("<dt>([^<]*)</dt>", text)


@pytest.fixture(scope="module")
def full():
  return audit_page.write(audits.everything())


def test_a_hostile_name_is_text_wherever_it_stands():
  content = audits.everything() | {
    "reference": _HOSTILE,
    "roles": f"{_HOSTILE} shows everything",
    "notes": [_HOSTILE],
    "lacking": {_HOSTILE: _HOSTILE},
    "files": {_HOSTILE: _HOSTILE},
    "versions": {_HOSTILE: _HOSTILE},
    "finished": _HOSTILE,
    "options": {"by": "</pre><b>"},
    "conditions": [audits.condition(_HOSTILE, 0.9)],
    "changes": [audits.change(_HOSTILE, 0.4, -0.3)],
    "interactions": [
      audits.interaction(
        audits.atoms(0.4, 0.1, 0, 0), first=_HOSTILE, second='" onload="x'
      )
    ],
  }
  content["information"][0]["modality"] = _HOSTILE
  content["weights"] = [{"variant": "kl", "means": {_HOSTILE: 1.0}}]
  content["training_weights"]["shortcut"] = _HOSTILE
  content["ensembles"][0]["ensemble"] = _HOSTILE
  text = audit_page.write(content)
  assert text.count("<script") == 1
  assert "alert(1)" in html.unescape(text)
  assert "<b>" not in text
  assert ' onload="' not in text
  for figure in browser.figures(text).values():
    assert "<script" not in figure


def test_dollar_signs_are_no_formula():
  """Matplotlib would write x with an index, without the dollar signs."""
  content = audits.content(
    conditions=[audits.condition("$x_1$", 0.9)],
    interactions=[
      audits.interaction(
        audits.atoms(0.4, 0, 0, 0), task="$t_2$", second="$a^b$"
      ),
    ],
  )
  figures = browser.figures(audit_page.write(content))
  assert ">$x_1$</text>" in figures["Answers: accuracy, 95 % interval"]
  name = "Interactions (PID): information from vision and $a^b$"
  assert ">information from vision and $a^b$</text>" in figures[name]
  assert ">unique: $a^b$</text>" in figures[name]
  assert ">$t_2$</text>" in figures[name]


def test_the_page_needs_no_other_file(full):
  assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', full)
  assert "@import" not in full
  assert not re.search(r"url\((?!#)", full)
  figures = browser.figures(full)
  # Accuracy, two of changes, two of interactions, information and weights.
  assert len(figures) == 7
  for figure in figures.values():
    assert not re.findall(r'href="(?!#)[^"]*"', figure)


def test_every_table_stands_once(full):
  tables = audit_tables.all_tables(audits.everything())
  assert len(tables) == 7
  captions = [*(table.caption for table in tables), "Files"]
  assert re.findall("<caption>(.*?)</caption>", full) == captions
  for table in tables:
    assert full.count(f'<h2 id="{table.name}">{table.title}</h2>') == 1
    assert html.unescape(full).count(table.note) == 1


def test_empty_parts_are_left_out(full):
  """An audit that measured nothing has only the parts of every page."""
  empty = audit_page.write(audits.content())
  headings = re.findall('<h2 id="([^"]*)"', empty)
  assert headings == ["glossary", "made"]
  assert re.findall('<a href="#([^"]*)"', empty) == headings
  assert browser.figures(empty) == {}
  for text in ("finished", "Notes on the files", "do not allow", "Options"):
    assert text not in empty, text
  assert "finished 2026-11-26" in full
  assert "Notes on the files" in full


def test_links_lead_to_headings(full):
  anchors = re.findall('<a href="#([^"]+)"', full)
  assert len(anchors) == 10
  for anchor in anchors:
    assert full.count(f'id="{anchor}"') == 1, anchor
  levels = [int(level) for level in re.findall(r"<h(\d)", full)]
  assert levels[0] == 1
  assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_sentences_stand_in_boxes_and_what_is_lacking_in_a_list():
  content = audits.everything() | {"lacking": {"accuracy": "a label"}}
  text = html.unescape(audit_page.write(content))
  sentences = audit_tables.sentences(content)
  assert len(sentences) > 2
  assert re.findall('<p class="advice">(.*?)</p>', text) == sentences
  assert "<li>accuracy: give a label.</li>" in text
  assert "<li>A note.</li>" in text


def test_the_glossary_has_the_terms_of_the_page_only(full):
  assert {
    "changed input", "NLL", "ECE", "BTW variants", "PID", "gap", "GapScore",
    "SR, SC", "FP", "correlation",
  } < set(_terms(full))  # fmt: skip
  assert "distance" not in _terms(full)
  content = audits.content(conditions=[audits.condition("both", 0.9)])
  assert _terms(audit_page.write(content)) == ["condition", "95 % interval"]
  content["changes"] = [audits.change("noise", 0.4)]
  assert "decision" in _terms(audit_page.write(content))


def test_negative_atoms_keep_their_sign(full):
  assert "<td>-0.100 ± 0.010</td>" in full
  assert "<td>-0.200 ± 0.010</td>" in full


def test_files_tell_what_they_hold():
  content = audits.content(
    files={"both": "a.jsonl", "text": "b.csv"}, probabilities=["both"]
  )
  text = audit_page.write(content)
  rows = re.findall(r"<tr><th scope=\"row\">(.*?)</th>(.*?)</tr>", text)
  assert [
    (name, re.findall("<td>(.*?)</td>", rest)) for name, rest in rows
  ] == [
    ("both", ["a.jsonl", "probabilities"]),
    ("text", ["b.csv", "answers without probabilities"]),
  ]


def test_figures_have_the_colours_of_the_palette(full):
  known = {*palette.LIGHT.drawn()}
  for title, figure in browser.figures(full).items():
    drawing = figure.split("</style>", 1)[1]
    colors = set(re.findall(r"(?:fill|stroke)[:=] ?\"?(#\w{6})", drawing))
    assert palette.LIGHT.ink in colors, title
    assert colors <= known, title


@pytest.mark.slow
@pytest.mark.parametrize(("width", "smallest"), [(1280, 11), (390, 10)])
def test_many_long_names_fit_into_the_page(tmp_path, width, smallest):
  names = [f"a_long_name_of_a_condition_with_number_{n}" for n in range(28)]
  names += ["$x_1$", "很长的条件名称很长的条件名称"]
  content = audits.everything() | {
    "conditions": [audits.condition(name, 0.5) for name in names],
    "changes": [audits.change(name, 0.4, -0.3) for name in names],
    "interactions": [
      audits.interaction(
        audits.atoms(0.4, -0.1, 0.1, 0.1), task=name, first="the first modality"
      )
      for name in names
    ],
  }
  content["weights"] = [
    {"variant": v, "means": dict.fromkeys(names, 1 / 30)} for v in ("kl", "mi")
  ]
  report = browser.look(audit_page.write(content), tmp_path, width)
  assert report["problems"] == []
  assert report["smallest"] >= smallest
  assert len(report["figures"]) == 7

"""Reads the Markdown documents: text, links, commands, tables, examples."""

import re

from support import environment

ROOT = environment.ROOT

# Output folders of runs and builds contain no documents of the project.
_RUN_FOLDERS = ("runs", "build", "dist")
_FOLDERS = [
  path
  for path in ROOT.iterdir()
  if path.is_dir() and path.name[0] != "." and path.name not in _RUN_FOLDERS
]
DOCUMENTS = sorted(
  [*ROOT.glob("*.md"), *(f for top in _FOLDERS for f in top.rglob("*.md"))]
)

# A link in Markdown, or a link or picture in HTML.
_LINK = r'(?:\]\(|href="|src=")([^)"\s]+)'


def name(document):
  return str(document.relative_to(ROOT))


def text(document):
  return document.read_text(encoding="utf-8")


def prose(document):
  """Returns the text without its blocks of code."""
  return re.sub(r"^```.*?^```", "", text(document), flags=re.S | re.M)


def anchors(document):
  """Returns the anchors that GitHub gives to the headings."""
  anchors = []
  for heading in re.findall(r"^#+ (.*)$", prose(document), re.M):
    words = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    anchor = words.replace(" ", "-")
    number = sum(re.sub(r"-\d+$", "", a) == anchor for a in anchors)
    anchors.append(f"{anchor}-{number}" if number else anchor)
  return anchors


def links(document):
  """Yields the file and the anchor of every relative link."""
  for target in re.findall(_LINK, prose(document)):
    if not re.match(r"[a-z]+:", target):
      file, _, anchor = target.partition("#")
      path = (document.parent / file).resolve() if file else document
      yield target, path, anchor


def commands(document):
  """Yields every line of the blocks of code, continuation lines joined."""
  fenced = re.findall(r"^```bash\n(.*?)^```", text(document), re.S | re.M)
  indented = re.findall(r"(?:^ {4}.*\n)+", prose(document), re.M)
  for block in (*fenced, *indented):
    yield from block.replace("\\\n", " ").splitlines()


def tables(document):
  """Yields the lines of every table."""
  for table in re.findall(r"(?:^\|.*\n)+", prose(document) + "\n", re.M):
    yield table.splitlines()


def examples():
  return [
    (document, code)
    for document in DOCUMENTS
    for code in re.findall(r"```python\n(.*?)```", text(document), re.S)
  ]


def expand(name):
  """Returns every choice of `{a,b}`."""
  choices = re.search(r"{(.*?)}", name)
  if not choices:
    return [name]
  return [
    full
    for choice in choices[1].split(",")
    for full in expand(name.replace(choices[0], choice, 1))
  ]

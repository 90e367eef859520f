"""Writes pages without external files from the HTML templates beside it."""

import base64
from collections.abc import Mapping
import pathlib
from typing import Any

import jinja2

from btw_jax.reports import palette
from btw_jax.reports import svg

FOLDER = pathlib.Path(__file__).parent


def render(name: str, **fields: Any) -> str:
  """Writes a page by the template `name`, in the colours of the palette.

  Templates extend base.html, which holds the style of all pages, and share the
  parts in macros.html.
  """
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(FOLDER),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
  )
  return environment.get_template(name).render(
    light=palette.LIGHT.css(), dark=palette.DARK.css(), **fields
  )


def encode(panel: svg.Panel) -> Mapping[str, str]:
  """Returns a panel with its drawing in base64, as data URLs need it."""
  encoded = base64.b64encode(panel.svg.encode()).decode()
  return {"name": panel.name, "title": panel.title, "encoded": encoded}

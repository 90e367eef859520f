"""The helper opens a page in a browser and reports its problems."""

import base64
import html
import json
import pathlib
import re
import shutil
import subprocess

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# This script comes before all other content of the page.
_LISTEN = """<script>
window.problems = [];
window.addEventListener("error", (event) => window.problems.push(
  event.message || "not loaded: " + (event.target.alt || event.target.tagName)
), true);
for (const level of ["error", "warn"])
  console[level] = (...args) => window.problems.push(args.join(" "));
</script>"""
# This script comes last: it finds empty figures and misplaced text.
_LOOK = """<script>
window.addEventListener("load", async () => {
  const problems = window.problems, slack = 2;
  const page = document.documentElement;
  if (page.scrollWidth > window.innerWidth + slack)
    problems.push("page is wider than the window: " + page.scrollWidth);
  for (const element of document.querySelectorAll("body *"))
    if (!element.closest(".wide, pre, svg") && element.clientWidth
        && element.scrollWidth > element.clientWidth + slack)
      problems.push("text overflows: " + element.outerHTML.slice(0, 80));
  const images = [...document.querySelectorAll("figure img")];
  let smallest = Infinity;
  const stage = document.body.appendChild(document.createElement("div"));
  for (const image of images) {
    if (!image.complete || !image.naturalWidth)
      { problems.push("shows nothing: " + image.alt); continue; }
    const svg = new DOMParser().parseFromString(
      new TextDecoder().decode(Uint8Array.from(
        atob(image.src.split(",")[1]), (c) => c.charCodeAt(0))),
      "image/svg+xml").documentElement;
    stage.replaceChildren(svg);
    const frame = svg.getBoundingClientRect();
    const shown = image.getBoundingClientRect().width;
    const scale = shown / svg.viewBox.baseVal.width;
    for (const text of svg.querySelectorAll("text, tspan"))
      smallest = Math.min(
        smallest, scale * parseFloat(getComputedStyle(text).fontSize));
    for (const text of svg.querySelectorAll("text")) {
      const box = text.getBoundingClientRect();
      if (box.left < frame.left - slack || box.right > frame.right + slack
          || box.top < frame.top - slack || box.bottom > frame.bottom + slack)
        problems.push("outside of " + image.alt + ": " + text.textContent);
    }
    if (!svg.querySelector("path")) problems.push("empty: " + image.alt);
  }
  stage.remove();
  for (const link of document.querySelectorAll("a.save")) {
    link.addEventListener("click", (event) => event.preventDefault());
    link.click();
    if (!link.href.startsWith("data:image/svg+xml") || !link.download)
      problems.push("cannot be saved: " + link.download);
  }
  const report = {
    problems, figures: images.map((image) => image.alt), smallest };
  parent.postMessage(JSON.stringify(report), "*");
});
</script>"""
# A window is never narrower than 500 pixels, but a frame can be.
_FRAME = """<!doctype html>
<script>
addEventListener("message", (event) => {
  const script = document.createElement("script");
  script.id = "report"; script.type = "application/json";
  script.textContent = event.data;
  document.body.appendChild(script);
});
</script>
<iframe src="WIDTH.html" width="WIDTH" height="900" style="border: 0"></iframe>
"""


def find() -> str:
  """Returns the program of the browser, or skips the test."""
  for name in _NAMES:
    if shutil.which(name):
      return shutil.which(name)
  pytest.skip("no Chromium: install it, say by apt-get install chromium")


def look(html: str, folder: pathlib.Path, width: int) -> dict:
  """Opens a page, with no network.

  Args:
    html: the page.
    folder: the folder for temporary files.
    width: the width of the window in pixels.

  Returns:
    A dict of "problems" (texts), "figures" (alternative texts) and "smallest"
    (the size of the smallest text of figures, in pixels).
  """
  page = folder / f"{width}.html"
  head, body = html.split("<head>", 1)
  html = f"{head}<head>{_LISTEN}{body.replace('</body>', _LOOK + '</body>')}"
  page.write_text(html, encoding="utf-8")
  frame = folder / f"frame{width}.html"
  frame.write_text(_FRAME.replace("WIDTH", str(width)), encoding="utf-8")
  done = subprocess.run(
    [
      find(), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
      f"--user-data-dir={folder / 'profile'}", "--window-size=1600,1000",
      "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=20000",
      frame.as_uri(),
    ],
    capture_output=True,
    text=True,
    timeout=120,
    check=True,
  )  # fmt: skip
  match = re.search(
    r'<script id="report" type="application/json">(.*?)</script>',
    done.stdout,
    re.DOTALL,
  )
  return json.loads(match[1])


def figures(page):
  """Returns the alternative text of each figure of a page -> its SVG text."""
  found = re.findall(r'<img alt="([^"]*)" src="[^,]*,([^"]*)"', page)
  return {
    html.unescape(name): base64.b64decode(data).decode() for name, data in found
  }

"""A page with nothing but explorers on it, for their still pictures and their tests."""

import json
from typing import Any

import notebooks

RUNTIME = notebooks.ROOT / "book" / "_ext" / "explorers.js"
PAGE = """<!DOCTYPE html>
<html lang="en" data-theme="light"><head><meta charset="utf-8"><title>Explorers</title>
<meta name="viewport" content="width=device-width">
<style>body {{ margin: 0; background: #fff; font-family: system-ui, sans-serif }}
html[data-theme=dark] body {{ background: #14181e; color: #fff }} main {{ padding: 12px }}</style>
<script type="application/vnd.jupyter.widget-state+json">{state}</script></head>
<body><main><h1>Explorers</h1>{views}</main><script>{runtime}</script></body></html>
"""
VIEW = '<script type="application/vnd.jupyter.widget-view+json">{}</script><div class="vae-live"></div>'


def page(state: dict[str, Any], views: list[str]) -> str:
    """Return a page that shows the models of these names, given a notebook's widget state."""
    marks = [VIEW.format(json.dumps({"model_id": name})) for name in views]
    # A script that stands in the page has no address; any will do, since nothing is fetched.
    runtime = RUNTIME.read_text("utf8").replace("document.currentScript.src", "location.href")
    safe = json.dumps(state).replace("</", r"<\/")
    return PAGE.format(state=safe, views="\n".join(marks), runtime=runtime.replace("</", r"<\/"))

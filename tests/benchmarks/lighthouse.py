"""Lighthouse's judgement of the built site: performance, accessibility, best practices, SEO, each out of 100.

    make book && make lighthouse

or, for other pages, ``.venv/bin/python tests/benchmarks/lighthouse.py book/running.html``. It takes
Lighthouse as it comes (a middling phone on a slow network, simulated) and packs text as GitHub Pages does.
Of three runs a page the middle one counts, for they differ by a few points. It ends with 1 where a score is
below 95. No part of `make test`: npx fetches Lighthouse, and a busy machine makes a page seem slow (the
benchmark index says how fast it was; below 1,500 the figures mean little). What makes the pages light is held
by tests/test_site.py. Needs node, Chromium and, at first, a network.
"""

import functools
import gzip
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "book" / "_tools"))
import chromium  # noqa: E402  # a tool of the book, not a package

PAGES = ["book/intro.html", "book/foundations/elbo.html", "book/vae/variational-autoencoder.html"]
LEAST = 95
TIMES = {
    "FCP": "first-contentful-paint",
    "LCP": "largest-contentful-paint",
    "TBT": "total-blocking-time",
    "CLS": "cumulative-layout-shift",
}
COMMAND = ["npx", "--yes", "lighthouse@12", "--quiet", "--output=json"]
FLAGS = f"--chrome-flags=--headless=new {' '.join(chromium.FLAGS)}"


class Packing(http.server.SimpleHTTPRequestHandler):
    """A file server that packs text, and prints nothing."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Send one file."""
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            return self.send_error(404)
        kind, content = self.guess_type(path), path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        if any(word in kind for word in ("text", "javascript", "json", "xml")):
            content = gzip.compress(content, 6)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def judge(url: str) -> tuple[list[int], str]:
    """Return the four scores of a page, and its times in words, of the middle one of three runs."""
    return sorted(_judge_once(url) for _ in range(3))[1]


def _judge_once(url: str) -> tuple[list[int], str]:
    environment = {**os.environ, "CHROME_PATH": str(chromium.PATH)}
    run = subprocess.run([*COMMAND, FLAGS, url], capture_output=True, text=True, env=environment)
    if run.returncode:
        sys.exit(run.stderr)
    report = json.loads(run.stdout)
    scores = [round(100 * category["score"]) for category in report["categories"].values()]
    times = [f"{name} {report['audits'][audit]['displayValue']:>8}" for name, audit in TIMES.items()]
    return scores, "  ".join([*times, f"index {report['environment']['benchmarkIndex']:5.0f}"])


def main() -> None:
    """Judge the pages named on the command line, or three."""
    handler = functools.partial(Packing, directory=str(ROOT / "_build" / "html"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    good = True
    print("perf  a11y  best  SEO")
    for page in sys.argv[1:] or PAGES:
        scores, times = judge(f"http://127.0.0.1:{server.server_port}/{page}")
        good = good and min(scores) >= LEAST
        print("  ".join(f"{score:4}" for score in scores), f" {times}  {page}", flush=True)
    sys.exit(not good)


if __name__ == "__main__":
    main()

"""How long a step of dragging takes in each explorer of the built gallery page.

    make book && .venv/bin/python tests/benchmarks/explorer_speed.py

A step is what happens between a movement of the pointer and the painted picture: the handler, the frame that
it asks for, and reading one pixel back, which makes the browser finish its drawing. The wait for the screen's
next refresh is left out. At 60 refreshes a second a step may take 16 milliseconds.
"""

import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_tools"))

import chromium  # noqa: E402

STEPS = 200
DRAG = """
async ([explorer, steps]) => {
  const canvas = explorer.querySelector("canvas[role=application]"), box = canvas.getBoundingClientRect();
  const frames = [], ask = window.requestAnimationFrame;
  window.requestAnimationFrame = (callback) => frames.push(callback);
  const at = (share) => ({
    pointerId: 1, bubbles: true, button: 0, buttons: 1, isPrimary: true,
    clientX: box.left + box.width * (0.5 + 0.4 * Math.sin(7 * share)),
    clientY: box.top + box.height * (0.5 + 0.4 * Math.sin(11 * share)),
  });
  canvas.setPointerCapture = () => {};
  canvas.hasPointerCapture = () => true;
  canvas.dispatchEvent(new PointerEvent("pointerdown", at(0)));
  const times = [];
  for (let step = 1; step <= steps; step++) {
    const start = performance.now();
    canvas.dispatchEvent(new PointerEvent("pointermove", at(step / steps)));
    if (!frames.length) continue;  // at the end of its range: nothing moves
    for (const callback of frames.splice(0)) callback(performance.now());
    for (const painted of explorer.querySelectorAll("canvas"))
      painted.getContext("2d").getImageData(0, 0, 1, 1);
    times.push(performance.now() - start);
    await new Promise((done) => setTimeout(done));
  }
  canvas.dispatchEvent(new PointerEvent("pointerup", at(1)));
  window.requestAnimationFrame = ask;
  return times;
}
"""


def main() -> None:
    """Print the median and the 95th percentile of a step, in milliseconds."""
    page = ROOT / "_build" / "html" / "book" / "reference" / "explorers.html"
    if not page.exists():
        sys.exit("The site is not built; run make book first.")
    with chromium.launched() as browser:
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.goto(page.as_uri())
        tab.wait_for_selector("html[data-explorers=ready]")
        for place in tab.locator(".vae-live").all():
            place.scroll_into_view_if_needed()  # it starts when it comes near
            explorer = place.locator(".vae-explorer")
            explorer.wait_for()
            name = explorer.get_attribute("class").split()[-1].removeprefix("vae-")
            times = sorted(tab.evaluate(DRAG, [explorer.element_handle(), STEPS]))
            late = times[int(0.95 * len(times))]
            middle = statistics.median(times)
            print(f"{name:20} median {middle:4.1f} ms, 95 % within {late:4.1f} ms, of {len(times)} steps")


if __name__ == "__main__":
    main()

// What the theme does to the whole page at once when it opens, done bit by bit: see light_pages.py.
(() => {
  // Boxes that scroll can be reached by keyboard. Those far away are laid out to be measured, so it is done bit by bit.
  const SCROLLS = "pre, .cell_output > .output, .pst-scrollable-table-container, div.math, mjx-container[display], .bd-article figure";
  const boxes = [...document.querySelectorAll(SCROLLS)];
  const waiting = new Set();
  const measure = () => {
    const measured = [], end = performance.now() + 10;  // some are measured, then marked: one layout, not many
    for (const box of waiting) {
      waiting.delete(box);
      measured.push([box, box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight]);
      if (performance.now() > end) break;
    }
    for (const [box, scrolls] of measured) if (scrolls) box.tabIndex = 0; else box.removeAttribute("tabindex");
    if (waiting.size) setTimeout(measure);
  };
  const measureSoon = (some) => {
    if (!waiting.size) setTimeout(measure);
    for (const box of some) waiting.add(box);
  };
  measureSoon(boxes);
  const changes = new ResizeObserver((entries) => measureSoon(entries.map(({ target }) => target)));
  for (const box of boxes) changes.observe(box);  // the window, or a fold that opens
  document.fonts.addEventListener("loadingdone", () => measureSoon(boxes.filter((box) => box.matches(".math, mjx-container"))));

  // The contents beside the text follow the reader, where there is room for them.
  const contents = document.querySelector(".bd-sidebar-secondary");
  addEventListener("scroll", () => {
    if (contents?.offsetWidth) bootstrap.ScrollSpy.getOrCreateInstance(document.body);
  }, { once: true, passive: true });
})();

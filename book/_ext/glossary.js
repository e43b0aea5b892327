/* What a word of the glossary means, shown where the pointer or the focus is: see glossary_links.py. */
if (HTMLElement.prototype.showPopover) {
  const SOON = 250, GRACE = 300, AIR = 8;  // milliseconds before it comes and goes, pixels around it
  let link, note, point, timer;
  const later = (action, wait) => { clearTimeout(timer); timer = setTimeout(action, wait); };
  const part = (event) => event.target.closest?.(".glossary-link, .glossary-note");

  const place = () => {
    const lines = [...link.getClientRects()];  // two, where the link is broken
    const line = lines.find(({ top, bottom }) => top <= point && point <= bottom) ?? lines[0];
    const { width, height } = note.getBoundingClientRect(), room = document.documentElement;
    const below = line.bottom + height + AIR < room.clientHeight;
    note.style.left = `${Math.max(AIR, Math.min(line.left, room.clientWidth - width - AIR))}px`;
    note.style.top = `${Math.max(AIR, below ? line.bottom + AIR / 2 : line.top - height - AIR / 2)}px`;
  };
  const hide = () => {
    clearTimeout(timer);
    note?.hidePopover();
    for (const change of ["scroll", "resize"]) removeEventListener(change, place);
    link = note = null;
  };
  const show = (next, y) => {
    hide();
    [link, point] = [next, y];
    note = document.getElementById(link.getAttribute("aria-describedby"));
    note.showPopover();
    place();
    for (const change of ["scroll", "resize"]) addEventListener(change, place, { passive: true });
  };

  document.addEventListener("pointerover", (event) => {
    const over = part(event);
    if (event.pointerType === "touch") return;  // a tap follows the link
    if (over && (over === link || over === note)) clearTimeout(timer);
    else if (over) later(() => show(over, event.clientY), SOON);
    else if (!link?.matches(":focus-visible")) later(hide, GRACE);
  });
  document.documentElement.addEventListener("pointerleave", () => {  // out of the window
    if (!link?.matches(":focus-visible")) later(hide, GRACE);
  });
  document.addEventListener("focusin", (event) => {
    if (part(event)?.matches(":focus-visible")) later(() => show(event.target), SOON);
  });
  document.addEventListener("focusout", (event) => { if (part(event)) hide(); });
  document.addEventListener("click", (event) => { if (link && part(event) !== note) hide(); });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
}

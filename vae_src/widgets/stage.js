// What all explorers need of a page: a root that follows the theme, sharp canvases, controls, dragging.

let serial = 0;

/** Add an explorer's elements; "ID" in the markup becomes a prefix that no other element has. */
export function stage(el, name, markup) {
  const root = document.createElement("section");
  root.className = `vae-explorer vae-${name}`;
  root.innerHTML = markup.replaceAll("ID", `vae-${name}-${++serial}`);
  // JupyterLab would take the arrow keys of sliders and radio buttons, and go to another cell.
  root.addEventListener("keydown", (event) => {
    if (/^(Arrow|Home|End|Page)/.test(event.key)) event.stopPropagation();
  });
  el.append(root);
  return root;
}

/** The value of one of the theme's colours, as `shared.css` gives it. */
export const color = (root, name) => getComputedStyle(root).getPropertyValue(`--vae-${name}`).trim();

export const isDark = (root) => color(root, "theme") === "dark";

/** Paint once a frame after a trait, the theme or the width changes. Returns the clean-up. */
export function repaint(root, model, traits, paint) {
  let frame = 0;
  const attempt = (again) => requestAnimationFrame(() => {
    frame = 0;
    if (root.clientWidth) paint();
    else if (again) frame = attempt(false);  // JupyterLab hides cells for a moment when its theme changes
  });
  const queue = () => { frame ||= attempt(true); };
  const events = traits.map((name) => `change:${name}`).join(" ");
  model.on(events, queue);
  const theme = new MutationObserver(queue);
  theme.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme", "theme"] });
  theme.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", queue);
  const size = new ResizeObserver(queue);  // fires once attached: only then do CSS variables have values
  size.observe(root);
  return () => {
    cancelAnimationFrame(frame);
    model.off(events, queue);
    theme.disconnect();
    size.disconnect();
    scheme.removeEventListener("change", queue);
  };
}

/** Whether the reader asked for stillness: then what would move goes to its end at once. */
export const isStill = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Fit a canvas's pixels to its size on the screen. Returns the context, in CSS pixels, and that size. */
export function fitCanvas(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas, ratio = devicePixelRatio || 1;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

/** Print probabilities of ink, black on white in both themes; the canvas is as many pixels as the image. */
export function paintImage(canvas, image, left = 0) {
  const side = Math.sqrt(image.length), context = canvas.getContext("2d");
  const data = context.createImageData(side, side);
  for (let i = 0; i < image.length; i++) {
    data.data.fill(Math.round(255 * (1 - image[i])), 4 * i, 4 * i + 3);
    data.data[4 * i + 3] = 255;
  }
  context.putImageData(data, left, 0);
}

/** Set traits, and tell a kernel if there is one. */
export function assign(model, values) {
  model.set(values);
  model.save_changes();
}

/** The model, with a list of who listens to it: `release` lets go of all of them. */
export function heard(model) {
  const calls = [];
  return {
    get: (name) => model.get(name),
    set: (...values) => model.set(...values),
    save_changes: () => model.save_changes(),
    on: (...call) => { calls.push(call); model.on(...call); },
    off: (...call) => model.off(...call),
    release: () => calls.forEach((call) => model.off(...call)),
  };
}

/** A labelled slider bound to a trait both ways. Returns its row. `label` may hold markup. */
export function slider(model, trait, { label, min, max, step, text = (v) => v.toFixed(2) }) {
  const id = `vae-slider-${++serial}`, row = document.createElement("div");
  row.className = "vae-row";
  row.innerHTML = `<label for="${id}">${label}</label>
    <input type="range" id="${id}" min="${min}" max="${max}" step="${step}"><output for="${id}"></output>`;
  const [, input, output] = row.children;
  const show = () => {
    input.value = model.get(trait);
    output.textContent = text(model.get(trait));
    input.setAttribute("aria-valuetext", output.textContent);
  };
  input.addEventListener("input", () => assign(model, { [trait]: Number(input.value) }));
  model.on(`change:${trait}`, show);
  show();
  return row;
}

/**
 * Let a canvas be dragged on and moved on by keys.
 *
 * `press(x, y)` begins a drag and `move(x, y)` goes on with it, both at fractions of width and height from
 * the upper left; `key(right, up)` is told about arrow keys in steps, five at a time with Shift.
 */
export function draggable(canvas, { press = () => {}, move, release = () => {}, key }) {
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    const fraction = (value) => Math.min(1, Math.max(0, value));
    return [fraction((event.clientX - box.left) / box.width), fraction((event.clientY - box.top) / box.height)];
  };
  let pointer = null;  // one at a time: a second finger does not pull, too
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button || pointer !== null) return;
    canvas.setPointerCapture(event.pointerId);
    pointer = event.pointerId;
    canvas.focus({ preventScroll: true });
    press(...place(event));
    move(...place(event));
    event.preventDefault();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerId === pointer) move(...place(event));
  });
  canvas.addEventListener("lostpointercapture", (event) => {
    if (event.pointerId !== pointer) return;
    pointer = null;
    release();
  });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    key(...step.map((s) => s * (event.shiftKey ? 5 : 1)));
    event.preventDefault();
    event.stopPropagation();
  });
}

/** A number with a true minus sign. */
export const nice = (value, digits = 2) => {
  const text = value.toFixed(digits);
  return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "−");
};

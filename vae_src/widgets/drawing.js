import { medians, paintPoints, paintText, PALETTE, spread } from "./map.js";
import { bytesOf, floatsOf, forward, klToStandardNormal, normalDraws, unpackNetwork } from "./maths.js";
import { assign, color, draggable, fitCanvas, isDark, nice, paintImage, repaint, stage } from "./stage.js";

// --- from strokes to pixels --------------------------------------------------------------------------

const SIDE = 28, FINE = 8, GRID = SIDE * FINE;  // a pixel of the pad is a square of 8 × 8 fine cells
export const BRUSH = 2.6;  // pixels; about 2.2 once a large drawing is scaled, as wide as MNIST's strokes
const BOX = 20, MIDDLE = 14.5;  // MNIST's centres of mass are in the middle of pixel 14, counted from 0

/** No ink. A picture is a binary image, maybe this one, and strokes over it: lists of points in pixels. */
export const blank = "0".repeat(SIDE * SIDE);

/** Mark the fine cells that a round brush covers on its way from one point to another. */
export function paintSegment(raster, [x0, y0], [x1, y1]) {
  const r = BRUSH / 2, dx = x1 - x0, dy = y1 - y0, length = dx * dx + dy * dy;
  const first = (a, b) => Math.max(0, Math.floor((Math.min(a, b) - r) * FINE));
  const last = (a, b) => Math.min(GRID - 1, Math.ceil((Math.max(a, b) + r) * FINE));
  for (let row = first(y0, y1); row <= last(y0, y1); row++) {
    for (let column = first(x0, x1); column <= last(x0, x1); column++) {
      const x = (column + 0.5) / FINE - x0, y = (row + 0.5) / FINE - y0;
      const t = length ? Math.min(1, Math.max(0, (x * dx + y * dy) / length)) : 0;
      if ((x - t * dx) ** 2 + (y - t * dy) ** 2 <= r * r) raster[row * GRID + column] = 1;
    }
  }
}

/** The fine cells that hold ink, row by row. */
export function rasterOf({ base, strokes }) {
  const raster = new Uint8Array(GRID * GRID);
  for (let i = 0; i < GRID * GRID; i++) {
    const row = Math.floor(i / GRID / FINE), column = Math.floor(i % GRID / FINE);
    raster[i] = base[row * SIDE + column] === "1" ? 1 : 0;
  }
  for (const stroke of strokes)
    stroke.forEach((point, i) => paintSegment(raster, stroke[Math.max(0, i - 1)], point));
  return raster;
}

/** How many fine cells of ink lie above and to the left of (x, y), at any place between cells. */
function integral(raster) {
  const wide = GRID + 1, sums = new Float64Array(wide * wide);
  for (let row = 0; row < GRID; row++) {
    for (let column = 0, sum = 0; column < GRID; column++) {
      sum += raster[row * GRID + column];
      sums[(row + 1) * wide + column + 1] = sums[row * wide + column + 1] + sum;
    }
  }
  return (x, y) => {
    const [cx, cy] = [x, y].map((v) => Math.min(GRID, Math.max(0, v)));
    const i = Math.min(GRID - 1, Math.floor(cx)), j = Math.min(GRID - 1, Math.floor(cy)), k = j * wide + i;
    const top = sums[k] + (cx - i) * (sums[k + 1] - sums[k]);
    const below = sums[k + wide] + (cx - i) * (sums[k + wide + 1] - sums[k + wide]);
    return top + (cy - j) * (below - top);
  };
}

/** Where ink is: its box, and its centre of mass, in fine cells. */
function extentOf(raster) {
  let left = GRID, right = 0, top = GRID, bottom = 0, ink = 0, x = 0, y = 0;
  for (let row = 0, i = 0; row < GRID; row++) {
    for (let column = 0; column < GRID; column++, i++) {
      if (!raster[i]) continue;
      left = Math.min(left, column); right = Math.max(right, column + 1);
      top = Math.min(top, row); bottom = Math.max(bottom, row + 1);
      ink++; x += column + 0.5; y += row + 0.5;
    }
  }
  return { ink, side: Math.max(right - left, bottom - top), x: x / ink, y: y / ink };
}

/** The share of each of 28 × 28 pixels that ink covers, after the drawing is put where MNIST would have it. */
export function coverage(raster, centred) {
  const shares = new Float64Array(SIDE * SIDE), { ink, side, x, y } = extentOf(raster);
  if (!ink) return shares;
  const step = centred ? side / BOX : FINE;  // fine cells to a pixel
  const at = integral(raster), edges = Array.from({ length: SIDE + 1 }, (_, i) => i - MIDDLE);
  const [across, down] = centred ? [x, y] : [MIDDLE * FINE, MIDDLE * FINE];
  const corners = edges.map((row) => edges.map((column) => at(across + column * step, down + row * step)));
  for (let row = 0, i = 0; row < SIDE; row++)
    for (let column = 0; column < SIDE; column++, i++)
      shares[i] = (corners[row + 1][column + 1] - corners[row][column + 1]
        - corners[row + 1][column] + corners[row][column]) / (step * step);
  return shares;
}

/** What the encoder reads of a drawing: a pixel is ink if at least half of it is covered. */
export const read = (raster, centred) =>
  Array.from(coverage(raster, centred), (share) => share >= 0.5 ? "1" : "0").join("");

/** One of ten images of eight pixels a byte, as 784 characters. */
export function unpackExample(bytes, digit) {
  const size = SIDE * SIDE / 8, own = bytes.subarray(digit * size, (digit + 1) * size);
  return Array.from(own, (byte) => byte.toString(2).padStart(8, "0")).join("");
}

// --- from pixels to q(z|x), and back -------------------------------------------------------------------

export const DRAWS = 16, SHOWN = 6;  // for the distortion, and as pictures

const logistic = (logits) => logits.map((l) => 1 / (1 + Math.exp(-l)));

/** −log p(x|z) in nats, for binary pixels and the decoder's logits. */
export function distortionOf(x, logits) {
  let total = 0;
  for (let i = 0; i < x.length; i++) {
    const l = logits[i];
    total += Math.max(l, 0) - x[i] * l + Math.log1p(Math.exp(-Math.abs(l)));
  }
  return total;
}

/** q(z|x) for pixels, draws from it, what the decoder paints from them, and the ELBO's two terms in nats. */
export function infer(encoder, decoder, pixels, seed) {
  const x = Array.from(pixels, Number), q = Array.from(forward(encoder, x)), mean = q.slice(0, 2), scale = q.slice(2);
  const noise = normalDraws(2 * DRAWS, seed), toLogits = decoder.filter(({ op }) => op !== "sigmoid");
  const codes = Array.from({ length: DRAWS }, (_, k) => mean.map((m, j) => m + scale[j] * noise[2 * k + j]));
  const logits = codes.map((z) => forward(toLogits, z)), each = logits.map((l) => distortionOf(x, l));
  const rate = klToStandardNormal(mean, scale), distortion = each.reduce((sum, d) => sum + d) / DRAWS;
  const variance = each.reduce((sum, d) => sum + (d - distortion) ** 2, 0) / (DRAWS - 1);
  return {
    mean, scale, codes, rate, distortion, error: Math.sqrt(variance / DRAWS), elbo: -(rate + distortion),
    images: [forward(decoder, mean), ...logits.slice(0, SHOWN).map(logistic)],
  };
}

// --- the map -------------------------------------------------------------------------------------------

/** Half the side of a square around zero that shows 99.5 % of the codes, in steps of one half. */
export function extentFor(codes) {
  const far = [];
  for (let k = 0; k < codes.length; k += 4) far.push(Math.max(Math.abs(codes[k]), Math.abs(codes[k + 1])));
  far.sort((a, b) => a - b);
  return Math.max(2.5, Math.ceil(2 * far[Math.floor(0.995 * (far.length - 1))]) / 2);
}

/** Half the side of the square that is seen close: a round number, at least 3.2 standard deviations. */
export const closeUp = (scale) =>
  [0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2].find((half) => half >= 3.2 * Math.max(...scale)) ?? 5;

// --- painting ------------------------------------------------------------------------------------------

/** Where a code stands in a square canvas that shows `middle` ± `extent`. */
const projection = (size, extent, middle = [0, 0]) => ([z1, z2]) =>
  [(z1 - middle[0] + extent) / (2 * extent) * size, (extent - z2 + middle[1]) / (2 * extent) * size];

/** The ellipse of two standard deviations around `mean`, on a canvas `size` pixels wide for 2 × `extent`. */
function ellipse(context, [x, y], scale, size, extent) {
  const unit = size / (2 * extent);
  context.beginPath();
  context.ellipse(x, y, 2 * scale[0] * unit, 2 * scale[1] * unit, 0, 0, 2 * Math.PI);
}

const FONT = (weight) => `${weight} 12px system-ui, -apple-system, "Segoe UI", sans-serif`;

/** What does not depend on the drawing: points, numerals, axes, the prior. */
function paintMap(context, size, extent, codes, labels, root) {
  const place = projection(size, extent), paper = color(root, "paper"), quiet = color(root, "quiet");
  context.lineWidth = 1;
  context.strokeStyle = color(root, "line");
  context.beginPath();
  for (const [from, to] of [[[-extent, 0], [extent, 0]], [[0, -extent], [0, extent]]]) {
    context.moveTo(...place(from));
    context.lineTo(...place(to));
  }
  context.stroke();
  paintPoints(context, size, codes, 4, labels, { palette: PALETTE[isDark(root) ? "dark" : "light"], place, radius: 1.3 });
  context.strokeStyle = color(root, "prior");
  context.lineWidth = 2;
  context.setLineDash([6, 4]);
  ellipse(context, place([0, 0]), [1, 1], size, extent);
  context.stroke();
  context.setLineDash([]);
  Object.assign(context, { font: FONT(700), textAlign: "center", textBaseline: "middle" });
  const middles = medians(codes, 4, labels).map((m, digit) => m && { digit, at: place(m) }).filter(Boolean);
  spread(middles.map(({ at }) => at), 17).forEach(([x, y], i) =>
    paintText(context, String(middles[i].digit), x, y, color(root, "text"), paper));
  context.font = FONT(400);
  for (const tick of [-2, 2]) {
    paintText(context, nice(tick, 0), place([tick, 0])[0], size - 10, quiet, paper);
    paintText(context, nice(tick, 0), 12, place([0, tick])[1], quiet, paper);
  }
  paintText(context, "z₁", size - 12, size - 10, quiet, paper);
  paintText(context, "z₂", 12, 12, quiet, paper);
}

/** q on the whole map: its ellipse, and a frame around what is seen close; an arrow if it lies outside. */
function paintPosterior(context, size, extent, { mean, scale }, half, root) {
  const blue = color(root, "encoder"), paper = color(root, "paper"), [x, y] = projection(size, extent)(mean);
  const twice = (path, width) => {
    for (const [style, wide] of [[paper, width + 3], [blue, width]]) {
      Object.assign(context, { strokeStyle: style, lineWidth: wide });
      path();
      context.stroke();
    }
  };
  const inside = [x, y].map((v) => Math.min(size - 8, Math.max(8, v)));
  if (inside[0] !== x || inside[1] !== y) {  // point from the border to where it is
    const angle = Math.atan2(y - inside[1], x - inside[0]);
    const [tip, left, right] = [0, 2.5, -2.5].map((turn) =>
      [inside[0] + 7 * Math.cos(angle + turn), inside[1] + 7 * Math.sin(angle + turn)]);
    twice(() => { context.beginPath(); for (const p of [left, tip, right]) context.lineTo(...p); }, 2);
    return;
  }
  const side = Math.max(12, half / extent * size);
  twice(() => { context.beginPath(); context.rect(x - side / 2, y - side / 2, side, side); }, 1.5);
  twice(() => ellipse(context, [x, y], scale, size, extent), 1.5);
}

/** The neighbourhood of q: test digits, the ellipse, its mean, and the draws with their numbers. */
function paintClose(context, size, half, { mean, scale, codes }, clouds, labels, root) {
  const blue = color(root, "encoder"), paper = color(root, "paper"), text = color(root, "text");
  const place = projection(size, half, mean);
  paintPoints(context, size, clouds, 4, labels, { palette: PALETTE[isDark(root) ? "dark" : "light"], place, radius: 2.5 });
  context.strokeStyle = color(root, "prior");
  context.lineWidth = 2;
  context.setLineDash([6, 4]);
  ellipse(context, place([0, 0]), [1, 1], size, half);
  context.stroke();
  context.setLineDash([]);
  ellipse(context, [size / 2, size / 2], scale, size, half);
  context.fillStyle = blue;
  context.globalAlpha = 0.12;
  context.fill();
  context.globalAlpha = 1;
  context.strokeStyle = blue;
  context.lineWidth = 2;
  context.stroke();
  Object.assign(context, { font: FONT(700), textAlign: "center", textBaseline: "middle" });
  const points = [mean, ...codes.slice(0, SHOWN)].map(place), away = ([x, y]) => [x, y - 11];
  points.forEach(([x, y], k) => {
    context.beginPath();
    context.arc(x, y, k ? 3.5 : 4.5, 0, 2 * Math.PI);
    Object.assign(context, { fillStyle: k ? blue : paper, strokeStyle: k ? paper : blue, lineWidth: k ? 1 : 2.5 });
    context.fill();
    context.stroke();
  });
  spread(points.map(away), 14).forEach(([x, y], k) => paintText(context, k ? String(k) : "μ", x, y, text, paper));
  const bar = size / 4;  // half of `half`
  context.fillStyle = text;
  context.fillRect(10, size - 10, bar, 2);
  context.font = FONT(400);
  paintText(context, String(half / 2), 10 + bar / 2, size - 20, text, paper);
}

/** The drawing as it is: the pixels it stands on, the strokes, and the pen when keys move it. */
function paintPad(canvas, { base, strokes }, pen) {
  const { context, width } = fitCanvas(canvas), cell = width / SIDE;
  context.scale(cell, cell);
  context.fillStyle = "#ffffff";
  context.fillRect(0, 0, SIDE, SIDE);
  context.fillStyle = context.strokeStyle = "#000000";
  for (let i = 0; i < base.length; i++)
    if (base[i] === "1") context.fillRect(i % SIDE, Math.floor(i / SIDE), 1.1, 1.1);  // no seams
  Object.assign(context, { lineWidth: BRUSH, lineCap: "round", lineJoin: "round" });
  for (const stroke of strokes) {
    context.beginPath();
    context.moveTo(...stroke[0]);
    for (const point of stroke) context.lineTo(...point);
    context.stroke();
  }
  if (base === blank && !strokes.length) {
    Object.assign(context, { font: "1.8px system-ui, sans-serif", textAlign: "center", fillStyle: "#565d66" });
    context.fillText("Draw a digit here", SIDE / 2, SIDE / 2);
  }
  if (!pen.visible) return;
  context.beginPath();
  context.arc(pen.x, pen.y, BRUSH / 2 + 0.3, 0, 2 * Math.PI);
  for (const [style, wide] of [["#ffffff", 0.8], ["#0072b2", 0.4]]) {
    Object.assign(context, { strokeStyle: style, lineWidth: wide });
    context.stroke();
  }
  if (!pen.down) return;
  context.fillStyle = "#0072b2";
  context.beginPath();
  context.arc(pen.x, pen.y, 0.6, 0, 2 * Math.PI);
  context.fill();
}

// --- the page --------------------------------------------------------------------------------------------

const PICTURES = ["mean μ", ...Array.from({ length: SHOWN }, (_, k) => `draw ${k + 1}`)];

const MARKUP = `
<div class="vae-grid">
  <div class="vae-draw">
    <p class="vae-title">Draw a digit <var>x</var></p>
    <canvas class="vae-pad" tabindex="0" role="application" aria-roledescription="drawing pad"
      aria-label="Pad to draw a digit on" aria-describedby="ID-help"></canvas>
    <div class="vae-buttons"><button type="button" class="vae-undo">Undo</button>
      <button type="button" class="vae-clear">Clear</button></div>
    <fieldset><legend>Or take a test digit</legend><div class="vae-examples"></div></fieldset>
    <label class="vae-check"><input type="checkbox" class="vae-centred">
      <span>Centre and scale like MNIST <span class="vae-quiet">(a 20 × 20 box, its centre of mass in the
      middle: the encoder was trained on nothing else)</span></span></label>
  </div>
  <div class="vae-paint">
    <p class="vae-title">The decoder paints it back</p>
    <div class="vae-pictures">
      <div><canvas class="vae-picture vae-reading" width="28" height="28" role="img"></canvas>
        <p>read: <var>x</var></p></div>
      ${PICTURES.map((name) => `<div><canvas class="vae-picture vae-painted" width="28" height="28" role="img"></canvas>
        <p>${name}</p></div>`).join("")}
    </div>
    <div class="vae-buttons"><button type="button" class="vae-again">Draw new samples</button>
      <span class="vae-quiet">Each picture shows the decoder’s probability of ink, pixel by pixel.</span></div>
  </div>
  <div class="vae-see">
    <p class="vae-title">The encoder answers
      <span class="vae-formula"><var>q</var>(<var>z</var> | <var>x</var>)</span></p>
    <canvas class="vae-map" role="img"></canvas>
    <ul class="vae-key vae-quiet"><li><i class="vae-frame"></i><var>q</var>, framed</li>
      <li><i class="vae-prior"></i>prior, 2σ</li><li class="vae-classes"></li></ul>
    <p class="vae-quiet vae-count"></p>
  </div>
  <div class="vae-close">
    <p class="vae-title">The frame, seen close</p>
    <canvas class="vae-lens" role="img"></canvas>
    <ul class="vae-key vae-quiet"><li><i class="vae-q"></i><var>q</var>, 2σ</li>
      <li><i class="vae-dot"></i>draws</li></ul>
    <dl class="vae-numbers">
      <dt><var>z</var>₁</dt><dd class="vae-z1"></dd><dt><var>z</var>₂</dt><dd class="vae-z2"></dd>
      <dt><i class="vae-rate"></i>rate</dt><dd class="vae-rate-value"></dd>
      <dt><i class="vae-distortion"></i>distortion</dt><dd class="vae-distortion-value"></dd>
      <dt><i class="vae-elbo"></i>ELBO</dt><dd class="vae-elbo-value"></dd>
    </dl>
    <p class="vae-quiet vae-note"></p>
  </div>
</div>
<p class="vae-quiet vae-help" id="ID-help">Draw with a pointer or a finger. With keys: arrows move the pen, with Shift five
  pixels at a time; Space puts it down and lifts it.</p>
<p class="vae-hidden vae-pen-status" role="status"></p>
<p class="vae-hidden vae-spoken" role="status"></p>`;

function render({ model, el }) {
  const root = stage(el, "drawing", MARKUP), find = (selector) => root.querySelector(selector);
  const [pad, map, lens, reading] = [".vae-pad", ".vae-map", ".vae-lens", ".vae-reading"].map(find);
  const painted = [...root.querySelectorAll(".vae-painted")], checkbox = find(".vae-centred");
  const encoder = unpackNetwork(model.get("encoder"), model.get("encoder_layers"));
  const decoder = unpackNetwork(model.get("decoder"), model.get("decoder_layers"));
  const clouds = floatsOf(model.get("clouds")), labels = bytesOf(model.get("labels"));
  const examples = bytesOf(model.get("examples")), extent = extentFor(clouds), layer = document.createElement("canvas");

  let picture = { base: model.get("pixels") || blank, strokes: [] }, raster = rasterOf(picture);
  let known = picture.base;  // the value of `pixels` that the pad shows
  let earlier = [], layerOf = "";
  const timers = {};
  const pen = { x: SIDE / 2, y: SIDE / 2, down: false, visible: false };

  const say = (selector, text, wait) => {
    clearTimeout(timers[selector]);
    timers[selector] = setTimeout(() => { find(selector).textContent = text; }, wait);
  };

  const showPad = () => {
    paintPad(pad, picture, pen);
    find(".vae-undo").disabled = !earlier.length;
    find(".vae-clear").disabled = picture.base === blank && !picture.strokes.length;
  };

  /** Read the drawing again. Pixels that came as they are stay so until there is a stroke on them. */
  const readAgain = () => {
    known = picture.strokes.length ? read(raster, model.get("centred")) : picture.base;
    assign(model, { pixels: known });
    showPad();
  };

  const put = (next) => { picture = next; raster = rasterOf(next); readAgain(); };
  const change = (next) => { earlier.push(picture); pen.down = false; put(next); };

  const begin = (point) => {
    earlier.push(picture);
    picture = { base: picture.base, strokes: [...picture.strokes, [point]] };
    paintSegment(raster, point, point);
    readAgain();
  };
  const extend = (point) => {
    const stroke = picture.strokes.at(-1), last = stroke.at(-1);
    if (last[0] === point[0] && last[1] === point[1]) return;
    stroke.push(point);
    paintSegment(raster, last, point);
    readAgain();
  };

  const where = () => `column ${Math.floor(pen.x) + 1}, row ${Math.floor(pen.y) + 1} of ${SIDE}`;
  const lift = () => { pen.down = false; };
  draggable(pad, {
    press: (x, y) => { lift(); pen.visible = false; begin([x * SIDE, y * SIDE]); },
    move: (x, y) => extend([x * SIDE, y * SIDE]),
    key: (right, up) => {
      const within = (v) => Math.min(SIDE - 0.5, Math.max(0.5, v));
      Object.assign(pen, { x: within(pen.x + right), y: within(pen.y - up), visible: true });
      if (pen.down) extend([pen.x, pen.y]); else showPad();
      say(".vae-pen-status", `Pen ${pen.down ? "down" : "up"}, ${where()}`, 500);
    },
  });
  pad.addEventListener("keydown", (event) => {
    if (event.key !== " " || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    if (event.repeat) return;
    Object.assign(pen, { down: !pen.down, visible: true });
    if (pen.down) begin([pen.x, pen.y]); else showPad();
    say(".vae-pen-status", `Pen ${pen.down ? "down" : "lifted"} at ${where()}`, 0);
  });
  pad.addEventListener("focus", () => { pen.visible = pad.matches(":focus-visible"); showPad(); });
  pad.addEventListener("blur", () => { lift(); pen.visible = false; showPad(); });

  find(".vae-undo").addEventListener("click", () => { lift(); put(earlier.pop()); });
  find(".vae-clear").addEventListener("click", () => change({ base: blank, strokes: [] }));
  for (let digit = 0; digit < 10; digit++) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: digit });
    button.addEventListener("click", () => change({ base: unpackExample(examples, digit), strokes: [] }));
    find(".vae-examples").append(button);
    find(".vae-classes").insertAdjacentHTML("beforeend", `<span><i class="vae-class"></i>${digit}</span>`);
  }
  find(".vae-count").textContent =
    `Points: the means of ${labels.length.toLocaleString("en")} test digits, coloured by class.`;
  find(".vae-again").addEventListener("click", () => assign(model, { seed: (model.get("seed") + 1) % 2 ** 31 }));
  checkbox.addEventListener("change", () => assign(model, { centred: checkbox.checked }));

  const onPixels = () => {  // from outside: put it on the pad as it is
    const given = model.get("pixels") || blank;
    if (given === known) return;
    known = given;
    earlier = [];
    lift();
    picture = { base: given, strokes: [] };
    raster = rasterOf(picture);
  };
  const onCentred = () => { if (picture.strokes.length) readAgain(); };
  model.on("change:pixels", onPixels);
  model.on("change:centred", onCentred);

  /** The map without q is painted once, until the theme or its size changes. */
  const showMap = (found) => {
    const { context, width: size } = fitCanvas(map), wanted = `${map.width} ${isDark(root)}`;
    if (layerOf !== wanted) {
      layerOf = wanted;
      [layer.width, layer.height] = [map.width, map.height];
      const below = layer.getContext("2d");
      below.scale(map.width / size, map.width / size);
      paintMap(below, size, extent, clouds, labels, root);
      const palette = PALETTE[isDark(root) ? "dark" : "light"];
      root.querySelectorAll(".vae-class").forEach((mark, digit) => { mark.style.background = palette[digit]; });
    }
    context.drawImage(layer, 0, 0, size, size);
    if (found) paintPosterior(context, size, extent, found, closeUp(found.scale), root);
  };

  const write = (values) => { for (const [name, text] of Object.entries(values)) find(`.vae-${name}`).textContent = text; };

  const paint = () => {
    if (!root.clientWidth) return;  // hidden
    const empty = known === blank, found = empty ? null : infer(encoder, decoder, known, model.get("seed"));
    showPad();
    checkbox.checked = model.get("centred");
    find(".vae-again").disabled = empty;
    showMap(found);
    const close = fitCanvas(lens);
    if (found) paintClose(close.context, close.width, closeUp(found.scale), found, clouds, labels, root);
    const ink = [...known].filter((pixel) => pixel === "1").length;
    paintImage(reading, Array.from(known, Number));
    reading.setAttribute("aria-label", `What the encoder reads: 28 by 28 pixels, ${ink} of them ink`);
    painted.forEach((canvas, k) => {
      paintImage(canvas, found ? found.images[k] : new Float32Array(SIDE * SIDE));
      const [z1, z2] = found ? [found.mean, ...found.codes][k].map((z) => nice(z)) : [];
      canvas.setAttribute("aria-label", found ? `Painted by the decoder from the ${PICTURES[k]}, z = (${z1}, ${z2})`
        : "Nothing painted yet");
    });
    if (!found) {
      const dash = "–";
      write({ z1: dash, z2: dash, "rate-value": dash, "distortion-value": dash, "elbo-value": dash,
        note: "Draw a digit, and its numbers stand here." });
      map.setAttribute("aria-label", "Map of the latent space with the encoded test digits; nothing is drawn yet");
      lens.setAttribute("aria-label", "Nothing is drawn yet");
      say(".vae-spoken", "The pad is empty. Draw a digit.", 700);
      return;
    }
    const { mean, scale, rate, distortion, error, elbo } = found;
    const digitsOf = closeUp(scale) < 0.2 ? 3 : 2, latents = mean.map((m, j) =>
      `${nice(m, digitsOf)} ± ${nice(scale[j], digitsOf)}`);
    const nats = (value) => `${nice(value, 1)} nats`;
    write({ z1: latents[0], z2: latents[1], "rate-value": nats(rate), "distortion-value": nats(distortion),
      "elbo-value": nats(elbo),
      note: `The rate is KL(q‖p); the distortion, an average over ${DRAWS} draws from q, `
        + `give or take ${nice(error, 1)} nats.` });
    const sentence = `q has mean and standard deviation ${latents[0]} in z1 and ${latents[1]} in z2.`;
    map.setAttribute("aria-label", `Map of the latent space with the encoded test digits. ${sentence}`);
    lens.setAttribute("aria-label",
      `The surroundings of q, ${closeUp(scale)} each way, with ${SHOWN} draws. ${sentence}`);
    say(".vae-spoken", `${sentence} Rate ${nats(rate)}, distortion ${nats(distortion)}, ELBO ${nats(elbo)}.`, 700);
  };

  const stop = repaint(root, model, ["pixels", "centred", "seed"], paint);
  return () => {
    stop();
    Object.values(timers).forEach(clearTimeout);
    model.off("change:pixels", onPixels);
    model.off("change:centred", onCentred);
  };
}

export default { render };

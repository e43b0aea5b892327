import { medians, paintPoints, paintText, PALETTE, spread } from "./map.js";
import { bytesOf, floatsOf, forward, normalDraws, unpackNetwork } from "./maths.js";
import { ellipse, fitGaussian, nearest, paintHandle, reparameterize } from "./plane.js";
import { assign, color, draggable, fitCanvas, heard, isDark, nice, paintImage, repaint, stage } from "./stage.js";

export const SURE = 0.9;  // of one digit, at least
const BUNCH = 50, MOST = 500;  // codes drawn at once, and in all
const SHOWN = 10;  // the last of them, as pictures
const STEP = 1 / 120;  // of the map's width, for one press of an arrow key

/** The picture that decodes from a code: the decoder's means, cut to the range of ink. */
export const pictureOf = (decoder, code) => forward(decoder, code).map((v) => Math.min(1, Math.max(0, v)));

/** The judge's opinion of a picture: each digit's probability, the two most probable, and whether it is sure. */
export function judgement(judge, picture) {
  const logits = Array.from(forward(judge, picture)), largest = Math.max(...logits);
  const weights = logits.map((l) => Math.exp(l - largest)), sum = weights.reduce((a, b) => a + b);
  const probabilities = weights.map((w) => w / sum);
  const [first, second] = [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a]);
  return { probabilities, first, second, sure: probabilities[first] >= SURE };
}

/** Whole percent, rounded down, so that nothing below the threshold reads as if it reached it. */
export const percent = (probability) => Math.floor(100 * probability);

const digitNamed = (digit) => `${digit === 8 ? "an" : "a"} ${digit}`;

/** An opinion in words. */
export function inWords({ probabilities, first, second, sure }) {
  const [most, next] = [first, second].map((digit) => `${percent(probabilities[digit])} %`);
  if (sure) return `${most} sure: ${digitNamed(first)}`;
  return `Unsure: ${most} ${digitNamed(first)}, ${next} ${digitNamed(second)}`;
}

/** A share of n, in percent, with its standard error; no error for a share of nothing. */
export function shareOf(count, n) {
  const share = count / n;
  return { share: 100 * share, error: 100 * Math.sqrt(share * (1 - share) / n) };
}

/** Codes drawn from a Gaussian. More draws with the same seed begin with the same ones. */
export function drawCodes(gaussian, count, seed) {
  const noise = normalDraws(2 * count, seed), place = reparameterize(gaussian);
  return Array.from({ length: count }, (_, i) => place([noise[2 * i], noise[2 * i + 1]]));
}

/** A grid's value between its points: x and y are shares of its width and height, from the upper left. */
export function interpolate(grid, x, y) {
  const last = Math.sqrt(grid.length) - 1, [u, v] = [x * last, y * last];
  const [i, j] = [u, v].map((w) => Math.min(last - 1, Math.floor(w)));
  const k = j * (last + 1) + i, across = u - i, down = v - j;
  const upper = grid[k] + across * (grid[k + 1] - grid[k]);
  const lower = grid[k + last + 1] + across * (grid[k + last + 2] - grid[k + last + 1]);
  return upper + down * (lower - upper);
}

/** How opaque the fog is where the judge's highest probability is this: none where it is sure. */
export const opacity = (highest) => highest >= SURE ? 0 : 0.25 + 0.45 * (SURE - highest) / SURE;

// --- the page ------------------------------------------------------------------------------------

const MARKUP = `
  <div class="vae-panes">
    <div class="vae-plane">
      <canvas class="vae-map" tabindex="0" role="application" aria-roledescription="map of codes"
        aria-label="Codes of test digits" aria-describedby="ID-help"></canvas>
      <p class="vae-quiet" id="ID-help"></p>
      <label class="vae-check"><input type="checkbox"><i class="vae-fog"></i><span>Show fog where the judge is
        unsure</span></label>
    </div>
    <div class="vae-side">
      <div class="vae-decoded"><canvas class="vae-picture vae-large" width="28" height="28" role="img"></canvas>
        <div class="vae-facts">
          <p><span class="vae-quiet">decoded from</span><br><span class="vae-place"></span></p>
          <canvas class="vae-picture vae-near" width="28" height="28" role="img"></canvas>
          <p><span class="vae-quiet">nearest test digit, rebuilt:</span><br><span class="vae-nearest"></span></p>
        </div></div>
      <p class="vae-verdict"></p>
      <canvas class="vae-bars" role="img"></canvas>
      <p class="vae-quiet">The judge is a classifier of digits; these are its probabilities, in percent. It counts as
        sure if one reaches the dashed line.</p>
    </div>
  </div>
  <div class="vae-random">
    <div>
      <fieldset><legend>Draw codes at random from</legend>
        <label><input type="radio" name="ID-source" value="standard">
          <span>a standard normal, N(0, <b>I</b>)</span></label>
        <label><input type="radio" name="ID-source" value="fitted">
          <span>a Gaussian fitted to the codes</span></label></fieldset>
      <div class="vae-buttons"><button type="button" data-does="draw"></button>
        <button type="button" data-does="clear">Clear</button>
        <span class="vae-quiet vae-key"><i class="vae-dot"></i>judge sure
          <i class="vae-cross">×</i>unsure</span></div>
    </div>
    <div>
      <p><span class="vae-title">The judge is unsure of</span>
        <span class="vae-quiet">(± standard error)</span></p>
      <dl>${["drawn", "rebuilt", "real"].map((name) =>
        `<dt class="vae-${name}"></dt><dd class="vae-${name}"><i></i><span></span></dd>`).join("")}</dl>
    </div>
  </div>
  <p class="vae-quiet">The last ${SHOWN} codes drawn, decoded. Below each, what the judge sees; × if it is unsure.</p>
  <div class="vae-strip"></div>
  <p class="vae-hidden vae-point-spoken" aria-live="polite"></p>
  <p class="vae-hidden vae-draws-spoken" aria-live="polite"></p>`;

const FONT = (weight, size = 12) => `${weight} ${size}px system-ui, -apple-system, "Segoe UI", sans-serif`;
const BAR = 0.7;  // percent of the column, for a share of one percent
const thousands = (count) => count.toLocaleString("en");
const NAMES = { standard: "N(0, I), 2 σ", fitted: "fitted Gaussian, 2 σ" };

/** Ten bars, and the line that the highest must reach. */
function paintBars(canvas, { probabilities }, root) {
  const { context, width, height } = fitCanvas(canvas), text = color(root, "text"), quiet = color(root, "quiet");
  const palette = PALETTE[isDark(root) ? "dark" : "light"], left = 36, top = 18, base = height - 20;
  const slot = (width - left) / 10, wide = Math.min(26, 0.72 * slot), y = (share) => base - share * (base - top);
  Object.assign(context, { font: FONT(400), textBaseline: "middle", textAlign: "right", fillStyle: quiet });
  context.fillText("90 %", left - 6, y(SURE));
  context.fillText("0 %", left - 6, base);
  Object.assign(context, { strokeStyle: quiet, lineWidth: 1 });
  context.setLineDash([4, 4]);
  context.beginPath();
  context.moveTo(left, y(SURE));
  context.lineTo(width, y(SURE));
  context.stroke();
  context.setLineDash([]);
  context.textAlign = "center";
  probabilities.forEach((p, digit) => {
    const x = left + (digit + 0.5) * slot;
    context.fillStyle = palette[digit];
    context.fillRect(x - wide / 2, y(p), wide, base - y(p));
    Object.assign(context, { strokeStyle: quiet, lineWidth: 1 });
    if (percent(p)) context.strokeRect(x - wide / 2, y(p), wide, base - y(p));
    context.fillStyle = text;
    context.font = FONT(700, 13);
    context.fillText(digit, x, base + 11);
    context.font = FONT(400);
    if (percent(p)) paintText(context, percent(p), x, y(p) - 9, text, color(root, "paper"));
  });
  Object.assign(context, { strokeStyle: quiet, lineWidth: 1 });
  context.beginPath();
  context.moveTo(left, base);
  context.lineTo(width, base);
  context.stroke();
}

/** A code drawn at random: a disc if the judge is sure of its picture, else a cross. */
function paintDraw(context, [x, y], sure, ink, paper) {
  context.beginPath();
  if (sure) context.arc(x, y, 3.5, 0, 7);
  else for (const slope of [1, -1]) {
    context.moveTo(x - 4.5, y - slope * 4.5);
    context.lineTo(x + 4.5, y + slope * 4.5);
  }
  Object.assign(context, { strokeStyle: paper, lineWidth: sure ? 2.5 : 5, lineCap: "round", fillStyle: ink });
  context.stroke();
  if (sure) return context.fill();
  Object.assign(context, { strokeStyle: ink, lineWidth: 2.2 });
  context.stroke();
}

function render({ model: shared, el }) {
  const model = heard(shared), root = stage(el, "codes", MARKUP), find = (selector) => root.querySelector(selector);
  const map = find(".vae-map"), checkbox = find("[type=checkbox]");
  const decoder = unpackNetwork(model.get("decoder"), model.get("decoder_layers"));
  const judge = unpackNetwork(model.get("judge"), model.get("judge_layers"));
  const codes = floatsOf(model.get("codes")), labels = bytesOf(model.get("labels"));
  const certainty = bytesOf(model.get("certainty")), [middle1, middle2, half] = model.get("view");
  const gaussians = { standard: { mean: [0, 0], covariance: [1, 0, 1] }, fitted: fitGaussian(codes) };
  const middles = medians(codes, 2, labels);

  // The map: 0 to 1 from the left and from the top, or codes.
  const toMap = ([z1, z2]) => [(z1 - middle1) / (2 * half) + 0.5, 0.5 - (z2 - middle2) / (2 * half)];
  const isOnMap = (place) => toMap(place).every((share) => share >= 0 && share <= 1);
  const point = () => [model.get("z1"), model.get("z2")];
  const onMap = (place) => place.map((value, axis) =>
    Math.min([middle1, middle2][axis] + half, Math.max([middle1, middle2][axis] - half, value)));
  const moveTo = (place) => { const [z1, z2] = onMap(place); assign(model, { z1, z2 }); };
  draggable(map, {
    move: (x, y) => moveTo([middle1 + (2 * x - 1) * half, middle2 + (1 - 2 * y) * half]),
    key(right, up) {
      const [z1, z2] = point();
      moveTo([z1 + 2 * half * STEP * right, z2 + 2 * half * STEP * up]);
    },
  });

  checkbox.addEventListener("change", () => assign(model, { fog: checkbox.checked }));
  const radios = [...root.querySelectorAll("[type=radio]")];
  for (const radio of radios) radio.addEventListener("change", () => assign(model, { source: radio.value }));
  const [drawButton, clearButton] = ["draw", "clear"].map((name) => find(`[data-does=${name}]`));
  drawButton.addEventListener("click", () => assign(model, { draws: Math.min(MOST, model.get("draws") + BUNCH) }));
  clearButton.addEventListener("click", () => {
    assign(model, { draws: 0, seed: (model.get("seed") + 1) % 2 ** 31 });
    drawButton.focus();  // this one cannot be pressed again
  });

  const strip = Array.from({ length: SHOWN }, () => {
    const cell = document.createElement("div");
    cell.innerHTML = '<canvas class="vae-picture" width="28" height="28" role="img"></canvas><p></p>';
    find(".vae-strip").append(cell);
    return { canvas: cell.firstChild, text: cell.lastChild };
  });

  // Draws are decoded and judged once; those from the other Gaussian are kept for when it is chosen again.
  let judged = {};
  function drawn() {
    const [source, count, seed] = ["source", "draws", "seed"].map((name) => model.get(name));
    if (judged.seed !== seed) judged = { seed, standard: [], fitted: [] };
    const known = judged[source];
    if (known.length < count) for (const place of drawCodes(gaussians[source], count, seed).slice(known.length)) {
      const picture = pictureOf(decoder, place);
      known.push({ place, picture, ...judgement(judge, picture) });
    }
    return known.slice(0, count);
  }

  const fog = document.createElement("canvas");
  let fogged = "";
  function paintFog(size, ink) {
    if (fogged === `${size} ${ink}`) return;
    fogged = `${size} ${ink}`;
    fog.width = fog.height = size;
    const context = fog.getContext("2d"), image = context.createImageData(size, size);
    for (let row = 0, k = 3; row < size; row++) for (let column = 0; column < size; column++, k += 4)
      image.data[k] = 255 * opacity(interpolate(certainty, (column + 0.5) / size, (row + 0.5) / size) / 255);
    context.putImageData(image, 0, 0);
    Object.assign(context, { globalCompositeOperation: "source-in", fillStyle: ink });
    context.fillRect(0, 0, size, size);
  }

  const layer = document.createElement("canvas");
  let painted = "";
  function paintLayer(width, ratio, draws) {  // what does not move with the point, painted once
    const theme = isDark(root) ? "dark" : "light", source = model.get("source");
    const key = [width, ratio, theme, source, model.get("fog"), draws.length, model.get("seed")].join();
    if (key === painted) return;
    painted = key;
    layer.width = layer.height = Math.round(width * ratio);
    const [paper, quiet, green] = ["paper", "quiet", "prior"].map((name) => color(root, name));
    const context = layer.getContext("2d"), at = (place) => toMap(place).map((share) => share * width);
    context.scale(ratio, ratio);
    context.strokeStyle = color(root, "line");
    for (const axis of [0, 1]) {
      const zero = at([0, 0])[axis];
      context.beginPath();
      context.moveTo(...(axis ? [0, zero] : [zero, 0]));
      context.lineTo(...(axis ? [width, zero] : [zero, width]));
      context.stroke();
    }
    paintPoints(context, width, codes, 2, labels, {
      palette: PALETTE[theme], place: at, radius: width > 300 ? 2 : 1.6,
    });
    if (draws.length) {  // a veil over the codes, so that draws stand out
      Object.assign(context, { globalAlpha: 0.45, fillStyle: paper });
      context.fillRect(0, 0, width, width);
      context.globalAlpha = 1;
    }
    if (model.get("fog")) {
      paintFog(layer.width, quiet);
      context.drawImage(fog, 0, 0, width, width);
    }
    Object.assign(context, { strokeStyle: green, lineWidth: 1.5 });
    const contour = ellipse(gaussians[source]).map(at);
    context.beginPath();
    contour.forEach((place) => context.lineTo(...place));
    context.closePath();
    context.stroke();
    for (const { place, sure } of draws) paintDraw(context, at(place), sure, green, paper);
    Object.assign(context, { font: FONT(400), textAlign: "center", textBaseline: "middle" });
    const [x, y] = contour.reduce((a, b) => a[0] + a[1] > b[0] + b[1] ? a : b);  // the lower right of it
    paintText(context, NAMES[source], Math.min(width - 66, x + 34), y + 13, green, paper);
    for (const tick of [-2, 2]) {
      paintText(context, nice(tick, 0), at([tick, 0])[0], width - 11, quiet, paper);
      paintText(context, nice(tick, 0), 13, at([0, tick])[1], quiet, paper);
    }
    paintText(context, "z₁", width - 13, width - 11, quiet, paper);
    paintText(context, "z₂", 13, 12, quiet, paper);
    context.font = FONT(700, 14);
    const named = middles.map((place, digit) => place && { digit, at: at(place) }).filter(Boolean);
    spread(named.map((name) => name.at), 17).forEach((place, k) =>
      paintText(context, named[k].digit, ...place, color(root, "text"), paper));
  }

  let spoken = 0;
  function paintPoint() {
    const z = point(), picture = pictureOf(decoder, z), opinion = judgement(judge, picture), words = inWords(opinion);
    const { index, distance } = nearest(...z, codes, 2), near = `${digitNamed(labels[index])}, ${nice(distance)} away`;
    const place = `z = (${nice(z[0])}, ${nice(z[1])})`;
    paintImage(find(".vae-large"), picture);
    find(".vae-large").setAttribute("aria-label", `Picture decoded from ${place}. ${words}`);
    paintImage(find(".vae-near"), pictureOf(decoder, codes.slice(2 * index, 2 * index + 2)));
    find(".vae-near").setAttribute("aria-label", `The nearest test digit, rebuilt: ${near}`);
    find(".vae-verdict").textContent = words;
    find(".vae-place").textContent = place;
    find(".vae-nearest").textContent = near;
    paintBars(find(".vae-bars"), opinion, root);
    const list = opinion.probabilities.map((p, digit) => `${digit}: ${percent(p)} %`).join(", ");
    find(".vae-bars").setAttribute("aria-label", `The judge’s probabilities. ${list}`);
    clearTimeout(spoken);
    spoken = setTimeout(() => {  // speak when the point rests
      find(".vae-point-spoken").textContent = `${place}. ${words}. Nearest test digit: ${near}`;
    }, 500);
  }

  /** Say of how many of n the judge is unsure, with a bar. Returns the share in words. */
  function tell(name, count, n, what) {
    const { share, error } = shareOf(count, n), text = `${share.toFixed(0)} % ± ${error.toFixed(0)} %`;
    find(`dt.vae-${name}`).textContent = n ? `${thousands(count)} of ${thousands(n)} ${what}` : what;
    Object.assign(find(`dd.vae-${name} i`), { hidden: !n }).style.width = `${BAR * share}%`;
    find(`dd.vae-${name} span`).textContent = n ? text : "none yet";
    return text;
  }

  function paintDraws(draws) {
    const unsure = draws.filter(({ sure }) => !sure).length, [real, rebuilt] = model.get("unsure");
    const share = tell("drawn", unsure, draws.length, "codes drawn");
    const beyond = draws.filter(({ place }) => !isOnMap(place)).length;
    tell("rebuilt", rebuilt, labels.length, "test digits, rebuilt");
    tell("real", real, labels.length, "test digits as they are");
    const last = draws.slice(-SHOWN);
    strip.forEach(({ canvas, text }, k) => {
      const draw = last[k];
      paintImage(canvas, draw?.picture ?? new Float32Array(28 * 28));
      text.textContent = draw ? `${draw.sure ? "" : "× "}${draw.first}` : "–";
      canvas.setAttribute("aria-label",
        draw ? `Picture of a code drawn at random. ${inWords(draw)}` : "Nothing drawn yet");
    });
    drawButton.textContent = draws.length ? `Draw ${BUNCH} more` : `Draw ${BUNCH} codes`;
    drawButton.disabled = draws.length >= MOST;
    clearButton.disabled = !draws.length;
    find(".vae-draws-spoken").textContent = !draws.length ? "" :
      `${draws.length} codes drawn; the judge is unsure of ${unsure}, ${share}`
      + (beyond ? `; ${beyond} lie beyond the map` : "");
  }

  let away = 0;
  for (let i = 0; i < labels.length; i++) away += isOnMap([codes[2 * i], codes[2 * i + 1]]) ? 0 : 1;
  find(".vae-plane p").textContent =
    `Each dot is the code of one of ${thousands(labels.length)} test digits (${away} lie beyond the map). `
    + "Drag the orange point, or use the arrow keys (Shift: five steps): what decodes between the heaps?";

  let counted = "";
  function paint() {
    if (!isOnMap(point())) return moveTo(point());  // Python may have put it anywhere
    checkbox.checked = model.get("fog");
    for (const radio of radios) radio.checked = radio.value === model.get("source");
    const draws = drawn(), { context, width } = fitCanvas(map);
    paintLayer(width, map.width / width, draws);
    context.drawImage(layer, 0, 0, width, width);
    const [fill, paper, text] = ["decoder", "paper", "text"].map((name) => color(root, name));
    paintHandle(context, toMap(point()).map((share) => share * width), { fill, paper, text });
    paintPoint();
    const key = ["source", "draws", "seed"].map((name) => model.get(name)).join();
    if (key !== counted) paintDraws(draws);
    counted = key;
  }

  const stop = repaint(root, model, ["z1", "z2", "fog", "source", "draws", "seed"], paint);
  return () => { stop(); clearTimeout(spoken); model.release(); };
}

export default { render };

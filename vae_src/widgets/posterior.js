import { medians, paintPoints, paintText, PALETTE, spread } from "./map.js";
import { bytesOf, floatsOf, LOG_2PI, normalDraws, unpackNetwork } from "./maths.js";
import { paintHandle } from "./plane.js";
import {
  assign, color, draggable, fitCanvas, heard, isDark, isStill, nice, paintImage, repaint, slider, stage,
} from "./stage.js";

// --- q ---------------------------------------------------------------------------------------------------

/** Cholesky's factor of q's covariance: [l₁₁, l₂₁, l₂₂]. */
export const choleskyOf = ({ scale1, scale2, correlation: r }) => [scale1, r * scale2, scale2 * Math.sqrt(1 - r * r)];

/** Standard deviations and correlation from Cholesky's factor. */
export function scalesOf([l11, l21, l22]) {
  const scale2 = Math.hypot(l21, l22);
  return { scale1: l11, scale2, correlation: l21 / scale2 };
}

/** Where standard normal noise goes: mean + L noise. */
export const placed = ([m1, m2], [l11, l21, l22], u, v) => [m1 + l11 * u, m2 + l21 * u + l22 * v];

/** The entropy of q in nats. */
export const entropyOf = ([l11, , l22]) => 1 + LOG_2PI + Math.log(l11 * l22);

// --- log p(x, z), and its slope in z ---------------------------------------------------------------------

/** The decoder up to its logits: linear layers, each told whether ReLU follows, with room for one pass. */
export function logitsOf(network) {
  const layers = [];
  for (const layer of network) {
    if (layer.op === "linear") {
      const { matrix, rows, columns } = layer, turned = new Float32Array(matrix.length);
      for (let row = 0, k = 0; row < rows; row++)
        for (let j = 0; j < columns; j++, k++) turned[j * rows + row] = matrix[k];
      layers.push({ ...layer, turned, out: new Float32Array(rows), back: new Float32Array(columns) });
    }
    else if (layer.op === "relu") layers.at(-1).isCut = true;
    else if (layer.op !== "sigmoid") throw new Error(`no slope of a layer ${layer.op}`);
  }
  return layers;
}

/** Write a matrix times a vector into `out`, four sums at a time: they need not wait for each other. */
function multiply(matrix, input, out) {
  const columns = input.length;
  for (let row = 0, k = 0; row < out.length; row++) {
    let a = 0, b = 0, c = 0, d = 0, j = 0;
    for (; j + 3 < columns; j += 4, k += 4) {
      a += matrix[k] * input[j];
      b += matrix[k + 1] * input[j + 1];
      c += matrix[k + 2] * input[j + 2];
      d += matrix[k + 3] * input[j + 3];
    }
    for (; j < columns; j++, k++) a += matrix[k] * input[j];
    out[row] = a + b + c + d;
  }
}

function pass(layers, z) {
  let input = Float32Array.from(z);
  for (const { matrix, bias, out, isCut } of layers) {
    multiply(matrix, input, out);
    for (let row = 0; row < out.length; row++) {
      const sum = out[row] + bias[row];
      out[row] = isCut && sum < 0 ? 0 : sum;
    }
    input = out;
  }
  return input;
}

/** log p(x, z) in nats, for binary pixels and a standard normal prior. */
export function logJoint(layers, pixels, z) {
  const logits = pass(layers, z);
  let total = -0.5 * (z[0] * z[0] + z[1] * z[1]) - LOG_2PI;
  for (let i = 0; i < pixels.length; i++) {
    const l = logits[i];
    total += pixels[i] * l - Math.max(l, 0) - Math.log1p(Math.exp(-Math.abs(l)));
  }
  return total;
}

/** The slope of log p(x, z) in z: one pass through the decoder, and one back. */
export function slopeOf(layers, pixels, z) {
  let delta = pass(layers, z).map((l, i) => pixels[i] - 1 / (1 + Math.exp(-l)));
  for (let n = layers.length - 1; n >= 0; n--) {
    const { turned, back } = layers[n];
    multiply(turned, delta, back);
    if (n) for (let j = 0; j < back.length; j++) if (layers[n - 1].isCut && !layers[n - 1].out[j]) back[j] = 0;
    delta = back;
  }
  return [delta[0] - z[0], delta[1] - z[1]];
}

// --- the posterior on its grid ---------------------------------------------------------------------------

const SIDE = 80, STEP = 0.02;  // as in posterior.py

/** One choice's grid: where its nodes are, log p(x, z) there, log p(x), and the regions of highest density. */
export function gridOf(box, integers) {
  const [low1, low2, high1, high2, top] = box, low = [low1, low2];
  const spacing = [(high1 - low1) / (SIDE - 1), (high2 - low2) / (SIDE - 1)], cell = spacing[0] * spacing[1];
  const values = Float64Array.from(integers, (below) => top - STEP * below);
  let sum = 0;
  for (const value of values) sum += Math.exp(value - top);
  const logMarginal = top + Math.log(sum * cell), descending = Float64Array.from(values).sort().reverse();
  const levels = [0.5, 0.9, 0.99].map((share) => {
    let mass = 0;
    return descending.find((value) => (mass += Math.exp(value - logMarginal) * cell) >= share);
  });
  return { low, high: [high1, high2], spacing, cell, values, logMarginal, levels };
}

/** Whether a sum over the grid's nodes is an average over q: q lies inside, and is not too narrow for them. */
export function isWithin({ low, high, spacing }, mean, factor) {
  const [l11, l21, l22] = factor, scales = [l11, Math.hypot(l21, l22)], tilt = l22 / scales[1];
  return [0, 1].every((axis) => mean[axis] - 3.5 * scales[axis] >= low[axis]
    && mean[axis] + 3.5 * scales[axis] <= high[axis] && scales[axis] * tilt >= 0.7 * spacing[axis]);
}

/** KL(q‖p(z|x)) as a sum over the grid's nodes. */
export function divergenceOnGrid({ low, spacing, cell, values, logMarginal }, mean, factor) {
  const [l11, l21, l22] = factor, constant = -LOG_2PI - Math.log(l11 * l22);
  let mass = 0, total = 0;
  for (let row = 0, k = 0; row < SIDE; row++) {
    const y = low[1] + row * spacing[1] - mean[1];
    for (let column = 0; column < SIDE; column++, k++) {
      const u = (low[0] + column * spacing[0] - mean[0]) / l11, v = (y - l21 * u) / l22, square = u * u + v * v;
      if (square > 40) continue;
      const logQ = constant - 0.5 * square, q = Math.exp(logQ);
      mass += q;
      total += q * (logQ - values[k] + logMarginal);
    }
  }
  return total / mass;
}

// Gauss and Hermite's nodes and weights for averages over a standard normal.
const NODES = [-3.750439717725742, -2.366759410734541, -1.154405394739968, 0, 1.154405394739968, 2.366759410734541,
  3.750439717725742];
const WEIGHTS = [0.0005482688559722184, 0.0307571239675865, 0.2401231786050127, 0.4571428571428571, 0.2401231786050127,
  0.0307571239675865, 0.0005482688559722184];

/** The ELBO of q from 49 passes through the decoder: right to some hundredths of a nat if q is narrow. */
export function elboFromNodes(layers, pixels, mean, factor) {
  let total = entropyOf(factor);
  NODES.forEach((u, i) => NODES.forEach((v, j) => {
    total += WEIGHTS[i] * WEIGHTS[j] * logJoint(layers, pixels, placed(mean, factor, u, v));
  }));
  return total;
}

/** KL(q‖p(z|x)) and the ELBO, which add up to log p(x); and whether they are right to the second decimal. */
export function account(layers, pixels, grid, mean, factor) {
  const isExact = isWithin(grid, mean, factor);
  const kl = isExact ? divergenceOnGrid(grid, mean, factor)
    : grid.logMarginal - elboFromNodes(layers, pixels, mean, factor);
  return { kl, elbo: grid.logMarginal - kl, isExact };
}

// --- optimising q for one digit --------------------------------------------------------------------------

export const STEPS = 500, DRAWS = 8, RATE = 0.05;

/** q as what Adam moves: the mean, log l₁₁, log l₂₂, l₂₁ / l₂₂; and Adam's two averages. */
export function begin(mean, [l11, l21, l22]) {
  const zeros = [0, 0, 0, 0, 0];
  return { step: 0, theta: [...mean, Math.log(l11), Math.log(l22), l21 / l22], first: zeros, second: zeros };
}

/** The mean and Cholesky's factor. */
export function qOf({ theta: [m1, m2, a, b, c] }) {
  return { mean: [m1, m2], factor: [Math.exp(a), c * Math.exp(b), Math.exp(b)] };
}

/**
 * The gradient of the ELBO, estimated from reparameterised draws, by what Adam moves.
 *
 * It goes through the draws alone, as if log q knew its parameters by heart: where q is the posterior, every draw
 * says 0 ("sticking the landing").
 */
export function gradientOf(layers, pixels, state, noise, isFull) {
  const { mean, factor } = qOf(state), [l11, l21, l22] = factor, total = [0, 0, 0, 0, 0], draws = [];
  for (let k = 0; k < noise.length; k += 2) {
    const u = noise[k], v = noise[k + 1], z = placed(mean, factor, u, v), slope = slopeOf(layers, pixels, z);
    const byV = v / l22, g1 = slope[0] + (u - l21 * byV) / l11, g2 = slope[1] + byV;
    [g1, g2, g1 * l11 * u, g2 * (z[1] - mean[1]), isFull ? g2 * l22 * u : 0]
      .forEach((term, i) => { total[i] += term / (noise.length / 2); });
    draws.push(z);
  }
  return { gradient: total, draws };
}

/** One step of Adam up the ELBO; its rate falls to 0 along a cosine. */
export function advance({ step, theta, first, second }, gradient) {
  const rate = RATE * (1 + Math.cos(Math.PI * step / STEPS)) / 2, n = step + 1;
  const m = first.map((value, i) => 0.9 * value + 0.1 * gradient[i]);
  const v = second.map((value, i) => 0.999 * value + 0.001 * gradient[i] ** 2);
  const moved = theta.map((value, i) =>
    value + rate * m[i] / (1 - 0.9 ** n) / (Math.sqrt(v[i] / (1 - 0.999 ** n)) + 1e-8));
  return { step: n, theta: moved, first: m, second: v };
}

/** The first step at which a run's KL was within a tenth of a nat of its end; KLs may be missing. */
export const arrivalOf = (kls) => kls.findIndex((kl) => kl <= kls.at(-1) + 0.1);

// --- pictures --------------------------------------------------------------------------------------------

/** The segments of the lines on which a grid has a value, as pairs of [column, row]. */
export function contour(values, level) {
  const segments = [];
  for (let row = 0; row < SIDE - 1; row++) for (let column = 0; column < SIDE - 1; column++) {
    const corners = [[column, row], [column + 1, row], [column + 1, row + 1], [column, row + 1]], ends = [];
    corners.forEach(([i, j], side) => {
      const [u, v] = corners[(side + 1) % 4], from = values[j * SIDE + i], to = values[v * SIDE + u];
      if (from < level === to < level) return;
      const share = (level - from) / (to - from);
      ends.push([i + share * (u - i), j + share * (v - j)]);
    });
    for (let k = 0; k < ends.length; k += 2) segments.push([ends[k], ends[k + 1]]);
  }
  return segments;
}

/** A grid's value at a column and a row between its nodes; −∞ beyond its edges. */
export function valueAt(values, column, row) {
  if (!(column >= 0 && row >= 0 && column <= SIDE - 1 && row <= SIDE - 1)) return -Infinity;
  const i = Math.min(SIDE - 2, Math.floor(column)), j = Math.min(SIDE - 2, Math.floor(row)), k = j * SIDE + i;
  const lower = values[k] + (column - i) * (values[k + 1] - values[k]);
  const upper = values[k + SIDE] + (column - i) * (values[k + SIDE + 1] - values[k + SIDE]);
  return lower + (row - j) * (upper - lower);
}

/** The square that shows the posterior's 99 % region and three of the encoder's standard deviations. */
export function viewOf({ low, spacing, values, levels }, [mean1, mean2, scale1, scale2]) {
  const least = [mean1 - 3 * scale1, mean2 - 3 * scale2], most = [mean1 + 3 * scale1, mean2 + 3 * scale2];
  values.forEach((value, k) => {
    if (value >= levels[2]) [k % SIDE, Math.floor(k / SIDE)].forEach((node, axis) => {
      const place = low[axis] + node * spacing[axis];
      least[axis] = Math.min(least[axis], place);
      most[axis] = Math.max(most[axis], place);
    });
  });
  const middle = [0, 1].map((axis) => (least[axis] + most[axis]) / 2);
  return { middle, half: 0.58 * Math.max(most[0] - least[0], most[1] - least[1]) };
}

/** The largest of 1, 2, 5, 10, … (or tenths, hundredths) that is not above a positive value. */
export function roundDown(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [5, 2, 1].find((leading) => leading * power <= value * (1 + 1e-9));
}

// --- the page --------------------------------------------------------------------------------------------

const LIMITS = { scale: [0.003, 3], correlation: [-0.999, 0.999], mean: [-5, 5] };
const PLANE = 4;  // the map shows −4 to 4 along either axis
const REMEMBERED = 4;  // runs
const OF_Q = ["mean", "scale1", "scale2", "correlation"];
const TRAITS = ["digit", "family", ...OF_Q, "seed"];
const STARTS = { encoder: "from the encoder", prior: "from N(0, I)", here: "from where q was" };
const FONT = (weight = 400) => `${weight} 12px system-ui, -apple-system, "Segoe UI", sans-serif`;
const clamp = (value, [low, high]) => Math.min(high, Math.max(low, value));

const MARKUP = `
  <fieldset class="vae-choices"><legend>Digit <var>x</var></legend></fieldset>
  <div class="vae-run">
    <div class="vae-buttons"><button type="button" data-does="play"></button>
      <button type="button" data-does="step">One step</button>
      <button type="button" data-does="encoder">Start at the encoder</button>
      <button type="button" data-does="prior">Start at the prior N(0, <b>I</b>)</button></div>
    <fieldset class="vae-families"><legend>Covariance</legend>
      <label><input type="radio" name="ID-family" value="diagonal"><span>diagonal</span></label>
      <label><input type="radio" name="ID-family" value="full"><span>full</span></label></fieldset>
    <p class="vae-status"></p>
  </div>
  <div class="vae-panes">
    <div class="vae-close">
      <canvas class="vae-lens" tabindex="0" role="application" aria-roledescription="draggable Gaussian"
        aria-label="The posterior, seen close" aria-describedby="ID-help"></canvas>
      <ul class="vae-key vae-quiet">
        <li>true posterior <var>p</var>(<var>z</var> | <var>x</var>):
          <i class="vae-50"></i>50 % <i class="vae-90"></i>90 % <i class="vae-99"></i>99 %</li>
        <li><i class="vae-answer"></i>the encoder’s answer, 1σ and 2σ</li>
        <li><i class="vae-now"></i><var>q</var> now; small dots: its last ${DRAWS} draws</li></ul>
      <p class="vae-quiet" id="ID-help">Drag <var>q</var>, or its two open dots to stretch it. Keys: arrows move
        <var>q</var> (Shift: five steps).</p>
    </div>
    <div class="vae-side">
      <canvas class="vae-map" tabindex="0" role="application" aria-roledescription="map of the latent plane"
        aria-label="The whole latent plane" aria-describedby="ID-map"></canvas>
      <p class="vae-quiet" id="ID-map">The whole plane, and in the frame what is seen close. Dashed: the prior, 2σ.
        Drag <var>q</var> here, too.</p>
      <div class="vae-pictures">
        <div><canvas class="vae-picture vae-x" width="28" height="28" role="img"></canvas><p><var>x</var></p></div>
        <div><canvas class="vae-picture vae-decoded" width="28" height="28" role="img"></canvas>
          <p>decoded from <var>q</var>’s mean</p></div></div>
      <div class="vae-sliders"></div>
    </div>
  </div>
  <div class="vae-bound"><div class="vae-sum">
    <span><span>log <var>p</var>(<var>x</var>)</span> <b data-of="evidence"></b></span> <i>=</i>
    <span><span>ELBO of <var>q</var></span> <b data-of="elbo"></b></span> <i>+</i>
    <span><span>KL(<var>q</var> ‖ <var>p</var>(<var>z</var> | <var>x</var>))</span> <b data-of="kl"></b></span>
    <i>nats</i></div>
    <p class="vae-cost vae-quiet"></p></div>
  <canvas class="vae-chart" role="img"></canvas>
  <div class="vae-below">
    <dl class="vae-gaps">
      <dt>ELBO of the encoder’s answer</dt><dd data-of="answer"></dd>
      <dt><i class="vae-amortization"></i>amortization gap, up to the best diagonal <var>q</var> so far</dt>
      <dd data-of="amortization"></dd>
      <dt><i class="vae-approximation"></i>approximation gap, from there to log <var>p</var>(<var>x</var>)</dt>
      <dd data-of="approximation"></dd>
      <dt>KL of the best <var>q</var> so far with full covariance</dt><dd data-of="full"></dd></dl>
    <div><p class="vae-title">Runs for this digit</p><ol class="vae-runs"></ol></div>
  </div>
  <p class="vae-hidden" aria-live="polite"></p>`;

/** The path of a q as an ellipse of some standard deviations; `at` says where latents are on the canvas. */
function trace(context, at, mean, factor, deviations) {
  context.beginPath();
  for (let i = 0; i < 72; i++) {
    const angle = 2 * Math.PI * i / 72;
    context.lineTo(...at(placed(mean, factor, deviations * Math.cos(angle), deviations * Math.sin(angle))));
  }
  context.closePath();
}

function dot(context, place, radius, style) {
  context.beginPath();
  context.arc(...place, radius, 0, 7);
  Object.assign(context, style);
  context.fill();
  context.stroke();
}

function line(context, ...places) {
  context.beginPath();
  for (const place of places) context.lineTo(...place);
  context.stroke();
}

function render({ model: shared, el }) {
  const model = heard(shared), root = stage(el, "posterior", MARKUP), find = (selector) => root.querySelector(selector);
  const write = (name, text) => { find(`[data-of=${name}]`).textContent = text; };
  const [lens, map, chart, status] = ["lens", "map", "chart", "status"].map((name) => find(`.vae-${name}`));
  const decoder = logitsOf(unpackNetwork(model.get("decoder"), model.get("decoder_layers")));
  const codes = floatsOf(model.get("codes")), labels = bytesOf(model.get("labels")), choices = model.get("choices");
  const boxes = floatsOf(model.get("boxes")), integers = new Uint16Array(bytesOf(model.get("grids")).buffer);
  const packed = bytesOf(model.get("pixels")), answers = floatsOf(model.get("encoded"));
  const middles = medians(codes, 2, labels);
  const part = (array, k, length) => array.subarray(k * length, (k + 1) * length);
  const digitOf = (k) => labels[choices[k]], named = (k) => `test digit ${choices[k]}, labelled ${digitOf(k)}`;
  const pictureOf = (k) => Array.from(part(packed, k, 98)).flatMap((byte) =>
    Array.from({ length: 8 }, (_, bit) => byte >> 7 - bit & 1));

  // What depends on the digit alone, and what has been found out about it.
  let known = null;
  function about() {
    const k = model.get("digit");
    if (known?.k === k) return known;
    close();
    const grid = gridOf(part(boxes, k, 5), part(integers, k, SIDE * SIDE)), answer = Array.from(part(answers, k, 4));
    const pixels = Float32Array.from(pictureOf(k));
    known = { k, grid, answer, pixels, view: viewOf(grid, answer), runs: [], best: {} };
    known.encoder = account(decoder, pixels, grid, answer.slice(0, 2), [answer[2], 0, answer[3]]);
    known.segments = grid.levels.map((level) => contour(grid.values, level));
    return known;
  }

  // --- q

  const isFull = () => model.get("family") === "full";
  const read = () => {
    const [mean, scale1, scale2, correlation] = OF_Q.map((name) => model.get(name));
    return { mean, factor: choleskyOf({ scale1, scale2, correlation: isFull() ? correlation : 0 }) };
  };
  const traitsOf = (mean, factor) => {
    const { scale1, scale2, correlation } = scalesOf(factor);
    return {
      mean: mean.map((value) => clamp(value, LIMITS.mean)), correlation: clamp(correlation, LIMITS.correlation),
      scale1: clamp(scale1, LIMITS.scale), scale2: clamp(scale2, LIMITS.scale),
    };
  };
  const put = (mean, factor) => assign(model, traitsOf(mean, factor));
  const keyOf = () => JSON.stringify(TRAITS.map((name) => model.get(name)));
  const startOf = ({ mean, factor }) => {
    const is = (numbers) => [...mean, ...factor].every((value, i) => Math.abs(value - numbers[i]) < 1e-6);
    const [m1, m2, s1, s2] = about().answer;
    return is([m1, m2, s1, 0, s2]) ? "encoder" : is([0, 0, 1, 0, 1]) ? "prior" : "here";
  };

  for (let k = 0; k < choices.length; k++) {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.innerHTML = '<canvas class="vae-picture" width="28" height="28" role="img"></canvas>';
    paintImage(button.firstChild, pictureOf(k));
    button.firstChild.setAttribute("aria-label", named(k));
    button.addEventListener("click", () => {
      const [m1, m2, scale1, scale2] = part(answers, k, 4);
      assign(model, { digit: k, family: "diagonal", mean: [m1, m2], scale1, scale2, correlation: 0 });
    });
    find(".vae-choices").append(button);
  }
  for (const radio of root.querySelectorAll("[type=radio]"))
    radio.addEventListener("change", () => assign(model, { family: radio.value, correlation: 0 }));
  const logarithm = (trait) => ({  // sliders of powers, evenly spaced
    ...model, get: () => Math.log10(model.get(trait)),
    set: (to) => model.set({ [trait]: clamp(10 ** to[trait], LIMITS.scale) }),
  });
  const [min, max] = LIMITS.scale.map(Math.log10);
  for (const [trait, label] of [["scale1", "<var>σ</var>₁"], ["scale2", "<var>σ</var>₂"]])
    find(".vae-sliders").append(slider(logarithm(trait), trait, {
      label, min, max, step: "any", text: (power) => (10 ** power).toFixed(3),
    }));
  const tilt = slider(model, "correlation", {
    label: "correlation", min: LIMITS.correlation[0], max: LIMITS.correlation[1], step: 0.001, text: (v) => nice(v),
  });
  find(".vae-sliders").append(tilt);

  // Both canvases: 0 to 1 from the left and from the top, or latents.
  const whole = { middle: [0, 0], half: PLANE };
  const toShare = ({ middle, half }, [z1, z2]) =>
    [(z1 - middle[0]) / (2 * half) + 0.5, 0.5 - (z2 - middle[1]) / (2 * half)];
  const toLatents = ({ middle, half }, x, y) => [middle[0] + (2 * x - 1) * half, middle[1] + (1 - 2 * y) * half];
  /** What of q can be held on a canvas: the mean and, in the close view, the open dots unless they are too near. */
  function handlesOn(canvas, { mean, factor }) {
    if (canvas === map) return { mean };
    const pixel = 2 * about().view.half / canvas.clientWidth;
    const dots = { wide: placed(mean, factor, 2, 0), tall: placed(mean, factor, 0, 2) };
    const isClear = ([z1, z2]) => Math.hypot(z1 - mean[0], z2 - mean[1]) > 16 * pixel;
    return { mean, ...Object.fromEntries(Object.entries(dots).filter(([, place]) => isClear(place))) };
  }
  for (const [canvas, viewNow] of [[lens, () => about().view], [map, () => whole]]) {
    let held = "mean", grip = [0, 0];
    draggable(canvas, {
      press(x, y) {
        const q = read(), distance = (place) =>
          Math.hypot(...toShare(viewNow(), place).map((share, axis) => (share - [x, y][axis]) * canvas.clientWidth));
        const near = Object.entries(handlesOn(canvas, q))
          .map(([name, place]) => ({ name, place, away: distance(place) })).filter(({ away }) => away < 18)
          .sort((a, b) => a.away - b.away)[0];
        held = near?.name ?? "mean";
        const pressed = toLatents(viewNow(), x, y);
        grip = near ? near.place.map((value, axis) => value - pressed[axis]) : [0, 0];  // held where it was touched
      },
      move(x, y) {
        const { mean, factor: [l11, l21, l22] } = read();
        const [z1, z2] = toLatents(viewNow(), x, y).map((z, axis) => z + grip[axis]);
        const positive = (length) => Math.max(LIMITS.scale[0], length / 2);
        if (held === "mean") put([z1, z2], [l11, l21, l22]);
        else if (held === "tall") put(mean, [l11, l21, positive(z2 - mean[1])]);
        else put(mean, [positive(z1 - mean[0]), isFull() ? (z2 - mean[1]) / 2 : 0, l22]);
      },
      key(right, up) {
        const { mean, factor } = read(), step = viewNow().half / 40;
        put([mean[0] + right * step, mean[1] + up * step], factor);
      },
    });
  }

  // --- optimising: a run goes on as long as nothing but it moves q

  let playing = 0, run = null;
  function halt() {
    cancelAnimationFrame(playing);
    playing = 0;
    find("[data-does=play]").textContent = "Play: optimise q";
  }
  function close() { halt(); run = null; }
  const isOpen = () => run && run.key === keyOf();
  function open() {
    if (isOpen() && run.state.step < STEPS) return;
    const { runs, pixels, grid } = about(), q = read();
    const now = account(decoder, pixels, grid, q.mean, q.factor);
    run = {
      start: startOf(q), family: model.get("family"), state: begin(q.mean, q.factor), draws: [],
      now, kls: [now.kl], noise: normalDraws(2 * DRAWS * STEPS, model.get("seed")),
    };
    runs.push(run);
    if (runs.length > REMEMBERED) runs.shift();
  }
  function forward(isLast) {
    const { pixels, grid } = about(), { state, noise, kls } = run, n = 2 * DRAWS;
    const own = noise.subarray(n * state.step, n * (state.step + 1));
    const found = gradientOf(decoder, pixels, state, own, run.family === "full");
    run.draws = found.draws;
    run.state = advance(state, found.gradient);
    const { mean, factor } = qOf(run.state);
    // Far from the posterior the ELBO costs many passes: there once a frame is enough.
    run.now = isLast || isWithin(grid, mean, factor) ? account(decoder, pixels, grid, mean, factor) : { kl: NaN };
    kls.push(run.now.kl);
  }
  function show() {
    const { mean, factor } = qOf(run.state);
    put(mean, factor);
    run.key = keyOf();
  }
  function tick(now) {
    if (!isOpen()) return close();
    const seconds = Math.max(0, now - run.begun) / 1000, from = run.state.step, begun = performance.now();
    const due = run.isHasty ? STEPS : Math.min(STEPS, run.first + Math.floor(14 * seconds + 9 * seconds * seconds));
    while (run.state.step < due) {
      const isLast = run.state.step + 1 === due || performance.now() - begun > (run.isHasty ? 80 : 9);
      forward(isLast);
      if (isLast) break;
    }
    if (run.state.step > from && !(run.isHasty && run.state.step < STEPS)) show();
    if (run.state.step < STEPS) playing = requestAnimationFrame(tick); else halt();
    if (!playing) paint();
  }
  find("[data-does=play]").addEventListener("click", () => {
    if (playing) {
      if (isOpen()) show();  // where stillness was asked for, nothing was shown on the way
      halt();
      return paint();
    }
    open();
    show();
    Object.assign(run, { begun: performance.now(), first: run.state.step, isHasty: isStill() });
    find("[data-does=play]").textContent = "Pause";
    playing = requestAnimationFrame(tick);
  });
  find("[data-does=step]").addEventListener("click", () => {
    halt();
    open();
    forward(true);
    show();
  });
  find("[data-does=encoder]").addEventListener("click", () => {
    const [m1, m2, s1, s2] = about().answer;
    close();
    put([m1, m2], [s1, 0, s2]);
  });
  find("[data-does=prior]").addEventListener("click", () => { close(); put([0, 0], [1, 0, 1]); });

  // --- painting

  const COLORS = ["paper", "text", "quiet", "line", "encoder", "decoder", "prior", "bound", "gap"];
  const colors = () => Object.fromEntries(COLORS.map((name) => [name, color(root, name)]));
  const twice = (context, ink, paper, lineWidth, path) => {
    for (const [strokeStyle, wide] of [[paper, lineWidth + 2.5], [ink, lineWidth]]) {
      Object.assign(context, { strokeStyle, lineWidth: wide, lineJoin: "round" });
      path();
      context.stroke();
    }
  };

  /** What does not move with q is painted once. */
  const layers = {};
  function layer(name, canvas, width, subject, paintOn) {
    const key = [canvas.width, isDark(root), subject].join();
    if (layers[name]?.key !== key) {
      const below = layers[name]?.below ?? document.createElement("canvas");
      below.width = below.height = canvas.width;
      const context = below.getContext("2d");
      context.scale(canvas.width / width, canvas.width / width);
      layers[name] = { key, below };
      paintOn(context);
    }
    return layers[name].below;
  }

  const BANDS = [0.2, 0.45, 0.75];  // opacity of the posterior's regions, from the widest
  function paintPosterior(context, size, { grid, view, segments }, c) {
    const { low, spacing, values, levels } = grid, pixels = context.canvas.width;
    const image = context.createImageData(pixels, pixels);
    const [red, green, blue] = [1, 3, 5].map((at) => parseInt(c.decoder.slice(at, at + 2), 16));
    for (let y = 0, k = 0; y < pixels; y++) for (let x = 0; x < pixels; x++, k += 4) {
      const [z1, z2] = toLatents(view, (x + 0.5) / pixels, (y + 0.5) / pixels);
      const value = valueAt(values, (z1 - low[0]) / spacing[0], (z2 - low[1]) / spacing[1]);
      const band = levels.findIndex((level) => value >= level);
      if (band < 0) continue;
      image.data.set([red, green, blue, 255 * BANDS[2 - band]], k);
    }
    context.putImageData(image, 0, 0);
    Object.assign(context, { strokeStyle: c.decoder, lineWidth: 1 });
    const at = (node) =>
      toShare(view, node.map((index, axis) => low[axis] + index * spacing[axis])).map((share) => share * size);
    for (const region of segments) {
      context.beginPath();
      for (const [from, to] of region) {
        context.moveTo(...at(from));
        context.lineTo(...at(to));
      }
      context.stroke();
    }
  }

  function paintQ(context, at, { mean, factor }, c, lineWidth) {
    for (const deviations of [2, 1]) {
      trace(context, at, mean, factor, deviations);
      Object.assign(context, { fillStyle: c.encoder, globalAlpha: 0.13 });
      context.fill();
      context.globalAlpha = 1;
      twice(context, c.encoder, c.paper, lineWidth, () => trace(context, at, mean, factor, deviations));
    }
  }

  function paintLens(q, c) {
    const { context, width: size } = fitCanvas(lens), it = about(), { view, answer } = it;
    const at = (place) => toShare(view, place).map((share) => share * size);
    context.drawImage(layer("lens", lens, size, it.k, (below) => paintPosterior(below, size, it, c)), 0, 0, size, size);
    const [m1, m2, s1, s2] = answer, own = [[m1, m2], [s1, 0, s2]];
    paintQ(context, at, q, c, 2.5);  // below the encoder's answer where both are the same
    for (const deviations of [2, 1]) {
      context.setLineDash([5, 4]);
      twice(context, c.encoder, c.paper, 1.5, () => trace(context, at, ...own, deviations));
      context.setLineDash([]);
    }
    for (const draw of isOpen() ? run.draws : [])
      dot(context, at(draw), 3.2, { fillStyle: c.encoder, strokeStyle: c.paper, lineWidth: 1.2 });
    const { wide, tall } = handlesOn(lens, q);
    for (const place of [wide, tall]) if (place)
      dot(context, at(place), 6, { fillStyle: c.paper, strokeStyle: c.encoder, lineWidth: 2.5 });
    paintHandle(context, at(q.mean), { fill: c.encoder, paper: c.paper, text: c.text });
    Object.assign(context, { font: FONT(600), textAlign: "center", textBaseline: "middle" });
    const [x, y] = at([m1, m2 - 2 * s2]);
    paintText(context, "encoder", clamp(x, [28, size - 28]), y + 11, c.text, c.paper);
    // a scale, and where q went if it is not here
    const bar = roundDown(view.half / 2), length = bar / (2 * view.half) * size;
    context.fillStyle = c.text;
    context.fillRect(12, size - 13, length, 2);
    context.font = FONT();
    paintText(context, String(bar), 12 + length / 2, size - 23, c.text, c.paper);
    const [u, v] = at(q.mean);
    if (u < 0 || v < 0 || u > size || v > size) {
      const edge = [clamp(u, [16, size - 16]), clamp(v, [16, size - 16])], angle = Math.atan2(v - edge[1], u - edge[0]);
      const [tip, left, right] = [0, 2.5, -2.5].map((turn) =>
        [edge[0] + 9 * Math.cos(angle + turn), edge[1] + 9 * Math.sin(angle + turn)]);
      twice(context, c.encoder, c.paper, 2.5, () => {
        context.beginPath();
        for (const place of [left, tip, right]) context.lineTo(...place);
      });
      context.font = FONT(600);
      paintText(context, "q", edge[0] - 16 * Math.cos(angle), edge[1] - 16 * Math.sin(angle), c.encoder, c.paper);
    }
    const where = ({ mean, factor }) => {
      const { scale1, scale2, correlation } = scalesOf(factor);
      return `mean (${nice(mean[0])}, ${nice(mean[1])}), standard deviations ${nice(scale1, 3)} and `
        + `${nice(scale2, 3)}, correlation ${nice(correlation)}`;
    };
    lens.setAttribute("aria-label", `The posterior of ${named(it.k)}, seen close. q: ${where(q)}. The encoder: `
      + `${where({ mean: own[0], factor: own[1] })}.`);
  }

  function paintMap(q, c) {
    const { context, width: size } = fitCanvas(map), it = about();
    const at = (place) => toShare(whole, place).map((share) => share * size);
    context.drawImage(layer("map", map, size, "", (below) => {
      Object.assign(below, { strokeStyle: c.line, lineWidth: 1 });
      line(below, at([-PLANE, 0]), at([PLANE, 0]));
      line(below, at([0, -PLANE]), at([0, PLANE]));
      const palette = PALETTE[isDark(root) ? "dark" : "light"];
      paintPoints(below, size, codes, 2, labels, { palette, place: at, radius: 1.2 });
      Object.assign(below, { strokeStyle: c.prior, lineWidth: 1.5 });
      below.setLineDash([6, 4]);
      trace(below, at, [0, 0], [1, 0, 1], 2);
      below.stroke();
      Object.assign(below, { font: FONT(700), textAlign: "center", textBaseline: "middle" });
      const places = middles.map((place, digit) => place && { digit, at: at(place) }).filter(Boolean);
      spread(places.map((place) => place.at), 15).forEach((place, k) =>
        paintText(below, places[k].digit, ...place, c.text, c.paper));
    }), 0, 0, size, size);
    const [left, top] = at([it.view.middle[0] - it.view.half, it.view.middle[1] + it.view.half]);
    const side = it.view.half / PLANE * size;
    twice(context, c.decoder, c.paper, 2, () => { context.beginPath(); context.rect(left, top, side, side); });
    paintQ(context, at, q, c, 1.5);
    dot(context, at(q.mean), 4, { fillStyle: c.encoder, strokeStyle: c.paper, lineWidth: 1.5 });
    map.setAttribute("aria-label", `The whole latent plane. The posterior is near (${nice(it.view.middle[0])}, `
      + `${nice(it.view.middle[1])}), the mean of q at (${nice(q.mean[0])}, ${nice(q.mean[1])}).`);
  }

  /** ELBOs against steps: log p(x) on top, and at the right what lies between. */
  function paintChart(now, c) {
    const { context, width, height } = fitCanvas(chart), { grid, encoder, runs, best } = about();
    const { kl } = now, left = 56, right = width - 34, top = 24, bottom = height - 26;
    const depth = Math.max(1, 1.35 * encoder.kl);
    const x = (step) => left + step / STEPS * (right - left), y = (nats) => top + nats / depth * (bottom - top);
    Object.assign(context, { font: FONT(), textBaseline: "middle", lineWidth: 1 });
    Object.assign(context, { strokeStyle: c.line, fillStyle: c.quiet });
    const unit = roundDown(depth / 2.5), digits = Math.max(0, -Math.floor(Math.log10(unit) + 1e-9));
    context.textAlign = "right";
    for (let tick = Math.floor(grid.logMarginal / unit); grid.logMarginal - tick * unit < depth; tick--) {
      const level = y(grid.logMarginal - tick * unit);
      line(context, [left, level], [right, level]);
      if (level > top + 9) context.fillText(nice(tick * unit, digits), left - 7, level);
    }
    context.textAlign = "center";
    for (let step = 0; step <= STEPS; step += 100) {
      line(context, [x(step), bottom], [x(step), bottom + 4]);
      if (width > 480 || step % 200 === 0) context.fillText(step ? step : "step 0", x(step), bottom + 15);
    }
    line(context, [left, bottom], [right, bottom]);
    // gaps, at the right
    const end = Math.min(bottom, y(encoder.kl)), middle = y(best.diagonal.kl);
    context.fillStyle = c.gap;
    context.fillRect(right + 8, top, 18, middle - top);
    context.globalAlpha = 0.35;
    context.fillRect(right + 8, middle, 18, end - middle);
    Object.assign(context, { globalAlpha: 1, strokeStyle: c.text, lineWidth: 1 });
    context.strokeRect(right + 8, top, 18, end - top);
    line(context, [right + 8, middle], [right + 26, middle]);
    // levels
    Object.assign(context, { strokeStyle: c.text, lineWidth: 2 });
    line(context, [left, top], [right + 26, top]);
    Object.assign(context, { strokeStyle: c.encoder, lineWidth: 1.5 });
    context.setLineDash([5, 4]);
    line(context, [left, y(encoder.kl)], [right + 26, y(encoder.kl)]);
    context.setLineDash([]);
    // runs
    context.save();
    context.beginPath();
    context.rect(left, top - 6, right - left + 6, bottom - top + 6);
    context.clip();
    const isNow = isOpen();
    for (const one of runs) {
      const isIt = isNow && one === run;
      Object.assign(context, { strokeStyle: c.bound, lineWidth: isIt ? 2.5 : 1.5, lineJoin: "round" });
      if (one.family === "full") context.setLineDash([7, 2]);
      context.beginPath();
      one.kls.forEach((nats, step) => { if (nats === nats) context.lineTo(x(step), y(nats)); });
      context.stroke();
      context.setLineDash([]);
    }
    context.restore();
    runs.forEach((one, k) => {
      const nats = one.kls.at(-1);
      if (nats > depth || (isNow && one === run && playing)) return;
      context.font = FONT(700);
      context.textAlign = "center";
      const level = y(nats) - 10 < top ? y(nats) + 11 : y(nats) - 10;
      paintText(context, k + 1, Math.max(left + 8, x(one.kls.length - 1) - 14 - 16 * k), level, c.text, c.paper);
    });
    // q now
    const step = isNow ? run.state.step : 0, isBelow = kl > depth, [u, v] = [x(step), isBelow ? bottom - 6 : y(kl)];
    Object.assign(context, { fillStyle: c.bound, strokeStyle: c.text, lineWidth: 1.2 });
    context.beginPath();
    if (isBelow) for (const [a, b] of [[-6, -6], [6, -6], [0, 5]]) context.lineTo(u + a, v + b);
    else context.arc(u, v, 5, 0, 7);
    context.closePath();
    context.fill();
    context.stroke();
    // words
    Object.assign(context, { font: FONT(600), textAlign: "left" });
    paintText(context, "log p(x)", left + 4, top - 12, c.text, c.paper);
    const level = y(encoder.kl);
    context.textAlign = "right";
    paintText(context, "the encoder’s ELBO", right - 6, level + (level + 24 < bottom ? 12 : -12), c.text, c.paper);
    context.textAlign = "left";
    if (isBelow) paintText(context, `ELBO of q: ${told(now, now.elbo)}, below the picture`,
      Math.min(u + 12, right - 230), v - 3, c.text, c.paper);
    chart.setAttribute("aria-label", "ELBO in nats against steps of the optimisation, below "
      + `log p(x) = ${nice(grid.logMarginal)}. Runs: ${runs.length}. The ELBO of q lies ${told(now)} nats below `
      + `log p(x), that of the encoder ${told(encoder)}.`);
  }

  // --- words and numbers

  /** Nats to as many digits as may be right: what a KL, or a sum with it, was found to be. */
  const told = ({ kl, isExact }, nats = kl) => nice(nats, (isExact ? 2 : 1) - (kl < 100 ? 0 : 1));

  function words(now) {
    const { runs, encoder, best } = about();
    const price = told(encoder, encoder.kl - best.diagonal.kl);
    if (playing) return `Step ${run.state.step} of ${STEPS}. Each step draws ${DRAWS} z from q and follows the slope `
      + "of log p(x, z) − log q(z) at them, back through the decoder.";
    if (!runs.length && startOf(read()) !== "encoder") return `The encoder’s answer costs ${told(encoder)} nats, `
      + `this q ${now.isExact ? "" : "about "}${told(now)}. Press Play, and q looks for something better.`;
    if (!runs.length) return `The encoder looked at x once and answered with the blue ellipse. `
      + (encoder.kl > 1 ? "The true posterior, orange, is elsewhere: " : "It is nearly right: ")
      + `it costs ${told(encoder)} nats. `
      + "Press Play, and q leaves it to look for something better.";
    const last = runs.at(-1), { kl } = last.now, left = told(last.now);
    if (!isOpen() || last.state.step < STEPS)
      return `The best diagonal q so far is ${price} nats better than the encoder’s answer. `
        + "Play goes on from where q is.";
    if (kl > 1 + best[last.family].kl)
      return `Arrived in another place: ${left} nats are left there, and another q has ${told(best[last.family])}.`;
    if (last.family === "full") return `Arrived: ${left} nats are left. `
      + (kl > 0.2 ? "This posterior is no Gaussian, tilted or not."
        : "Tilted, a Gaussian can be nearly this posterior.");
    return `Arrived. The best diagonal q so far is ${price} nats better than the encoder’s answer; ${left} nats are `
      + `left${kl > 0.1 ? ": try full covariance, or another start" : ""}.`;
  }

  function paintRuns() {
    const rows = about().runs.map((one) => {
      const steps = one.kls.length - 1, isDone = steps === STEPS;
      return `${STARTS[one.start]}, ${one.family}${one.family === "full" ? " (dashed)" : ""}: KL ${told(one.now)} `
        + `after ${steps} step${steps === 1 ? "" : "s"}`
        + (isDone ? `, within 0.1 of that at step ${arrivalOf(one.kls)}` : "");
    });
    const list = find(".vae-runs"), items = rows.length ? rows : ["none yet"];
    while (list.children.length > items.length) list.lastChild.remove();
    items.forEach((text, k) => {
      const item = list.children[k] ?? list.appendChild(document.createElement("li"));
      if (item.textContent !== text) item.textContent = text;
    });
    list.classList.toggle("vae-empty", !rows.length);
  }

  let spoken = 0;
  function paint() {
    if (!root.clientWidth) return;
    const it = about(), { k, grid, pixels, encoder, best, answer } = it, q = read();
    if (run && !isOpen() && !playing) run = null;
    const now = isOpen() ? run.now : account(decoder, pixels, grid, q.mean, q.factor), c = colors();
    const isDiagonal = q.factor[1] === 0;
    best.diagonal ??= encoder;
    best.full ??= encoder;
    if (isDiagonal && now.kl < best.diagonal.kl) best.diagonal = now;
    if (now.kl < best.full.kl) best.full = now;
    root.querySelectorAll(".vae-choices button").forEach((button, i) => button.setAttribute("aria-pressed", i === k));
    for (const radio of root.querySelectorAll("[type=radio]")) radio.checked = radio.value === model.get("family");
    tilt.querySelector("input").disabled = !isFull();
    paintLens(q, c);
    paintMap(q, c);
    paintChart(now, c);
    paintRuns();
    paintImage(find(".vae-x"), pixels);
    find(".vae-x").setAttribute("aria-label", named(k));
    paintImage(find(".vae-decoded"), decodedAt(q.mean));
    find(".vae-decoded").setAttribute("aria-label", "Decoded from the mean of q");
    const roughly = now.isExact ? "" : "≈ ";  // q is wide, or far off: 49 passes are few
    const text = {
      evidence: nice(grid.logMarginal), elbo: roughly + told(now, now.elbo), kl: roughly + told(now),
      answer: `${told(encoder, encoder.elbo)} nats`,
      amortization: `≥ ${told(encoder, encoder.kl - best.diagonal.kl)} nats`,
      approximation: `≤ ${told(best.diagonal)} nats`,
      full: `≤ ${told(best.full)} nats`,
    };
    for (const [name, value] of Object.entries(text)) write(name, value);
    const steps = isOpen() ? run.state.step : 0;
    find(".vae-cost").textContent = "Cost of the encoder’s answer: 1 pass through the encoder. Of this run: "
      + `${steps} steps × ${DRAWS} draws = ${(steps * DRAWS).toLocaleString("en")} passes through the decoder `
      + "and back.";
    status.textContent = words(now);
    clearTimeout(spoken);
    spoken = setTimeout(() => {  // speak when q rests
      find("[aria-live]").textContent = `log p(x) ${text.evidence} = ELBO ${text.elbo} + KL ${text.kl} nats. `
        + `Amortization gap ${text.amortization}, approximation gap ${text.approximation}. ${status.textContent}`;
    }, 700);
  }
  const decodedAt = (mean) => pass(decoder, mean).map((l) => 1 / (1 + Math.exp(-l)));

  const stop = repaint(root, model, TRAITS, paint);
  return () => { stop(); halt(); clearTimeout(spoken); model.release(); };
}

export default { render };

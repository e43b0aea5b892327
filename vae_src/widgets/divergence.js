import { paintText } from "./map.js";
import { LOG_2PI, logNormal } from "./maths.js";
import {
  assign, color, draggable, fitCanvas, heard, isDark, isStill,
  nice, repaint, slider, stage,
} from "./stage.js";

/** What the traits of `DivergenceExplorer` allow. */
export const LIMITS = {
  mean: [-5, 5], scale: [0.2, 4], distance: [0, 6], left_weight: [0, 1], left_scale: [0.3, 1.5],
  right_scale: [0.3, 1.5], log_normaliser: [-3, 3],
};

/** Targets with a name. */
export const PRESETS = {
  "two equal bumps": { distance: 4, left_weight: 0.5, left_scale: 0.6, right_scale: 0.6 },
  "one narrow, one wide": { distance: 4, left_weight: 0.35, left_scale: 0.35, right_scale: 1.2 },
  "skewed": { distance: 2, left_weight: 0.6, left_scale: 0.5, right_scale: 1.3 },
  "one bump": { distance: 0, left_weight: 0.5, left_scale: 1, right_scale: 1 },
};

/** A number, or the nearest that a trait allows. */
export const within = (trait, value) => Math.min(LIMITS[trait][1], Math.max(LIMITS[trait][0], value));

// All integrals are sums over these places, by the trapezoid rule. It is exact to 8 digits: the sharpest change of
// log p within the limits, between two bumps of width 0.3 at a distance of 6, takes three steps.
const FAR = 64, STEP = 1 / 64, NODES = 2 * FAR / STEP + 1;
const nodeAt = (z) => (z + FAR) / STEP, placeOf = (node) => node * STEP - FAR;

/** The mixture p, tabulated: log p and its slope, p, and the left bump's share of p at each place. */
export function target({ distance, left_weight: weight, left_scale, right_scale }) {
  const logP = new Float64Array(NODES), p = new Float64Array(NODES), slope = new Float64Array(NODES);
  const share = new Float64Array(NODES), middle = distance / 2, logs = [Math.log(weight), Math.log(1 - weight)];
  let entropy = 0, peak = 0;
  for (let i = 0; i < NODES; i++) {
    const z = placeOf(i), left = logs[0] + logNormal(z, -middle, left_scale);
    const right = logs[1] + logNormal(z, middle, right_scale), larger = Math.max(left, right);
    logP[i] = larger + Math.log1p(Math.exp(Math.min(left, right) - larger));
    p[i] = Math.exp(logP[i]);
    share[i] = Math.exp(left - logP[i]);
    slope[i] = -share[i] * (z + middle) / left_scale ** 2 - (1 - share[i]) * (z - middle) / right_scale ** 2;
    entropy -= p[i] * logP[i] * STEP;
    peak = Math.max(peak, p[i]);
  }
  const mean = middle * (1 - 2 * weight);
  const variance = weight * (left_scale ** 2 + (middle + mean) ** 2)
    + (1 - weight) * (right_scale ** 2 + (middle - mean) ** 2);
  return { logP, p, slope, share, entropy, peak, mean, variance, weight, scales: [left_scale, right_scale] };
}

/** The expectation of a table under q = N(mean, scale²). */
function average(table, mean, scale) {
  const to = Math.min(NODES - 1, Math.floor(nodeAt(mean + 9 * scale)));
  let sum = 0;
  for (let i = Math.max(0, Math.ceil(nodeAt(mean - 9 * scale))); i <= to; i++) {
    const t = (placeOf(i) - mean) / scale;
    sum += Math.exp(-0.5 * t * t) * table[i];
  }
  return sum * STEP / (scale * Math.sqrt(2 * Math.PI));
}

/** z ↦ q log(q/p), or p log(p/q), at the places of the table. */
function integrand({ logP, p }, divergence, mean, scale) {
  if (divergence === "forward") return (i) => p[i] * (logP[i] - logNormal(placeOf(i), mean, scale));
  return (i) => {
    const logQ = logNormal(placeOf(i), mean, scale);
    return Math.exp(logQ) * (logQ - logP[i]);
  };
}

/** What the integrand adds up to above the axis and below it, and to both sides of `edge` and −`edge`. */
export function areas(aim, divergence, mean, scale, edge) {
  const f = integrand(aim, divergence, mean, scale), found = { above: 0, below: 0, beyond: 0 };
  for (let i = 1, a = f(0); i < NODES; i++) {
    const b = f(i), sum = (a + b) / 2;
    const above = a >= 0 && b >= 0 ? sum : a <= 0 && b <= 0 ? 0 : Math.max(a, b) ** 2 / Math.abs(a - b) / 2;
    found.above += above * STEP;
    found.below += (above - sum) * STEP;
    if (i <= nodeAt(-edge) || i > nodeAt(edge)) found.beyond += sum * STEP;
    a = b;
  }
  return found;
}

const LOG_2PIE = LOG_2PI + 1;

export const DIVERGENCES = {
  /** KL(q‖p) by quadrature over q. */
  reverse({ logP }, mean, scale) {
    return -average(logP, mean, scale) - LOG_2PIE / 2 - Math.log(scale);
  },
  /** KL(p‖q), from p's entropy and its first two moments: all that it knows of p. */
  forward({ entropy, mean: m, variance }, mean, scale) {
    return (LOG_2PI + (variance + (m - mean) ** 2) / scale ** 2) / 2 + Math.log(scale) - entropy;
  },
};

/** E_q[log Z p − log q]. */
export const elbo = ({ logP }, logNormaliser, mean, scale) =>
  logNormaliser + average(logP, mean, scale) + LOG_2PIE / 2 + Math.log(scale);

/** A divergence's derivatives by q's mean and by log σ. */
export function gradient({ slope, mean: m, variance }, divergence, mean, scale) {
  if (divergence === "forward") return [(mean - m) / scale ** 2, 1 - (variance + (m - mean) ** 2) / scale ** 2];
  const to = Math.min(NODES - 1, Math.floor(nodeAt(mean + 9 * scale)));
  let byMean = 0, byLogScale = 0;
  for (let i = Math.max(0, Math.ceil(nodeAt(mean - 9 * scale))); i <= to; i++) {
    const t = (placeOf(i) - mean) / scale, term = Math.exp(-0.5 * t * t) * slope[i];
    byMean -= term;
    byLogScale -= term * t;
  }
  const share = STEP / Math.sqrt(2 * Math.PI);
  return [byMean * share / scale, byLogScale * share - 1];
}

/** The map's columns (means of q) and rows (logs of its width). */
export const MEANS = Float64Array.from({ length: 81 }, (_, i) => LIMITS.mean[0] + i / 8);
export const LOG_SCALES = Float64Array.from({ length: 41 }, (_, i) =>
  Math.log(LIMITS.scale[0]) + i / 40 * Math.log(LIMITS.scale[1] / LIMITS.scale[0]));

/** A divergence for each column of each row: to 4 digits, on fewer places where q is wide. */
export function landscape(aim, divergence) {
  const values = new Float64Array(MEANS.length * LOG_SCALES.length);
  let cell = 0;
  for (const logScale of LOG_SCALES) {
    const scale = Math.exp(logScale), stride = scale < 0.4 ? 1 : 2, count = Math.ceil(6 * scale / STEP / stride);
    const bell = Float64Array.from({ length: count + 1 }, (_, j) =>
      Math.exp(logNormal(j * stride * STEP, 0, scale)) * stride * STEP);
    for (const mean of MEANS) {
      if (divergence === "forward") {
        values[cell++] = DIVERGENCES.forward(aim, mean, scale);
        continue;
      }
      const { logP } = aim, node = nodeAt(mean);
      let sum = bell[0] * logP[node];
      for (let j = 1, k = stride; j <= count; j++, k += stride) sum += bell[j] * (logP[node - k] + logP[node + k]);
      values[cell++] = -sum - LOG_2PIE / 2 - logScale;
    }
  }
  return values;
}

// --- descending, in mean and log σ

const bounded = ([mean, logScale]) => [
  within("mean", mean), Math.min(LOG_SCALES.at(-1), Math.max(LOG_SCALES[0], logScale)),
];
const along = (from, by, share) => from.map((value, axis) => value + share * by[axis]);
const length = (by) => Math.hypot(...by);

/** The way down from a place, as far as the limits let it. */
function downhill(aim, divergence, place) {
  const down = gradient(aim, divergence, place[0], Math.exp(place[1])).map((slope) => -slope);
  const free = bounded(along(place, down, 1e-9));
  return down.map((slope, axis) => free[axis] === place[axis] ? 0 : slope);
}

/** Newton's step to where the slope vanishes, and whether that is a lowest point and no pass. */
function newton(aim, divergence, place) {
  const SMALL = 1e-4, slope = (at) => gradient(aim, divergence, at[0], Math.exp(at[1]));
  const [byMean, byLogScale] = [[SMALL, 0], [0, SMALL]].map((by) => {
    const [ahead, behind] = [slope(along(place, by, 1)), slope(along(place, by, -1))];
    return ahead.map((value, axis) => (value - behind[axis]) / (2 * SMALL));
  });
  const [[a, b], c, g] = [byMean, byLogScale[1], slope(place)], determinant = a * c - b * b;
  const step = [(b * g[1] - c * g[0]) / determinant, (b * g[0] - a * g[1]) / determinant];
  return { step, isLowest: a > 0 && determinant > 0 };
}

/** The lowest point that Newton's steps lead to, or null if they lead away or to a pass. */
function lowest(aim, divergence, from) {
  let place = from;
  for (let round = 0; round < 20; round++) {
    const { step, isLowest } = newton(aim, divergence, place);
    place = along(place, step, 1);
    if (!isLowest || length(along(place, from, -1)) > 0.3) return null;
    if (length(step) < 1e-9) return String(place) === String(bounded(place)) ? place : null;
  }
  return null;
}

const LONGEST = 0.08, ROUGHEST = 2e-3;  // step, and error of a step

/**
 * The way that the gradient takes q down a divergence, as places [mean, log σ], to the bottom of a valley.
 *
 * Heun's method with steps as short as they need be; Newton's at the end.
 */
export function descend(aim, divergence, mean, scale) {
  let place = bounded([mean, Math.log(scale)]), slope = downhill(aim, divergence, place), step = 0.01;
  const path = [place];
  for (let round = 0; round < 5000 && length(slope) > 1e-8; round++) {
    const end = length(slope) < 0.1 && lowest(aim, divergence, place);
    if (end) return [...path, end];
    step = Math.min(step, LONGEST / length(slope));
    const euler = bounded(along(place, slope, step)), ahead = downhill(aim, divergence, euler);
    const heun = bounded(along(place, along(slope, ahead, 1), step / 2));
    const error = length(along(heun, euler, -1)), most = Math.min(ROUGHEST, 0.2 * length(along(heun, place, -1)));
    if (error <= most) {
      path.push(place = heun);
      slope = downhill(aim, divergence, place);
    }
    step *= Math.min(3, Math.max(0.2, 0.9 * Math.sqrt(most / error)));
  }
  return path;
}

/** A divergence at one place, and which of p's bumps q covers there. */
function account(aim, divergence, mean, scale) {
  const left = average(aim.share, mean, scale), on = left > 0.9 ? "left" : left < 0.1 ? "right" : "both";
  return { mean, scale, kl: DIVERGENCES[divergence](aim, mean, scale), on };
}

const isSame = (a, b) => Math.abs(a.mean - b.mean) + Math.abs(Math.log(a.scale / b.scale)) < 0.01;

/** All lowest points of a divergence that its map shows or p's moments lead to, the deepest first. */
export function valleys(aim, divergence, map) {
  if (divergence === "forward") return [account(aim, divergence, aim.mean, Math.sqrt(aim.variance))];
  const starts = [[aim.mean, Math.log(aim.variance) / 2]], found = [];
  const columns = MEANS.length, around = [1, columns - 1, columns, columns + 1];
  for (let row = 1; row < LOG_SCALES.length - 1; row++) for (let column = 1; column < columns - 1; column++) {
    const cell = row * columns + column;
    if (around.every((by) => map[cell + by] >= map[cell] && map[cell - by] >= map[cell]))
      starts.push([MEANS[column], LOG_SCALES[row]]);
  }
  for (const [mean, logScale] of starts) {
    const [m, s] = descend(aim, divergence, mean, Math.exp(logScale)).at(-1);
    const one = account(aim, divergence, m, Math.exp(s));
    if (!found.some((other) => isSame(one, other))) found.push(one);
  }
  return found.sort((a, b) => a.kl - b.kl);
}

/** What there is to say about q where it can slide no further; `all` are the valleys. */
export function verdict(aim, divergence, mean, scale, all) {
  const { kl, on } = account(aim, divergence, mean, scale), left = `${nice(kl)} nats is left`;
  if (kl < 1e-6) return "Arrived: q is p, so both divergences are 0.";
  if (divergence === "forward") {
    const share = aim.p[Math.round(nodeAt(mean))] / aim.peak;
    const thin = share < 0.5 ? ` Where q is highest, p has only ${Math.round(100 * share)} % of its own height.` : "";
    return `Arrived: q has p’s mean, ${nice(mean)}, and standard deviation, ${nice(scale)}: ` +
      `forward KL matches moments. ${left}.${thin}`;
  }
  const weight = { left: aim.weight, right: 1 - aim.weight }[on];
  const price = weight < 0.99 && Math.abs(kl + Math.log(weight)) < 0.02
    ? `, the price −log ${nice(weight)} of leaving out the other bump` : "";
  const place = on === "both" ? "q lies across both bumps" : `q sits on the ${on} bump`;
  const others = all.filter((one) => !isSame(one, { mean, scale })).map((one) => {
    const more = one.kl - kl, name = one.on === "both" ? "lying across both" : `the ${one.on} bump`;
    const how = `${nice(Math.abs(more))} nats ${more > 0 ? "worse" : "better"}`;
    return `${name} is ${Math.abs(more) < 0.005 ? "as good" : how}`;
  });
  if (others.length) return `Arrived: ${place}. ${left}${price}. Other starts end elsewhere: ${others.join(", ")}.`;
  const wide = Math.sqrt(aim.variance), isNarrower = scale < wide;
  const than = `${isNarrower ? "narrower" : "wider"} than p: ${nice(scale)} against ${nice(wide)}`;
  return `Arrived: ${place}, the only valley here. ${left}${price}. ` +
    `q is ${nice(scale) === nice(wide) ? `as wide as p: ${nice(wide)}` : than}.`;
}

/** The least of 1, 2, 5, 10, … (or of other steps) that is not below a positive value. */
export function roundUp(value, steps = [1, 2, 5, 10]) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * steps.find((leading) => leading * power >= value);
}

/** The segments of the line on which a map, given row by row, has a value: pairs of [column, row]. */
export function contour(values, columns, level) {
  const segments = [];
  for (let cell = 0; cell < values.length - columns; cell++) {
    if (cell % columns === columns - 1) continue;
    const corners = [cell, cell + 1, cell + 1 + columns, cell + columns];
    const inside = corners.filter((corner) => values[corner] < level).length;
    if (inside === 0 || inside === 4) continue;
    const crossings = [];
    corners.forEach((from, side) => {
      const to = corners[(side + 1) % 4];
      if (values[from] < level === values[to] < level) return;
      const share = (level - values[from]) / (values[to] - values[from]);
      const at = (corner) => [corner % columns, Math.floor(corner / columns)];
      crossings.push(at(from).map((value, axis) => value + share * (at(to)[axis] - value)));
    });
    for (let k = 0; k < crossings.length; k += 2) segments.push([crossings[k], crossings[k + 1]]);
  }
  return segments;
}

// --- the page ------------------------------------------------------------------------------------

const OF_Q = ["mean", "scale"], OF_P = ["distance", "left_weight", "left_scale", "right_scale"];
const TRAITS = ["divergence", "log_normaliser", ...OF_Q, ...OF_P];
const EDGE = 6.5;  // the three pictures show z, or q's mean, from −EDGE to EDGE
const NATS = [-8, 4];  // what the bar's axis shows
const KEYS = { mean: 0.05, scale: 1.05 };  // an arrow key adds the one, and multiplies by the other
const LEVELS = [0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500];  // contours of the map, in nats
const NAMES = { reverse: "KL(q ‖ p)", forward: "KL(p ‖ q)" };
const PAID = { reverse: "q log(q / p)", forward: "p log(p / q)" };
const FONT = "12px system-ui, sans-serif";
const HINT = "Where will q end? Guess, then let it go. Then start it elsewhere, and guess again.";

const card = (value, name, words) => `
  <label class="vae-card"><input type="radio" name="ID-divergence" value="${value}">
    <b>${name}</b> <span><b data-of="${value}"></b> nats</span> <span class="vae-quiet">${words}</span></label>`;

const MARKUP = `
  <fieldset class="vae-targets"><legend>Target p</legend></fieldset>
  <fieldset class="vae-cards"><legend class="vae-hidden">Divergence to draw and to descend</legend>
    ${card("reverse", NAMES.reverse, "an average over q: costly where p is thin")}
    ${card("forward", NAMES.forward, "an average over p: costly where q is thin")}</fieldset>
  <p class="vae-legend"><span class="vae-is-p">target p</span> <span class="vae-is-q">q = N(mean, σ²): drag it, and its
    open dots for the width σ</span></p>
  <canvas class="vae-plot" tabindex="0" role="application" aria-roledescription="draggable density"
    aria-label="q over the target p" aria-describedby="ID-help"></canvas>
  <p class="vae-legend"><span>Where it is paid: <b data-of="paid"></b></span>
    <span class="vae-is-above">area above the axis <b data-of="above"></b></span>
    <span class="vae-is-below">less area below <b data-of="below"></b></span></p>
  <canvas class="vae-areas" role="img"></canvas>
  <p class="vae-legend"><span><b data-of="name"></b> for every mean and width of q: more colour is larger, × marks
    the bottom of a valley, the dot is q</span></p>
  <canvas class="vae-map" tabindex="0" role="application" aria-roledescription="draggable dot on a map"
    aria-describedby="ID-help"></canvas>
  <p class="vae-quiet" id="ID-help">Drag q or the dot. Keys: ← → mean, ↑ ↓ width, Shift five steps.</p>
  <div class="vae-buttons"><button type="button" data-does="descend"></button>
    <button type="button" data-does="reset">Reset q</button>
    <p class="vae-status" role="status"></p></div>
  <div class="vae-bound"><div class="vae-sum"><span><span>log Z</span> <b data-of="evidence"></b></span> <i>=</i>
    <span><span>ELBO</span> <b data-of="elbo"></b></span> <i>+</i>
    <span><span>KL(q ‖ p)</span> <b data-of="gap"></b></span> <i>nats</i></div></div>
  <canvas class="vae-bar" role="img"></canvas>
  <p class="vae-quiet">Whoever fits q knows Z · p, but not Z: the ELBO tells which of two q is better, but not how much
    KL is left. Each number is rounded on its own.</p>
  <div class="vae-sliders"><div class="vae-of-q"></div><div class="vae-of-p"></div></div>
  <p class="vae-hidden" aria-live="polite"></p>`;

function line(context, ...places) {
  context.beginPath();
  for (const place of places) context.lineTo(...place);
  context.stroke();
}

function render({ model: shared, el }) {
  const model = heard(shared), root = stage(el, "divergence", MARKUP);
  const find = (selector) => root.querySelector(selector), write = (name, text) => {
    for (const place of root.querySelectorAll(`[data-of=${name}]`)) place.textContent = text;
  };
  const [plot, strip, map, bar] = ["plot", "areas", "map", "bar"].map((name) => find(`.vae-${name}`));
  const status = find(".vae-status"), live = find("[aria-live]");
  const read = (names) => Object.fromEntries(names.map((name) => [name, model.get(name)]));
  const begin = read(OF_Q), put = (trait, value) => assign(model, { [trait]: within(trait, value) });

  // What depends on p alone is computed once for each p, and the map of a divergence once it is asked for.
  let aim = { key: "" };
  function about() {
    const traits = read(OF_P), key = Object.values(traits).join();
    if (aim.key !== key) {
      const tallest = (weight, scale) => Math.min(1, 4 * weight) * Math.exp(logNormal(0, 0, scale));
      aim = { key, maps: {}, ...target(traits) };
      const most = Math.max(tallest(aim.weight, traits.left_scale), tallest(1 - aim.weight, traits.right_scale));
      aim.top = Math.max(1.6 * aim.peak, Math.min(3 * aim.peak, 1.2 * most));  // room for a q on either bump
    }
    return aim;
  }
  function mapOf(divergence) {
    const { maps } = about();
    if (!maps[divergence]) {
      const values = landscape(aim, divergence);
      maps[divergence] = { values, valleys: valleys(aim, divergence, values) };
    }
    return maps[divergence];
  }

  // --- controls

  for (const [name, traits] of Object.entries(PRESETS)) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: name });
    button.addEventListener("click", () => assign(model, traits));
    find(".vae-targets").append(button);
  }
  for (const radio of root.querySelectorAll("[type=radio]"))
    radio.addEventListener("change", () => assign(model, { divergence: radio.value }));
  const rows = [
    [".vae-of-q", "mean", "mean of q", 0.05], [".vae-of-q", "scale", "width of q, σ", 0.01],
    [".vae-of-p", "distance", "bumps’ distance", 0.05], [".vae-of-p", "left_weight", "left bump’s weight", 0.01],
    [".vae-of-p", "left_scale", "left bump’s width", 0.01], [".vae-of-p", "right_scale", "right bump’s width", 0.01],
    [".vae-bound", "log_normaliser", "log Z, hidden from q", 0.05],
  ];
  for (const [place, trait, label, step] of rows) {
    const [min, max] = LIMITS[trait];
    find(place).append(slider(model, trait, { label, min, max, step, text: (value) => nice(value) }));
  }

  // --- dragging: on the densities an open dot sets σ, any other place the mean; on the map the dot is both

  const across = (z, width) => (z / EDGE + 1) / 2 * width, back = (share) => (2 * share - 1) * EDGE;
  const floorOf = (height) => height - 22;
  const levelOf = (density, height) => floorOf(height) - (floorOf(height) - 20) * density / aim.top;
  const dotsLevel = (scale, height) => Math.max(14, levelOf(Math.exp(logNormal(1)) / scale, height));
  let held = "mean", grip = 0;
  draggable(plot, {
    press(x, y) {
      halt();
      const { clientWidth: width, clientHeight: height } = plot, { mean, scale } = read(OF_Q), z = back(x);
      const away = (place) => Math.hypot((x * width) - across(place, width), y * height - dotsLevel(scale, height));
      const side = z < mean ? -1 : 1, dot = away(mean + side * scale);
      held = dot < 22 && dot < away(mean) ? "scale" : "mean";
      const density = Math.exp(logNormal(z, mean, scale)), isOnQ = y * height > levelOf(density, height);
      grip = held === "scale" ? scale - Math.abs(z - mean)  // it is held where it was touched
        : isOnQ && Math.abs(z - mean) < 2.5 * scale ? mean - z : 0;
    },
    move(x) {
      put(held, grip + (held === "mean" ? back(x) : Math.abs(back(x) - model.get("mean"))));
    },
    key: byKey,
  });
  function byKey(right, up) {
    assign(model, {
      mean: within("mean", model.get("mean") + right * KEYS.mean),
      scale: within("scale", model.get("scale") * KEYS.scale ** up),
    });
  }

  const frame = { top: 8, bottom: 24 }, [lowest, highest] = [LOG_SCALES[0], LOG_SCALES.at(-1)];
  const down = (scale, height) =>
    frame.top + (highest - Math.log(scale)) / (highest - lowest) * (height - frame.top - frame.bottom);
  draggable(map, {
    press: () => halt(),
    move(x, y) {
      const { clientHeight: height } = map, share = (y * height - frame.top) / (height - frame.top - frame.bottom);
      assign(model, {
        mean: within("mean", back(x)), scale: within("scale", Math.exp(highest - share * (highest - lowest))),
      });
    },
    key: byKey,
  });

  // --- descending: the way is computed at once, then walked at an even pace

  const button = find("[data-does=descend]");
  let playing = 0, walk = null;
  const isAt = (place) => OF_Q.every((name) => model.get(name) === place[name]);
  const isWalked = () =>
    walk && walk.key === about().key && walk.divergence === model.get("divergence") && isAt(walk.at);
  function label() { button.textContent = playing ? "Stop" : `Let q descend ${NAMES[model.get("divergence")]}`; }
  function halt() {
    cancelAnimationFrame(playing);
    playing = 0;
    walk = null;
    status.textContent = HINT;
    label();
  }
  halt();
  function arrive() {
    const { divergence, at: { mean, scale } } = walk;
    playing = 0;
    status.textContent = verdict(about(), divergence, mean, scale, mapOf(divergence).valleys);
    label();
  }
  function step(now) {
    if (!isWalked()) return halt();  // overruled: by a key, a slider, Python
    const { path, marks, begin, time } = walk, share = Math.min(1, Math.max(0, (now - begin) / time));
    const far = share * share * (3 - 2 * share) * marks.at(-1);
    const next = Math.max(1, marks.findIndex((mark) => mark >= far)), last = path[next - 1];
    const here = share === 1 ? path.at(-1)
      : along(last, along(path[next], last, -1), (far - marks[next - 1]) / (marks[next] - marks[next - 1]));
    walk.at = { mean: within("mean", here[0]), scale: within("scale", Math.exp(here[1])) };
    walk.trail = share === 1 ? path : [...path.slice(0, next), here];
    assign(model, walk.at);
    if (share < 1) playing = requestAnimationFrame(step); else arrive();
  }
  button.addEventListener("click", () => {
    if (playing) return halt();
    const q = read(OF_Q), divergence = model.get("divergence");
    const path = descend(about(), divergence, q.mean, q.scale), marks = [0];
    for (let i = 1; i < path.length; i++) marks.push(marks[i - 1] + length(along(path[i], path[i - 1], -1)));
    const isAtOnce = isStill() || marks.at(-1) === 0;
    walk = {
      path, marks, divergence, key: about().key, at: q, trail: [],
      begin: performance.now(), time: isAtOnce ? 0 : 800 + 500 * marks.at(-1),
    };
    status.textContent = `Descending: each step follows the slope of ${NAMES[divergence]}.`;
    if (isAtOnce) return step(Infinity);
    playing = requestAnimationFrame(step);
    label();
  });
  find("[data-does=reset]").addEventListener("click", () => { halt(); assign(model, begin); });

  // --- painting

  function ticks(context, at, floor, most) {
    Object.assign(context, { lineWidth: 1, strokeStyle: color(root, "line"), fillStyle: color(root, "quiet") });
    Object.assign(context, { font: FONT, textAlign: "center" });
    for (let z = -most; z <= most; z++) {
      line(context, [at(z), floor], [at(z), floor + 4]);
      context.fillText(nice(z, 0), at(z), floor + 17);
    }
  }

  function densityPath(context, at, level, density) {
    context.beginPath();
    for (let node = nodeAt(-EDGE); node <= nodeAt(EDGE); node++)
      context.lineTo(at(placeOf(node)), level(density(node)));
  }

  function paintPlot({ mean, scale }) {
    const { context, width, height } = fitCanvas(plot), floor = floorOf(height);
    const at = (z) => across(z, width), level = (density) => levelOf(density, height);
    const curve = (name, density, alpha, lineWidth) => {
      densityPath(context, at, level, density);
      Object.assign(context, { strokeStyle: color(root, name), fillStyle: color(root, name), lineWidth });
      context.stroke();
      context.lineTo(width, floor);
      context.lineTo(0, floor);
      context.globalAlpha = alpha;
      context.fill();
      context.globalAlpha = 1;
    };
    ticks(context, at, floor, 6);
    line(context, [0, floor + 0.5], [width, floor + 0.5]);
    curve("decoder", (node) => aim.p[node], 0.28, 2);
    curve("encoder", (node) => Math.exp(logNormal(placeOf(node), mean, scale)), 0.12, 2.5);
    const y = dotsLevel(scale, height);
    context.lineWidth = 1.5;
    line(context, [at(mean - scale), y], [at(mean + scale), y]);
    for (const side of [-1, 1]) {
      context.beginPath();
      context.arc(at(mean + side * scale), y, 6, 0, 7);
      Object.assign(context, { fillStyle: color(root, "paper"), lineWidth: 2.5 });
      context.fill();
      context.stroke();
    }
    Object.assign(context, { font: "bold 14px system-ui, sans-serif", textAlign: "center" });
    const peak = level(Math.exp(logNormal(0)) / scale), isCut = peak < 18;
    const [name, x] = isCut ? ["q ↑", at(mean) + (mean > 4 ? -1 : 1) * (at(scale) - at(0) + 24)] : ["q", at(mean)];
    paintText(context, name, x, isCut ? 19 : peak - 8, color(root, "encoder"), color(root, "paper"));
    const highest = aim.p.indexOf(aim.peak);
    paintText(context, "p", at(placeOf(highest)), floor - 8, color(root, "text"), "transparent");
  }

  function hatching(context) {  // for what is given back, so that it is not told by its colour alone
    const tile = document.createElement("canvas"), ratio = devicePixelRatio || 1;
    tile.width = tile.height = Math.round(6 * ratio);
    const ink = tile.getContext("2d");
    Object.assign(ink, { strokeStyle: color(root, "text"), lineWidth: ratio });
    const side = tile.width;
    for (const shift of [-1, 0, 1])
      line(ink, [(shift - 0.5) * side, 1.5 * side], [(shift + 1.5) * side, -0.5 * side]);
    const pattern = context.createPattern(tile, "repeat");
    pattern.setTransform(new DOMMatrix().scale(1 / ratio));
    return pattern;
  }

  function paintStrip({ divergence, mean, scale }, found) {
    const { context, width, height } = fitCanvas(strip), zero = Math.round(height * 0.74) + 0.5, room = zero - 8;
    const at = (z) => across(z, width), f = integrand(aim, divergence, mean, scale);
    const [first, last] = [nodeAt(-EDGE), nodeAt(EDGE)];
    let most = 0.01;
    for (let node = first; node <= last; node++) most = Math.max(most, f(node), -f(node) * room / (height - zero - 4));
    const unit = room / roundUp(most, [1, 1.5, 2, 3, 5, 7, 10]), level = (value) => zero - value * unit;
    for (const [sign, fill] of [[1, color(root, "gap")], [-1, hatching(context)]]) {
      densityPath(context, at, level, (node) => sign * Math.max(0, sign * f(node)));
      context.lineTo(width, zero);
      context.lineTo(0, zero);
      context.fillStyle = fill;
      context.fill();
    }
    densityPath(context, at, level, f);
    Object.assign(context, { strokeStyle: color(root, "text"), lineWidth: 1.25 });
    context.stroke();
    Object.assign(context, { strokeStyle: color(root, "quiet"), lineWidth: 1 });
    line(context, [0, zero], [width, zero]);
    for (let z = -6; z <= 6; z++) line(context, [at(z), zero - 3], [at(z), zero + 3]);

    // A square of known area, and what the picture leaves out, at the side that q is further from.
    const perPixel = 2 * EDGE / width / unit, known = 1 / roundUp(1 / (400 * perPixel));
    const side = Math.sqrt(known / perPixel), isLeft = mean > 0;
    const [ink, paper] = [color(root, "text"), color(root, "paper")];
    const text = `= ${Number(known.toPrecision(1))} nats`;
    Object.assign(context, { font: FONT, textAlign: "left" });
    const left = isLeft ? 10 : width - 10 - side - 6 - context.measureText(text).width;
    Object.assign(context, { fillStyle: color(root, "gap"), strokeStyle: ink, lineWidth: 1 });
    context.fillRect(left, 10, side, side);
    context.strokeRect(left, 10, side, side);
    paintText(context, text, left + side + 6, 14 + side / 2, ink, paper);
    context.textAlign = isLeft ? "left" : "right";
    const beyond = Math.abs(found.beyond) < 0.005 ? "" : `${nice(found.beyond)} of it beyond the edges`;
    paintText(context, beyond, isLeft ? 10 : width - 10, 48, ink, paper);
    strip.setAttribute("aria-label", `${PAID[divergence]} over z: area ${nice(found.above)} above the axis, ` +
      `${nice(found.below)} below it; together ${nice(found.above - found.below)} nats.`);
  }

  const layer = document.createElement("canvas");
  let drawn = "";
  function paintLandscape(width, height, ratio, divergence) {  // what does not move with q, painted once
    const key = [aim.key, divergence, width, height, ratio, isDark(root)].join();
    if (key === drawn) return;
    drawn = key;
    [layer.width, layer.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    const context = layer.getContext("2d"), { values, valleys: all } = mapOf(divergence);
    context.scale(ratio, ratio);
    const at = (mean) => across(mean, width), columns = MEANS.length, lines = LOG_SCALES.length;
    const [left, right, floor] = [at(MEANS[0]), at(MEANS.at(-1)), height - frame.bottom];
    const [cellWide, cellHigh] = [(right - left) / (columns - 1), (floor - frame.top) / (lines - 1)];
    const place = ([column, row]) => [left + column * cellWide, floor - row * cellHigh];

    const shades = Object.assign(document.createElement("canvas"), { width: columns, height: lines });
    const ink = shades.getContext("2d"), image = ink.createImageData(columns, lines);
    const [palest, darkest] = [Math.log(0.2), Math.log(50)];
    values.forEach((value, cell) => {
      const pixel = (lines - 1 - Math.floor(cell / columns)) * columns + cell % columns;
      image.data[4 * pixel + 3] = 255 * (Math.log(Math.max(value, 0.2)) - palest) / (darkest - palest);
    });
    ink.putImageData(image, 0, 0);
    Object.assign(ink, { globalCompositeOperation: "source-in", fillStyle: color(root, "gap") });
    ink.fillRect(0, 0, columns, lines);
    context.save();
    context.beginPath();
    context.rect(left, frame.top, right - left, floor - frame.top);
    context.clip();
    context.drawImage(shades, left - cellWide / 2, frame.top - cellHigh / 2, columns * cellWide, lines * cellHigh);
    Object.assign(context, { strokeStyle: color(root, "quiet"), lineWidth: 1 });
    const summits = [];
    for (const level of LEVELS) {
      const segments = contour(values, columns, level).map((ends) => ends.map(place));
      context.beginPath();
      for (const [from, to] of segments) {
        context.moveTo(...from);
        context.lineTo(...to);
      }
      context.stroke();
      const inner = segments.flat().filter(([x]) => x > left + 16 && x < right - 16);
      if (inner.length) summits.push([level, inner.reduce((a, b) => b[1] < a[1] - 0.5 ? b : a)]);
    }
    context.restore();

    ticks(context, at, floor, 4);
    context.strokeRect(left - 0.5, frame.top - 0.5, right - left + 1, floor - frame.top + 1);
    context.textAlign = "right";
    for (const scale of [0.25, 0.5, 1, 2, 4]) {
      const y = down(scale, height);
      line(context, [left - 4, y], [left, y]);
      context.fillText(String(scale), left - 7, y + 4);
    }
    context.fillText("mean", width - 6, floor + 17);
    context.font = "italic 13px system-ui, sans-serif";
    context.fillText("σ", left - 7, floor + 17);
    Object.assign(context, { font: FONT, textAlign: "left" });
    const [text, paper] = [color(root, "text"), color(root, "paper")];
    const named = all.map(({ mean, scale }) => [at(mean) + 20, down(scale, height) + 5]);
    for (const [level, [x, y]] of summits) {  // each contour has its name at its top, if there is room
      if (y < frame.top + 7 || named.some(([u, v]) => Math.abs(u - x) < 34 && Math.abs(v - y) < 14)) continue;
      named.push([x, y]);
      context.textAlign = "center";
      paintText(context, String(level), x, y + 4, text, paper);
    }
    context.textAlign = "left";
    for (const { mean, scale, kl } of all) {
      const [x, y] = [at(mean), down(scale, height)];
      for (const [strokeStyle, lineWidth] of [[paper, 5], [text, 2]]) {
        Object.assign(context, { strokeStyle, lineWidth });
        line(context, [x - 4, y - 4], [x + 4, y + 4]);
        line(context, [x - 4, y + 4], [x + 4, y - 4]);
      }
      context.font = "600 12px system-ui, sans-serif";
      paintText(context, nice(kl), x + 11, y + 15, text, paper);
    }
  }

  function paintMap({ divergence, mean, scale }) {
    const { context, width, height } = fitCanvas(map);
    paintLandscape(width, height, map.width / width, divergence);
    context.drawImage(layer, 0, 0, width, height);
    const at = ([m, logScale]) => [across(m, width), down(Math.exp(logScale), height)];
    const [ink, paper] = [color(root, "encoder"), color(root, "paper")];
    if (isWalked()) for (const [strokeStyle, lineWidth] of [[paper, 5], [ink, 2.5]]) {
      Object.assign(context, { strokeStyle, lineWidth, lineJoin: "round" });
      line(context, ...walk.trail.map(at));
    }
    context.beginPath();
    context.arc(...at([mean, Math.log(scale)]), 8, 0, 7);
    Object.assign(context, { fillStyle: ink, strokeStyle: paper, lineWidth: 2.5 });
    context.fill();
    context.stroke();
    map.setAttribute("aria-label", `Map of ${NAMES[divergence]} over q’s mean and width; q is at mean ${nice(mean)}, ` +
      `width ${nice(scale)}`);
  }

  function paintBar({ evidence, elbo: bound }) {
    const { context, width } = fitCanvas(bar), left = 22, right = width - 50, top = 20, bottom = 50;
    const at = (nats) => Math.round(left + (nats - NATS[0]) / (NATS[1] - NATS[0]) * (right - left));
    const isOff = bound < NATS[0], end = Math.max(left, at(bound)), mark = at(evidence), ink = color(root, "text");

    // Logarithms have no zero to grow from: the bar comes from further left, which its torn edge says.
    const stretch = (name, from, to, isTorn) => {
      context.beginPath();
      context.moveTo(to, top);
      for (let k = 0; k <= 8; k++) context.lineTo(isTorn ? from + 6 * (k % 2) : from, top + k / 8 * (bottom - top));
      context.lineTo(to, bottom);
      context.closePath();
      context.fillStyle = color(root, name);
      context.fill();
      context.stroke();
    };
    Object.assign(context, { lineWidth: 1, strokeStyle: ink, lineJoin: "round" });
    stretch("gap", isOff ? left - 10 : end, mark, isOff);
    if (!isOff) stretch("bound", left - 10, end, true);
    context.fillStyle = ink;
    context.fillRect(mark, top - 5, 3, bottom - top + 13);
    Object.assign(context, { font: "600 13px system-ui, sans-serif", textAlign: "right" });
    const name = isOff ? "← ELBO" : "ELBO", stop = Math.max(context.measureText(name).width + 1, end - 7);
    context.fillText(name, stop, top - 7);
    context.textAlign = "left";
    context.fillText("KL", Math.max(stop + 14, end + 7), top - 7);
    context.fillText("log Z", mark + 9, (top + bottom) / 2 + 4);

    Object.assign(context, { font: FONT, textAlign: "center", fillStyle: color(root, "quiet") });
    context.strokeStyle = color(root, "quiet");
    line(context, [left - 12, bottom + 8.5], [right, bottom + 8.5]);
    for (let nats = NATS[0]; nats <= NATS[1]; nats++) {
      line(context, [at(nats) + 0.5, bottom + 8], [at(nats) + 0.5, bottom + 13]);
      context.fillText(nice(nats, 0), at(nats), bottom + 27);
    }
    context.fillText("nats", right + 28, bottom + 27);
  }

  let spoken = 0;
  function paint() {
    const now = read(TRAITS), { divergence, mean, scale, log_normaliser: evidence } = now;
    about();
    const kl = Object.fromEntries(Object.entries(DIVERGENCES).map(([name, of]) => [name, of(aim, mean, scale)]));
    const found = areas(aim, divergence, mean, scale, EDGE), bound = elbo(aim, evidence, mean, scale);
    const numbers = { ...kl, ...found, evidence, elbo: bound, gap: kl.reverse };
    if (!playing && walk && !isWalked()) halt();
    for (const radio of root.querySelectorAll("[type=radio]")) radio.checked = radio.value === divergence;
    for (const button of find(".vae-targets").querySelectorAll("button")) {
      const isIt = Object.entries(PRESETS[button.textContent]).every(([trait, value]) => now[trait] === value);
      button.setAttribute("aria-pressed", isIt);
    }
    label();
    for (const name of ["reverse", "forward", "above", "below", "evidence", "elbo", "gap"])
      write(name, nice(numbers[name]));
    write("paid", PAID[divergence]);
    write("name", NAMES[divergence]);
    paintPlot(now);
    paintStrip(now, found);
    paintMap(now);
    paintBar(numbers);
    const sum = `log Z ${nice(evidence)} = ELBO ${nice(bound)} + KL(q ‖ p) ${nice(kl.reverse)} nats`;
    bar.setAttribute("aria-label", sum);
    clearTimeout(spoken);
    spoken = setTimeout(() => {  // speak when q rests
      live.textContent = `KL(q ‖ p) ${nice(kl.reverse)}, KL(p ‖ q) ${nice(kl.forward)} nats; ${sum}`;
    }, 500);
  }

  const stop = repaint(root, model, TRAITS, paint);
  return () => { stop(); halt(); clearTimeout(spoken); model.release(); };
}

export default { render };

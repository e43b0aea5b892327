import { paintText } from "./map.js";
import { bytesOf, floatsOf, LOG_2PI, logSumExp } from "./maths.js";
import { assign, color, draggable, fitCanvas, isDark, isStill, nice, repaint, slider, stage } from "./stage.js";

// A mixture is a list of components, each [weight, mean₁, mean₂, variance₁, covariance, variance₂].

// --- densities, in nats ------------------------------------------------------------------------------

/** (x, y) ↦ log N((x, y); mean, covariance), by way of the covariance's Cholesky factor. */
export function logComponent([, m1, m2, v1, v12, v2]) {
  const l11 = Math.sqrt(v1), l21 = v12 / l11, l22 = Math.sqrt(v2 - l21 * l21);
  const constant = -LOG_2PI - Math.log(l11) - Math.log(l22);
  return (x, y) => {
    const u = (x - m1) / l11, v = (y - m2 - l21 * u) / l22;
    return constant - 0.5 * (u * u + v * v);
  };
}

/** (x, y) ↦ log p(x, y), the log of the sum of weight times density. */
export function logMixture(mixture) {
  const parts = mixture.map((row) => [Math.log(row[0]), logComponent(row)]), joint = new Float64Array(parts.length);
  return (x, y) => {
    parts.forEach(([logWeight, density], k) => { joint[k] = logWeight + density(x, y); });
    return logSumExp(joint);
  };
}

/**
 * The E-step: Bayes' rule for every point.
 *
 * Returns responsibilities, one row of K for each point; each point's log p(x); and the sum of these.
 */
export function eStep(mixture, points) {
  const K = mixture.length, n = points.length / 2, joint = new Float64Array(K);
  const shares = new Float64Array(n * K), logs = new Float64Array(n);
  const parts = mixture.map((row) => [Math.log(row[0]), logComponent(row)]);
  let total = 0;
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < K; k++) joint[k] = parts[k][0] + parts[k][1](points[2 * i], points[2 * i + 1]);
    logs[i] = logSumExp(joint);
    total += logs[i];
    for (let k = 0; k < K; k++) shares[i * K + k] = Math.exp(joint[k] - logs[i]);
  }
  return { shares, logs, total };
}

const LEAST = 1e-9;  // weight of a component that no point belongs to

/**
 * The M-step: each component takes the share, the mean and the covariance of its points.
 *
 * No standard deviation falls below the floor, in any direction: of all such mixtures this is the best one.
 */
export function mStep(mixture, points, shares, floor) {
  const K = mixture.length, n = points.length / 2;
  const moved = mixture.map((row, k) => {
    let count = 0, m1 = 0, m2 = 0, v1 = 0, v12 = 0, v2 = 0;
    for (let i = 0; i < n; i++) {
      const share = shares[i * K + k];
      count += share;
      m1 += share * points[2 * i];
      m2 += share * points[2 * i + 1];
    }
    if (count < n * LEAST) return [LEAST, ...row.slice(1)];
    m1 /= count;
    m2 /= count;
    for (let i = 0; i < n; i++) {
      const share = shares[i * K + k] / count, x = points[2 * i] - m1, y = points[2 * i + 1] - m2;
      v1 += share * x * x;
      v12 += share * x * y;
      v2 += share * y * y;
    }
    return [count / n, m1, m2, ...widened([v1, v12, v2], floor)];
  });
  const sum = moved.reduce((total, [weight]) => total + weight, 0);
  return moved.map(([weight, ...rest]) => [weight / sum, ...rest]);
}

/** One step of EM. */
export const emStep = (mixture, points, floor) => mStep(mixture, points, eStep(mixture, points).shares, floor);

// --- ellipses ----------------------------------------------------------------------------------------

/**
 * The axes of a covariance [v₁, v₁₂, v₂]: standard deviations along the first axis and the second, which is
 * a quarter turn ahead, and the angle of the first, as near as can be to a previous one.
 */
export function axesOf([v1, v12, v2], previous = 0) {
  const middle = (v1 + v2) / 2, apart = Math.hypot((v1 - v2) / 2, v12);
  const large = middle + apart, small = Math.max(0, v1 * v2 - v12 * v12) / (large || 1);
  const radii = [Math.sqrt(large), Math.sqrt(small)];
  if (apart <= 1e-9 * middle) return { angle: previous, radii };
  const angle = Math.atan2(2 * v12, v1 - v2) / 2, turns = Math.round((previous - angle) / (Math.PI / 2));
  return { angle: angle + turns * Math.PI / 2, radii: turns % 2 ? radii.reverse() : radii };
}

/** The covariance with these axes. */
export function covarianceOf({ angle, radii: [r1, r2] }) {
  const c = Math.cos(angle), s = Math.sin(angle), a = r1 * r1, b = r2 * r2;
  return [a * c * c + b * s * s, (a - b) * c * s, a * s * s + b * c * c];
}

/** A covariance, no narrower in any direction than a standard deviation. */
export function widened(covariance, floor) {
  const { angle, radii } = axesOf(covariance);
  if (radii[0] >= floor && radii[1] >= floor) return covariance;
  return covarianceOf({ angle, radii: radii.map((radius) => Math.max(radius, floor)) });
}

/** In how many directions a component is as narrow as allowed: 0, 1 or 2. */
export const atFloor = (row, floor) =>
  axesOf(row.slice(3)).radii.filter((radius) => radius < floor * (1 + 1e-6)).length;

/** The middle and half the sides of the plane that shows points: square, unless that would leave it mostly empty. */
export function planeOf(points) {
  const low = [Infinity, Infinity], high = [-Infinity, -Infinity];
  points.forEach((value, i) => {
    low[i % 2] = Math.min(low[i % 2], value);
    high[i % 2] = Math.max(high[i % 2], value);
  });
  const half = [0, 1].map((axis) => 0.54 * (high[axis] - low[axis])), longer = Math.max(...half);
  const sides = Math.min(...half) * 3 > longer ? [longer, longer] : half;
  return { middle: [0, 1].map((axis) => (low[axis] + high[axis]) / 2), half: sides };
}

// --- what a reader can do to a mixture -----------------------------------------------------------------

/** Give a component another weight, and the others what is left, in the proportions that they had. */
export function reweighted(mixture, chosen, weight) {
  const rest = 1 - mixture[chosen][0], least = 0.005;
  if (mixture.length === 1) return mixture;
  const w = Math.min(1 - least * (mixture.length - 1), Math.max(least, weight));
  const raw = mixture.map(([old], k) => k === chosen ? w
    : Math.max(rest > 1e-6 ? old * (1 - w) / rest : (1 - w) / (mixture.length - 1), LEAST));
  const sum = raw.reduce((a, b) => a + b, 0);
  return mixture.map(([, ...others], k) => [raw[k] / sum, ...others]);
}

/** Mean and covariance of some of the points, as a component of this weight. */
function fitted(points, chosen, weight, floor) {
  const shares = Float64Array.from({ length: points.length / 2 }, (_, i) => chosen(i) ? 1 : 0);
  return [weight, ...mStep([[1, 0, 0, 1, 0, 1]], points, shares, floor)[0].slice(1)];
}

/** The group of each point: K centres as far from each other as can be, then Lloyd's algorithm. */
function groupsOf(points, K) {
  const n = points.length / 2, away = (i, [x, y]) => Math.hypot(points[2 * i] - x, points[2 * i + 1] - y);
  const indices = Array.from({ length: n }, (_, i) => i), place = (i) => [points[2 * i], points[2 * i + 1]];
  const middle = [0, 1].map((axis) => indices.reduce((sum, i) => sum + points[2 * i + axis] / n, 0));
  const least = (values) => values.reduce((best, value, i) => value < values[best] ? i : best, 0);
  let centres = [];
  while (centres.length < K) {
    const gaps = indices.map((i) => -Math.min(...(centres.length ? centres : [middle]).map((c) => away(i, c))));
    centres.push(place(least(gaps)));
  }
  let groups = [];
  for (let round = 0; round < 20; round++) {
    groups = indices.map((i) => least(centres.map((centre) => away(i, centre))));
    centres = centres.map((centre, k) => {
      const own = indices.filter((i) => groups[i] === k);
      return own.length ? [0, 1].map((axis) => own.reduce((s, i) => s + points[2 * i + axis], 0) / own.length) : centre;
    });
  }
  return groups;
}

/** The point farthest from its nearest neighbour, and how far that is. */
export function loneliest(points) {
  const n = points.length / 2, found = { index: 0, distance: -1 };
  for (let i = 0; i < n; i++) {
    let nearest = Infinity;
    for (let j = 0; j < n; j++) if (j !== i)
      nearest = Math.min(nearest, Math.hypot(points[2 * i] - points[2 * j], points[2 * i + 1] - points[2 * j + 1]));
    if (nearest > found.distance) Object.assign(found, { index: i, distance: nearest });
  }
  return found;
}

export const GAIN = 1e-3;  // nats, of a step of EM that was the last one

/** How high EM climbs from a mixture; without end, if a component shrinks to nothing. */
export function climb(mixture, points, floor) {
  let { shares, total } = eStep(mixture, points);
  for (let gain = GAIN, step = 0; gain >= GAIN && step < 400; step++) {
    mixture = mStep(mixture, points, shares, floor);
    const next = eStep(mixture, points);
    gain = next.total - total;
    ({ shares, total } = next);
  }
  return mixture.some((row) => atFloor(row, floor)) ? Infinity : total;
}

/** Where EM can begin: K components, made from the points. */
export const STARTS = {
  /** Circles about the middle of the points. */
  middle(K, points, floor) {
    const [, m1, m2, v1, , v2] = fitted(points, () => true, 1, floor);
    return Array.from({ length: K }, (_, k) => {
      const angle = Math.PI * (0.5 + 2 * k / K), r = K > 1 ? 0.4 : 0;
      const x = m1 + r * Math.sqrt(v1) * Math.cos(angle), y = m2 + r * Math.sqrt(v2) * Math.sin(angle);
      return [1 / K, x, y, ...widened([v1 / 4, 0, v2 / 4], floor)];
    });
  },
  /**
   * Two components for one of K groups, its middle and its tail, and one for two others: of all such mixtures,
   * with the tail on any side of any group, the one from which EM climbs least high.
   */
  crowded(K, points, floor) {
    if (K === 1) return STARTS.middle(K, points, floor);
    const groups = groupsOf(points, K), order = Array.from({ length: K }, (_, k) => k);
    const make = (chosen) => fitted(points, chosen, 1 / K, floor);
    const candidates = order.flatMap((group) => {
      const [, m1, m2, ...covariance] = make((i) => groups[i] === group), { angle, radii } = axesOf(covariance);
      const [first, ...rest] = order.filter((k) => k !== group);
      const others = rest.map((k, j) => make((i) => groups[i] === k || j === 0 && groups[i] === first));
      return [0, 1, 2, 3].map((turn) => {
        const [c, s] = [Math.cos(angle + turn * Math.PI / 2), Math.sin(angle + turn * Math.PI / 2)];
        const isTail = (i) => c * (points[2 * i] - m1) + s * (points[2 * i + 1] - m2) > 1.2 * radii[turn % 2];
        const parts = [true, false].map((tail) => make((i) => groups[i] === group && isTail(i) === tail));
        return [...parts, ...others];
      });
    });
    const ends = candidates.map((mixture) => climb(mixture, points, floor));
    return candidates[ends.indexOf(Math.min(...ends))];
  },
  /** The same component K times. */
  alike(K, points, floor) {
    const [, ...all] = fitted(points, () => true, 1, floor);
    return Array.from({ length: K }, () => [1 / K, ...all]);
  },
  /** The last component on the loneliest point, too narrow to see another one. */
  single(K, points, floor) {
    const { index, distance } = loneliest(points), variance = Math.max(distance / 8, 3 * floor) ** 2;
    const others = STARTS.middle(K, points, floor).slice(0, K - 1);
    return [...others, [1 / K, points[2 * index], points[2 * index + 1], variance, 0, variance]];
  },
};

// --- colours and numbers ---------------------------------------------------------------------------------

// Four components, apart in lightness too: none of any two closer than 0.17 in OKLab to any kind of eye.
export const INKS = {
  light: ["#2a1593", "#e5432f", "#129fb0", "#70102a"],
  dark: ["#8a74ff", "#f2513f", "#63e6f0", "#f6df3a"],
};

/** A mixture of colours, blended as light is. */
export function blend(inks, shares) {
  const channels = [1, 3, 5].map((at) => {
    const light = shares.reduce((sum, share, k) => {
      const value = parseInt(inks[k].slice(at, at + 2), 16) / 255;
      return sum + share * (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    }, 0);
    return Math.round(255 * (light <= 0.0031308 ? 12.92 * light : 1.055 * light ** (1 / 2.4) - 0.055));
  });
  return `rgb(${channels.join(", ")})`;
}

/** A positive number in four digits, or as 2.1 · 10⁻⁹. */
export function short(value) {
  if (value < 1e-300) return "< 10⁻³⁰⁰";
  if (value >= 1000 || value < 0.001) {
    const [digits, power] = value.toExponential(1).split("e");
    const raised = (c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)];
    return `${digits} · 10${[...String(Number(power))].map(raised).join("")}`;
  }
  return value.toFixed(value >= 100 ? 1 : value >= 10 ? 2 : value >= 1 ? 3 : 4);
}

/** Some six round numbers, or fewer, between two: their values, and how they are written. */
export function ticksBetween(low, high) {
  const power = 10 ** Math.floor(Math.log10((high - low) / 6));
  const step = [1, 2, 5, 10].map((s) => s * power).find((s) => (high - low) / s <= 6 * (1 + 1e-9));
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9)), ticks = [];
  for (let j = Math.ceil(low / step); j * step < high; j++)
    ticks.push({ value: j * step, text: nice(j * step, digits) });
  return ticks;
}

/** One component for each of the points' true names, with its share of them. */
export function namedMixture(points, labels, floor) {
  const names = [...new Set(labels)].sort((a, b) => a - b);
  return names.map((name) => {
    const count = labels.reduce((sum, label) => sum + (label === name), 0);
    return fitted(points, (i) => labels[i] === name, count / labels.length, floor);
  });
}

// --- the page ------------------------------------------------------------------------------------

const PAD = { left: 30, right: 9, top: 9, bottom: 23 };  // around the plane, for its ticks; more for long ones
const REACH = 18;  // pixels within which a handle is taken hold of
const NEAREST = 26;  // of a handle to its mean, so that both can be held
const MOST_STEPS = 1000;  // of one run of EM
const HALVINGS = 12;
const KEPT = 120;  // values in the chart
const STEP = 1 / 80;  // of the plane's width, for one press of an arrow key
const PARTS = ["mean", "first axis", "second axis"];

const MARKUP = `
  <p class="vae-lead"></p>
  <div class="vae-grid">
    <div class="vae-climb">
      <div class="vae-evidence">
        <p>log-evidence Σ log p(x), <span class="vae-count"></span> points</p>
        <p class="vae-total"><b></b> nats</p>
        <p class="vae-quiet vae-each"></p>
        <p class="vae-quiet vae-best"></p>
        <canvas role="img"></canvas>
        <p class="vae-quiet vae-key"><span><i class="vae-em"></i> step of EM</span>
          <span><i class="vae-hand"></i> by hand</span> <span><i class="vae-start"></i> new start</span></p></div>
      <div class="vae-buttons"><button type="button" data-does="step">EM step</button>
        <button type="button" data-does="run"></button></div>
      <p class="vae-status" role="status"></p>
    </div>
    <div class="vae-plane">
      <canvas tabindex="0" role="application" aria-roledescription="plane with draggable Gaussians"
        aria-describedby="ID-help"></canvas>
      <p class="vae-quiet">Drag a numeral to move its Gaussian, an open dot to stretch and turn it.
        Press anywhere else to choose a point.</p>
      <fieldset class="vae-marks"><legend>Points as</legend>
        <label><input type="radio" name="ID-marks" value="dots"> dots</label>
        <label><input type="radio" name="ID-marks" value="components"> numerals</label>
        <label class="vae-names"><input type="radio" name="ID-marks" value="labels"> true digits</label></fieldset>
      <label class="vae-shade"><input type="checkbox"> shade log p(x), a tone for each nat</label>
      <p class="vae-quiet vae-note"></p>
      <p class="vae-quiet" id="ID-help">Keys on the plane: <kbd>1</kbd>–<kbd>4</kbd> Gaussian, <kbd>Space</kbd> its
        next handle, arrows move it (<kbd>Shift</kbd>: five steps), <kbd>N</kbd> <kbd>P</kbd> next, previous point.</p>
    </div>
    <div class="vae-point">
      <p><b>Bayes’ rule for one point</b> <span class="vae-which"></span></p>
      <table><colgroup>${"<col>".repeat(6)}</colgroup>
        <thead><tr><th scope="col"><span class="vae-hidden">Gaussian</span></th><th scope="col">weight</th>
          <th scope="col">× density</th><th scope="col">= product</th>
          <th scope="col" colspan="2">responsibility</th></tr></thead>
        <tbody></tbody><tfoot><tr><th scope="row" colspan="3">sum: evidence p(x)</th>
        <td class="vae-sum"></td><td class="vae-meter vae-parts"></td><td>1.000</td></tr></tfoot></table>
      <div class="vae-buttons"><button type="button" data-does="previous">Previous</button>
        <button type="button" data-does="next">Next</button>
        <button type="button" data-does="doubtful">Most doubtful</button>
        <button type="button" data-does="improbable">Least probable</button></div>
    </div>
    <div class="vae-setup">
      <fieldset class="vae-weights"><legend>Weights</legend></fieldset>
      <fieldset><legend>Gaussians</legend>${[1, 2, 3, 4].map((k) =>
    `<label><input type="radio" name="ID-count" value="${k}"> ${k}</label>`).join("")}</fieldset>
      <div class="vae-buttons"><b>Start over</b>
        <button type="button" data-start="middle">in the middle</button>
        <button type="button" data-start="crowded">badly</button>
        <button type="button" data-start="alike">all alike</button>
        <button type="button" data-start="single">one on a point</button></div>
      <div class="vae-buttons vae-floor"><span><b>No narrower than</b> <i>σ</i> = <output></output></span>
        <button type="button" data-does="halve">Halve it and step</button></div>
    </div>
  </div>
  <p class="vae-hidden" aria-live="polite"></p>`;

const BEGUN = {
  middle: "All start from the middle. Drag them to where the points are, or let EM do it.",
  crowded: "Two Gaussians share one group of points, and another covers more than its own. Will EM find the way out?",
  alike: "The same Gaussian for all: no point prefers one. What can EM learn from that?",
  single: "The last Gaussian sits on one lonely point, too narrow to see any other. Let EM run.",
};

const HALVES = "E: share out the points by weight × density. M: give each Gaussian the weight, mean and covariance " +
  "of its share.";

function render({ model, el }) {
  const root = stage(el, "mixture", MARKUP), find = (selector) => root.querySelector(selector);
  const plane = find(".vae-plane canvas"), chart = find(".vae-evidence canvas"), status = find(".vae-status");
  const points = Float64Array.from(floatsOf(model.get("points"))), n = points.length / 2;
  const labels = [...bytesOf(model.get("labels"))], { middle, half } = planeOf(points);
  const ticks = middle.map((value, axis) => ticksBetween(value - half[axis], value + half[axis]));
  const pad = { ...PAD, left: Math.max(PAD.left, 12 + 7 * Math.max(...ticks[1].map(({ text }) => text.length))) };
  const firstFloor = model.get("floor"), floor = () => model.get("floor");
  const rightwards = Array.from({ length: n }, (_, i) => i).sort((a, b) => points[2 * a] - points[2 * b]);
  const say = (text) => { if (status.textContent !== text) status.textContent = text; };

  // --- the mixture, and what is known of it

  const mixture = () => model.get("components");
  let inferred = { of: null };
  function about(rows) {
    if (inferred.of !== rows) inferred = { of: rows, ...eStep(rows, points) };
    return inferred;
  }
  const within = (value, axis) => Math.min(middle[axis] + half[axis], Math.max(middle[axis] - half[axis], value));
  const legal = (rows) => rows.map(([weight, m1, m2, ...covariance]) =>
    [weight, within(m1, 0), within(m2, 1), ...widened(covariance, floor())]);

  const stateOf = (rows) => JSON.stringify([rows, floor()]);
  const history = [], best = {};
  let known = "", lastStart = "middle";
  function record(rows, kind, what) {
    const { total } = about(rows), last = history.at(-1), K = rows.length;
    const goesOn = last?.kind === kind && (kind === "start" || kind === "hand" && last.what === what);
    if (goesOn) last.total = total;
    else history.push({ kind, what, total });
    if (history.length > KEPT) history.shift();
    if (!rows.some((row) => atFloor(row, floor()))) best[K] = Math.max(best[K] ?? -Infinity, total);
    known = stateOf(rows);
  }
  function change(rows, kind, what = null) {
    record(rows, kind, what);
    assign(model, { components: rows });
  }
  function byHand(rows, what) {
    halt();
    change(legal(rows), "hand", what);
    const narrow = mixture().findIndex((row) => atFloor(row, floor()));
    say(narrow < 0 ? "" : `Gaussian ${narrow + 1} is as narrow as it may be.`);
  }
  function start(kind, K = mixture().length) {
    halt();
    lastStart = kind;
    model.set({ floor: firstFloor });
    change(legal(STARTS[kind](K, points, firstFloor)), "start");
    say(BEGUN[kind]);
  }

  // --- EM, one glide a step: Gaussians move by the old colours, and then the colours follow

  let running = null, glide = null;
  const runButton = find("[data-does=run]");
  const name = () => { runButton.textContent = running?.most > 1 ? "Stop" : "Run EM"; };
  function halt() {
    if (running) cancelAnimationFrame(running.frame);
    running = glide = null;
    name();
  }
  function step() {
    const from = mixture(), { shares, total } = about(from), next = mStep(from, points, shares, floor());
    const lasts = running.still ? 0 : 400 * 0.85 ** running.steps;
    glide = lasts > 17 ? { from, shares, since: performance.now(), lasts } : null;
    record(next, "em");
    model.set({ components: next });
    if (!running.still) model.save_changes();
    running.gain = about(next).total - total;
    running.steps++;
    return running.gain >= GAIN && running.steps < running.most;
  }
  function go(now) {
    if (stateOf(mixture()) !== known) return halt();  // overruled
    if (glide && now - glide.since < glide.lasts) paintPlane();
    else if (running.goesOn) running.goesOn = step();
    else return finish();
    running.frame = requestAnimationFrame(go);
  }
  function finish() {
    const { steps, gain, tell } = running;
    halt();
    model.save_changes();
    say(tell(gain, steps));
    paint();
  }
  function run(most, begun, tell) {
    halt();
    running = { most, tell, steps: 0, still: isStill() };
    name();
    say(begun);
    running.goesOn = step();
    if (running.still) while (running.goesOn) running.goesOn = step();
    running.frame = requestAnimationFrame(go);
  }
  const narrowest = () => mixture().findIndex((row) => atFloor(row, floor())) + 1;
  const oneStep = (gain) => `${HALVES} That raised the log-evidence by ${nice(gain)} nats.`;
  const halved = (gain) => `With half the width allowed, the log-evidence rose by ${nice(gain)} nats. ` +
    (narrowest() ? "Halve again, and it will again: the likelihood has no top." : "No Gaussian is at the limit.");
  function verdict(gain, steps) {
    if (gain >= GAIN) return `EM still climbs after ${steps} steps; run it again to go on.`;
    const rows = mixture(), K = rows.length, behind = best[K] - about(rows).total, k = narrowest();
    const done = `EM has arrived after ${steps} step${steps > 1 ? "s" : ""}`;
    const isAlike = K > 1 && rows.every((row) => row.every((value, j) => !j || Math.abs(value - rows[0][j]) < 1e-6));
    if (isAlike) return `${done}. Alike they stay: they share every point alike, so each step treats them alike.`;
    if (k) {
      const [where, gains] = atFloor(rows[k - 1], floor()) > 1 ? ["a point", "log 4 = 1.39 nats"] : ["a line", "nats"];
      return `${done}. Gaussian ${k} has shrunk onto ${where}, as narrow as it may be. Halve the limit and it gains ` +
        `${gains}, again and again: the likelihood has no top.`;
    }
    const all = `${done}${steps > 1 ? ", none of which lowered the evidence" : ""}.`;
    if (behind > 0.01 * n) return `${all} But ${nice(behind)} nats below the best seen here: a local optimum.`;
    return `${all} No small change can raise it now. Could another start?`;
  }
  find("[data-does=step]").addEventListener("click", () => run(1, HALVES, oneStep));
  runButton.addEventListener("click", () => {
    if (running?.most > 1) { halt(); say(""); paint(); } else run(MOST_STEPS, `${HALVES} Then again.`, verdict);
  });
  for (const button of root.querySelectorAll("[data-start]"))
    button.addEventListener("click", () => start(button.dataset.start));
  for (const radio of root.querySelectorAll("[name$=count]"))
    radio.addEventListener("change", () => start(lastStart, Number(radio.value)));
  find("[data-does=halve]").addEventListener("click", () => {
    assign(model, { floor: floor() / 2 });
    run(1, "", halved);
  });

  // --- what is shown of the points

  for (const radio of root.querySelectorAll("[name$=marks]"))
    radio.addEventListener("change", () => assign(model, { marks: radio.value }));
  find("[type=checkbox]").addEventListener("change", (event) => assign(model, { shade: event.target.checked }));
  find(".vae-names").hidden = !labels.length;
  find(".vae-count").textContent = n;
  const select = (index) => assign(model, { selected: index });
  const beside = (by) => rightwards[(rightwards.indexOf(model.get("selected")) + by + n) % n];
  const lowest = (score) => rightwards.reduce((found, i) => score(i) < score(found) ? i : found);
  const doubt = (i) => {  // the entropy of its responsibilities
    const { shares } = about(mixture()), K = mixture().length;
    return shares.subarray(i * K, i * K + K).reduce((sum, r) => sum - (r > 0 ? r * Math.log(r) : 0), 0);
  };
  const chooses = {
    previous: () => beside(-1), next: () => beside(1),
    doubtful: () => lowest((i) => -doubt(i)), improbable: () => lowest((i) => about(mixture()).logs[i]),
  };
  for (const [does, choice] of Object.entries(chooses))
    find(`[data-does=${does}]`).addEventListener("click", () => select(choice()));

  // --- the plane: pixels and coordinates, handles, dragging

  const room = () => [plane.clientWidth - pad.left - pad.right, plane.clientHeight - pad.top - pad.bottom];
  const unit = () => room().map((pixels, axis) => pixels / 2 / half[axis]);  // pixels, of coordinates' unit
  const toPlane = ([x, y]) => {
    const [ux, uy] = unit();
    return [pad.left + (x - middle[0] + half[0]) * ux, pad.top + (middle[1] + half[1] - y) * uy];
  };
  const fromPlane = ([px, py]) => {
    const [ux, uy] = unit();
    return [middle[0] - half[0] + (px - pad.left) / ux, middle[1] + half[1] - (py - pad.top) / uy];
  };
  const angles = [];  // of each first axis, so that it does not change places with the second
  /** A Gaussian's ellipse in pixels. */
  function ellipseOf([, m1, m2, v1, v12, v2], k) {
    const [ux, uy] = unit(), axes = axesOf([v1 * ux * ux, -v12 * ux * uy, v2 * uy * uy], angles[k] ?? 0);
    angles[k] = axes.angle;
    return { centre: toPlane([m1, m2]), ...axes };
  }
  /** Where its two handles are: at two standard deviations, if that is on the plane and off the mean. */
  function handlesOf({ centre: [x, y], angle, radii }) {
    const [wide, high] = room();
    const free = (from, way, low, high) => way ? ((way > 0 ? high : low) - from) / way : Infinity;  // to the border
    return radii.map((radius, axis) => {
      const turn = angle + axis * Math.PI / 2, [c, s] = [Math.cos(turn), Math.sin(turn)];
      const reach = (sign) =>
        Math.min(free(x, sign * c, pad.left, pad.left + wide), free(y, sign * s, pad.top, pad.top + high));
      const wanted = Math.max(2 * radius, NEAREST), sign = reach(1) < wanted && reach(-1) > reach(1) ? -1 : 1;
      const away = Math.min(wanted, Math.max(reach(sign), NEAREST));
      return { place: [x + sign * away * c, y + sign * away * s], sign, beyond: 2 * radius - away };
    });
  }
  const placesOf = (row, k) => {
    const ellipse = ellipseOf(row, k), handles = handlesOf(ellipse);
    return { ellipse, handles, places: [ellipse.centre, ...handles.map(({ place }) => place)] };
  };
  const active = { k: 0, part: 0 };
  /** Put the active handle at a place in pixels. */
  function put(place, { ellipse: { centre, angle, radii }, handles }, what) {
    const { k, part } = active, rows = mixture(), [weight, m1, m2] = rows[k], [ux, uy] = unit();
    let row;
    if (!part) row = [weight, ...fromPlane(place), ...rows[k].slice(3)];
    else {
      const { sign, beyond } = handles[part - 1], arm = place.map((p, axis) => sign * (p - centre[axis]));
      const length = Math.max(0, Math.hypot(...arm) + beyond);
      const turn = Math.atan2(arm[1], arm[0]) - (part - 1) * Math.PI / 2;
      const widest = 2 * Math.max(...room()), narrow = floor() * Math.min(ux, uy);
      const axes = { angle: Math.hypot(...arm) > 1 ? turn : angle, radii: [...radii] };
      axes.radii[part - 1] = Math.min(widest, Math.max(narrow, length / 2));
      const [v1, v12, v2] = covarianceOf(axes);
      angles[k] = axes.angle;
      row = [weight, m1, m2, v1 / ux / ux, -v12 / ux / uy, v2 / uy / uy];
    }
    byHand(rows.map((old, j) => j === k ? row : old), what);
  }
  const pixel = (fx, fy) => {
    const { width, height } = plane.getBoundingClientRect();
    return [fx * width, fy * height];
  };
  let drag = null, drags = 0;
  draggable(plane, {
    press(fx, fy) {
      const at = pixel(fx, fy), found = { away: REACH };
      mixture().forEach((row, k) => {
        const shape = placesOf(row, k);
        shape.places.forEach((place, part) => {
          const offset = [place[0] - at[0], place[1] - at[1]], away = Math.hypot(...offset);
          if (away < found.away) Object.assign(found, { away, k, part, shape, offset });
        });
      });
      drag = found.shape ? { ...found, what: `drag ${++drags}` } : null;
      if (!drag) return;
      Object.assign(active, { k: found.k, part: found.part });
      halt();
      paint();
    },
    move(fx, fy) {
      const at = pixel(fx, fy);
      if (!drag) {
        const away = (i) => {
          const [x, y] = toPlane([points[2 * i], points[2 * i + 1]]);
          return Math.hypot(x - at[0], y - at[1]);
        };
        return select(lowest(away));
      }
      const place = at.map((p, axis) => p + drag.offset[axis]), old = drag.shape.places[drag.part];
      if (Math.hypot(place[0] - old[0], place[1] - old[1]) < 0.5 && !drag.moved) return;  // pressed, not dragged
      drag.moved = true;
      put(place, drag.shape, drag.what);
    },
    key(right, up) {
      const shape = placesOf(mixture()[active.k], active.k), by = room()[0] * STEP, [x, y] = shape.places[active.part];
      put([x + right * by, y - up * by], shape, `keys ${active.k} ${active.part}`);
    },
  });
  plane.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const K = mixture().length, key = event.key.toLowerCase();
    if (key >= "1" && key <= String(K)) Object.assign(active, { k: Number(key) - 1, part: 0 });
    else if (key === " ") active.part = (active.part + 1) % 3;
    else if (key === "n") select(chooses.next());
    else if (key === "p") select(chooses.previous());
    else return;
    event.preventDefault();
    event.stopPropagation();
    paint();
  });
  for (const event of ["focus", "blur"]) plane.addEventListener(event, () => paintPlane());

  // --- weights

  const weightsShown = [];
  function buildRows(K) {
    const group = find(".vae-weights"), body = find("tbody");
    if (body.rows.length === K) return;
    weightsShown.length = 0;
    group.querySelectorAll(".vae-row").forEach((row) => row.remove());
    body.replaceChildren();
    find(".vae-parts").replaceChildren();
    for (let k = 0; k < K; k++) {
      const chip = `<i class="vae-chip" data-k="${k}">${k + 1}</i>`;
      const weight = {  // what `slider` asks of a model
        get: () => mixture()[k]?.[0] ?? 0, on: (_, show) => weightsShown.push(show), save_changes: () => {},
        set: ({ weight: value }) => byHand(reweighted(mixture(), k, value), `weight ${k}`),
      };
      const row = slider(weight, "weight", {
        label: `${chip}<span class="vae-hidden"> weight of Gaussian ${k + 1}</span>`, min: 0, max: 1, step: 0.01,
        text: (value) => value.toFixed(3),
      });
      row.querySelector("input").disabled = K === 1;
      group.append(row);
      body.insertAdjacentHTML("beforeend", `<tr><th scope="row">${chip}</th><td></td><td></td><td></td>
        <td class="vae-meter"><i data-k="${k}"></i></td><td></td></tr>`);
      find(".vae-parts").insertAdjacentHTML("beforeend", `<i data-k="${k}"></i>`);
    }
  }

  // --- painting

  const inks = () => INKS[isDark(root) ? "dark" : "light"];
  const ease = (t) => t * t * (3 - 2 * t);
  /** The mixture as it is shown, which on its way lags behind the one that it is. */
  function seen() {
    const rows = mixture();
    if (!glide) return { rows, shares: about(rows).shares };
    const t = ease(Math.min(1, (performance.now() - glide.since) / glide.lasts));
    return {
      rows: rows.map((row, k) => row.map((value, j) => (1 - t) * glide.from[k][j] + t * value)), shares: glide.shares,
    };
  }

  const shadow = document.createElement("canvas");
  function paintShade(context, rows) {
    const side = 150, logP = logMixture(rows), values = new Float64Array(side * side);
    for (let r = 0, i = 0; r < side; r++) for (let c = 0; c < side; c++, i++)
      values[i] = logP(middle[0] + ((2 * c + 1) / side - 1) * half[0], middle[1] + (1 - (2 * r + 1) / side) * half[1]);
    const top = Math.ceil([...about(mixture()).logs].sort((a, b) => a - b)[Math.floor(0.9 * n)]), tones = 6;
    [shadow.width, shadow.height] = [side, side];
    const ink = color(root, "text"), channels = [1, 3, 5].map((at) => parseInt(ink.slice(at, at + 2), 16));
    const pen = shadow.getContext("2d"), data = pen.createImageData(side, side);
    values.forEach((value, i) => {
      const tone = Math.min(tones, Math.max(0, Math.ceil(value) - top + tones));
      data.data.set([...channels, 255 * 0.055 * tone], 4 * i);
    });
    pen.putImageData(data, 0, 0);
    context.imageSmoothingEnabled = true;
    context.drawImage(shadow, pad.left, pad.top, ...room());
  }

  function paintTicks(context, width, height) {
    const [right, floorLine] = [width - pad.right, height - pad.bottom];
    Object.assign(context, { font: "12px system-ui, sans-serif", fillStyle: color(root, "quiet"), lineWidth: 1 });
    context.strokeStyle = color(root, "line");
    context.strokeRect(pad.left + 0.5, pad.top + 0.5, right - pad.left - 1, floorLine - pad.top - 1);
    const names = model.get("names");
    Object.assign(context, { textAlign: "center", textBaseline: "alphabetic" });
    for (const { value, text } of ticks[0]) {
      const [x] = toPlane([value, 0]);
      if (x < pad.left + 8 || x > right - 12) continue;
      context.fillText(text, x, height - 6);
      context.fillRect(Math.round(x), floorLine, 1, 3);
    }
    Object.assign(context, { textAlign: "right", textBaseline: "middle" });
    for (const { value, text } of ticks[1]) {
      const [, y] = toPlane([0, value]);
      if (y < pad.top + 6 || y > floorLine - 6) continue;
      context.fillText(text, pad.left - 6, y);
      context.fillRect(pad.left - 3, Math.round(y), 3, 1);
    }
    const paper = color(root, "paper"), quiet = color(root, "quiet");
    Object.assign(context, { textAlign: "right", textBaseline: "alphabetic" });
    paintText(context, names[0], right - 6, floorLine - 6, quiet, paper);
    context.textAlign = "left";
    paintText(context, names[1], pad.left + 6, pad.top + 16, quiet, paper);
  }

  function paintData(context, rows, shares) {
    const K = rows.length, colors = inks(), marks = model.get("marks"), paper = color(root, "paper");
    Object.assign(context, {
      textAlign: "center", textBaseline: "middle", font: "600 12px system-ui, sans-serif",
      lineWidth: 1, strokeStyle: paper,
    });
    for (let i = 0; i < n; i++) {
      const [x, y] = toPlane([points[2 * i], points[2 * i + 1]]), own = shares.subarray(i * K, i * K + K);
      context.fillStyle = blend(colors, own);
      if (marks === "dots") {
        context.beginPath();
        context.arc(x, y, 3.2, 0, 7);
        context.stroke();
        context.fill();
      } else {
        const text = marks === "labels" ? labels[i] : own.indexOf(Math.max(...own)) + 1;
        context.fillText(text, x, y);
      }
    }
  }

  function paintSelected(context, rows, shares) {
    const K = rows.length, i = model.get("selected"), at = toPlane([points[2 * i], points[2 * i + 1]]), colors = inks();
    for (let k = 0; k < K; k++) {
      const share = shares[i * K + k];
      if (share < 0.005) continue;
      Object.assign(context, { strokeStyle: colors[k], lineWidth: 1 + 5 * share });
      context.beginPath();
      context.moveTo(...at);
      context.lineTo(...toPlane(rows[k].slice(1, 3)));
      context.stroke();
    }
    context.beginPath();
    context.arc(...at, 7, 0, 7);
    Object.assign(context, { fillStyle: color(root, "paper"), strokeStyle: color(root, "text"), lineWidth: 2 });
    context.fill();
    context.stroke();
    context.beginPath();
    context.arc(...at, 4, 0, 7);
    context.fillStyle = blend(colors, shares.subarray(i * K, i * K + K));
    context.fill();
  }

  function paintGaussian(context, { centre, angle, radii }, handles, k) {
    const ink = inks()[k], paper = color(root, "paper"), isFocused = document.activeElement === plane;
    const ring = (part) => Object.assign(context, isFocused && active.k === k && active.part === part
      ? { strokeStyle: color(root, "focus"), lineWidth: 5 } : { strokeStyle: ink, lineWidth: part ? 2.5 : 3 });
    for (const times of [2, 1]) {
      context.beginPath();
      context.ellipse(...centre, times * radii[0], times * radii[1], angle, 0, 2 * Math.PI);
      Object.assign(context, { strokeStyle: ink, lineWidth: times > 1 ? 1.25 : 2.5 });
      context.stroke();
    }
    handles.forEach(({ place }, axis) => {
      context.beginPath();
      context.arc(...place, 6, 0, 7);
      context.fillStyle = paper;
      context.fill();
      ring(axis + 1);
      context.stroke();
    });
    context.beginPath();
    context.arc(...centre, 11, 0, 7);
    context.fillStyle = paper;
    context.fill();
    ring(0);
    context.stroke();
    Object.assign(context, {
      fillStyle: color(root, "text"), font: "bold 13px system-ui, sans-serif",
      textAlign: "center", textBaseline: "middle",
    });
    context.fillText(k + 1, centre[0], centre[1] + 1);
  }

  function paintPlane() {
    const { context, width, height } = fitCanvas(plane), { rows, shares } = seen();
    context.save();
    context.beginPath();
    context.rect(pad.left, pad.top, ...room());
    context.clip();
    if (model.get("shade")) paintShade(context, rows);
    paintData(context, rows, shares);
    context.restore();
    paintTicks(context, width, height);
    context.save();
    context.beginPath();
    context.rect(pad.left - 8, pad.top - 8, ...room().map((v) => v + 16));
    context.clip();
    paintSelected(context, rows, shares);
    const shapes = rows.map(placesOf);
    shapes.forEach(({ ellipse, handles }, k) => { if (k !== active.k) paintGaussian(context, ellipse, handles, k); });
    paintGaussian(context, shapes[active.k].ellipse, shapes[active.k].handles, active.k);
    context.restore();
  }

  function paintChart() {
    const { context, width, height } = fitCanvas(chart), left = 62, right = width - 12, top = 12, bottom = height - 16;
    const values = history.map(({ total }) => total), most = Math.max(...values);
    const least = Math.max(Math.min(...values), most - 2.5 * n), span = Math.max(most - least, 0.02 * n);
    const y = (value) => Math.min(bottom, top + (most - value) / span * (bottom - top));
    const x = (i) => left + i / Math.max(24, history.length - 1) * (right - left);
    Object.assign(context, {
      font: "12px system-ui, sans-serif", fillStyle: color(root, "quiet"), textAlign: "right", textBaseline: "middle",
      strokeStyle: color(root, "line"), lineWidth: 1,
    });
    for (const value of [most, most - span]) {
      context.fillText(nice(value, 0), left - 12, y(value));
      context.beginPath();
      context.moveTo(left - 6, y(value));
      context.lineTo(width, y(value));
      context.stroke();
    }
    const ink = color(root, "text"), paper = color(root, "paper");
    Object.assign(context, { strokeStyle: ink, fillStyle: ink, lineWidth: 1.5 });
    context.beginPath();
    history.forEach(({ kind, total }, i) =>
      kind === "start" ? context.moveTo(x(i), y(total)) : context.lineTo(x(i), y(total)));
    context.stroke();
    history.forEach(({ kind, total }, i) => {
      const isLast = i === history.length - 1, r = isLast ? 4 : 2.5;
      context.beginPath();
      if (kind === "em") context.arc(x(i), y(total), r, 0, 7);
      else if (kind === "hand") context.rect(x(i) - r, y(total) - r, 2 * r, 2 * r);
      else for (const side of [-1, 1]) {
        context.moveTo(x(i) - 4, y(total) - 4 * side);
        context.lineTo(x(i) + 4, y(total) + 4 * side);
      }
      context.fillStyle = kind === "em" ? ink : paper;
      if (kind !== "start") context.fill();
      context.stroke();
    });
    chart.setAttribute("aria-label", `Log-evidence over the last ${history.length} changes, from ` +
      `${nice(values[0])} to ${nice(values.at(-1))} nats; the highest ${nice(most)}`);
  }

  function paintTable(rows, { shares, logs }) {
    const K = rows.length, i = model.get("selected"), x = [points[2 * i], points[2 * i + 1]];
    find(".vae-which").textContent =
      `x = (${x.map((v) => nice(v)).join(", ")}), log p(x) = ${nice(logs[i])} nats`;
    rows.forEach((row, k) => {
      const density = Math.exp(logComponent(row)(...x)), share = shares[i * K + k];
      const cells = find("tbody").rows[k].cells;
      const texts = [row[0].toFixed(3), short(density), short(row[0] * density)];
      texts.forEach((text, j) => { cells[j + 1].textContent = text; });
      for (const bar of [cells[4].firstChild, find(".vae-parts").children[k]]) bar.style.width = `${100 * share}%`;
      cells[5].textContent = share.toFixed(3);
    });
    find(".vae-sum").textContent = short(Math.exp(logs[i]));
  }

  function noteOf(rows, { shares }) {
    const marks = model.get("marks"), K = rows.length;
    if (marks === "dots") return "A point’s colour mixes those of the Gaussians by its responsibilities. " +
      "Ellipses: one and two standard deviations.";
    if (marks === "components") return "Each numeral names the Gaussian with the largest responsibility; the colours " +
      "still mix. Ellipses: one and two standard deviations.";
    const counts = rows.map(() => ({}));
    labels.forEach((label, i) => {
      const own = shares.subarray(i * K, i * K + K), k = own.indexOf(Math.max(...own));
      counts[k][label] = (counts[k][label] ?? 0) + 1;
    });
    const lists = counts.map((count, k) => {
      const all = Object.entries(count).sort((a, b) => b[1] - a[1]);
      const list = all.map(([label, times]) => `${times} × “${label}”`).join(", ");
      return `Gaussian ${k + 1} holds ${list || "none"}.`;
    });
    const named = eStep(namedMixture(points, labels, floor()), points).total;
    return `${lists.join(" ")} Gaussians fitted to the digits by name reach ${nice(named)} nats.`;
  }

  const live = find("[aria-live]");
  let spoken = 0;
  function speak(rows, { total, shares }) {
    const [weight, m1, m2, ...covariance] = rows[active.k], i = model.get("selected"), K = rows.length;
    plane.setAttribute("aria-label", `${n} points and ${K} Gaussian${K > 1 ? "s" : ""}; ` +
      `the ${PARTS[active.part]} of Gaussian ${active.k + 1} is chosen`);
    const { radii } = axesOf(covariance), own = [...shares.subarray(i * K, i * K + K)];
    const summary = `Log-evidence ${nice(total)} nats, ${nice(total / n)} per point. Gaussian ${active.k + 1}, ` +
      `${PARTS[active.part]}: weight ${weight.toFixed(3)}, mean ${nice(m1)}, ${nice(m2)}, standard deviations ` +
      `${radii.map((r) => nice(r)).join(" and ")}. Point ${i + 1}: responsibilities ` +
      `${own.map((share) => share.toFixed(3)).join(", ")}.`;
    clearTimeout(spoken);
    spoken = setTimeout(() => { live.textContent = summary; }, 500);  // when all rests
  }

  function paint() {
    const rows = mixture();
    if (!rows.length) return start("middle", 3);
    if (stateOf(rows) !== known) {  // from Python, from a link, or at first
      if (running) halt();
      const fixed = legal(rows);
      if (stateOf(fixed) !== stateOf(rows)) return change(fixed, known ? "hand" : "start", "outside");
      record(rows, known ? "hand" : "start", "outside");
    }
    const K = rows.length, found = about(rows), { total } = found;
    if (active.k >= K) Object.assign(active, { k: 0, part: 0 });
    buildRows(K);
    inks().forEach((ink, k) => root.style.setProperty(`--ink-${k}`, ink));
    weightsShown.forEach((show) => show());
    find(".vae-lead").innerHTML = `<b>Explain the points.</b> Drag the Gaussian${K > 1 ? "s" : ""} so that the ` +
      "log-evidence is as high as you can make it. Then let EM try.";
    find(".vae-total b").textContent = nice(total);
    find(".vae-each").textContent = `${nice(total / n)} a point`;
    find(".vae-best").textContent = best[K] === undefined ? ""
      : `best yet with ${K}${narrowest() ? ", no runaway" : ""}: ${nice(best[K])}`;
    for (const radio of root.querySelectorAll("[type=radio]"))
      radio.checked = [model.get("marks"), String(K)].includes(radio.value);
    find("[type=checkbox]").checked = model.get("shade");
    find(".vae-note").textContent = noteOf(rows, found);
    find(".vae-floor output").textContent = short(floor());
    find("[data-does=halve]").disabled = floor() < firstFloor / 2 ** (HALVINGS - 0.5);
    paintPlane();
    paintChart();
    paintTable(rows, found);
    speak(rows, found);
  }

  name();
  const stop = repaint(root, model, ["components", "floor", "marks", "shade", "selected", "names"], paint);
  return () => { stop(); halt(); clearTimeout(spoken); };
}

export default { render };

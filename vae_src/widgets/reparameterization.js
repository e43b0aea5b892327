import { normalDraws } from "./maths.js";
import { assign, color, draggable, fitCanvas, heard, nice, repaint, slider, stage } from "./stage.js";

export const ESTIMATES = 1000, MOST_SAMPLES = 64, SHOWN = 24, BINS = 81;

const bell = (x) => Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI);

/** Each f(z), its slope, and the exact gradient of its mean under N(mean, scale²), by mean and by scale. */
export const OBJECTIVES = {
  square: {
    f: (z) => z * z,
    slope: (z) => 2 * z,
    gradient: { mean: (mean) => 2 * mean, scale: (mean, scale) => 2 * scale },
    math: "<var>z</var>²", slopeMath: "2<var>z</var>", range: [0, 11], ticks: [0, 4, 8],
  },
  wave: {
    f: (z) => Math.cos(2 * z),
    slope: (z) => -2 * Math.sin(2 * z),
    gradient: {
      mean: (mean, scale) => -2 * Math.sin(2 * mean) * Math.exp(-2 * scale * scale),
      scale: (mean, scale) => -4 * scale * Math.cos(2 * mean) * Math.exp(-2 * scale * scale),
    },
    math: "cos 2<var>z</var>", slopeMath: "−2 sin 2<var>z</var>", range: [-1.15, 1.3], ticks: [-1, 0, 1],
  },
  step: {
    f: (z) => z > 0 ? 1 : 0,
    slope: () => 0,
    gradient: {
      mean: (mean, scale) => bell(mean / scale) / scale,
      scale: (mean, scale) => -mean / (scale * scale) * bell(mean / scale),
    },
    math: "1[<var>z</var> &gt; 0]", slopeMath: "0", range: [-0.15, 1.35], ticks: [0, 1],
  },
};

/**
 * Estimate the gradient as often as `pathwise` and `score` are long; each estimate averages its own
 * `numSamples` values of the noise.
 */
export function estimate({ f, slope }, parameter, mean, scale, noise, numSamples, pathwise, score) {
  const byMean = parameter === "mean";
  for (let i = 0, k = 0; i < pathwise.length; i++) {
    let slopes = 0, heights = 0;
    for (const end = k + numSamples; k < end; k++) {
      const e = noise[k], z = mean + scale * e;
      slopes += slope(z) * (byMean ? 1 : e);  // ∂z/∂θ
      heights += f(z) * (byMean ? e : e * e - 1);  // ∂ log q(z)/∂θ, times σ
    }
    pathwise[i] = slopes / numSamples;
    score[i] = heights / (scale * numSamples);
  }
}

/** Mean and standard deviation of a sample. */
export function moments(values) {
  let sum = 0, squares = 0;
  for (const v of values) sum += v;
  const mean = sum / values.length;
  for (const v of values) squares += (v - mean) ** 2;
  return { mean, sd: Math.sqrt(squares / (values.length - 1)) };
}

const GRID = Float64Array.from({ length: 281 }, (_, i) => (i - 140) / 20);
const onGrid = { pathwise: new Float64Array(GRID.length), score: new Float64Array(GRID.length) };

/**
 * Standard deviations of estimates from one draw, over all ε instead of some draws of it. By the trapezoid
 * rule, which stumbles over the step: there they are good to 3 %.
 */
export function spread(objective, parameter, mean, scale) {
  estimate(objective, parameter, mean, scale, GRID, 1, onGrid.pathwise, onGrid.score);
  const sd = (values) => {
    let first = 0, second = 0;
    for (let i = 0; i < GRID.length; i++) {
      const weight = bell(GRID[i]) / 20;
      first += weight * values[i];
      second += weight * values[i] * values[i];
    }
    return Math.sqrt(Math.max(0, second - first * first));
  };
  return { pathwise: sd(onGrid.pathwise), score: sd(onGrid.score) };
}

/** The least of 1, 1.5, 2, 3, 5, 7, 10, 15, … that is not below a positive value. */
export function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 1.5, 2, 3, 5, 7, 10].find((leading) => leading * power >= value);
}

/**
 * Both histograms run from −limit to limit. It depends neither on the noise nor on the number of draws
 * that an estimate averages, so that more draws are seen to narrow the histograms.
 */
export const axisLimit = (truth, { pathwise, score }) =>
  roundUp(Math.max(0.5, Math.abs(truth) + 2.5 * Math.max(pathwise, score)));

/** Fill `counts`: what lies below −limit, in each of the bins, and at or above limit. */
export function histogram(values, limit, counts) {
  counts.fill(0);
  for (const v of values) {
    const bin = Math.floor((v / limit + 1) / 2 * BINS);
    counts[bin < 0 ? 0 : bin >= BINS ? BINS + 1 : bin + 1]++;
  }
}

/** What follows from the exact standard deviations and from the measured ones, in words. */
export function verdict(name, exact, measured) {
  if (name === "step")
    return "The step’s slope is 0 wherever it has one, so the pathwise estimate is always 0: biased, however many " +
      "draws it averages. The score function reads heights only, and is right on average.";
  const needs = (more, less) => {
    const ratio = (sd) => Number(((sd[more] / sd[less]) ** 2).toPrecision(2));
    return `needs ${ratio(exact)} × as many draws for the same precision (exact ratio of the variances; ` +
      `these 1,000 estimates say ${ratio(measured)})`;
  };
  if (exact.score >= exact.pathwise)
    return `Both are right on average, but the score function ${needs("score", "pathwise")}.`;
  return `Here the pathwise estimator ${needs("pathwise", "score")}: slopes of both signs cancel.`;
}

// --- the page --------------------------------------------------------------------------------------

const TRAITS = ["mean", "scale", "objective", "parameter", "num_samples", "seed"];
const MEANS = [-2, 2], SCALES = [0.2, 1.5];  // what the traits allow
const REACH = 5;  // of the axes of ε and z, to either side of 0
const SYMBOL = { mean: "μ", scale: "σ" };

const MARKUP = `
  <div class="vae-choices">
    <fieldset><legend>Objective <var>f</var>(<var>z</var>)</legend>
      <label><input type="radio" name="ID-f" value="square"><span><var>z</var>²</span></label>
      <label><input type="radio" name="ID-f" value="wave"><span>cos 2<var>z</var></span></label>
      <label><input type="radio" name="ID-f" value="step"><span>step at 0</span></label>
    </fieldset>
    <fieldset><legend>Gradient by</legend>
      <label><input type="radio" name="ID-by" value="mean"><span>mean <var>μ</var></span></label>
      <label><input type="radio" name="ID-by" value="scale"><span>scale <var>σ</var></span></label>
    </fieldset>
  </div>
  <canvas class="vae-noise" tabindex="0" role="application" aria-roledescription="draggable plot"
    aria-describedby="ID-hint"></canvas>
  <ul class="vae-key">
    <li><i class="vae-hump"></i>density <var>q</var>(<var>z</var>) = N(<var>μ</var>, <var>σ</var>²)</li>
    <li><i class="vae-curve"></i><span><var>f</var>(<var>z</var>)</span></li>
    <li><i class="vae-slope"></i>its slope at a sample: what the pathwise estimator reads</li>
    <li><i class="vae-height"></i>its height there: what the score function reads</li>
  </ul>
  <div class="vae-columns vae-sliders"></div>
  <p class="vae-quiet" id="ID-hint">The noise <var>ε</var> is frozen. Drag sideways to move <var>μ</var>; drag the
    handle <var>μ</var> + <var>σ</var> to change <var>σ</var>. Arrow keys do the same (with Shift, in larger steps).</p>
  <p class="vae-title"></p>
  <div class="vae-columns vae-draws"><div class="vae-buttons"><button type="button">Draw new ε</button></div></div>
  <div class="vae-chart">
    <div class="vae-head vae-pathwise-head"><span><b>Pathwise</b><span class="vae-formula"></span></span>
      <span class="vae-numbers"></span></div>
    <canvas class="vae-pathwise" role="img"></canvas>
    <div class="vae-head vae-score-function-head"><span><b>Score function</b><span class="vae-formula"></span></span>
      <span class="vae-numbers"></span></div>
    <canvas class="vae-score-function" role="img"></canvas>
  </div>
  <p class="vae-verdict"></p>
  <p class="vae-quiet">Under each histogram, a dot marks the mean and a bar one standard deviation (sd) to either side.
    ± is the standard error of the mean. Bars at the very edges count what lies beyond the axis.</p>
  <p class="vae-hidden" aria-live="polite"></p>
`;

const FONT = "13px system-ui, -apple-system, 'Segoe UI', sans-serif";
const clamp = (value, [low, high]) => Math.round(100 * Math.min(high, Math.max(low, value))) / 100;

/** Where things are on the upper canvas: axes of ε and of z on one scale, and below them f and q over z. */
function layout({ clientWidth: width, clientHeight: height }) {
  const noise = 64, samples = 140, top = 152, base = height - 24, unit = (width - 20) / (2 * REACH);
  const peak = base - 0.8 * (base - top);  // of q: the handle of μ; that of σ is at the point of inflection
  return {
    width, height, noise, samples, top, base, peak, unit,
    inflection: base - Math.exp(-0.5) * (base - peak),
    x: (value) => width / 2 + unit * value,
    value: (x) => (x - width / 2) / unit,
  };
}

function curve(context, width, y) {
  context.beginPath();
  for (let x = 0; x < width + 1.5; x += 1.5) context.lineTo(x, y(x));
}

/** A density, filled faintly down to its axis. */
function hump(context, width, base, y) {
  curve(context, width, y);
  context.stroke();
  context.lineTo(width, base);
  context.lineTo(0, base);
  context.globalAlpha = 0.14;
  context.fill();
  context.globalAlpha = 1;
}

function line(context, x1, y1, x2, y2) {
  context.beginPath();
  context.moveTo(x1, y1);
  context.lineTo(x2, y2);
  context.stroke();
}

function dot(context, x, y, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}

/** Text with a rim of paper, so that it can be read over lines. */
function label(context, c, text, x, y, align = "left") {
  Object.assign(context, { textAlign: align, lineWidth: 6, lineJoin: "round", strokeStyle: c.paper });
  context.strokeText(text, x, y);
  context.fillText(text, x, y);
}

function paintNoise(canvas, c, objective, mean, scale, noise) {
  const { context } = fitCanvas(canvas), at = layout(canvas), { width, x } = at;
  const [low, high] = objective.range;
  const level = (value) => at.base - (value - low) / (high - low) * (at.base - at.top);
  context.font = FONT;
  // axes, with the standard normal over that of ε
  Object.assign(context, { lineWidth: 1, strokeStyle: c.line, fillStyle: c.quiet, textAlign: "center" });
  for (const y of [at.noise, at.samples, at.base]) line(context, 0, y + 0.5, width, y + 0.5);
  for (let v = 1 - REACH; v < REACH; v++) {
    for (const y of [at.noise, at.samples, at.base]) line(context, x(v), y - 3, x(v), y + 4);
    context.fillText(nice(v, 0), x(v), at.base + 18);
  }
  Object.assign(context, { fillStyle: c.data, strokeStyle: c.data, globalAlpha: 0.6 });
  hump(context, width, at.noise, (px) => at.noise - 46 * Math.exp(-0.5 * at.value(px) ** 2));
  // the lower panel: q, f, and f's slope and height at each sample
  context.save();
  context.beginPath();
  context.rect(0, at.top - 6, width, at.base - at.top + 6);
  context.clip();
  Object.assign(context, { fillStyle: c.encoder, strokeStyle: c.encoder, lineWidth: 2 });
  const density = (px) => Math.exp(-0.5 * ((at.value(px) - mean) / scale) ** 2);
  hump(context, width, at.base, (px) => at.base - (at.base - at.peak) * density(px));
  context.strokeStyle = c.quiet;
  curve(context, width, (px) => level(objective.f(at.value(px))));
  context.stroke();
  for (let i = 0; i < SHOWN; i++) {
    const z = mean + scale * noise[i], y = level(objective.f(z));
    const rise = -objective.slope(z) * (at.base - at.top) / (high - low) / at.unit, run = 12 / Math.hypot(1, rise);
    Object.assign(context, { strokeStyle: c.encoder, lineWidth: 2, fillStyle: c.bound });
    line(context, x(z) - run, y - run * rise, x(z) + run, y + run * rise);
    dot(context, x(z), y, 3);
  }
  context.restore();
  // every ε and where it goes
  Object.assign(context, { strokeStyle: c.encoder, lineWidth: 1, globalAlpha: 0.55 });
  for (let i = 0; i < SHOWN; i++) line(context, x(noise[i]), at.noise, x(mean + scale * noise[i]), at.samples);
  context.globalAlpha = 1;
  for (let i = 0; i < SHOWN; i++) {
    context.fillStyle = c.data;
    dot(context, x(noise[i]), at.noise, 3);
    context.fillStyle = c.encoder;
    dot(context, x(mean + scale * noise[i]), at.samples, 3);
  }
  // words, on the side that is less crowded
  const [edge, align] = mean < 0 ? [width - 8, "right"] : [8, "left"];
  context.fillStyle = c.text;
  label(context, c, width < 500 ? "ε ~ N(0, 1)" : "frozen noise ε ~ N(0, 1)", edge, at.noise - 9, align);
  label(context, c, width < 500 ? "z = μ + σ ε" : "samples z = μ + σ ε", edge, at.samples - 9, align);
  context.fillStyle = c.quiet;
  for (const tick of objective.ticks) label(context, c, `f = ${nice(tick, 0)}`, edge, level(tick) - 5, align);
  context.fillStyle = c.text;
  label(context, c, "μ", x(mean), at.peak - 13, "center");
  label(context, c, "μ + σ", x(mean + scale) + 13, at.inflection + 4);
  for (const [value, y] of [[mean, at.peak], [mean + scale, at.inflection]]) {
    Object.assign(context, { fillStyle: c.paper, strokeStyle: c.encoder, lineWidth: 3 });
    dot(context, x(value), y, 7);
    context.stroke();
  }
}

const MARGIN = 14, CEILING = 22;  // beside the histograms, for what lies beyond the axis; and above, for words

function paintHistogram({ canvas, values, counts, ink, below }, c, truth, limit) {
  const { context, width, height } = fitCanvas(canvas), room = width - 2 * MARGIN;
  const base = height - below, x = (value) => MARGIN + (value / limit + 1) / 2 * room;
  Object.assign(context, { font: FONT, textAlign: "center", lineWidth: 1, strokeStyle: c.line, fillStyle: c.quiet });
  const power = 10 ** Math.floor(Math.log10(limit));
  const step = [0.1, 0.2, 0.5, 1, 2, 5].map((s) => s * power).find((s) => s / limit * room / 2 >= 45 + width / 40);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  for (let k = Math.ceil(-limit / step - 1e-9); k * step <= limit * (1 + 1e-9); k++) {
    line(context, x(k * step), CEILING, x(k * step), base + 12);
    const middle = Math.min(width - 18, Math.max(18, x(k * step)));
    context.fillText(nice(k * step, digits), middle, base + 27);  // cut off where there is no room for it
  }
  histogram(values, limit, counts);
  const tallest = Math.max(...counts), bin = room / BINS, gap = bin > 4 ? 1 : 0;
  context.fillStyle = c[ink];
  counts.forEach((count, i) => {
    const [left, wide] = i === 0 ? [2, 8] : i > BINS ? [width - 10, 8] : [MARGIN + (i - 1) * bin, bin - gap];
    const tall = count / tallest * (base - CEILING);
    context.fillRect(left, base - tall, wide, tall);
  });
  context.strokeStyle = c.line;
  line(context, 0, base + 0.5, width, base + 0.5);
  const { mean, sd } = moments(values), inside = (v) => Math.min(width - 2, Math.max(2, x(v)));
  Object.assign(context, { strokeStyle: c[ink], lineWidth: 3 });
  line(context, inside(mean - sd), base + 7, inside(mean + sd), base + 7);
  dot(context, inside(mean), base + 7, 5);
  Object.assign(context, { strokeStyle: c.text, lineWidth: 2 });
  line(context, x(truth), 0, x(truth), base);
  context.fillStyle = c.text;
  const left = x(truth) > width - 220;
  label(context, c, `exact ${nice(truth)}`, x(truth) + (left ? -7 : 7), 14, left ? "right" : "left");
  const beyond = counts[0] + counts[BINS + 1];
  context.fillStyle = c.quiet;
  if (beyond) label(context, c, `${nice(100 * beyond / values.length, 1)} % beyond`, width - 6, 14, "right");
  return { mean, sd };
}

function render({ model, el }) {
  const root = stage(el, "reparameterization", MARKUP), $ = (selector) => root.querySelector(selector);
  const canvas = $(".vae-noise"), own = heard(model);
  const draws = {  // powers of two, evenly spaced
    ...own, get: () => Math.log2(model.get("num_samples")), set: (to) => own.set({ num_samples: 2 ** to.num_samples }),
  };
  $(".vae-sliders").append(
    slider(own, "mean", { label: "<var>μ</var>", min: MEANS[0], max: MEANS[1], step: 0.01, text: (v) => nice(v) }),
    slider(own, "scale", { label: "<var>σ</var>", min: SCALES[0], max: SCALES[1], step: 0.01 }),
  );
  $(".vae-draws").prepend(slider(draws, "num_samples", {
    label: "Draws <var>K</var>", min: 0, max: Math.log2(MOST_SAMPLES), step: 1, text: (v) => `${Math.round(2 ** v)}`,
  }));
  for (const [name, trait] of [["-f", "objective"], ["-by", "parameter"]])
    for (const input of root.querySelectorAll(`input[name$="${name}"]`))
      input.addEventListener("change", () => assign(model, { [trait]: input.value }));
  $("button").addEventListener("click", () => assign(model, { seed: (model.get("seed") + 1) % 2 ** 32 }));

  let held = "mean", offset = 0;
  draggable(canvas, {
    press(fx, fy) {
      const at = layout(canvas), [mean, scale] = [model.get("mean"), model.get("scale")];
      const away = (value, y) => Math.hypot(fx * at.width - at.x(value), fy * at.height - y);
      const [toMean, toScale] = [away(mean, at.peak), away(mean + scale, at.inflection)];
      held = toScale < 28 && toScale < toMean ? "scale" : "mean";
      const near = held === "scale" || toMean < 28;  // a handle is held where it was touched
      offset = near ? (held === "scale" ? mean + scale : mean) - at.value(fx * at.width) : 0;
    },
    move(fx) {
      const at = layout(canvas), value = at.value(fx * at.width) + offset;
      if (held === "mean") assign(model, { mean: clamp(value, MEANS) });
      else assign(model, { scale: clamp(value - model.get("mean"), SCALES) });
    },
    key(right, up) {
      assign(model, {
        mean: clamp(model.get("mean") + right / 20, MEANS), scale: clamp(model.get("scale") + up / 20, SCALES),
      });
    },
  });

  const frozen = { seed: null, noise: null };
  const charts = [["pathwise", "encoder", 14], ["score-function", "bound", 32]].map(([name, ink, below]) => ({
    name, ink, below,
    canvas: $(`canvas.vae-${name}`), formula: $(`.vae-${name}-head .vae-formula`),
    numbers: $(`.vae-${name}-head .vae-numbers`),
    values: new Float64Array(ESTIMATES), counts: new Int32Array(BINS + 2),
  }));
  const write = (node, html) => { if (node.written !== html) node.innerHTML = node.written = html; };
  let pause = 0;

  function paint() {
    const state = Object.fromEntries(TRAITS.map((trait) => [trait, model.get(trait)]));
    const { mean, scale, parameter, seed } = state;
    const objective = OBJECTIVES[state.objective], [pathwise, score] = charts;
    if (frozen.seed !== seed) Object.assign(frozen, { seed, noise: normalDraws(ESTIMATES * MOST_SAMPLES, seed) });
    estimate(objective, parameter, mean, scale, frozen.noise, state.num_samples, pathwise.values, score.values);
    const truth = objective.gradient[parameter](mean, scale), exact = spread(objective, parameter, mean, scale);
    const limit = axisLimit(truth, exact);

    const c = Object.fromEntries(
      ["paper", "text", "quiet", "line", "data", "encoder", "bound"].map((key) => [key, color(root, key)]));
    paintNoise(canvas, c, objective, mean, scale, frozen.noise);
    const measured = charts.map((chart) => paintHistogram(chart, c, truth, limit));
    describe(state, truth, measured,
      verdict(state.objective, exact, { pathwise: measured[0].sd, score: measured[1].sd }));
    for (const input of root.querySelectorAll("input[type=radio]"))
      input.checked = [state.objective, parameter].includes(input.value);
  }

  function describe({ mean, scale, objective, parameter, num_samples: count }, truth, measured, sentence) {
    const { math, slopeMath } = OBJECTIVES[objective], theta = SYMBOL[parameter];
    canvas.setAttribute("aria-label", "Frozen noise ε becomes samples z of N(μ, σ²), " +
      `μ = ${nice(mean)}, σ = ${nice(scale)}`);
    write($(".vae-curve + span"), `<var>f</var>(<var>z</var>) = ${math}`);
    write($(".vae-title"), `<b>Gradient of E<sub><var>q</var></sub>[${math}] by <var>${theta}</var></b>:
      1,000 estimates, each the average of <var>K</var> = ${count} draw${count > 1 ? "s" : ""}`);
    write(charts[0].formula, `<var>f</var>′(<var>z</var>) ∂<var>z</var>/∂<var>${theta}</var> =
      ${slopeMath} · ${parameter === "mean" ? "1" : "<var>ε</var>"}`);
    write(charts[1].formula, `<var>f</var>(<var>z</var>) ∂log <var>q</var>/∂<var>${theta}</var> =
      ${math} · ${parameter === "mean" ? "<var>ε</var>/<var>σ</var>" : "(<var>ε</var>² − 1)/<var>σ</var>"}`);
    const said = measured.map((one) => `mean ${nice(one.mean)}, standard deviation ${nice(one.sd)}`);
    measured.forEach((one, i) => {
      write(charts[i].numbers, `<span>mean ${nice(one.mean)} ± ${nice(one.sd / Math.sqrt(ESTIMATES))}</span>
        <span>sd ${nice(one.sd)}</span>`);
      charts[i].canvas.setAttribute("aria-label", `Histogram of 1,000 ${charts[i].name} estimates of the gradient ` +
        `by ${theta}: ${said[i]}. Exact gradient ${nice(truth)}.`);
    });
    write($(".vae-verdict"), sentence);
    clearTimeout(pause);
    const summary = `μ ${nice(mean)}, σ ${nice(scale)}. Exact gradient by ${theta} ${nice(truth)}. ` +
      `Pathwise: ${said[0]}. Score function: ${said[1]}. ${sentence}`;
    pause = setTimeout(() => write($("[aria-live]"), summary), 500);
  }

  const stop = repaint(root, model, TRAITS, paint);
  return () => {
    clearTimeout(pause);
    own.release();
    stop();
  };
}

export default { render };

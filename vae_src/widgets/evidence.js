import { LOG_2PI, klToStandardNormal, logNormal, logSumExp } from "./maths.js";
import { assign, color, draggable, fitCanvas, heard, isStill, nice, repaint, slider, stage } from "./stage.js";

/** What the traits of `EvidenceBar` allow. */
export const LIMITS = { x: [-2, 4], q_mean: [-3, 3], q_scale: [0.25, 2] };

/** What the decoder makes of z: the mean of p(x|z), whose standard deviation is 1. */
const DECODERS = { linear: (z) => z, square: (z) => z * z };

/** log p(x, z) = log p(z) + log p(x|z). */
export const logJoint = (decoder, x, z) => logNormal(z) + logNormal(x, DECODERS[decoder](z));

/** log of the integral of exp(log f), by the trapezoid rule: for the smooth functions here exact to 12 digits. */
function logIntegral(logF, from, to, step) {
  const values = [];
  for (let z = from; z <= to; z += step) values.push(logF(z));
  return logSumExp(values) + Math.log(step);
}

/** log p(x): in closed form for the linear decoder, by quadrature for the square one. */
export function logEvidence(decoder, x) {
  if (decoder === "linear") return logNormal(x, 0, Math.SQRT2);
  return logIntegral((z) => logJoint("square", x, z), -9, 9, 0.02);
}

/** z ↦ log p(z|x). The joint is normalised here once more, on other points than log p(x)'s. */
export function logPosterior(decoder, x) {
  const normaliser = logIntegral((z) => logJoint(decoder, x, z), -10.01, 10, 0.03);
  return (z) => logJoint(decoder, x, z) - normaliser;
}

/** The expectation of log p(x|z) under q = N(mean, scale²), from q's second and fourth moments. */
export function expectedLogLikelihood(decoder, x, mean, scale) {
  const m2 = mean * mean, v = scale * scale, second = m2 + v;
  const error = decoder === "linear" ? x * x - 2 * x * mean + second  // E (x − z)²
    : x * x - 2 * x * second + m2 * m2 + 6 * m2 * v + 3 * v * v;  // E (x − z²)²
  return -0.5 * (LOG_2PI + error);
}

/** KL(q‖p(z)), which the ELBO pays. */
export const rate = (mean, scale) => klToStandardNormal([mean], [scale]);

export const elbo = (decoder, x, mean, scale) => expectedLogLikelihood(decoder, x, mean, scale) - rate(mean, scale);

/** KL(q‖p(z|x)) by quadrature over q, so that neither the ELBO nor log p(x) enters it. */
export function gap(posterior, mean, scale) {
  const STEP = 1 / 16;  // of q's standard deviation
  let sum = 0;
  for (let t = -12; t <= 12; t += STEP) {
    const z = mean + scale * t, logQ = logNormal(z, mean, scale);
    sum += Math.exp(logQ) * (logQ - posterior(z));
  }
  return sum * STEP * scale;
}

/** The ELBO's derivatives by q's mean and by log σ. */
export function elboGradient(decoder, x, mean, scale) {
  const v = scale * scale;
  if (decoder === "linear") return [x - 2 * mean, 1 - 2 * v];
  return [mean * (2 * x - 2 * mean * mean - 6 * v - 1), 1 + v * (2 * x - 6 * mean * mean - 6 * v - 1)];
}

const RATE = 0.001;  // below 2 over the ELBO's sharpest curvature within the limits, so that it never falls

/** Some steps of gradient ascent on the ELBO, within the limits; `slope` says how steep the last one was. */
export function ascend(decoder, x, mean, scale, steps) {
  let slope = 0;
  for (let step = 0; step < steps; step++) {
    const [byMean, byLogScale] = elboGradient(decoder, x, mean, scale);
    const m = within("q_mean", mean + RATE * byMean), s = within("q_scale", scale * Math.exp(RATE * byLogScale));
    slope = Math.max(Math.abs(m - mean), Math.abs(Math.log(s / scale))) / RATE;
    [mean, scale] = [m, s];
  }
  return { mean, scale, slope };
}

/** A number, or the nearest that a trait allows. */
export const within = (trait, value) => Math.min(LIMITS[trait][1], Math.max(LIMITS[trait][0], value));

/** What there is to say about q where it can climb no further. */
export function verdict(decoder, x, mean, kl) {
  if (decoder === "linear") return "Arrived: q is the exact posterior, so the ELBO is log p(x).";
  const left = `KL ${nice(kl)} nats is left`;
  if (x <= 0.5) return `Arrived: ${left}, for the posterior is not quite a Gaussian.`;  // it has one bump
  // The ELBO's gradient vanishes on a bump only where 12 σ⁴ − (4x − 2) σ² + 1 = 0 has a solution.
  const hasOthers = 2 * x - 1 >= Math.sqrt(12);
  const others = hasOthers ? "Other starts choose one." : "Every start ends here.";
  if (Math.abs(mean) < 0.1) return `Arrived: q straddles both bumps; ${left}. ${others}`;
  return `Arrived: q has chosen the ${mean < 0 ? "left" : "right"} bump; ${left}. Other starts end elsewhere.`;
}

// --- the page ------------------------------------------------------------------------------------

const Z = [-4, 4], TOP = 1.85;  // what the upper picture shows; the narrowest q is 1.6 high
const NATS = [-8, 0];  // what the bar's axis shows
const STEPS = { q_mean: 0.05, q_scale: 0.02 };  // of the arrow keys
const STEPS_A_FRAME = 64, FLAT = 1e-4;  // the climb takes about two seconds, and ends at this slope

const MARKUP = `
  <div class="vae-model"><fieldset><legend>Decoder</legend>
    <label><input type="radio" name="ID-decoder" value="linear"> linear, x ∼ N(z, 1)</label>
    <label><input type="radio" name="ID-decoder" value="square"> square, x ∼ N(z², 1)</label></fieldset></div>
  <p class="vae-legend"><span class="vae-is-prior">prior N(0, 1)</span>
    <span class="vae-is-posterior">exact posterior p(z | x)</span> <span>approximation q(z | x)</span></p>
  <canvas class="vae-plot" tabindex="0" role="application" aria-roledescription="draggable density"
    aria-label="q over the exact posterior" aria-describedby="ID-help"></canvas>
  <p class="vae-quiet" id="ID-help">Drag q, or one of its open dots for the width.
    Keys: ← → mean, ↑ ↓ width, Shift five steps.</p>
  <canvas class="vae-bar" role="img"></canvas>
  <div class="vae-sums">
    <div class="vae-sum"><p class="vae-quiet">evidence = bound + gap</p>
      <span><span>log p(x)</span> <b data-of="evidence"></b></span> <i>=</i>
      <span><span>ELBO</span> <b data-of="elbo"></b></span> <i>+</i>
      <span><span>KL(q ‖ p(z | x))</span> <b data-of="gap"></b></span> <i>nats</i></div>
    <div class="vae-sum"><p class="vae-quiet">bound = expected log-likelihood − rate</p>
      <span><span>ELBO</span> <b data-of="elbo"></b></span> <i>=</i>
      <span><span>E<sub>q</sub>[log p(x | z)]</span> <b data-of="likelihood"></b></span> <i>−</i>
      <span><span>KL(q ‖ p(z))</span> <b data-of="rate"></b></span> <i>nats</i></div></div>
  <p class="vae-quiet">Each number is computed on its own, then rounded.</p>
  <div class="vae-sliders"></div>
  <div class="vae-buttons"><button type="button" data-does="climb"></button>
    <button type="button" data-does="reset">Reset q</button>
    <p class="vae-status" role="status"></p></div>
  <p class="vae-hidden" aria-live="polite"></p>`;

function render({ model: shared, el }) {
  const model = heard(shared), root = stage(el, "evidence", MARKUP), find = (selector) => root.querySelector(selector);
  const plot = find(".vae-plot"), bar = find(".vae-bar"), status = find(".vae-status"), live = find("[aria-live]");
  const state = () => Object.fromEntries(["decoder", "x", "q_mean", "q_scale"].map((name) => [name, model.get(name)]));
  const begin = { q_mean: model.get("q_mean"), q_scale: model.get("q_scale") };
  const put = (trait, value) => assign(model, { [trait]: within(trait, value) });

  // What depends on x and the decoder alone.
  let datum = {};
  function about({ decoder, x }) {
    if (datum.decoder !== decoder || datum.x !== x)
      datum = { decoder, x, evidence: logEvidence(decoder, x), posterior: logPosterior(decoder, x) };
    return datum;
  }

  for (const radio of root.querySelectorAll("[type=radio]"))
    radio.addEventListener("change", () => assign(model, { decoder: radio.value }));
  const rows = [
    [".vae-model", "x", "datum x", 0.05], [".vae-sliders", "q_mean", "mean of q", 0.05],
    [".vae-sliders", "q_scale", "width of q, σ", 0.01],
  ];
  for (const [place, trait, label, step] of rows) {
    const [min, max] = LIMITS[trait];
    find(place).append(slider(model, trait, { label, min, max, step, text: (value) => nice(value) }));
  }

  // --- dragging: an open dot sets σ, any other place the mean

  const across = (z, width) => (z - Z[0]) / (Z[1] - Z[0]) * width;
  const shoulder = ({ q_scale }) => Math.exp(logNormal(1)) / q_scale;  // q's density at mean ± σ
  const baseline = (height) => height - 22;
  const up = (density, height) => baseline(height) * (1 - density / TOP);
  let dragged = "q_mean";
  draggable(plot, {
    press(x, y) {
      halt();
      const { clientWidth: width, clientHeight: height } = plot, q = state(), level = up(shoulder(q), height);
      const away = (z) => Math.hypot(x * width - across(z, width), y * height - level);
      const dot = Math.min(away(q.q_mean - q.q_scale), away(q.q_mean + q.q_scale));
      dragged = dot < 22 && dot < away(q.q_mean) ? "q_scale" : "q_mean";
    },
    move(x) {
      const z = Z[0] + x * (Z[1] - Z[0]);
      put(dragged, dragged === "q_mean" ? z : Math.abs(z - model.get("q_mean")));
    },
    key(right, upward) {
      if (right) put("q_mean", model.get("q_mean") + right * STEPS.q_mean);
      if (upward) put("q_scale", model.get("q_scale") + upward * STEPS.q_scale);
    },
  });

  // --- climbing

  const climb = find("[data-does=climb]");
  let playing = 0, reached = {};
  function label() { climb.textContent = playing ? "Stop" : "Let q climb the ELBO"; }
  function halt(message = "") {
    cancelAnimationFrame(playing);
    playing = 0;
    status.textContent = message;
    label();
  }
  // A frame that finds q elsewhere than the last one left it was overruled: by a key, a slider, Python.
  const isReached = ({ q_mean, q_scale }) => q_mean === reached.mean && q_scale === reached.scale;
  function go() {
    const { decoder, x, q_mean, q_scale } = state();
    if (!isReached({ q_mean, q_scale })) return halt();
    do reached = ascend(decoder, x, reached.mean, reached.scale, STEPS_A_FRAME);
    while (isStill() && reached.slope > FLAT);
    if (reached.slope > FLAT) playing = requestAnimationFrame(go);
    else halt(verdict(decoder, x, reached.mean, gap(about({ decoder, x }).posterior, reached.mean, reached.scale)));
    reached.decoder = decoder;
    reached.x = x;
    assign(model, { q_mean: reached.mean, q_scale: reached.scale });
  }
  climb.addEventListener("click", () => {
    if (playing) return halt();
    reached = { mean: model.get("q_mean"), scale: model.get("q_scale") };
    playing = requestAnimationFrame(go);
    status.textContent = "Climbing: each step follows the gradient of the ELBO.";
    label();
  });
  find("[data-does=reset]").addEventListener("click", () => { halt(); assign(model, begin); });
  label();

  // --- painting

  function paintPlot(q, { posterior }) {
    const { context, width, height } = fitCanvas(plot), floor = baseline(height);
    const at = (z) => across(z, width), level = (density) => up(density, height);
    context.font = "12px system-ui, sans-serif";
    context.textAlign = "center";
    context.lineWidth = 1;
    context.strokeStyle = color(root, "line");
    context.fillStyle = color(root, "quiet");
    context.beginPath();
    context.moveTo(0, floor + 0.5);
    context.lineTo(width, floor + 0.5);
    for (let z = Z[0] + 1; z < Z[1]; z++) {
      context.moveTo(at(z), floor);
      context.lineTo(at(z), floor + 4);
      context.fillText(nice(z, 0), at(z), floor + 17);
    }
    context.stroke();
    context.font = "italic 13px system-ui, sans-serif";
    context.fillText("z", width - 10, floor + 17);

    const curve = (name, logDensity, { alpha = 0, dash = [], lineWidth = 2 }) => {
      context.beginPath();
      for (let i = 0; i <= width; i += 1)
        context.lineTo(i, level(Math.exp(logDensity(Z[0] + i / width * (Z[1] - Z[0])))));
      Object.assign(context, { strokeStyle: color(root, name), fillStyle: color(root, name), lineWidth });
      context.setLineDash(dash);
      context.stroke();
      context.setLineDash([]);
      if (!alpha) return;
      context.lineTo(width, floor);
      context.lineTo(0, floor);
      context.globalAlpha = alpha;
      context.fill();
      context.globalAlpha = 1;
    };
    curve("prior", (z) => logNormal(z), { dash: [6, 4] });
    curve("decoder", posterior, { alpha: 0.28 });
    curve("encoder", (z) => logNormal(z, q.q_mean, q.q_scale), { alpha: 0.1, lineWidth: 2.5 });

    const dots = level(shoulder(q));
    context.beginPath();
    context.moveTo(at(q.q_mean - q.q_scale), dots);
    context.lineTo(at(q.q_mean + q.q_scale), dots);
    context.lineWidth = 1.5;
    context.stroke();
    for (const side of [-1, 0, 1]) {
      context.beginPath();
      context.arc(at(q.q_mean + side * q.q_scale), dots, side ? 6 : 5, 0, 7);
      context.fillStyle = color(root, side ? "paper" : "encoder");
      context.lineWidth = side ? 2.5 : 1.5;
      context.fill();
      context.stroke();
    }
    context.fillStyle = color(root, "encoder");
    context.font = "bold 13px system-ui, sans-serif";
    const name = ["q", at(q.q_mean), level(shoulder(q) * Math.exp(0.5)) - 9];  // above the peak
    Object.assign(context, { strokeStyle: color(root, "paper"), lineWidth: 4, lineJoin: "round" });
    context.strokeText(...name);
    context.fillText(...name);
  }

  function paintBar({ evidence, elbo: bound, gap: kl }) {
    const { context, width } = fitCanvas(bar), left = 22, right = width - 44, top = 24, bottom = 58;
    const at = (nats) => Math.round(left + (nats - NATS[0]) / (NATS[1] - NATS[0]) * (right - left));
    const end = Math.max(left, at(bound)), mark = at(evidence), isOff = bound < NATS[0];
    const ink = color(root, "text");

    // Logarithms have no zero to grow from: the bar comes from further left, which its torn edge says.
    const stretch = (name, from, to, isTorn) => {
      const tooth = (bottom - top) / 8;
      context.beginPath();
      context.moveTo(to, top);
      context.lineTo(from, top);
      for (let k = 1; k < 8; k++) context.lineTo(isTorn ? from + 6 * (k % 2) : from, top + k * tooth);
      context.lineTo(from, bottom);
      context.lineTo(to, bottom);
      context.fillStyle = color(root, name);
      context.fill();
      context.stroke();
    };
    Object.assign(context, { lineWidth: 1, strokeStyle: ink, lineJoin: "round" });
    stretch("gap", isOff ? left - 10 : end, mark, isOff);
    if (!isOff) stretch("bound", left - 10, end, true);
    else {  // an arrow to where it ends
      context.beginPath();
      context.moveTo(0.5, (top + bottom) / 2);
      context.lineTo(9.5, top + 6);
      context.lineTo(9.5, bottom - 6);
      context.closePath();
      context.fillStyle = color(root, "bound");
      context.fill();
      context.stroke();
    }
    context.fillStyle = ink;
    context.fillRect(mark, top - 5, 3, bottom - top + 13);

    context.lineWidth = 1;
    context.strokeStyle = color(root, "quiet");
    context.fillStyle = color(root, "quiet");
    context.font = "12px system-ui, sans-serif";
    context.textAlign = "center";
    context.beginPath();
    context.moveTo(10, bottom + 8.5);
    context.lineTo(right, bottom + 8.5);
    for (let nats = NATS[0]; nats <= NATS[1]; nats++) {
      context.moveTo(at(nats) + 0.5, bottom + 8);
      context.lineTo(at(nats) + 0.5, bottom + 13);
      context.fillText(nice(nats, 0), at(nats), bottom + 27);
    }
    context.fillText("nats", right + 28, bottom + 27);
    context.stroke();
    context.beginPath();
    context.moveTo(3, bottom + 8.5);
    context.lineTo(11, bottom + 4.5);
    context.lineTo(11, bottom + 12.5);
    context.fill();

    context.fillStyle = ink;
    context.font = "600 13px system-ui, sans-serif";
    const name = `ELBO ${nice(bound)}`;
    const edge = Math.max(context.measureText(name).width + 1, end - 7);  // where the ELBO's label ends
    context.textAlign = "right";
    context.fillText(name, edge, top - 8);
    context.textAlign = "left";
    context.fillText(`KL ${nice(kl)}`, Math.max(edge + 14, end + 7), top - 8);
    context.fillText("log p(x)", mark + 9, top + 14);
    context.fillText(nice(evidence), mark + 9, top + 30);
  }

  let spoken = 0;
  function paint() {
    const now = state(), known = about(now);
    const { decoder, x, q_mean: mean, q_scale: scale } = now;
    const numbers = {
      evidence: known.evidence, elbo: elbo(decoder, x, mean, scale), gap: gap(known.posterior, mean, scale),
      likelihood: expectedLogLikelihood(decoder, x, mean, scale), rate: rate(mean, scale),
    };
    for (const radio of root.querySelectorAll("[type=radio]")) radio.checked = radio.value === decoder;
    if (!playing && !(isReached(now) && reached.decoder === decoder && reached.x === x)) status.textContent = "";
    paintPlot(now, known);
    paintBar(numbers);
    for (const place of root.querySelectorAll("[data-of]")) place.textContent = nice(numbers[place.dataset.of]);
    const summary = `log p(x) = ${nice(numbers.evidence)} = ELBO ${nice(numbers.elbo)} + KL ${nice(numbers.gap)} nats`;
    bar.setAttribute("aria-label", summary);
    clearTimeout(spoken);
    spoken = setTimeout(() => { live.textContent = summary; }, 500);  // speak when q rests
  }

  const stop = repaint(root, model, ["decoder", "x", "q_mean", "q_scale"], paint);
  return () => { stop(); halt(); clearTimeout(spoken); model.release(); };
}

export default { render };

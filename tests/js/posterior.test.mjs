// The posterior explorer's arithmetic, held to what PyTorch and SciPy compute (test_widgets_posterior.py).
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const it = await import(process.env.SCRIPT);
const golden = JSON.parse(readFileSync(process.env.GOLDEN, "utf8"));

const bytes = new Uint8Array(Buffer.from(golden.decoder, "base64"));
const decoder = it.logitsOf(it.unpackNetwork(bytes, golden.decoder_layers));
const grids = golden.boxes.map((box, k) => it.gridOf(box, Uint16Array.from(golden.grids[k])));

function near(actual, expected, absolute, relative = 0, what = "") {
  assert.equal(actual.length, expected.length, what);
  expected.forEach((value, i) => {
    const apart = Math.abs(actual[i] - value);
    assert.ok(apart <= absolute + relative * Math.abs(value), `${what}[${i}]: ${actual[i]}, not ${value}`);
  });
}

test("log p(x, z) and its slope", () => {
  assert.equal(golden.joints.length, 60);
  for (const { k, z, value, slope } of golden.joints) {
    near([it.logJoint(decoder, golden.pixels[k], z)], [value], 1e-4, 1e-6, "log p(x, z)");
    near(it.slopeOf(decoder, golden.pixels[k], z), slope, 2e-3, 1e-4, "slope");
  }
});

test("log p(x) and the regions of highest density are those of quadrature", () => {
  golden.regions.forEach(({ log_marginal: logMarginal, levels }, k) => {
    near([grids[k].logMarginal], [logMarginal], k === 4 ? 0.01 : 2e-3, 0, `log p(x) of ${k}`);
    near(grids[k].levels, levels, k === 4 ? 0.25 : 0.06, 0, `levels of ${k}`);
  });
});

test("KL(q‖p) on the grid, and what it adds up to", () => {
  for (const { k, mean, factor, kl } of golden.accounts) {
    assert.ok(it.isWithin(grids[k], mean, factor), `q of ${k} is on the grid: ${mean}, ${factor}`);
    const found = it.account(decoder, golden.pixels[k], grids[k], mean, factor);
    near([found.kl], [kl], 4e-3, 1e-3, `KL of ${k}`);
    near([found.kl + found.elbo], [grids[k].logMarginal], 1e-9);
    assert.ok(found.isExact);
  }
});

test("the ELBO from 49 passes, where the grid does not reach", () => {
  for (const { k, mean, factor, elbo, tolerance } of golden.rough)
    near([it.elboFromNodes(decoder, golden.pixels[k], mean, factor)], [elbo], tolerance, 0, `ELBO of ${k}`);
  const far = it.account(decoder, golden.pixels[0], grids[0], [0, 0], [1, 0, 1]);
  assert.equal(far.isExact, false);
  assert.equal(far.elbo, it.elboFromNodes(decoder, golden.pixels[0], [0, 0], [1, 0, 1]));
  const { low, high } = grids[0], middle = low.map((value, axis) => (value + high[axis]) / 2);
  const wide = high.map((value, axis) => value - low[axis]);
  for (const [share, isIn] of [[1 / 7.1, true], [1 / 6.9, false]]) {
    assert.equal(it.isWithin(grids[0], middle, [share * wide[0], 0, 0.1 * wide[1]]), isIn);
    assert.equal(it.isWithin(grids[0], middle, [0.1 * wide[0], 0, share * wide[1]]), isIn);
  }
  assert.ok(!it.isWithin(grids[0], middle, [0.005 * wide[0], 0, 0.1 * wide[1]]), "too narrow for the grid");
  assert.ok(!it.isWithin(grids[0], middle, [0.1 * wide[0], 0.1 * wide[1], 0.002 * wide[1]]), "too narrow, tilted");
});

test("the gradient is autograd's, with log q held still", () => {
  for (const { k, theta, noise, gradient } of golden.gradients) for (const isFull of [true, false]) {
    const state = { theta }, found = it.gradientOf(decoder, golden.pixels[k], state, Float64Array.from(noise), isFull);
    const scale = Math.max(...gradient.map(Math.abs));
    near(found.gradient, gradient.map((g, i) => isFull || i < 4 ? g : 0), 1e-4 * scale, 1e-4, "gradient");
    assert.equal(found.draws.length, noise.length / 2);
    const { mean, factor } = it.qOf(state);
    near(found.draws[1], it.placed(mean, factor, noise[2], noise[3]), 1e-12);
  }
});

test("a step is PyTorch's Adam with its cosine", () => {
  let state = { ...it.begin([0, 0], [1, 0, 1]) };
  for (const { gradient, theta } of golden.steps) {
    state = it.advance(state, gradient);
    near(state.theta, theta, 1e-9, 1e-6, "theta");
  }
  assert.equal(state.step, golden.steps.length);
});

test("a whole run ends where vae_src.inference ends with the same noise", () => {
  for (const { k, full, mean, factor, noise, end } of golden.runs) {
    let state = it.begin(mean, factor);
    for (let n = 2 * it.DRAWS; state.step < it.STEPS;) {
      const own = noise.slice(n * state.step, n * (state.step + 1));
      state = it.advance(state, it.gradientOf(decoder, golden.pixels[k], state, own, full).gradient);
    }
    const q = it.qOf(state);
    near([...q.mean, ...q.factor], end, 1e-3, 1e-3, `run of ${k}`);
  }
});

test("standard deviations, Cholesky's factor, entropy", () => {
  for (const { scales: [scale1, scale2, correlation], factor, entropy } of golden.shapes) {
    near(it.choleskyOf({ scale1, scale2, correlation }), factor, 1e-12, 1e-6);
    near(Object.values(it.scalesOf(factor)), [scale1, scale2, correlation], 1e-12, 1e-6);
    near([it.entropyOf(factor)], [entropy], 1e-9, 1e-6);
    near(it.qOf(it.begin([1, 2], factor)).factor, factor, 1e-12, 1e-9);
  }
  near(it.placed([1, 2], [3, 4, 5], -1, 2), [-2, 8], 1e-12);
});

test("between a grid's nodes, and beyond them", () => {
  for (const { at, value } of golden.between) near([it.valueAt(grids[0].values, ...at)], [value], 1e-5, 1e-6);
  near([it.valueAt(grids[0].values, 79, 79)], [grids[0].values.at(-1)], 1e-9);
  for (const at of [[-0.01, 3], [3, 79.01], [NaN, 0]]) assert.equal(it.valueAt(grids[0].values, ...at), -Infinity);
});

test("contours run where the grid has the value, and around the regions", () => {
  for (const { values, levels } of grids) for (const level of levels) {
    const segments = it.contour(values, level);
    assert.ok(segments.length > 8);
    for (const place of segments.flat()) near([it.valueAt(values, ...place)], [level], 1e-6);
    const key = (place) => place.map((v) => v.toFixed(9)).join();
    const counts = new Map();
    for (const place of segments.flat()) counts.set(key(place), (counts.get(key(place)) ?? 0) + 1);
    assert.ok([...counts.values()].every((count) => count % 2 === 0), "closed");
  }
});

test("the close view holds the posterior and the encoder’s answer", () => {
  golden.answers.forEach((answer, k) => {
    const { middle, half } = it.viewOf(grids[k], answer), { low, spacing, values, levels } = grids[k];
    const reach = [0, 0];
    for (let i = 0; i < values.length; i++) if (values[i] >= levels[2]) [i % 80, Math.floor(i / 80)].forEach((n, axis) => {
      reach[axis] = Math.max(reach[axis], Math.abs(low[axis] + n * spacing[axis] - middle[axis]));
    });
    for (const axis of [0, 1])
      reach[axis] = Math.max(reach[axis], Math.abs(answer[axis] - middle[axis]) + 3 * answer[2 + axis]);
    near([1.16 * Math.max(...reach)], [half], 1e-9, 1e-6);
  });
});

test("when a run has arrived", () => {
  assert.equal(it.arrivalOf([5, NaN, 1.2, 1.05, 1.2, 1]), 3);
  assert.equal(it.arrivalOf([1, 1]), 0);
});

test("round numbers", () => {
  for (const [value, round] of [[0.07, 0.05], [1, 1], [1.99, 1], [2, 2], [49, 20], [50, 50], [0.0031, 0.002]])
    near([it.roundDown(value)], [round], 1e-12);
});

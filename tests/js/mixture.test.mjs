// The explorer's arithmetic against PyTorch's: tests/test_widgets_mixture.py writes the golden values.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

const golden = JSON.parse(readFileSync(process.env.GOLDEN, "utf8"));
const js = await import(process.env.SCRIPT);
const points = Float64Array.from(golden.points);

function close(actual, expected, relative = 1e-6, absolute = 1e-9) {
  assert.equal(actual.length, expected.length);
  expected.forEach((value, i) => assert.ok(
    Math.abs(actual[i] - value) <= relative * Math.abs(value) + absolute, `${i}: ${actual[i]} instead of ${value}`));
}

test("densities", () => {
  for (const { mixture, places, components, log } of golden.densities) {
    mixture.forEach((row, k) => close(places.map(([x, y]) => js.logComponent(row)(x, y)), components[k]));
    close(places.map(([x, y]) => js.logMixture(mixture)(x, y)), log);
  }
});

test("the E-step", () => {
  for (const { mixture, shares, logs, total } of golden.inferred) {
    const found = js.eStep(mixture, points);
    close([...found.shares], shares);
    close([...found.logs], logs);
    close([found.total], [total]);
    const K = mixture.length;
    for (let i = 0; i < logs.length; i++)
      close([found.shares.subarray(i * K, i * K + K).reduce((a, b) => a + b)], [1], 1e-12);
  }
});

test("steps of EM are scikit-learn's", () => {
  for (const { start, steps } of golden.trajectories) {
    let mixture = start;
    for (const { before, rows } of steps) {
      close([js.eStep(mixture, points).total], [before]);
      mixture = js.emStep(mixture, points, 1e-6);
      mixture.forEach((row, k) => close(row, rows[k]));
    }
  }
});

test("the M-step with a floor", () => {
  for (const { shares, floor, rows } of golden.floored) {
    const found = js.mStep(rows, points, Float64Array.from(shares), floor);
    found.forEach((row, k) => close(row, rows[k]));
  }
});

test("EM never lowers the evidence, from any start, at any floor", () => {
  for (const kind of Object.keys(js.STARTS)) for (const K of [1, 2, 3, 4]) for (const floor of [1e-4, 0.02, 0.4]) {
    let mixture = js.STARTS[kind](K, points, floor), { total } = js.eStep(mixture, points);
    for (let step = 0; step < 25; step++) {
      mixture = js.emStep(mixture, points, floor);
      const next = js.eStep(mixture, points).total;
      assert.ok(next >= total - 1e-9 * Math.abs(total), `${kind} ${K} ${floor}: ${total} to ${next}`);
      total = next;
    }
    close([mixture.reduce((sum, [weight]) => sum + weight, 0)], [1], 1e-12);
    assert.ok(mixture.flat().every(Number.isFinite));
    for (const row of mixture) assert.ok(Math.min(...js.axesOf(row.slice(3)).radii) >= floor * (1 - 1e-6));
  }
});

test("a component without points keeps its place", () => {
  const mixture = [[0.5, 0, 0, 1, 0, 1], [0.5, 900, 900, 1, 0, 1]];
  const [, lost] = js.emStep(mixture, points, 0.01);
  assert.deepEqual(lost.slice(1), mixture[1].slice(1));
  assert.ok(lost[0] > 0 && lost[0] < 1e-8);
});

test("starts", () => {
  for (const { kind, K, rows } of golden.starts) {
    const found = js.STARTS[kind](K, points, golden.floor);
    assert.equal(found.length, K);
    found.forEach((row, k) => close(row, rows[k]));
  }
  assert.deepEqual(js.loneliest(points).index, golden.loneliest.index);
  close([js.loneliest(points).distance], [golden.loneliest.distance]);
});

test("where EM goes from them", () => {
  const end = (mixture, steps = 500) => {
    for (let step = 0; step < steps; step++) mixture = js.emStep(mixture, points, golden.floor);
    return { mixture, total: js.eStep(mixture, points).total };
  };
  const good = end(js.STARTS.middle(3, points, golden.floor)).total;
  close([good], [golden.optimum], 1e-7);
  const stuck = js.climb(js.STARTS.crowded(3, points, golden.floor), points, golden.floor);
  assert.ok(stuck < good - 10, `${stuck} is not stuck below ${good}`);
  assert.equal(js.climb(js.STARTS.single(3, points, golden.floor), points, golden.floor), Infinity);
  const alike = (K) => end(js.STARTS.alike(K, points, golden.floor), 3).total;
  close([alike(3)], [alike(1)]);
  // A component on a lone point gains log 4 for each halving of the floor.
  const lone = end(js.STARTS.single(3, points, golden.floor));
  assert.equal(js.atFloor(lone.mixture[2], golden.floor), 2);
  const next = js.eStep(js.emStep(lone.mixture, points, golden.floor / 2), points).total;
  close([next - lone.total], [Math.log(4)], 1e-5);
});

test("ellipses", () => {
  for (const { covariance, angle, radii, floor, widened } of golden.ellipses) {
    const axes = js.axesOf(covariance, angle);
    close([axes.angle, ...axes.radii], [angle, ...radii]);
    close(js.covarianceOf({ angle, radii }), covariance);
    const turned = js.axesOf(covariance, angle + Math.PI / 2 + 0.3);  // nearer to the other axis
    close([turned.angle, ...turned.radii], [angle + Math.PI / 2, radii[1], radii[0]]);
    close(js.widened(covariance, floor), widened);
    assert.equal(js.atFloor([1, 0, 0, ...widened], floor), radii.filter((radius) => radius <= floor).length);
  }
  assert.deepEqual(js.axesOf([2.25, 0, 2.25], 0.7), { angle: 0.7, radii: [1.5, 1.5] });  // round: stays as it was
  assert.deepEqual(js.axesOf([0, 0, 0], 0.7), { angle: 0.7, radii: [0, 0] });
});

test("the plane fits its points", () => {
  close(Object.values(js.planeOf([0, 0, 10, 4])).flat(), [5, 2, 5.4, 5.4]);
  close(Object.values(js.planeOf([0, 0, 10, 1, 3, 0.5])).flat(), [5, 0.5, 5.4, 0.54]);
});

test("weights", () => {
  for (const { rows, chosen, weight, weights } of golden.weights) {
    const found = js.reweighted(rows, chosen, weight);
    close(found.map(([w]) => w), weights);
    found.forEach((row, k) => assert.deepEqual(row.slice(1), rows[k].slice(1)));
  }
});

test("one component for each name", () => {
  js.namedMixture(points, golden.labels, 1e-6).forEach((row, k) => close(row, golden.named[k]));
});

test("colours and numbers", () => {
  for (const { inks, shares, rgb } of golden.blends) assert.equal(js.blend(inks, shares), rgb);
  const texts = [[0, "< 10⁻³⁰⁰"], [2.14e-9, "2.1 · 10⁻⁹"], [0.00123, "0.0012"], [0.5, "0.5000"],
    [1.5, "1.500"], [12.346, "12.35"], [123.46, "123.5"], [4567, "4.6 · 10³"], [1e-37, "1.0 · 10⁻³⁷"]];
  for (const [value, text] of texts) assert.equal(js.short(value), text);
});

test("ticks", () => {
  const ticks = [[0, 9.9, "0 2 4 6 8"], [-0.1, 0.2, "−0.10 −0.05 0.00 0.05 0.10 0.15"],
    [-2.1, 2.2, "−2 −1 0 1 2"], [-30, 65, "−20 0 20 40 60"], [1000, 4000, "1000 1500 2000 2500 3000 3500"]];
  for (const [low, high, texts] of ticks) {
    assert.equal(js.ticksBetween(low, high).map(({ text }) => text).join(" "), texts);
    const values = texts.replaceAll("−", "-").split(" ").map(Number);
    close(js.ticksBetween(low, high).map(({ value }) => value), values);
  }
});

// The explorer's arithmetic against PyTorch's: tests/test_widgets_reparameterization.py writes the golden values.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

const golden = JSON.parse(readFileSync(process.env.GOLDEN, "utf8"));
const js = await import(process.env.SCRIPT);

function close(actual, expected, relative = 1e-6, absolute = 1e-12) {
  assert.equal(actual.length, expected.length);
  expected.forEach((value, i) => assert.ok(
    Math.abs(actual[i] - value) <= relative * Math.abs(value) + absolute, `${i}: ${actual[i]} instead of ${value}`));
}

test("draws", () => {
  for (const { seed, draws } of golden.draws) close(js.normalDraws(draws.length, seed), draws, 1e-9);
});

test("objectives and their slopes", () => {
  for (const { objective, z, f, slope } of golden.objectives) {
    close(z.map(js.OBJECTIVES[objective].f), f);
    close(z.map(js.OBJECTIVES[objective].slope), slope);
  }
});

test("exact gradients", () => {
  for (const { objective, parameter, mean, scale, truth } of golden.gradients)
    close([js.OBJECTIVES[objective].gradient[parameter](mean, scale)], [truth]);
});

test("both estimators", () => {
  const noise = Float64Array.from(golden.noise);
  for (const { objective, parameter, mean, scale, numSamples, pathwise, score } of golden.estimates) {
    const [slopes, heights] = [new Float64Array(pathwise.values.length), new Float64Array(score.values.length)];
    js.estimate(js.OBJECTIVES[objective], parameter, mean, scale, noise, numSamples, slopes, heights);
    for (const [values, expected] of [[slopes, pathwise], [heights, score]]) {
      close(values, expected.values);
      const { mean: average, sd } = js.moments(values);
      close([average, sd], [expected.mean, expected.sd]);
    }
  }
});

test("spread over all noise", () => {
  for (const { objective, parameter, mean, scale, pathwise, score } of golden.spreads) {
    const found = js.spread(js.OBJECTIVES[objective], parameter, mean, scale);
    const stumbles = objective === "step";  // over the jump, the trapezoid rule
    close([found.pathwise, found.score], [pathwise, score], ...(stumbles ? [0.03, 1e-3] : []));
  }
});

test("the axis and its bins", () => {
  for (const { truth, pathwise, score, limit } of golden.limits) {
    close([js.axisLimit(truth, { pathwise, score })], [limit]);
    close([js.axisLimit(-truth, { pathwise, score })], [limit]);
  }
  close(golden.roundings.map(([value]) => js.roundUp(value)), golden.roundings.map(([, up]) => up));
  for (const { values, limit, counts } of golden.histograms) {
    const found = new Int32Array(js.BINS + 2).fill(7);
    js.histogram(values, limit, found);
    assert.deepEqual([...found], counts);
  }
});

test("the sentence under the histograms", () => {
  const pair = ([pathwise, score]) => ({ pathwise, score });
  const says = (name, exact, measured) => js.verdict(name, pair(exact), pair(measured));
  assert.match(says("square", [2, 5], [1, 3]), /score function needs 6\.3 × .*1,000 estimates say 9\)/);
  assert.match(says("wave", [2, 0.5], [1.5, 0.5]), /pathwise estimator needs 16 × .*1,000 estimates say 9\)/);
  assert.match(says("wave", [1, 30], [1, 12.3456]), /score function needs 900 × .*1,000 estimates say 150\)/);
  assert.match(says("step", [0, 1], [0, 1]), /pathwise estimate is always 0: biased/);
});

// The evidence bar's arithmetic against PyTorch's and SciPy's, see test_widgets_evidence.py.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

const script = await import(process.env.SCRIPT);
const { data, cases, climbs } = JSON.parse(readFileSync(process.env.GOLDEN));

function near(actual, expected, what, relative = 1e-6, absolute = 1e-12) {
  const error = Math.abs(actual - expected);
  assert.ok(error <= relative * Math.abs(expected) + absolute, `${what}: ${actual}, not ${expected}`);
}

test("log p(x), its joint and the posterior", () => {
  assert.ok(data.length > 10);
  for (const { decoder, x, log_marginal: expected, z, log_joint: joint, log_posterior: posterior } of data) {
    near(script.logEvidence(decoder, x), expected, `log p(${x}), ${decoder}`, 1e-9);
    const logPosterior = script.logPosterior(decoder, x);
    z.forEach((value, i) => {
      near(script.logJoint(decoder, x, value), joint[i], `log p(${x}, ${value}), ${decoder}`);
      near(Math.exp(logPosterior(value)), Math.exp(posterior[i]), `p(${value}|${x}), ${decoder}`);
      near(logPosterior(value), posterior[i], `log p(${value}|${x}), ${decoder}`);
    });
  }
});

test("the ELBO, its two terms, its gradient, and KL(q‖p(z|x))", () => {
  assert.ok(cases.length > 100);
  for (const { decoder, x, mean, scale, ...expected } of cases) {
    const where = `${decoder}, x=${x}, q=N(${mean}, ${scale}²)`, q = [mean, scale];
    near(script.expectedLogLikelihood(decoder, x, ...q), expected.likelihood, `E log p(x|z), ${where}`);
    near(script.rate(...q), expected.rate, `rate, ${where}`);
    near(script.elbo(decoder, x, ...q), expected.elbo, `ELBO, ${where}`);
    const kl = script.gap(script.logPosterior(decoder, x), ...q);
    near(kl, expected.gap, `KL, ${where}`);
    script.elboGradient(decoder, x, ...q)
      .forEach((slope, i) => near(slope, expected.gradient[i], `slope ${i}, ${where}`, 1e-6, 1e-9));
    // the three are computed apart from each other: that they add up is a finding
    near(script.elbo(decoder, x, ...q) + kl, script.logEvidence(decoder, x), `identity, ${where}`, 1e-9, 1e-9);
  }
});

test("q climbs to where the gradient flow leads, and the ELBO never falls", () => {
  for (const { decoder, x, from, to } of climbs) {
    const where = `${decoder}, x=${x}, from ${from}`;
    let q = { mean: from[0], scale: from[1], slope: Infinity }, best = -Infinity, steps = 0;
    for (; q.slope > 1e-4; steps++) {
      assert.ok(steps < 50_000, `no end: ${where}`);
      const bound = script.elbo(decoder, x, q.mean, q.scale);
      assert.ok(bound >= best - 1e-12, `the ELBO fell: ${where}`);
      best = bound;
      q = script.ascend(decoder, x, q.mean, q.scale, 1);
    }
    near(q.mean, to[0], `mean, ${where}`, 1e-3, 1e-3);
    near(q.scale, to[1], `σ, ${where}`, 1e-3, 1e-3);
  }
  const [decoder, x, ...q] = ["square", 3, 0.5, 0.6];
  let one = { mean: q[0], scale: q[1] };
  for (let i = 0; i < 64; i++) one = script.ascend(decoder, x, one.mean, one.scale, 1);
  assert.deepEqual(script.ascend(decoder, x, ...q, 64), one);
});

test("a step is too short to overshoot, even where the ELBO is most sharply curved", () => {
  const [decoder, x, mean, scale] = ["square", -2, 3, 2], h = 1e-5;
  const slopes = (m, logScale) => script.elboGradient(decoder, x, m, Math.exp(logScale));
  const byMean = slopes(mean + h, Math.log(scale)).map((s, i) => (s - slopes(mean - h, Math.log(scale))[i]) / (2 * h));
  const byScale = slopes(mean, Math.log(scale) + h)
    .map((s, i) => (s - slopes(mean, Math.log(scale) - h)[i]) / (2 * h));
  const [a, b, c] = [byMean[0], byMean[1], byScale[1]];
  near(byScale[0], b, "symmetric curvature", 1e-6);
  const sharpest = -(a + c) / 2 + Math.hypot((a - c) / 2, b);  // the curvature's largest eigenvalue
  const [slope] = script.elboGradient(decoder, x, mean, scale);
  const rate = (script.ascend(decoder, x, mean, scale, 1).mean - mean) / slope;
  assert.ok(sharpest > 850 && rate > 0 && rate * sharpest < 2, `${rate} times ${sharpest} is above 2`);
});

test("q stays within its limits", () => {
  for (const [name, [low, high]] of Object.entries(script.LIMITS))
    assert.deepEqual([low - 1, low, high, high + 1].map((v) => script.within(name, v)), [low, low, high, high]);
  assert.equal(script.ascend("linear", 4, 3, 0.25, 1).scale > 0.25, true);
});

test("what is said at the top", () => {
  const say = (...args) => script.verdict(...args);
  assert.match(say("linear", 3, 1.5, 0), /is the exact posterior/);
  assert.match(say("square", 0.5, 0, 0.05), /KL 0\.05 nats is left, for .* not quite a Gaussian/);
  assert.match(say("square", 2.2, 0, 0.5), /straddles both bumps; KL 0\.50 .* Every start ends here/);
  assert.match(say("square", 2.25, 0, 0.5), /straddles both bumps; .* Other starts choose one/);
  assert.match(say("square", 3, -1.4, 0.75), /chosen the left bump/);
  assert.match(say("square", 3, 1.4, 0.75), /chosen the right bump/);
});

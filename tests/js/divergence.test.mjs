// The KL playground's arithmetic against PyTorch's and SciPy's, see test_widgets_divergence.py.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

const script = await import(process.env.SCRIPT);
const { targets, cases, bells, slides, extremes } = JSON.parse(readFileSync(process.env.GOLDEN));
const BOTH = ["reverse", "forward"];

function near(actual, expected, what, relative = 1e-6, absolute = 1e-9) {
  const error = Math.abs(actual - expected);
  assert.ok(error <= relative * Math.abs(expected) + absolute, `${what}: ${actual}, not ${expected}`);
}

const aims = new Map();
function aimOf(traits) {
  const key = JSON.stringify(traits);
  if (!aims.has(key)) aims.set(key, script.target(traits));
  return aims.get(key);
}

test("p, its slope, its moments and its entropy", () => {
  assert.ok(targets.length > 8);
  for (const { traits, z, log_p: logP, slope, share, ...expected } of targets) {
    const aim = aimOf(traits), where = JSON.stringify(traits);
    z.forEach((value, i) => {
      const node = (value + 64) * 64;
      near(aim.logP[node], logP[i], `log p(${value}), ${where}`, 1e-9);
      near(aim.p[node], Math.exp(logP[i]), `p(${value}), ${where}`);
      near(aim.slope[node], slope[i], `slope of log p at ${value}, ${where}`);
      near(aim.share[node], share[i], `left bump's share at ${value}, ${where}`);
    });
    for (const name of ["mean", "variance", "entropy", "peak"])
      near(aim[name], expected[name], `${name}, ${where}`, name === "peak" ? 2e-3 : 1e-6);
  }
});

test("both divergences, where they are paid, the ELBO, and both gradients", () => {
  assert.ok(cases.length > 150);
  for (const { traits, q, log_normaliser: logZ, elbo, gradient, areas, ...expected } of cases) {
    const aim = aimOf(traits), where = `${JSON.stringify(traits)}, q=N(${q})`;
    near(script.elbo(aim, logZ, ...q), elbo, `ELBO, ${where}`);
    for (const name of BOTH) {
      const value = script.DIVERGENCES[name](aim, ...q), found = script.areas(aim, name, ...q, 6.5);
      near(value, expected[name], `${name}, ${where}`);
      // the areas are summed up on their own: that they give the number is a finding
      near(found.above - found.below, value, `areas of ${name}, ${where}`, 1e-7, 1e-7);
      near(found.above, areas[name][0], `area above, ${name}, ${where}`, 1e-4, 1e-3);
      near(found.below, areas[name][1], `area below, ${name}, ${where}`, 1e-4, 1e-3);
      near(found.beyond, areas[name][2], `area beyond, ${name}, ${where}`, 1e-4, 1e-3);
      script.gradient(aim, name, ...q).forEach((slope, i) =>
        near(slope, gradient[name][i], `slope ${i} of ${name}, ${where}`, 1e-6, 1e-8));
    }
  }
});

test("a p of one bump has both divergences in closed form", () => {
  assert.ok(bells.length > 50);
  for (const { traits, q, ...expected } of bells) for (const name of BOTH) {
    const value = script.DIVERGENCES[name](aimOf(traits), ...q);
    near(value, expected[name], `${name}, ${JSON.stringify(traits)}, q=N(${q})`);
  }
});

test("no q in reach, and none far beyond, gives anything but a number", () => {
  assert.equal(extremes.length, targets.length);
  for (const { traits, values } of extremes) for (const [mean, scale, reverse, forward] of values) {
    const aim = aimOf(traits), where = `${JSON.stringify(traits)}, q=N(${mean}, ${scale}²)`;
    near(script.DIVERGENCES.reverse(aim, mean, scale), reverse, `reverse, ${where}`);
    near(script.DIVERGENCES.forward(aim, mean, scale), forward, `forward, ${where}`);
    for (const name of BOTH) {
      const { above, below, beyond } = script.areas(aim, name, mean, scale, 6.5);
      const numbers = [above, below, beyond, ...script.gradient(aim, name, mean, scale)];
      assert.ok(numbers.every(Number.isFinite), `${numbers}, ${name}, ${where}`);
    }
  }
});

test("the map holds the divergences", () => {
  for (const { traits } of targets) for (const name of BOTH) {
    const aim = aimOf(traits), values = script.landscape(aim, name);
    assert.equal(values.length, script.MEANS.length * script.LOG_SCALES.length);
    for (let cell = 0; cell < values.length; cell += 37) {
      const q = [script.MEANS[cell % 81], Math.exp(script.LOG_SCALES[Math.floor(cell / 81)])];
      near(values[cell], script.DIVERGENCES[name](aim, ...q), `${name} at ${q}, ${JSON.stringify(traits)}`, 1e-4, 1e-4);
    }
  }
});

test("q slides to where the gradient flow leads, and the divergence never rises", () => {
  assert.ok(slides.length > 15);
  for (const { traits, divergence, from, to } of slides) {
    const aim = aimOf(traits), where = `${divergence}, ${JSON.stringify(traits)}, from ${from}`;
    const path = script.descend(aim, divergence, ...from);
    let last = Infinity, before = null;
    for (const [mean, logScale] of path) {
      const value = script.DIVERGENCES[divergence](aim, mean, Math.exp(logScale));
      assert.ok(value <= last + 1e-12, `it rose: ${where}`);
      assert.ok(mean >= -5 && mean <= 5 && logScale >= Math.log(0.2) && logScale <= Math.log(4), `left: ${where}`);
      if (before) assert.ok(Math.hypot(mean - before[0], logScale - before[1]) < 0.31, `a jump: ${where}`);
      [last, before] = [value, [mean, logScale]];
    }
    assert.deepEqual(path[0].map((v) => v.toFixed(9)), [from[0], Math.log(from[1])].map((v) => v.toFixed(9)));
    near(path.at(-1)[0], to[0], `mean, ${where}`, 1e-4, 1e-4);
    near(Math.exp(path.at(-1)[1]), to[1], `σ, ${where}`, 1e-4, 1e-4);
    script.gradient(aim, divergence, path.at(-1)[0], Math.exp(path.at(-1)[1]))
      .forEach((slope) => near(slope, 0, `slope at the end, ${where}`, 0, 1e-7));
  }
});

test("the way is the gradient flow's: a shorter step leads to the same places", () => {
  const aim = aimOf(script.PRESETS["two equal bumps"]), path = script.descend(aim, "reverse", 0.4, 0.5);
  let place = [0.4, Math.log(0.5)];
  const way = [place];
  for (let k = 0; k < 4000; k++) {
    const slope = script.gradient(aim, "reverse", place[0], Math.exp(place[1]));
    place = place.map((value, axis) => value - 1e-3 * slope[axis]);
    way.push(place);
  }
  for (const [mean, logScale] of path.slice(0, -1)) {
    const away = Math.min(...way.map((other) => Math.hypot(other[0] - mean, other[1] - logScale)));
    assert.ok(away < 0.01, `${away} from the flow`);
  }
});

test("all valleys are found", () => {
  for (const { traits, valleys, best } of targets) {
    const aim = aimOf(traits), where = JSON.stringify(traits);
    const found = script.valleys(aim, "reverse", script.landscape(aim, "reverse"));
    assert.equal(found.length, valleys.length, `${found.length} valleys, ${where}`);
    for (const [mean, scale, kl] of valleys) {
      const one = found.find((valley) => Math.abs(valley.mean - mean) + Math.abs(valley.scale - scale) < 1e-3);
      assert.ok(one, `no valley at ${mean}, ${scale}, ${where}`);
      near(one.kl, kl, `KL at ${mean}, ${where}`, 1e-6, 1e-8);
    }
    near(found[0].kl, best, `the best, ${where}`, 1e-6, 1e-8);
    const [only, ...others] = script.valleys(aim, "forward", null);
    assert.equal(others.length, 0);
    near(only.mean, aim.mean, "moments: mean");
    near(only.scale ** 2, aim.variance, "moments: variance");
  }
});

test("what is said at the end", () => {
  const say = (traits, divergence, from) => {
    const aim = aimOf(traits), map = script.landscape(aim, divergence), all = script.valleys(aim, divergence, map);
    const [mean, logScale] = script.descend(aim, divergence, ...from).at(-1);
    return script.verdict(aim, divergence, mean, Math.exp(logScale), all);
  };
  const equal = script.PRESETS["two equal bumps"], unlike = script.PRESETS["one narrow, one wide"];
  assert.equal(say(equal, "reverse", [0.4, 0.5]), "Arrived: q sits on the right bump. 0.69 nats is left, the price " +
    "−log 0.50 of leaving out the other bump. Other starts end elsewhere: the left bump is as good, " +
    "lying across both is 0.45 nats worse.");
  assert.match(say(equal, "reverse", [-0.4, 0.5]), /sits on the left bump\. .* the right bump is as good/);
  assert.match(say(equal, "reverse", [0, 3]), /lies across both bumps\. 1\.14 nats is left\. .* 0\.45 nats better/);
  assert.match(say(equal, "forward", [3, 0.3]), /p’s mean, 0\.00, and .* 2\.09: .* only 1 % of its own/);
  assert.match(say(unlike, "reverse", [-2.2, 0.3]), /left bump\. 1\.03 .* −log 0\.35 .* right .* 0\.64 nats better/);
  assert.match(say(unlike, "reverse", [3, 1]), /right bump\. 0\.39 nats is left\. .* left bump is 0\.64 nats worse/);
  assert.match(say(script.PRESETS.skewed, "reverse", [3, 1]), /only valley here\. .* narrower than p: 1\.12 .* 1\.34/);
  assert.match(say({ ...equal, distance: 0.3 }, "reverse", [3, 1]), /0\.00 nats is left\. q is as wide as p: 0\.62\.$/);
  assert.doesNotMatch(say({ ...equal, distance: 1 }, "forward", [0, 1]), /only/);
  for (const divergence of BOTH) {
    assert.equal(say(script.PRESETS["one bump"], divergence, [3, 0.4]), "Arrived: q is p, so both divergences are 0.");
    assert.equal(say({ ...equal, left_weight: 1 }, divergence, [0, 1]), "Arrived: q is p, so both divergences are 0.");
  }
});

test("numbers within limits, and round ones", () => {
  for (const [name, [low, high]] of Object.entries(script.LIMITS))
    assert.deepEqual([low - 1, low, high, high + 1].map((v) => script.within(name, v)), [low, low, high, high]);
  assert.deepEqual([0.7, 1, 1.01, 3, 7, 0.04].map((v) => script.roundUp(v)), [1, 1, 2, 5, 10, 0.05]);
  assert.deepEqual([1.2, 6, 8].map((v) => script.roundUp(v, [1, 1.5, 2, 3, 5, 7, 10])), [1.5, 7, 10]);
});

test("contours go through a map's value and close", () => {
  const columns = 41, rows = 31, at = ([x, y]) => [(x - 20) / 10, (y - 15) / 10];
  const height = (place) => Math.hypot(...at(place));
  const values = Array.from({ length: columns * rows }, (_, i) => height([i % columns, Math.floor(i / columns)]));
  const segments = script.contour(values, columns, 1.03), ends = new Map();
  assert.ok(segments.length > 60);
  for (const segment of segments) for (const end of segment) {
    near(height(end), 1.03, "height", 0, 2e-3);
    const key = end.map((v) => v.toFixed(6)).join();
    ends.set(key, (ends.get(key) ?? 0) + 1);
  }
  assert.ok([...ends.values()].every((count) => count === 2));
  assert.deepEqual(script.contour(values, columns, 99), []);
});

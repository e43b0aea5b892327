// The latent explorer's arithmetic, against PyTorch.
import assert from "node:assert";
import { readFileSync } from "node:fs";
import test from "node:test";

const page = await import(process.env.SCRIPT);
const golden = JSON.parse(readFileSync(process.env.GOLDEN, "utf8"));

function near(computed, wanted, relative = 1e-6) {
  assert.ok(Math.abs(computed - wanted) <= relative * Math.abs(wanted) + 1e-12, `${computed} is not ${wanted}`);
}

test("log-density of a normal", () => {
  const { z, mean, scale, log_density } = golden.normal;
  near(page.logNormal(z, mean, scale), log_density);
});

test("prior", () => golden.plane.forEach(([z1, z2], i) =>
  near(page.logNormal(z1) + page.logNormal(z2), golden.prior[i])));

test("aggregate posterior", () => golden.plane.forEach(([z1, z2], i) =>
  near(page.logAggregate(z1, z2, golden.clouds), golden.aggregate[i])));

test("KL to the prior", () => golden.kl.value.forEach((wanted, i) =>
  near(page.klToStandardNormal(golden.kl.mean[i], golden.kl.scale[i]), wanted)));

test("the Gaussian fitted to codes, and its density", () => {
  const gaussian = page.fitGaussian(golden.codes), [[a, b], [, c]] = golden.gaussian.covariance;
  golden.gaussian.mean.forEach((wanted, axis) => near(gaussian.mean[axis], wanted));
  [a, b, c].forEach((wanted, k) => near(gaussian.covariance[k], wanted));
  golden.wide.forEach(([z1, z2], i) => near(page.logGaussian(z1, z2, gaussian), golden.fitted[i]));
});

test("its ellipse lies two standard deviations out", () => {
  const gaussian = page.fitGaussian(golden.codes), peak = page.logGaussian(...gaussian.mean, gaussian);
  for (const place of page.ellipse(gaussian)) near(peak - page.logGaussian(...place, gaussian), 2);
});

test("log-sum-exp neither overflows nor underflows", () => {
  near(page.logSumExp([1000, 1000]), 1000 + Math.log(2));
  near(page.logSumExp([-1000, -1001]), -1000 + Math.log1p(Math.exp(-1)));
  assert.strictEqual(page.logSumExp([-Infinity, -Infinity]), -Infinity);
});

test("nearest point", () => {
  const points = [0, 0, 9, 9, 3, 4, 9, 9];
  assert.deepStrictEqual(page.nearest(3, 3, points, 4), { index: 1, distance: 1 });
  assert.deepStrictEqual(page.nearest(1, 1, points, 4), { index: 0, distance: Math.SQRT2 });
});

test("a square holds all points", () => {
  const { middle, half } = page.squareAround(golden.codes, 2);
  for (let i = 0; i < golden.codes.length; i++) assert.ok(Math.abs(golden.codes[i] - middle[i % 2]) <= half);
  assert.deepStrictEqual(page.squareAround([0, 0, 7, 2, 4, 7], 3).middle, [1, 2]);
});

test("ways and middles", () => {
  assert.deepStrictEqual(page.between([0, 2], [4, 0], 0.25), [1, 1.5]);
  const middle = page.medians(golden.codes, 2, golden.labels)[3];
  const own = golden.labels.flatMap((label, i) => label === 3 ? [golden.codes[2 * i]] : []);
  const below = own.filter((value) => value < middle[0]).length, above = own.filter((value) => value > middle[0]).length;
  assert.ok(Math.abs(below - above) <= 1);
});

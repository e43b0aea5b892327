// The code explorer's arithmetic, against PyTorch.
import assert from "node:assert";
import { readFileSync } from "node:fs";
import test from "node:test";

const page = await import(process.env.SCRIPT);
const golden = JSON.parse(readFileSync(process.env.GOLDEN, "utf8"));

function near(computed, wanted, tolerance = 1e-6 * Math.abs(wanted) + 1e-12) {
  assert.ok(Math.abs(computed - wanted) <= tolerance, `${computed} is not ${wanted}`);
}

const [decoder, judge] = ["decoder", "judge"].map((name) => {
  const raw = Buffer.from(golden[name].bytes, "hex");
  return page.unpackNetwork(new DataView(raw.buffer, raw.byteOffset, raw.length), golden[name].layers);
});

for (const [kind, pixels, probabilities] of [["rounded", 1e-5, 1e-5], ["exact", 0.02, 0.03]])
  test(`pictures and the judge's opinion, ${kind} weights`, () => golden[kind].forEach((wanted, i) => {
    const picture = page.pictureOf(decoder, golden.places[i]), opinion = page.judgement(judge, picture);
    assert.strictEqual(picture.length, 784);
    wanted.picture.forEach((pixel, k) => near(picture[k], pixel, pixels));
    assert.strictEqual(opinion.probabilities.length, 10);
    wanted.probabilities.forEach((p, digit) => near(opinion.probabilities[digit], p, probabilities));
    if (kind === "exact") return;
    near(opinion.probabilities.reduce((a, b) => a + b), 1);
    assert.deepStrictEqual([opinion.first, opinion.second], wanted.order);
    assert.strictEqual(opinion.sure, wanted.sure);
  }));

test("some pictures have an opinion of either kind, and pixels that are cut", () => {
  assert.deepStrictEqual([...new Set(golden.rounded.map(({ sure }) => sure))].sort(), [false, true]);
  const pixels = golden.rounded.flatMap(({ picture }) => picture);
  assert.deepStrictEqual([Math.min(...pixels), Math.max(...pixels)], [0, 1]);
});

test("the Gaussian fitted to codes, its ellipse and its draws", () => {
  const { mean, covariance, ellipse, draws, standard } = golden.gaussian;
  const fitted = page.fitGaussian(golden.codes);
  mean.forEach((wanted, axis) => near(fitted.mean[axis], wanted));
  [covariance[0][0], covariance[0][1], covariance[1][1]].forEach((wanted, k) => near(fitted.covariance[k], wanted));
  page.ellipse(fitted, ellipse.length).forEach((place, i) =>
    place.forEach((value, axis) => near(value, ellipse[i][axis], 1e-6)));
  const same = (found, wanted) => {
    assert.strictEqual(found.length, wanted.length);
    found.forEach((place, i) => place.forEach((value, axis) => near(value, wanted[i][axis], 1e-6)));
  };
  same(page.drawCodes(fitted, draws.length, golden.seed), draws);
  same(page.drawCodes(fitted, 3, golden.seed), draws.slice(0, 3));
  same(page.drawCodes({ mean: [0, 0], covariance: [1, 0, 1] }, standard.length, golden.seed), standard);
});

test("nearest code", () => golden.places.forEach(([z1, z2], i) => {
  const { index, distance } = page.nearest(z1, z2, golden.codes, 2);
  assert.strictEqual(index, golden.nearest[i].index);
  near(distance, golden.nearest[i].distance, 1e-6);
}));

test("shares and their standard errors", () => {
  for (const { count, n, share, error } of golden.shares) {
    near(page.shareOf(count, n).share, share);
    near(page.shareOf(count, n).error, error);
  }
});

test("a grid between its points", () => golden.interpolated.forEach(({ x, y, value }) =>
  near(page.interpolate(golden.grid, x, y), value, 1e-4)));

test("fog begins where the judge is no longer sure, and thickens", () => {
  assert.strictEqual(page.opacity(1), 0);
  assert.strictEqual(page.opacity(page.SURE), 0);
  const deeper = [0.8999, 0.7, 0.5, 0.1].map(page.opacity);
  deeper.forEach((value, i) => assert.ok(value >= 0.25 && value <= 0.7 && !(i && value <= deeper[i - 1])));
});

test("opinions in words", () => {
  const words = (...pairs) => {
    const probabilities = new Array(10).fill(0);
    for (const [digit, p] of pairs) probabilities[digit] = p;
    const [[first, most], [second]] = pairs;
    return page.inWords({ probabilities, first, second, sure: most >= page.SURE });
  };
  assert.strictEqual(words([7, 0.925], [1, 0.07]), "92 % sure: a 7");
  assert.strictEqual(words([8, 0.9], [3, 0.1]), "90 % sure: an 8");
  assert.strictEqual(words([8, 0.415], [3, 0.359]), "Unsure: 41 % an 8, 35 % a 3");
  assert.strictEqual(words([4, 0.8999], [9, 0.1001]), "Unsure: 89 % a 4, 10 % a 9");
  assert.strictEqual(words([0, 0.9999], [9, 0.0001]), "99 % sure: a 0");
});

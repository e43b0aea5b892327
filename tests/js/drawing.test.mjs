// The arithmetic of the drawing pad, held to what PyTorch, NumPy and SciPy compute (test_widgets_drawing.py).
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const it = await import(process.env.SCRIPT);
const golden = JSON.parse(readFileSync(process.env.GOLDEN, "utf8"));

const bytes = (text) => new Uint8Array(Buffer.from(text, "base64"));
const encoder = it.unpackNetwork(bytes(golden.encoder), golden.encoder_layers);
const decoder = it.unpackNetwork(bytes(golden.decoder), golden.decoder_layers);
const numbers = (pixels) => Array.from(pixels, Number);

function near(actual, expected, { relative = 0, absolute = 0 }, what = "") {
  assert.equal(actual.length, expected.length, what);
  for (let i = 0; i < expected.length; i++) {
    const apart = Math.abs(actual[i] - expected[i]);
    assert.ok(apart <= absolute + relative * Math.abs(expected[i]), `${what}[${i}]: ${actual[i]}, not ${expected[i]}`);
  }
}

test("the encoder gives PyTorch's means and standard deviations", () => {
  for (const { pixels, q } of golden.encoded) near(it.forward(encoder, numbers(pixels)), q, { absolute: 1e-5 });
});

test("the decoder gives PyTorch's probabilities", () => {
  for (const { z, image } of golden.decoded) near(it.forward(decoder, z), image, { absolute: 1e-5 });
});

test("one reading: q, rate, distortion, ELBO, pictures", () => {
  for (const { pixels, seed, mean, scale, codes, rate, distortion, error, images } of golden.inferred) {
    const found = it.infer(encoder, decoder, pixels, seed);
    near(found.mean, mean, { absolute: 1e-5 }, "mean");
    near(found.scale, scale, { absolute: 1e-5 }, "scale");
    near(found.codes.flat(), codes.flat(), { absolute: 1e-4 }, "codes");
    near([found.rate], [rate], { absolute: 1e-4 }, "rate");  // 1e-6 at the encoder's own q, below
    near([found.distortion], [distortion], { relative: 1e-5 }, "distortion");
    near([found.error], [error], { relative: 1e-3 }, "error");
    assert.equal(found.elbo, -(found.rate + found.distortion));
    assert.equal(found.images.length, 1 + it.SHOWN);
    found.images.forEach((image, k) => near(image, images[k], { absolute: 1e-5 }, "image"));
  }
});

test("the rate is PyTorch's KL", () => {
  for (const { mean, scale, kl } of golden.rates)
    near([it.klToStandardNormal(mean, scale)], [kl], { relative: 1e-6, absolute: 1e-9 });
});

test("the distortion is minus PyTorch's Bernoulli log-probability, also far out", () => {
  for (const { x, logits, value } of golden.distortions)
    near([it.distortionOf(x, logits)], [value], { relative: 1e-9 });
});

test("a brush marks the cells within its radius of the way", () => {
  for (const { from, to, ink } of golden.segments) {
    const raster = it.rasterOf({ base: it.blank, strokes: [[from, to]] });
    assert.deepEqual([...raster.keys()].filter((i) => raster[i]), ink);
  }
});

test("pixels from outside are read as they are", () => {
  for (const { pixels } of golden.encoded.slice(0, 5))
    assert.equal(it.read(it.rasterOf({ base: pixels, strokes: [] }), false), pixels);
});

test("drawings are centred and scaled as NumPy and SciPy do it", () => {
  for (const { strokes, base, share } of golden.centred) {
    const raster = it.rasterOf({ base, strokes });
    near(it.coverage(raster, true), share, { absolute: 0.02 }, "share");
    const wanted = share.map((s) => Math.abs(s - 0.5) < 0.02 ? "?" : s > 0.5 ? "1" : "0");
    it.read(raster, true).split("").forEach((pixel, i) => assert.ok(wanted[i] === "?" || wanted[i] === pixel));
  }
});

test("a centred drawing fills MNIST's box, around MNIST's middle", () => {
  for (const { strokes, base, thin } of golden.centred) {
    const raster = it.rasterOf({ base, strokes }), shares = it.coverage(raster, true);
    const pixels = numbers(it.read(raster, true));
    const places = [(i) => i % 28, (i) => Math.floor(i / 28)];
    // counted from the middle of pixel 0; thin lines that cover less than half of a pixel are not read
    for (const [weights, within] of thin ? [[shares, 0.1]] : [[shares, 0.1], [pixels, 0.5]]) {
      for (const place of places) {
        const total = weights.reduce((sum, w) => sum + w, 0);
        const mean = weights.reduce((sum, w, i) => sum + w * place(i), 0) / total;
        assert.ok(Math.abs(mean - 14) <= within, `centre of mass at ${mean}`);
      }
    }
    const ink = [...pixels.keys()].filter((i) => pixels[i]);
    const sides = places.map((place) => Math.max(...ink.map(place)) - Math.min(...ink.map(place)) + 1);
    assert.ok(Math.max(...sides) >= 19 && Math.max(...sides) <= 21, `box ${sides}`);
  }
});

test("MNIST's own digits hardly move when they are centred again", () => {
  const moved = golden.encoded.map(({ pixels }) => {
    const again = it.read(it.rasterOf({ base: pixels, strokes: [] }), true);
    return [...again].filter((pixel, i) => pixel !== pixels[i]).length;
  }).sort((a, b) => a - b);
  const median = moved[moved.length >> 1];
  assert.ok(median <= golden.hardly, `half of them change ${median} pixels or more`);
});

test("nothing drawn reads as nothing", () => {
  const raster = it.rasterOf({ base: it.blank, strokes: [] });
  for (const centred of [true, false]) assert.equal(it.read(raster, centred), it.blank);
});

test("examples are unpacked", () => {
  golden.examples.forEach((pixels, digit) => assert.equal(it.unpackExample(bytes(golden.packed), digit), pixels));
});

test("the map shows 99.5 % of the codes, and a numeral at each class's median", () => {
  const codes = it.floatsOf(bytes(golden.codes)), labels = bytes(golden.labels);
  assert.equal(it.extentFor(codes), golden.extent);
  near(it.medians(codes, 4, labels).flat(), golden.medians.flat(), { absolute: 1e-6 });
  assert.equal(it.medians(codes, 4, new Uint8Array(labels.length))[1], null);
});

test("names are pushed apart no further than they must", () => {
  const points = [[0, 0], [1, 0], [0, 0], [50, 50]], places = it.spread(points, 10);
  assert.deepEqual(places[3], [50, 50]);
  for (let i = 0; i < 3; i++) {
    for (let j = 0; j < i; j++) assert.ok(Math.hypot(places[i][0] - places[j][0], places[i][1] - places[j][1]) > 9.5);
    assert.ok(Math.hypot(...places[i]) < 15);
  }
});

test("the close view holds q and its draws, and no more than needed", () => {
  for (let sigma = 0.005; sigma < 0.6; sigma *= 1.1) {
    const half = it.closeUp([sigma, sigma / 3]);
    assert.ok(half >= 3.2 * sigma);
    assert.ok(half <= 0.05 || half <= 2 * 3.2 * sigma);
    assert.equal(half, it.closeUp([sigma / 3, sigma]));
  }
  assert.equal(it.closeUp([9, 1]), 5);
});

test("colours: those of the figures, and lighter ones that stand out on a dark page", () => {
  assert.deepEqual(it.PALETTE.light, golden.colors);
  const luminance = (hex) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
    const part = parseInt(hex.slice(1 + 2 * i, 3 + 2 * i), 16) / 255;
    return sum + weight * (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  }, 0);
  assert.equal(new Set(it.PALETTE.dark).size, 10);
  for (const shade of it.PALETTE.dark) assert.ok((luminance(shade) + 0.05) / (luminance("#171b21") + 0.05) >= 3, shade);
});

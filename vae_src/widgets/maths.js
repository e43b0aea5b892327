// What the explorers compute, without a page: weights, networks, densities, random numbers.
// tests/js runs this file in node and holds every function to what PyTorch computes.

export const LOG_2PI = Math.log(2 * Math.PI);

/** Bytes of a binary trait, copied, so that typed arrays may be laid over them at any offset. */
export function bytesOf(value) {
  if (!value) return new Uint8Array(0);
  if (value instanceof ArrayBuffer) return new Uint8Array(value.slice(0));
  return new Uint8Array(value.buffer.slice(value.byteOffset, value.byteOffset + value.byteLength));
}

/** A binary trait of 32-bit floats. */
export const floatsOf = (value) => new Float32Array(bytesOf(value).buffer);

// --- networks ------------------------------------------------------------------------------------

/** One weight matrix, row by row: 12-bit integers, two in three bytes, times one scale a row. */
function unpackMatrix(bytes, { at, scale, rows, columns }) {
  const scales = new Float32Array(bytes.buffer, scale, rows);
  const matrix = new Float32Array(rows * columns);
  for (let i = 0, b = at; i < matrix.length; i += 2, b += 3) {
    const low = bytes[b] | (bytes[b + 1] & 15) << 8, high = bytes[b + 1] >> 4 | bytes[b + 2] << 4;
    matrix[i] = ((low << 20) >> 20) * scales[Math.floor(i / columns)];
    if (i + 1 < matrix.length) matrix[i + 1] = ((high << 20) >> 20) * scales[Math.floor((i + 1) / columns)];
  }
  return matrix;
}

/** The layers of one packed network, their numbers unpacked. See `vae_src.widgets.packing.pack`. */
export function unpackNetwork(value, layers) {
  const bytes = bytesOf(value);
  return layers.map((layer) => layer.op !== "linear" ? layer : {
    ...layer,
    matrix: unpackMatrix(bytes, layer),
    bias: new Float32Array(bytes.buffer, layer.bias, layer.rows),
  });
}

function linear({ matrix, bias, rows, columns }, x) {
  const y = new Float32Array(rows);
  for (let row = 0, k = 0; row < rows; row++, k += columns) {
    let sum = bias[row];
    for (let j = 0; j < columns; j++) sum += matrix[k + j] * x[j];
    y[row] = sum;
  }
  return y;
}

/** What a network makes of one input. An encoder returns its means and then its standard deviations. */
export function forward(network, input) {
  let x = Float32Array.from(input);
  for (const layer of network) {
    if (layer.op === "linear") x = linear(layer, x);
    else if (layer.op === "relu") x = x.map((v) => Math.max(v, 0));
    else if (layer.op === "sigmoid") x = x.map((v) => 1 / (1 + Math.exp(-v)));
    else if (layer.op === "exp_second_half") x = x.map((v, i) => i < x.length / 2 ? v : Math.exp(v));
    else throw new Error(`no layer ${layer.op}`);
  }
  return x;
}

// --- densities, in nats ----------------------------------------------------------------------------

/** log N(z; mean, scale²). */
export function logNormal(z, mean = 0, scale = 1) {
  const standard = (z - mean) / scale;
  return -0.5 * (standard * standard + LOG_2PI) - Math.log(scale);
}

/** log of the sum of exponentials. */
export function logSumExp(values) {
  let largest = -Infinity;
  for (const v of values) if (v > largest) largest = v;
  if (largest === -Infinity) return largest;
  let sum = 0;
  for (const v of values) sum += Math.exp(v - largest);
  return largest + Math.log(sum);
}

/** KL(N(mean, scale²) ‖ N(0, 1)), summed over latents. */
export function klToStandardNormal(mean, scale) {
  let total = 0;
  for (let j = 0; j < mean.length; j++)
    total += 0.5 * (mean[j] * mean[j] + scale[j] * scale[j] - 1) - Math.log(scale[j]);
  return total;
}

/** log of the average of diagonal Gaussians in the plane; each row of `clouds` is μ₁, μ₂, σ₁, σ₂. */
export function logAggregate(z1, z2, clouds) {
  const n = clouds.length / 4, terms = new Float64Array(n);
  for (let i = 0, k = 0; i < n; i++, k += 4)
    terms[i] = logNormal(z1, clouds[k], clouds[k + 2]) + logNormal(z2, clouds[k + 1], clouds[k + 3]);
  return logSumExp(terms) - Math.log(n);
}

// --- random numbers, the same on every machine -------------------------------------------------------

/** Standard normal draws that depend on the seed alone (mulberry32, then Box and Muller). */
export function normalDraws(count, seed) {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ state >>> 15, state | 1);
    t = (t + Math.imul(t ^ t >>> 7, t | 61)) ^ t;
    return ((t ^ t >>> 14) >>> 0) / 2 ** 32;
  };
  const draws = new Float64Array(count);
  for (let i = 0; i < count; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(1 - uniform())), angle = 2 * Math.PI * uniform();
    draws[i] = radius * Math.cos(angle);
    if (i + 1 < count) draws[i + 1] = radius * Math.sin(angle);
  }
  return draws;
}

// Geometry of a plane of codes: Gaussians, the nearest of many points, and the point that is dragged.

/** The index of the point nearest to (z1, z2), and its distance; `stride` numbers stand from point to point. */
export function nearest(z1, z2, points, stride) {
  let index = 0, least = Infinity;
  for (let i = 0; i < points.length / stride; i++) {
    const distance = Math.hypot(points[stride * i] - z1, points[stride * i + 1] - z2);
    if (distance < least) [index, least] = [i, distance];
  }
  return { index, distance: least };
}

/** The Gaussian with the mean and covariance of points in the plane; the covariance is [var₁, cov, var₂]. */
export function fitGaussian(points) {
  const n = points.length / 2, mean = [0, 0], covariance = [0, 0, 0];
  for (let i = 0; i < points.length; i++) mean[i % 2] += points[i] / n;
  for (let i = 0; i < points.length; i += 2) {
    const a = points[i] - mean[0], b = points[i + 1] - mean[1];
    [a * a, a * b, b * b].forEach((term, k) => { covariance[k] += term / (n - 1); });
  }
  return { mean, covariance };
}

/** The map from standard normal numbers to draws from a Gaussian: mean + L noise, with Cholesky's L. */
export function reparameterize({ mean, covariance: [a, b, c] }) {
  const l11 = Math.sqrt(a), l21 = b / l11, l22 = Math.sqrt(c - l21 * l21);
  return ([u, v]) => [mean[0] + l11 * u, mean[1] + l21 * u + l22 * v];
}

/** Points on the ellipse at two standard deviations of a Gaussian in the plane. */
export function ellipse(gaussian, count = 90) {
  const place = reparameterize(gaussian);
  return Array.from({ length: count }, (_, i) => {
    const angle = 2 * Math.PI * i / count;
    return place([2 * Math.cos(angle), 2 * Math.sin(angle)]);
  });
}

/** Paint the point that is dragged. */
export function paintHandle(context, [x, y], { fill, paper, text }) {
  context.beginPath();
  context.arc(x, y, 8, 0, 7);
  Object.assign(context, { fillStyle: fill, lineWidth: 2.5, strokeStyle: paper });
  context.fill();
  context.stroke();
  Object.assign(context, { lineWidth: 1, strokeStyle: text });
  context.beginPath();
  context.arc(x, y, 9.5, 0, 7);
  context.stroke();
}

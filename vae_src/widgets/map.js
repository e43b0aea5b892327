// The map of a latent plane: classes in their colours, with a numeral near the middle of each.

// Ten classes: as in the book's figures (Paul Tol's muted scheme), and lighter where a dark page asks for it.
export const PALETTE = {
  light: ["#332288", "#88ccee", "#44aa99", "#117733", "#999933",
    "#ddcc77", "#cc6677", "#882255", "#aa4499", "#777777"],
  dark: ["#8a7ff0", "#88ccee", "#44aa99", "#2f9e4f", "#b0b04a",
    "#ddcc77", "#e07a8b", "#c8508c", "#c777e0", "#a3a3a3"],
};

/** The middle of each class: the median of either coordinate; null for a class without points. */
export function medians(points, stride, labels) {
  const middle = (values) => {
    values.sort((a, b) => a - b);
    return (values[(values.length - 1) >> 1] + values[values.length >> 1]) / 2;
  };
  return Array.from({ length: 10 }, (_, digit) => {
    const own = [...labels.keys()].filter((i) => labels[i] === digit);
    return own.length ? [0, 1].map((axis) => middle(own.map((i) => points[stride * i + axis]))) : null;
  });
}

/** Push places apart, a little at a time, until hardly any two are closer than a distance. */
export function spread(places, distance) {
  let moved = places.map((place) => [...place]);
  for (let round = 0; round < 100; round++) moved = moved.map(([x, y], i) => {
    const push = [0, 0];
    moved.forEach(([u, v], j) => {
      const apart = Math.hypot(x - u, y - v);
      if (i === j || apart >= distance) return;
      const away = apart ? [(x - u) / apart, (y - v) / apart] : [Math.cos(i), Math.sin(i)];
      for (const axis of [0, 1]) push[axis] += (distance - apart) / 4 * away[axis];
    });
    return [x + push[0], y + push[1]];
  });
  return moved;
}

/**
 * Paint points in the colours of their classes.
 *
 * `points` holds `stride` numbers for each, the first two of them its coordinates; `place` tells where on the
 * square canvas, `size` wide, coordinates are; `faint` tells of a class whether its points only show through.
 */
export function paintPoints(context, size, points, stride, labels, { palette, place, radius, faint = () => false }) {
  for (const behind of [true, false]) for (let i = 0; i < labels.length; i++) {
    if (faint(labels[i]) !== behind) continue;
    const [x, y] = place([points[stride * i], points[stride * i + 1]]);
    if (x < -radius || y < -radius || x > size + radius || y > size + radius) continue;
    context.globalAlpha = behind ? 0.1 : 0.7;
    context.fillStyle = palette[labels[i]];
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fill();
  }
  context.globalAlpha = 1;
}

/** Paint text with a rim of paper around it, so that it reads over points. */
export function paintText(context, text, x, y, ink, paper) {
  Object.assign(context, { strokeStyle: paper, lineWidth: 4, lineJoin: "round", fillStyle: ink });
  context.strokeText(text, x, y);
  context.fillText(text, x, y);
}

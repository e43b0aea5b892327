import { medians, paintPoints, paintText, PALETTE, spread } from "./map.js";
import { bytesOf, floatsOf, forward, logAggregate, logNormal, unpackNetwork } from "./maths.js";
import { ellipse, fitGaussian, nearest, paintHandle } from "./plane.js";
import {
  assign, color, draggable, fitCanvas, heard, isDark, isStill, nice,
  paintImage, repaint, slider, stage,
} from "./stage.js";

const FRAMES = 9;  // pictures along the path
const STEP = 1 / 80;  // of the map's width, for one press of an arrow key

/** A square around points in the plane, as its middle and half its side; `stride` numbers stand from point to point. */
export function squareAround(points, stride) {
  const low = [Infinity, Infinity], high = [-Infinity, -Infinity];
  for (let i = 0; i < points.length; i += stride) for (const axis of [0, 1]) {
    low[axis] = Math.min(low[axis], points[i + axis]);
    high[axis] = Math.max(high[axis], points[i + axis]);
  }
  const half = 0.53 * Math.max(high[0] - low[0], high[1] - low[1]);
  return { middle: [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2], half };
}

/** The log-density of a Gaussian in the plane, in nats; the covariance is [var₁, cov, var₂]. */
export function logGaussian(z1, z2, { mean, covariance: [a, b, c] }) {
  const x = z1 - mean[0], y = z2 - mean[1], determinant = a * c - b * b;
  return -0.5 * (c * x * x - 2 * b * x * y + a * y * y) / determinant
    - 0.5 * Math.log(determinant) - Math.log(2 * Math.PI);
}

/** The place after a share of the straight way from one place to another. */
export const between = (from, to, share) => [0, 1].map((axis) => (1 - share) * from[axis] + share * to[axis]);

// --- the page ------------------------------------------------------------------------------------

const MARKUP = `
  <fieldset class="vae-spaces"><legend>Map of</legend>
    <label><input type="radio" name="ID-space" value="vae"> the VAE's codes</label>
    <label><input type="radio" name="ID-space" value="autoencoder"> an autoencoder's codes</label></fieldset>
  <div class="vae-panes">
    <div>
      <canvas class="vae-map" tabindex="0" role="application" aria-roledescription="map of the latent space"
        aria-label="Latent space" aria-describedby="ID-help"></canvas>
      <fieldset class="vae-digits"><legend>Show only</legend></fieldset>
    </div>
    <div class="vae-side">
      <div class="vae-decoded"><canvas class="vae-picture" width="28" height="28" role="img"></canvas>
        <div class="vae-sliders"></div></div>
      <dl></dl>
      <p class="vae-quiet" id="ID-help">Drag the point, or use the arrow keys (Shift: five steps).
        A and B can be dragged, too.</p>
    </div>
  </div>
  <div class="vae-path"><canvas class="vae-picture vae-film" role="img" height="28"></canvas>
    <div class="vae-buttons"><button type="button" data-does="from">Put A here</button>
      <button type="button" data-does="to">Put B here</button>
      <button type="button" data-does="play">Walk from A to B</button><span class="vae-walk"></span></div></div>
  <p class="vae-hidden" aria-live="polite"></p>`;

function render({ model: shared, el }) {
  const model = heard(shared), root = stage(el, "latent", MARKUP), find = (selector) => root.querySelector(selector);
  const map = find(".vae-map"), picture = find(".vae-decoded canvas"), film = find(".vae-film");
  const spaces = {
    vae: { points: floatsOf(model.get("clouds")), stride: 4, network: unpackNetwork(model.get("decoder"), model.get("decoder_layers")) },
    autoencoder: { points: floatsOf(model.get("codes")), stride: 2, network: unpackNetwork(model.get("autoencoder"), model.get("autoencoder_layers")) },
  };
  const labels = bytesOf(model.get("labels")), prior = { mean: [0, 0], covariance: [1, 0, 1] };
  const fitted = fitGaussian(spaces.autoencoder.points);
  Object.assign(spaces.vae, { contour: ellipse(prior), contourName: "prior, 2 σ" });
  Object.assign(spaces.autoencoder, { fitted, contour: ellipse(fitted), contourName: "fitted Gaussian, 2 σ" });
  for (const space of Object.values(spaces)) {
    Object.assign(space, squareAround(space.points, space.stride));
    space.middles = medians(space.points, space.stride, labels);
  }
  const space = () => spaces[model.get("space")];
  const point = () => [model.get("z1"), model.get("z2")];
  const onMap = (place, { middle, half } = space()) =>
    place.map((value, axis) => Math.min(middle[axis] + half, Math.max(middle[axis] - half, value)));
  const moveTo = (place) => { const [z1, z2] = onMap(place); assign(model, { z1, z2 }); };

  // Going over to the other map, each place goes to the code that the digit nearest to it has there.
  for (const radio of root.querySelectorAll("[type=radio]")) radio.addEventListener("change", () => {
    const old = space(), next = spaces[radio.value];
    const same = ([z1, z2]) => {
      const i = next.stride * nearest(z1, z2, old.points, old.stride).index;
      return [next.points[i], next.points[i + 1]];
    };
    const [z1, z2] = same(point());
    assign(model, {
      space: radio.value, z1, z2, path_from: same(model.get("path_from")), path_to: same(model.get("path_to")),
    });
  });

  const digits = find(".vae-digits");
  for (let digit = 0; digit < 10; digit++) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", textContent: digit });
    button.addEventListener("click", () => assign(model, { highlight: model.get("highlight") === digit ? -1 : digit }));
    digits.append(button);
  }

  // The map: 0 to 1 from the left and from the top, or latents.
  const toMap = ([z1, z2], { middle, half } = space()) =>
    [(z1 - middle[0]) / (2 * half) + 0.5, 0.5 - (z2 - middle[1]) / (2 * half)];
  const fromMap = (x, y, { middle, half } = space()) =>
    [middle[0] + (2 * x - 1) * half, middle[1] + (1 - 2 * y) * half];
  let dragged = "point";
  draggable(map, {
    press(x, y) {
      const away = (place) => Math.hypot(...toMap(place).map((v, axis) => (v - [x, y][axis]) * map.clientWidth));
      const near = [["point", point()], ["path_from", model.get("path_from")], ["path_to", model.get("path_to")]]
        .map(([name, place]) => [name, away(place)]).filter(([, distance]) => distance < 16);
      dragged = near.sort((a, b) => a[1] - b[1])[0]?.[0] ?? "point";
    },
    move(x, y) {
      const place = fromMap(x, y);
      if (dragged === "point") moveTo(place); else assign(model, { [dragged]: onMap(place) });
    },
    key(right, up) {
      const step = 2 * space().half * STEP, [z1, z2] = point();
      moveTo([z1 + right * step, z2 + up * step]);
    },
  });

  find("[data-does=from]").addEventListener("click", () => assign(model, { path_from: point() }));
  find("[data-does=to]").addEventListener("click", () => assign(model, { path_to: point() }));
  const walk = slider(model, "walked", {
    label: "along the path", min: 0, max: 1, step: 0.01, text: (share) => `${Math.round(100 * share)} %`,
  });
  find(".vae-walk").replaceWith(walk);
  const arrive = () => moveTo(between(model.get("path_from"), model.get("path_to"), model.get("walked")));
  model.on("change:walked", arrive);

  let playing = 0;
  const play = find("[data-does=play]");
  const pause = () => { cancelAnimationFrame(playing); playing = 0; play.textContent = "Walk from A to B"; };
  play.addEventListener("click", () => {
    if (playing) return pause();
    if (isStill()) {
      assign(model, { walked: 1 });
      return arrive();
    }
    play.textContent = "Stop";
    const begin = performance.now(), SECONDS = 4;
    const go = (now) => {
      const share = Math.min(1, Math.max(0, (now - begin) / 1000 / SECONDS));
      if (share < 1) playing = requestAnimationFrame(go); else pause();
      if (share === model.get("walked")) arrive();
      assign(model, { walked: share });
    };
    playing = requestAnimationFrame(go);
  });

  const rows = ["z1", "z2"].map((trait, axis) => {
    const row = slider(model, trait, {
      label: `z<sub>${axis + 1}</sub>`, min: -1, max: 1, step: "any", text: (v) => nice(v),
    });
    find(".vae-sliders").append(row);
    return row.querySelector("input");
  });

  const layer = document.createElement("canvas");
  let drawn = "";
  function paintCodes(width, ratio) {  // what does not move with the point, painted once
    const { points, stride, contour, contourName, middles } = space(), highlight = model.get("highlight");
    const theme = isDark(root) ? "dark" : "light", key = [width, ratio, model.get("space"), highlight, theme].join();
    if (key === drawn) return;
    drawn = key;
    layer.width = layer.height = Math.round(width * ratio);
    const context = layer.getContext("2d"), at = (place) => toMap(place).map((v) => v * width);
    context.scale(ratio, ratio);
    context.strokeStyle = color(root, "line");
    context.lineWidth = 1;
    for (const axis of [0, 1]) {
      context.beginPath();
      const zero = at([0, 0])[axis];
      if (axis) { context.moveTo(0, zero); context.lineTo(width, zero); }
      else { context.moveTo(zero, 0); context.lineTo(zero, width); }
      context.stroke();
    }
    paintPoints(context, width, points, stride, labels, {
      palette: PALETTE[theme], place: at, radius: width > 300 ? 1.9 : 1.5,
      faint: (label) => highlight >= 0 && label !== highlight,
    });
    context.strokeStyle = color(root, "prior");
    context.lineWidth = 1.5;
    context.beginPath();
    contour.forEach((place) => context.lineTo(...at(place)));
    context.closePath();
    context.stroke();
    Object.assign(context, { font: "12px system-ui, sans-serif", textAlign: "center" });
    const [x, y] = at(contour.reduce((a, b) => a[0] - a[1] > b[0] - b[1] ? a : b));  // the lower right of it
    paintText(context, contourName, Math.min(width - 62, x + 30), y + 14, color(root, "prior"), color(root, "paper"));
    context.font = "bold 13px system-ui, sans-serif";
    context.textBaseline = "middle";
    const named = middles.map((place, digit) => place && { digit, place: at(place) })
      .filter((name) => name && (highlight < 0 || name.digit === highlight));
    spread(named.map(({ place }) => place), 23).forEach(([x, y], k) => {
      const { digit } = named[k];
      context.beginPath();
      context.arc(x, y, 10, 0, 7);
      context.fillStyle = color(root, "paper");
      context.fill();
      context.strokeStyle = PALETTE[theme][digit];
      context.lineWidth = 2;
      context.stroke();
      context.fillStyle = color(root, "text");
      context.fillText(digit, x, y + 1);
    });
  }

  function paintMap() {
    const { context, width } = fitCanvas(map);
    paintCodes(width, map.width / width);
    context.drawImage(layer, 0, 0, width, width);
    const at = (place) => toMap(place).map((v) => v * width);
    const [from, to, here] = [model.get("path_from"), model.get("path_to"), point()].map(at);
    context.strokeStyle = color(root, "text");
    context.lineWidth = 1.5;
    context.setLineDash([5, 4]);
    context.beginPath();
    context.moveTo(...from);
    context.lineTo(...to);
    context.stroke();
    context.setLineDash([]);
    context.font = "bold 12px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (const [name, [x, y]] of [["A", from], ["B", to]]) {
      context.fillStyle = color(root, "text");
      context.fillRect(x - 9, y - 9, 18, 18);
      context.fillStyle = color(root, "paper");
      context.fillText(name, x, y + 1);
    }
    const [fill, paper, text] = ["decoder", "paper", "text"].map((name) => color(root, name));
    paintHandle(context, here, { fill, paper, text });
  }

  let filmed = "";
  function paintFilm() {
    const [from, to] = [model.get("path_from"), model.get("path_to")];
    const key = [model.get("space"), ...from, ...to].join();
    if (key === filmed) return;
    filmed = key;
    film.width = FRAMES * 28 + (FRAMES - 1) * 2;
    for (let k = 0; k < FRAMES; k++)
      paintImage(film, forward(space().network, between(from, to, k / (FRAMES - 1))), 30 * k);
    film.setAttribute("aria-label", `${FRAMES} pictures decoded on the way from A to B`);
  }

  const list = find("dl"), live = find("[aria-live]");
  let spoken = 0;
  function paintNumbers() {
    const [z1, z2] = point(), { points, stride, fitted } = space(), nats = (v) => `${nice(v)} nats`;
    const { index, distance } = nearest(z1, z2, points, stride);
    const facts = fitted ? [
      ["log-density, prior", "has none"],
      ["log-density, Gaussian fitted to the codes", nats(logGaussian(z1, z2, fitted))],
    ] : [
      ["log-density, prior", nats(logNormal(z1) + logNormal(z2))],
      ["log-density, aggregate posterior", nats(logAggregate(z1, z2, points))],
    ];
    facts.push(["nearest test digit", `a ${labels[index]}, ${nice(distance)} away`]);
    list.replaceChildren(...facts.flatMap((pair) => ["dt", "dd"].map((tag, k) =>
      Object.assign(document.createElement(tag), { textContent: pair[k] }))));
    const summary = `z is ${nice(z1)}, ${nice(z2)}; ${facts.map((fact) => fact.join(": ")).join("; ")}`;
    picture.setAttribute("aria-label", `Picture decoded from the point; ${facts.at(-1).join(": ")}`);
    clearTimeout(spoken);
    spoken = setTimeout(() => { live.textContent = summary; }, 500);  // speak when the point rests
  }

  function paint() {
    const inside = onMap(point());
    if (String(inside) !== String(point())) return moveTo(point());  // Python may have put it anywhere
    const { middle, half, network } = space(), theme = isDark(root) ? "dark" : "light";
    for (const radio of root.querySelectorAll("[type=radio]")) radio.checked = radio.value === model.get("space");
    [...digits.querySelectorAll("button")].forEach((button, digit) => {
      button.setAttribute("aria-pressed", model.get("highlight") === digit);
      button.style.setProperty("--class", PALETTE[theme][digit]);
    });
    rows.forEach((input, axis) => {
      [input.min, input.max] = [middle[axis] - half, middle[axis] + half];
      input.value = point()[axis];
    });
    paintMap();
    paintImage(picture, forward(network, point()));
    paintFilm();
    paintNumbers();
  }

  const stop = repaint(root, model, ["space", "z1", "z2", "path_from", "path_to", "highlight"], paint);
  return () => { stop(); pause(); clearTimeout(spoken); model.release(); };
}

export default { render };

// Brings the explorers of a page to life, without a kernel and without a request to anybody else.
//
// A notebook leaves two things in its page: the state of its widgets, and a mark where each was shown. This
// script gives an anywidget module what it expects of a host (a model with get, set, on and off, and an element),
// links traits as ipywidgets' jslink does, and shows the still picture of an explorer that cannot start. Long
// texts and weights are files beside this script that pages share, see offline_site.py.
(() => {
  const TYPE = (kind) => `script[type="application/vnd.jupyter.widget-${kind}+json"]`;
  const home = new URL(".", document.currentScript.src);
  const nameOf = (reference) => reference.replace(/^IPY_MODEL_/, "");

  class Model {
    #state;
    #listeners = new Map();
    constructor(state) { this.#state = state; }
    get(name) { return this.#state[name]; }
    set(name, value) {
      const changes = typeof name === "object" ? name : { [name]: value };
      const changed = Object.keys(changes).filter((key) => this.#state[key] !== changes[key]);
      for (const key of changed) this.#state[key] = changes[key];
      for (const key of changed) this.#tell(`change:${key}`, this, changes[key]);
      if (changed.length) this.#tell("change", this);
    }
    on(names, listener) {
      for (const name of names.split(" "))
        this.#listeners.set(name, (this.#listeners.get(name) ?? new Set()).add(listener));
    }
    off(names, listener) {
      for (const name of names?.split(" ") ?? [...this.#listeners.keys()])
        if (listener) this.#listeners.get(name)?.delete(listener); else this.#listeners.delete(name);
    }
    save_changes() {}  // no kernel to tell
    send() {}
    #tell(name, ...values) { for (const listener of [...this.#listeners.get(name) ?? []]) listener(...values); }
  }

  // A shared file is a script that calls vaeFile(name, text): scripts load from a folder, too, where fetch may not.
  const files = new Map();
  window.vaeFile = (name, text) => files.get(name).resolve(text);
  function file(name) {
    if (!files.has(name)) {
      const entry = {};
      entry.text = new Promise((resolve, reject) => Object.assign(entry, { resolve, reject }));
      files.set(name, entry);
      const tag = document.createElement("script");
      tag.src = new URL(`${name}.js`, home);
      tag.onerror = () => entry.reject(new Error(`${name}.js is missing from the site`));
      document.head.append(tag);
    }
    return files.get(name).text;
  }

  const fromBase64 = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

  // Thirteen bits in two of 91 printable characters: see `dense` in offline_site.py.
  function fromDense(text) {
    const digit = (i) => { const code = text.charCodeAt(i); return code < 92 ? code - 35 : code - 36; };
    const bytes = new Uint8Array(Math.floor(text.length / 2 * 13 / 8));
    for (let i = 0, b = 0, bits = 0, held = 0; i < text.length; i += 2) {
      held |= (91 * digit(i) + digit(i + 1)) << bits;
      for (bits += 13; bits >= 8 && b < bytes.length; bits -= 8, held >>>= 8) bytes[b++] = held;
    }
    return bytes;
  }

  async function filled(entry) {  // a model's state, with its texts and weights in place
    const put = (path, value) => { path.slice(0, -1).reduce((o, key) => o[key], entry.state)[path.at(-1)] = value; };
    await Promise.all((entry.texts ?? []).map(async ({ path, files: names }) =>
      put(path, (await Promise.all(names.map(file))).join(""))));
    await Promise.all((entry.buffers ?? []).map(async ({ path, data, file: name, bytes }) => {
      const array = name ? fromDense(await file(name)).subarray(0, bytes) : fromBase64(data);
      put(path, new DataView(array.buffer, 0, array.length));  // as a kernel would send it
    }));
    return new Model(entry.state);
  }

  const modules = new Map();
  function load(text) {  // one import for each distinct module
    if (!modules.has(text)) {
      const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
      modules.set(text, import(url).then((module) => module.default));
    }
    return modules.get(text);
  }

  async function show(el, model) {
    const css = model.get("_css"), id = `css-${model.get("_anywidget_id")}`;
    if (css && !document.getElementById(id))
      document.head.append(Object.assign(document.createElement("style"), { id, textContent: css }));
    const { render } = await load(model.get("_esm"));
    await render({ model, el });
    el.removeAttribute("style");
  }

  // What is far below the reader waits until it comes near: a page with many explorers opens as fast as one
  // with a single one.
  function whenNear(el, report) {  // calls report(false) at once if it is not near yet, and report(true) when it is
    if (!window.IntersectionObserver) return report(true);
    const watch = new IntersectionObserver((seen) => {
      const near = seen.some((entry) => entry.isIntersecting);
      if (near) watch.disconnect();
      report(near);
    }, { rootMargin: "800px 0px" });
    watch.observe(el);
  }

  function allModels() {  // each filled when it is first asked for, together with those that it is linked with
    const entries = {}, filling = {}, links = [];
    for (const tag of document.querySelectorAll(TYPE("state"))) Object.assign(entries, JSON.parse(tag.textContent).state);
    const isExplorer = (id) => entries[id]?.model_name === "AnyModel";
    for (const { model_name: kind, state } of Object.values(entries)) {
      if (!/^(Directional)?LinkModel$/.test(kind)) continue;
      const ends = [state.source, state.target].map(([reference, trait]) => ({ id: nameOf(reference), trait }));
      if (ends.every(({ id }) => isExplorer(id))) links.push({ ends, both: kind === "LinkModel", tied: false });
    }  // else linked with something that only a kernel shows
    const model = (id) => filling[id] ??= filled(entries[id]);
    async function withLinks(id) {
      for (const link of links.filter(({ ends }) => ends.some((end) => end.id === id))) {
        if (link.tied) continue;
        link.tied = true;
        const [source, target] = link.ends;
        const [a, b] = await Promise.all([withLinks(source.id), withLinks(target.id)]);
        const forth = () => b.set(target.trait, a.get(source.trait));
        a.on(`change:${source.trait}`, forth);
        if (link.both) b.on(`change:${target.trait}`, () => a.set(source.trait, b.get(target.trait)));
        forth();
      }
      return model(id);
    }
    return { isExplorer, withLinks };
  }

  const stillOf = (mark) => mark.previousElementSibling;
  function standIn({ mark, el }) {  // what a page without script shows
    el.hidden = true;
    if (stillOf(mark)?.matches("noscript")) mark.insertAdjacentHTML("beforebegin", stillOf(mark).textContent);
  }

  async function come({ mark, el, id }, { withLinks }) {
    try {
      const model = await withLinks(id);
      if (el.hidden) { el.hidden = false; stillOf(mark).remove(); }  // it was printed before
      await show(el, model);
    } catch (error) {
      standIn({ mark, el });
      console.error("An explorer could not start:", error);
    }
  }

  async function start() {
    const models = allModels();
    const places = [...document.querySelectorAll(TYPE("view"))]
      .map((mark) => ({ mark, id: JSON.parse(mark.textContent).model_id }))
      .filter(({ id }) => models.isExplorer(id));
    for (const place of places) place.el = place.mark.nextElementSibling;
    addEventListener("beforeprint", () => places.filter(({ coming, el }) => !coming && !el.hidden).forEach(standIn));
    await Promise.all(places.map((place) => new Promise((looked) => whenNear(place.el, (near) => {
      if (near) place.coming = come(place, models);
      looked(place.coming);
    }))));
    document.documentElement.dataset.explorers = "ready";  // those that are near
  }

  // The page first: it is read while the explorers arrive.
  const paintedThen = () => requestAnimationFrame(() => setTimeout(start));
  if (document.readyState === "complete") paintedThen(); else addEventListener("load", paintedThen);
})();

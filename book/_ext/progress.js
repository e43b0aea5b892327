/* What this reader has read, kept in this browser and nowhere else: a page counts once its foot has been seen. */
{
  const KEY = "vae-book-read";
  const root = new URL(document.documentElement.dataset.content_root, location).href;
  const name = (link) => link.href.split(/[?#]/)[0].replace(root, "");
  const remembered = () => { try { return JSON.parse(localStorage[KEY]); } catch { return []; } };
  const remember = (pages) => { try { localStorage[KEY] = JSON.stringify(pages); } catch { /* refused: forget */ } };
  const links = (places) => [...document.querySelectorAll(places)];
  const make = (tag, attributes) => Object.assign(document.createElement(tag), attributes);

  const show = () => {
    const read = new Set(remembered());
    document.querySelectorAll(".read-tick").forEach((tick) => tick.remove());
    for (const link of links(".bd-links a, .chapter-card a").filter((link) => read.has(name(link)))) {
      const tick = make("span", { className: "read-tick" });
      tick.append(make("span", { className: "visually-hidden", textContent: " (read)" }));
      link.append(tick);
    }
    const line = document.querySelector(".go-on");
    if (!line) return;
    const cards = links(".chapter-card a");
    const next = cards.find((link) => !read.has(name(link)));
    const count = cards.filter((link) => read.has(name(link))).length;
    line.hidden = !count;
    line.textContent = `You have read ${count} of the ${cards.length}. `;
    if (next) line.append("Go on with ", make("a", { href: next.href, textContent: `chapter ${next.textContent}` }), ". ");
    const forget = make("button", { type: "button", textContent: "Forget what I have read" });
    forget.onclick = () => { remember([]); show(); };
    line.append(forget);
  };

  const foot = document.querySelector(".prev-next-area");
  if (foot) {
    new IntersectionObserver(([entry]) => {
      const own = name(location), read = remembered();
      if (entry.isIntersecting && !read.includes(own)) { remember([...read, own]); show(); }
    }).observe(foot);
  }
  show();
}

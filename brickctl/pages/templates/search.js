// Searches the list as one types. The data is fetched when somebody begins; what it says is only ever set as text.
"use strict";
(() => {
  const AT_ONCE = 100;
  const form = document.getElementById("search");
  const list = document.getElementById("list");
  const status = document.getElementById("status");
  const more = document.getElementById("more");
  const pages = document.getElementById("pages");
  const plain = { items: [...list.children], status: status.textContent };
  let waiting;
  let found = [];
  let turn = 0;

  const words = (text) => text.toLowerCase().split(/[^\p{L}\p{N}]+/u).filter(Boolean);

  // The bricks, as objects that know what is searched in them.
  const load = () => (waiting ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = "catalogue.js";
    script.onerror = reject;
    script.onload = () => {
      const { kinds, licenses, bases, rows } = globalThis.catalogue;
      resolve(rows.map(([name, version, kind, license, base, summary, tags, yanked]) => ({
        name, version, summary, yanked, kind: kinds[kind], license: licenses[license], base: bases[base],
        named: ` ${words(name).join(" ")}`,
        all: ` ${words(`${name} ${tags} ${summary}`).join(" ")}`,
      })));
    };
    document.head.append(script);
  }));

  const element = (name, text, ...classes) => {
    const made = document.createElement(name);
    made.textContent = text;
    made.classList.add(...classes);
    return made;
  };

  const item = (brick) => {
    const made = document.createElement("li");
    const link = element("a", brick.name);
    link.href = `bricks/${brick.name.split("/").map(encodeURIComponent).join("/")}.html`;
    const title = document.createElement("h2");
    title.append(link, " ", element("span", brick.version, "version"));
    if (brick.yanked) title.append(" ", element("span", "yanked", "mark"));
    const meta = element("p", "", "meta");
    meta.append(element("span", brick.kind), " ", element("span", brick.license));
    if (brick.base) meta.append(" ", element("span", `for ${brick.base}`));
    made.append(title, ...(brick.summary ? [element("p", brick.summary)] : []), meta);
    return made;
  };

  const extend = () => {
    const shown = list.children.length;
    list.append(...found.slice(shown, shown + AT_ONCE).map(item));
    more.hidden = list.children.length >= found.length;
  };

  const asked = () => Object.fromEntries([...new FormData(form)].filter(([, value]) => value));

  const show = async () => {
    const { words: text = "", ...exactly } = asked();
    const sought = words(text);
    const mine = ++turn;
    if (pages) pages.hidden = sought.length > 0 || Object.keys(exactly).length > 0;
    if (!sought.length && !Object.keys(exactly).length) {
      list.replaceChildren(...plain.items);
      status.textContent = plain.status;
      more.hidden = true;
      return;
    }
    let bricks;
    try {
      bricks = await load();
    } catch {
      status.textContent = "The search could not be loaded; the list below is whole.";
      return;
    }
    if (mine !== turn) return;  // somebody typed on while the data was coming
    const fits = bricks.filter((brick) => sought.every((word) => brick.all.includes(` ${word}`))
      && Object.entries(exactly).every(([key, value]) => brick[key] === value));
    const isNamed = (brick) => sought.length > 0 && sought.every((word) => brick.named.includes(` ${word}`));
    found = [...fits.filter(isNamed), ...fits.filter((brick) => !isNamed(brick))];
    status.textContent = `${found.length.toLocaleString("en")} of ${bricks.length.toLocaleString("en")} bricks`;
    list.replaceChildren();
    extend();
  };

  // What is asked stands in the address, so that it can be sent to somebody.
  const remembered = () => `#${new URLSearchParams(asked())}`;
  const recall = () => {
    if (location.hash === remembered() || location.hash === "#content") return;
    const told = new URLSearchParams(location.hash.slice(1));
    for (const field of form.elements) {
      field.value = told.get(field.name) ?? "";
      if (field.selectedIndex === -1) field.value = "";  // nothing that can be chosen
    }
    show();
  };

  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => { location.replace(remembered()); show(); });
  form.addEventListener("focusin", () => { load().catch(() => {}); }, { once: true });
  more.addEventListener("click", () => {
    const before = list.children.length;
    extend();
    list.children[before]?.querySelector("a").focus();
  });
  addEventListener("hashchange", recall);
  if (location.hash.length > 1) recall();
})();

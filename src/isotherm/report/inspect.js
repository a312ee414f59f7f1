"use strict";
(() => {
  const data = JSON.parse(document.getElementById("specimen").textContent);
  const CHUNK = 2000; // tokens of one response that are drawn at once
  const QUADRANTS = ["none: A = 0", "1: A > 0, likely, H falls", "2: A > 0, unlikely, H rises",
    "3: A < 0, unlikely, H falls", "4: A < 0, likely, H rises"];
  const MARKS = { correct: "✓", wrong: "✗", unparsed: "?", error: "!" };
  const list = document.getElementById("responses");
  const tip = document.getElementById("tip");

  // Numbers: little-endian arrays in base64; halves are looked up in a table of all 65536.
  const bytes = (text) => {
    const raw = atob(text), found = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) found[i] = raw.charCodeAt(i);
    return found;
  };
  const HALF = Float32Array.from({ length: 65536 }, (_, h) => {
    const exponent = (h >> 10) & 31, fraction = h & 1023, sign = h & 32768 ? -1 : 1;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
  });
  const quantities = data.quantities.map((q) => ({ ...q, halves: new Uint16Array(bytes(q.data).buffer) }));
  const value = (q, token) => HALF[q.halves[token]] * q.scale;
  const raw = bytes(data.token).buffer;
  const place = data.ids.length > 65536 ? new Uint32Array(raw) : new Uint16Array(raw);
  const quadrant = data.quadrant && bytes(data.quadrant);
  const lengths = data.length, count = lengths.length, total = place.length;
  const starts = new Uint32Array(count + 1);
  lengths.forEach((n, r) => { starts[r + 1] = starts[r] + n; });

  const entropy = quantities.find((q) => q.name === "entropy");
  const move = quantities.find((q) => q.name === "measured") || quantities.find((q) => q.moves);
  const facts = lengths.map((n, r) => {
    const fact = { entropy: NaN, move: 0, quadrants: [0, 0, 0, 0, 0] };
    let sum = 0, known = 0;
    for (let t = starts[r]; t < starts[r + 1]; t++) {
      const h = entropy ? value(entropy, t) : NaN, m = move ? Math.abs(value(move, t)) : 0;
      if (!Number.isNaN(h)) { sum += h; known++; }
      if (m > fact.move) fact.move = m;
      if (quadrant) fact.quadrants[quadrant[t]]++;
    }
    if (known) fact.entropy = sum / known;
    return fact;
  });

  const make = (tag, text, kind) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (kind) element.className = kind;
    return element;
  };
  const digits = (x) => {
    if (Number.isNaN(x)) return "–";
    if (x === 0 || !Number.isFinite(x)) return String(x);
    const size = Math.abs(x);
    return size < 1e-3 || size >= 1e5 ? x.toExponential(2) : String(Number(x.toPrecision(3)));
  };
  const whole = (n) => n.toLocaleString("en-GB");
  const word = (token) => (data.words ? data.words[place[token]] : String(data.ids[place[token]]));
  const visible = (text) => (text === "" ? "∅" : text.replace(/ /g, "␣").replace(/\n/g, "⏎").replace(/\t/g, "⇥"));

  // Controls
  const state = { quantity: 0, quadrant: "", family: "", verdict: "", reward: "", group: "", sort: "" };
  const controls = document.getElementById("controls");
  const pick = (name, label, options, changed) => {
    const box = make("label", label + " "), select = make("select");
    select.id = "pick-" + name;
    for (const [key, text] of options) select.append(new Option(text, key));
    select.addEventListener("change", () => { state[name] = select.value; changed(); });
    box.append(select);
    return box;
  };
  const distinct = (values) => [...new Set(values)].sort((a, b) => (a > b) - (a < b));
  const filter = (name, label, options) =>
    (options.length > 1 ? [pick(name, label, [["", "all"], ...options], arrange)] : []);
  const legend = make("div", undefined, "scale");
  const counted = make("p", undefined, "counted");
  counted.setAttribute("aria-live", "polite");

  const build = () => {
    const plain = (values) => distinct(values).map((v) => [String(v), String(v)]);
    const short = (text) => (text.length > 40 ? text.slice(0, 40) + "…" : text);
    const rewards = data.verdicts ? [] : plain(data.reward.filter((x) => x !== null));
    const sorts = [["", "as stored"]];
    if (data.reward.some((x) => x !== null)) sorts.push(["reward", "reward"]);
    if (entropy) sorts.push(["entropy", "mean entropy"]);
    if (move) sorts.push(["move", "largest " + move.title]);
    const first = make("div", undefined, "row"), second = make("div", undefined, "row");
    first.append(pick("quantity", "Colour by", quantities.map((q, i) => [i, q.title]), recolour), legend);
    second.append(
      ...(quadrant ? filter("quadrant", "Quadrant", [1, 2, 3, 4].map((k) => [k, QUADRANTS[k]])) : []),
      ...filter("family", "Family", plain(data.families)),
      ...filter("verdict", "Verdict", plain(data.verdicts || [])),
      ...(rewards.length <= 12 ? filter("reward", "Reward", rewards) : []),
      ...filter("group", "Group", data.prompts.map((p, g) => [g, `${g}: ${short(p)}`])),
      pick("sort", "Order", sorts, arrange), counted,
    );
    controls.append(first, second);
    controls.hidden = false;
  };

  const drawLegend = () => {
    const q = quantities[state.quantity], bar = make("i", undefined, q.signed ? "bar signed" : "bar");
    const low = q.signed ? digits(-q.reach) : "0", unit = q.unit ? " " + q.unit : "";
    legend.replaceChildren(make("span", low), bar, make("span", digits(q.reach) + unit), make("em", q.definition));
  };

  // Responses: an article each, filled only while it is near the window.
  const passes = (r) => (
    (state.family === "" || data.families[data.group[r]] === state.family)
    && (state.verdict === "" || data.verdicts[r] === state.verdict)
    && (state.reward === "" || String(data.reward[r]) === state.reward)
    && (state.group === "" || data.group[r] === Number(state.group))
    && (state.quadrant === "" || facts[r].quadrants[Number(state.quadrant)] > 0)
  );
  const keys = { reward: (r) => data.reward[r] ?? -Infinity, entropy: (r) => facts[r].entropy, move: (r) => facts[r].move };

  const fill = (article) => {
    if (article.filled) return;
    const r = article.response, verdict = data.verdicts && data.verdicts[r], head = make("div", undefined, "head");
    const known = verdict in MARKS ? verdict : "error", reward = data.reward[r];
    const said = [data.families[data.group[r]], `group ${data.group[r]}, sample ${data.sample[r]}`,
      reward === null ? "" : `reward ${digits(reward)}`, `${whole(lengths[r])} tokens`,
      entropy ? `mean entropy ${digits(facts[r].entropy)}` : ""];
    head.append(make("b", `#${r}`));
    if (verdict) head.append(make("b", `${MARKS[known]} ${verdict}`, `verdict ${known}`));
    head.append(...said.filter(Boolean).map((text) => make("span", text)));
    const prompt = make("pre", data.prompts[data.group[r]], "prompt"), tokens = make("div", undefined, "tokens");
    prompt.tabIndex = 0;
    tokens.tabIndex = 0;
    tokens.setAttribute("role", "group");
    tokens.setAttribute("aria-label", `Tokens of response ${r}; the arrow keys go from one to the next`);
    tokens.classList.toggle("ids", !data.words);
    article.replaceChildren(head, prompt, tokens);
    article.style.minHeight = "";
    article.filled = true;
    extend(article, CHUNK);
  };

  const extend = (article, upTo) => {
    const tokens = article.lastChild, r = article.response, end = Math.min(starts[r + 1], starts[r] + upTo);
    tokens.querySelector("button")?.remove();
    for (let t = starts[r] + tokens.childElementCount; t < end; t++) {
      const text = word(t), span = make("span", text === "" ? "∅" : text.replace(/\n/g, "⏎\n"));
      span.token = t;
      tokens.append(span);
    }
    paint(article);
    if (end === starts[r + 1]) return;
    const more = make("button", `${whole(starts[r + 1] - end)} more tokens`);
    more.addEventListener("click", () => extend(article, upTo + CHUNK));
    tokens.append(more);
  };

  const paint = (article) => {
    const q = quantities[state.quantity], only = Number(state.quadrant);
    for (const span of article.lastChild.children) {
      const t = span.token;
      if (t === undefined) continue;
      const v = value(q, t);
      const kind = Number.isNaN(v) ? "none" : q.signed && v < 0 ? "low" : "high";
      span.className = kind + (only && quadrant[t] !== only ? " off" : "");
      span.style.setProperty("--v", Math.min(100, 100 * Math.abs(v) / q.reach || 0).toFixed(1) + "%");
    }
  };

  const empty = (article, height) => {
    if (!article.filled) return;
    if (height) article.style.minHeight = height + "px";
    article.replaceChildren();
    article.filled = false;
  };
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) fill(entry.target);
      else if (!entry.target.contains(document.activeElement)) empty(entry.target, entry.boundingClientRect.height);
    }
  }, { rootMargin: "700px" });
  const articles = lengths.map((n, r) => {
    const article = make("article");
    article.response = r;
    article.style.minHeight = 5.2 + 1.5 * Math.ceil(Math.min(n, CHUNK) / (data.words ? 60 : 14)) + "rem";
    return article;
  });

  const arrange = () => {
    hide();
    const shown = [];
    let tokens = 0;
    for (let r = 0; r < count; r++) {
      if (!passes(r)) continue;
      shown.push(r);
      tokens += state.quadrant === "" ? lengths[r] : facts[r].quadrants[Number(state.quadrant)];
    }
    const key = keys[state.sort];
    if (key) shown.sort((a, b) => (key(b) > key(a)) - (key(b) < key(a)) || a - b);
    watch.disconnect();
    list.replaceChildren(...shown.map((r) => articles[r]));
    if (!shown.length) list.append(make("p", "No response passes these filters.", "quiet"));
    for (const r of shown) watch.observe(articles[r]);
    counted.textContent = `${whole(shown.length)} of ${whole(count)} responses, ${whole(tokens)} of ${whole(total)} tokens`;
    for (const article of articles) if (article.filled) { if (article.isConnected) paint(article); else empty(article); }
  };
  const recolour = () => {
    state.quantity = Number(state.quantity);
    drawLegend();
    for (const article of articles) if (article.filled) paint(article);
  };

  // The value on hover, on touch and by keyboard
  let marked = null;
  const hide = () => {
    marked?.classList.remove("marked");
    marked = null;
    tip.hidden = true;
  };
  const show = (span) => {
    hide();
    const t = span.token, r = span.closest("article").response, rows = make("dl");
    quantities.forEach((q, i) => {
      const name = make("dt", q.title), number = make("dd", digits(value(q, t)));
      if (i === state.quantity) name.className = number.className = "now";
      rows.append(name, number);
    });
    const where = `id ${data.ids[place[t]]}, position ${t - starts[r]}, of ${whole(lengths[r])} tokens`;
    tip.replaceChildren(make("code", visible(word(t))), make("p", where), rows);
    if (quadrant) tip.append(make("p", `quadrant ${QUADRANTS[quadrant[t]]}`));
    marked = span;
    span.classList.add("marked");
    tip.hidden = false;
    const at = span.getBoundingClientRect(), size = tip.getBoundingClientRect();
    const below = at.bottom + 6 + size.height < innerHeight;
    tip.style.top = Math.max(4, below ? at.bottom + 6 : at.top - size.height - 6) + "px";
    tip.style.left = Math.max(4, Math.min(at.left, innerWidth - size.width - 8)) + "px";
  };
  list.addEventListener("pointerover", (event) => (event.target.token === undefined ? hide() : show(event.target)));
  list.addEventListener("pointerleave", hide);
  addEventListener("scroll", () => { if (marked && marked !== jumped) hide(); jumped = null; }, { passive: true });
  list.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return hide();
    const tokens = event.target, spans = tokens.classList.contains("tokens") ? tokens.children : [];
    const here = marked && marked.parentNode === tokens ? marked.token - spans[0].token : -1;
    const next = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: spans.length - 1 }[event.key];
    if (next === undefined || spans[next]?.token === undefined) return;
    event.preventDefault();
    spans[next].scrollIntoView({ block: "nearest" });
    show(jumped = spans[next]);
  });

  // From the tables of what moved to the token itself
  let jumped = null;
  document.querySelectorAll(".jump").forEach((button) => button.addEventListener("click", () => {
    const t = Number(button.dataset.token), r = starts.findLastIndex((start) => start <= t);
    if (!passes(r) || (state.quadrant !== "" && quadrant[t] !== Number(state.quadrant))) {
      for (const name of ["quadrant", "family", "verdict", "reward", "group"]) {
        state[name] = "";
        const select = document.getElementById("pick-" + name);
        if (select) select.value = "";
      }
      arrange();
    }
    const article = articles[r], offset = t - starts[r];
    fill(article);
    if (offset >= article.lastChild.childElementCount) extend(article, offset + CHUNK);
    const span = article.lastChild.children[offset];
    const aim = (left) => {
      span.scrollIntoView({ block: "center" });
      show(jumped = span);
      if (left) requestAnimationFrame(() => aim(left - 1));
    };
    aim(4);
    article.lastChild.focus({ preventScroll: true });
  }));

  if (matchMedia("(max-width: 62rem)").matches) document.querySelectorAll("aside details").forEach((d) => { d.open = false; });
  build();
  drawLegend();
  arrange();
})();

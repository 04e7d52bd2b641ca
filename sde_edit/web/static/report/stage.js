"use strict";

// One example, large: pictures side by side, under a slider or in turn, with one pan and zoom.
report.stage = (() => {
  const { element, state, picture } = report;
  const dialog = document.getElementById("stage");
  const panes = document.getElementById("panes");
  const tools = document.getElementById("tools");
  const STEP = 1.25; // of a zoom
  const MOST = 40; // times the whole image
  const MOVE = 0.1; // of a pane, by a key
  const TURN = 600; // ms of a picture when they alternate; less than 3 flashes a second
  const OTHER = { left: "right", right: "left" };
  let what = null; // {item, shown, a, b}: what is on the stage
  let side = "left"; // the picture that blink shows
  let timer = 0;

  // -------------------------------------------------------------- pictures by name
  function choices() {
    const { item: { example }, shown } = what;
    const given = ["source", "truth"].map((name) => [name, name, picture.ofExample(example, name)]);
    const made = shown.map(({ run, label }) => [run.id, label, picture.ofRun(run, example.id)]);
    return [given[0], ...made, given[1]].filter(([, , found]) => found);
  }

  // The names of the left and the right picture: A and B unless others are chosen.
  function names() {
    const known = choices().map(([name]) => name);
    const { left, right } = state.get();
    const first = [left, what.a].find((name) => known.includes(name)) ?? known[0];
    const second = [right, what.b].find((name) => known.includes(name) && name !== first) ??
      known.find((name) => name !== first) ?? first;
    return { left: first, right: second };
  }

  function find(name) {
    const [, label, found] = choices().find(([own]) => own === name);
    return { label, found };
  }

  // -------------------------------------------------------------- panes
  function layer(name, properties = {}) {
    const { label, found } = find(name);
    return picture.image(found.full, label, { draggable: false, ...properties });
  }

  function overlays(options) {
    const given = state.get();
    return [
      given.mask === "1" ? picture.mask(what.item, options) : null,
      given.points === "1" ? picture.points(what.item.example) : null,
    ];
  }

  function pane(label, className, images, saved = null) {
    const view = element("div", { className: `view ${className}` },
      element("div", { className: "layers" }, ...images));
    const link = saved && element("a", { href: report.address(saved), download: "", target: "_blank", textContent: "image file" });
    return element("figure", { className: "pane" }, view, element("figcaption", {}, `${label} `, link));
  }

  function single(name) {
    const { label, found } = find(name);
    return pane(label, "", [layer(name), ...(name === "source" ? overlays() : [])], found.full);
  }

  function difference({ left, right }) {
    const label = `${find(left).label} − ${find(right).label}`;
    return pane(label, "difference", [layer(left), layer(right, { className: "over" })]);
  }

  const MODES = {
    side: (pair) => [...choices().map(([name]) => single(name)), difference(pair)],
    slider: ({ left, right }) => [
      pane(`${find(left).label} | ${find(right).label}`, "slider",
        [layer(left), layer(right, { className: "over" }), ...overlays({ outline: true })]),
    ],
    blink: (pair) => [
      pane(find(pair[side]).label, `blink ${side}`, [layer(pair.left), layer(pair.right, { className: "over" }), ...overlays({ outline: true })]),
    ],
  };

  // -------------------------------------------------------------- drawing
  function fillSelect(select, options, value) {
    select.replaceChildren(...options.map(([name, label]) => new Option(label, name)));
    select.value = value;
  }

  function draw() {
    const { mode } = state.get();
    const pair = names();
    for (const name of ["left", "right"]) fillSelect(tools.elements[name], choices(), pair[name]);
    for (const name of ["mode", "gain", "slider"]) tools.elements[name].value = state.get()[name];
    for (const name of ["mask", "points"]) tools.elements[name].checked = state.get()[name] === "1";
    hideUnused(mode);
    if (mode !== "blink") play(false);
    panes.className = mode;
    panes.replaceChildren(...(MODES[mode] ?? MODES.side)(pair));
    const [width, height] = what.item.example.size ?? [1, 1];
    panes.style.setProperty("--shape", `${width} / ${height}`);
    place();
  }

  // Hide the controls that would change nothing.
  function hideUnused(mode) {
    const { gain, mask, points } = tools.elements;
    document.getElementById("slider").hidden = mode !== "slider";
    document.getElementById("flip").hidden = document.getElementById("play").hidden = mode !== "blink";
    gain.parentElement.hidden = mode !== "side";
    mask.parentElement.hidden = !what.item.mask;
    points.parentElement.hidden = !what.item.example.drags;
  }

  // Where all panes look: how far the image is moved, in widths and heights of a pane.
  function place() {
    const { zoom, px, py, slider, gain } = state.get();
    const given = { "--zoom": zoom, "--px": px, "--py": py, "--slider": `${slider}%`, "--gain": gain };
    for (const [name, value] of Object.entries(given)) panes.style.setProperty(name, value);
    const image = panes.querySelector("img");
    const shown = panes.querySelector(".view")?.clientWidth * Number(zoom);
    panes.classList.toggle("pixels", shown > 1.5 * (what.item.example.size?.[0] ?? image?.naturalWidth ?? 0));
  }

  function texts() {
    const { item, metric, shown, ids } = what;
    document.getElementById("stage-title").textContent = item.example.id;
    document.getElementById("position").textContent = `${ids.indexOf(item.example.id) + 1} of ${ids.length}`;
    document.getElementById("texts").textContent = report.list.texts(item);
    const own = shown.map(({ run, label }) => {
      const value = report.compare.value(run, metric.name, item.example.id);
      return `${label} ${report.list.number(value)}`;
    });
    document.getElementById("scores").textContent = `${metric.label}: ${own.join(", ")}`;
    const pictures = choices().map(([, label, found]) => [label, found.full]);
    document.getElementById("row").hash = new URLSearchParams([["id", item.example.id], ...pictures]);
  }

  function show(next) {
    what = next;
    if (!dialog.open) dialog.showModal();
    texts();
    draw();
  }

  function hide() {
    play(false);
    if (dialog.open) dialog.close();
  }

  // -------------------------------------------------------------- pan and zoom
  function within(zoom, moved) {
    return String(Math.min(0, Math.max(1 - zoom, moved)));
  }

  // Zoom by a factor; the place (x, y) of the panes, in [0, 1], stays where it is.
  function zoomBy(factor, x = 0.5, y = 0.5) {
    const { zoom, px, py } = state.get();
    const next = Math.min(MOST, Math.max(1, Number(zoom) * factor));
    const scale = next / Number(zoom);
    state.set({
      zoom: String(next),
      px: within(next, x - (x - Number(px)) * scale),
      py: within(next, y - (y - Number(py)) * scale),
    });
  }

  function moveBy(dx, dy) {
    const { zoom, px, py } = state.get();
    state.set({ px: within(Number(zoom), Number(px) + dx), py: within(Number(zoom), Number(py) + dy) });
  }

  panes.addEventListener("wheel", (event) => {
    const box = event.target.closest(".view")?.getBoundingClientRect();
    if (!box) return;
    event.preventDefault();
    const factor = event.deltaY < 0 ? STEP : 1 / STEP;
    zoomBy(factor, (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  }, { passive: false });

  panes.addEventListener("pointerdown", (event) => {
    const view = event.target.closest(".view");
    if (view && event.button === 0) view.setPointerCapture(event.pointerId);
  });

  panes.addEventListener("pointermove", (event) => {
    const view = event.target.closest(".view");
    if (!view?.hasPointerCapture(event.pointerId)) return;
    moveBy(event.movementX / view.clientWidth, event.movementY / view.clientHeight);
  });

  // -------------------------------------------------------------- what one can do
  function flip() {
    side = OTHER[side];
    draw();
  }

  function play(on) {
    clearInterval(timer);
    timer = on ? setInterval(flip, TURN) : 0;
    document.getElementById("play").setAttribute("aria-pressed", String(on));
  }

  function go(step) {
    const ids = what.ids;
    const next = ids[ids.indexOf(what.item.example.id) + step];
    if (next !== undefined) state.set({ x: next });
  }

  const ACTS = {
    previous: () => go(-1),
    next: () => go(1),
    close: () => dialog.close(),
    closer: () => zoomBy(STEP),
    farther: () => zoomBy(1 / STEP),
    whole: () => state.set({ zoom: "1", px: "0", py: "0" }),
    flip,
    play: () => play(!timer),
  };

  function toggle(name) {
    state.set({ [name]: state.get()[name] === "1" ? "0" : "1" });
  }

  const KEYS = {
    ArrowLeft: ACTS.previous, ArrowRight: ACTS.next,
    s: () => state.set({ mode: "side" }), l: () => state.set({ mode: "slider" }), b: () => state.set({ mode: "blink" }),
    " ": () => state.get().mode === "blink" && flip(),
    m: () => toggle("mask"), p: () => toggle("points"),
    "+": ACTS.closer, "=": ACTS.closer, "-": ACTS.farther, 0: ACTS.whole,
  };
  const MOVES = { ArrowLeft: [MOVE, 0], ArrowRight: [-MOVE, 0], ArrowUp: [0, MOVE], ArrowDown: [0, -MOVE] };

  dialog.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, select") || (event.key === " " && event.target.closest("button, a, summary"));
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const move = event.shiftKey && MOVES[event.key];
    if (!move && !KEYS[event.key]) return;
    event.preventDefault();
    if (move) moveBy(...move);
    else KEYS[event.key]();
  });

  dialog.addEventListener("click", (event) => {
    const button = event.target.closest("[data-act]");
    if (button) ACTS[button.dataset.act]();
  });

  tools.addEventListener("input", ({ target }) => {
    state.set({ [target.name]: target.type === "checkbox" ? String(Number(target.checked)) : target.value });
  });
  tools.addEventListener("submit", (event) => event.preventDefault());

  dialog.addEventListener("close", () => {
    const { x } = state.get();
    if (x) {
      state.set({ x: "" });
      report.list.focus(x);
    }
  });
  addEventListener("resize", () => dialog.open && place());

  const PLACED = ["zoom", "px", "py", "slider", "gain"];

  // Draw what has changed.
  function update(next, changed) {
    if (dialog.open && changed.every((name) => PLACED.includes(name))) place();
    else show(next);
  }

  return { update, hide };
})();

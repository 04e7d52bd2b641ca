"use strict";

// Ties the address, the controls, the list and the stage together.
(() => {
  const { element, state, list, stage, compare } = report;
  const viewer = document.getElementById("viewer");
  const numbers = document.getElementById("numbers");
  const controls = document.getElementById("controls");
  const fields = controls.elements;
  const MOST = 6; // runs that are shown unless one asks for more
  const LISTED = ["c", "a", "b", "m", "show", "sort", "verdict", "from", "to", "category", "words"];
  let pageNow = null; // the data of the page
  let drawn = null; // what the list shows
  let turn = 0; // of the latest change, as data may come late

  // -------------------------------------------------------------- which runs
  function entry(page, run, column) {
    const own = page.entries.filter((one) => one.run === run);
    return own.find((one) => one.column === column) ?? own[0];
  }

  // A, B and the runs shown, as entries of the page.
  function chosen(page) {
    const given = state.get();
    const column = Number(given.c);
    const beside = page.entries.filter((one) => one.column === column);
    const a = entry(page, given.a, column) ?? beside[0];
    if (!a) return null;
    const alike = (one) => one.data === a.data && one.run !== a.run;
    const b = [entry(page, given.b, column), ...beside].find((one) => one && alike(one)) ?? null;
    const asked = given.show.split(",").map((run) => entry(page, run, column)).filter(Boolean);
    const shown = asked.length ? asked : beside.slice(0, MOST);
    const all = [a, b, ...shown].filter((one) => one?.data === a.data);
    return { a, b, shown: [...new Map(all.map((one) => [one.run, one])).values()] };
  }

  function withPlaces(run) {
    run.place ??= new Map(run.ids.map((id, place) => [id, place]));
    return run;
  }

  async function loaded(pick) {
    const runs = await Promise.all(pick.shown.map(({ run }) => report.load(`runs/${run}`)));
    const data = await report.load(`examples/${pick.a.data}`);
    const known = new Map(runs.map((run) => [run.id, withPlaces(run)]));
    const shown = pick.shown.map((one) => ({ run: known.get(one.run), label: label(one, pick) }));
    return { data, shown, a: known.get(pick.a.run), b: pick.b && known.get(pick.b.run) };
  }

  // The column is named where runs of several are shown; A and B are marked.
  function label(one, { a, b, shown }) {
    const several = shown.some(({ column }) => column !== one.column);
    const place = several ? `, ${pageNow.columns[one.column]}` : "";
    const mark = one === a ? "A: " : one === b ? "B: " : "";
    return mark + one.label + place;
  }

  // -------------------------------------------------------------- controls
  function options(select, choices, value) {
    select.replaceChildren(...choices.map(([name, text, disabled]) => Object.assign(new Option(text, name), { disabled: Boolean(disabled) })));
    select.value = value;
  }

  function grouped(select, page, allowed, value) {
    const groups = page.columns.map((column, i) => {
      const own = page.entries.filter((one) => one.column === i);
      const made = own.map((one) => Object.assign(new Option(one.label, one.run), { disabled: !allowed(one) }));
      return made.length ? element("optgroup", { label: column || "runs" }, ...made) : null;
    });
    select.replaceChildren(...groups.filter(Boolean));
    select.value = value?.run ?? "";
  }

  function perExample(page, { a, b }) {
    return page.metrics.filter(({ name }) => a.metrics[name] && (!b || b.metrics[name]));
  }

  function fill(page, pick, ready, metric, all) {
    const given = state.get();
    grouped(fields.a, page, () => true, pick.a);
    grouped(fields.b, page, (one) => one.data === pick.a.data && one.run !== pick.a.run, pick.b);
    options(fields.m, perExample(page, ready).map(({ name, label: text }) => [name, text]), metric.name);
    options(fields.sort, Object.entries(compare.ORDERS).map(([name, { label: text }]) => [name, text]), given.sort);
    const { examples } = ready.data;
    const categories = [...new Set(examples.map(({ category = "" }) => category))].sort();
    options(fields.category, [["", "all"], ...categories.filter(Boolean).map((name) => [name, name])], given.category);
    fields.category.parentElement.hidden = categories.join("") === "";
    document.getElementById("sizes").hidden = all.every(({ mask }) => !mask);
    for (const name of ["verdict", "from", "to", "words"]) {
      if (fields[name].value !== given[name]) fields[name].value = given[name];
    }
    fillColumns(page, pick);
  }

  function fillColumns(page, pick) {
    const boxes = page.entries.filter(({ data }) => data === pick.a.data).map((one) => {
      const box = element("input", { type: "checkbox", name: "shown", value: one.run, checked: pick.shown.includes(one) });
      return element("label", {}, box, ` ${one.label}, ${page.columns[one.column]}`);
    });
    document.querySelector("#columns div").replaceChildren(...boxes);
  }

  // -------------------------------------------------------------- what is found
  function found(items, all) {
    const count = (name) => all.filter(compare.VERDICTS[name]).length;
    const compared = all.filter(({ gain }) => gain !== null).length;
    const summary = compared
      ? ` A is better on ${count("a")} of ${compared}, B on ${count("b")}, equal ${count("equal")}.`
      : "";
    return `${items.length} of ${all.length} examples.${summary}`;
  }

  function notice(page, metric, { data }) {
    const asked = page.metrics.find(({ name }) => name === state.get().m);
    const lines = [
      asked && asked.name !== metric.name && `${asked.label} has no value for single images; ${metric.label || "nothing"} is shown.`,
      !data.here && "The data set was not there when the report was written: sources, truths and masks are missing.",
    ];
    return lines.filter(Boolean).join(" ");
  }

  function where(page, pick, { a, b }) {
    const lines = [`Examples: ${page.corner} = ${page.columns[pick.a.column]}`, `A is run ${a.id}: ${a.about}`];
    return [...lines, ...(b ? [`B is run ${b.id}: ${b.about}`] : [])].join(". ") + ".";
  }

  const NONE = { name: "", label: "" };

  function draw(page, pick, ready) {
    const measured = perExample(page, ready);
    const metric = measured.find(({ name }) => name === state.get().m) ?? measured[0] ?? NONE;
    const all = compare.items(ready.data.examples, ready.a, ready.b, metric.name, page.rounding);
    fill(page, pick, ready, metric, all);
    const items = compare.chosen(all, state.get());
    drawn = { ...ready, items, metric };
    document.getElementById("viewer-title").textContent = page.title;
    document.getElementById("where").textContent = where(page, pick, ready);
    document.getElementById("found").textContent = found(items, all);
    document.getElementById("notice").textContent = notice(page, metric, ready);
    list.show(items, { shown: ready.shown, metric: metric.label });
  }

  function showStage(changed) {
    const { x } = state.get();
    const item = drawn.items.find(({ example }) => example.id === x);
    if (!item) return stage.hide();
    const { shown, metric, a, b } = drawn;
    const ids = drawn.items.map(({ example }) => example.id);
    return stage.update({ item, shown, metric, ids, a: a.id, b: b?.id }, changed);
  }

  // -------------------------------------------------------------- changes
  async function update(changed) {
    const mine = ++turn;
    const open = state.get().c !== "";
    const opens = open && viewer.hidden;
    viewer.hidden = !open;
    numbers.hidden = open;
    if (!open) {
      drawn = null;
      return stage.hide();
    }
    if (opens || !drawn || changed.some((name) => LISTED.includes(name))) {
      pageNow = await report.load(viewer.dataset.key);
      const pick = chosen(pageNow);
      if (!pick) return say("No run behind this number is in the results folder.");
      const ready = await loaded(pick);
      if (mine !== turn) return undefined;
      draw(pageNow, pick, ready);
      if (opens) document.getElementById("viewer-title").focus({ preventScroll: true });
    }
    return showStage(changed);
  }

  function say(text) {
    document.getElementById("notice").textContent = text;
  }

  function changed(names) {
    update(names).catch((error) => say(error.message));
  }

  controls.addEventListener("input", ({ target }) => {
    if (target.name === "shown") {
      const boxes = [...controls.querySelectorAll("[name=shown]:checked")];
      state.set({ show: [...new Set(boxes.map(({ value }) => value))].join(",") });
    } else state.set({ [target.name]: target.value });
  });
  controls.addEventListener("submit", (event) => event.preventDefault());

  list.place.addEventListener("click", (event) => {
    const button = event.target.closest("[data-id]");
    if (button) state.set({ x: button.dataset.id }, { push: true });
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || viewer.hidden || event.target.closest("input, dialog")) return;
    event.preventDefault();
    fields.words.focus();
  });

  // -------------------------------------------------------------- downloads
  function cell(text) {
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  function csv({ items, shown }) {
    const columns = shown.flatMap(({ run, label: text }) => Object.keys(run.metrics).map((name) => [run, text, name]));
    const head = ["id", "caption", "target", ...columns.map(([run, text, name]) => `${text} (${run.id}): ${name}`)];
    const lines = items.map(({ example }) => [
      example.id, example.caption ?? "", example.target ?? "",
      ...columns.map(([run, , name]) => String(compare.value(run, name, example.id) ?? "")),
    ]);
    return [head, ...lines].map((line) => line.map(cell).join(",")).join("\n") + "\n";
  }

  document.getElementById("values").addEventListener("click", () => {
    const url = URL.createObjectURL(new Blob([csv(drawn)], { type: "text/csv" }));
    element("a", { href: url, download: `${pageNow.name}-examples.csv` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 0);
  });

  state.watch(changed);
  changed(["c"]);
})();

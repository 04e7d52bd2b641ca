// The page: what one does, what is kept, and what the server is asked.

import { get, post } from "./api.js";
import { showResult } from "./compare.js";
import { listen } from "./events.js";
import { lasting, showEdit } from "./history.js";
import { showSettings } from "./settings.js";
import * as stage from "./stage.js";
import { open, placed, save, state } from "./state.js";

const $ = (id) => document.getElementById(id);
const PLAN_AFTER_MS = 250;
const MOST_BYTES = Number($("file").dataset.most);
const TOOLS = { inpaint: "brush", prompt: "brush", drag: "points" };
const PROMPTS = {
  inpaint: "What the picture should show",
  prompt: "What the picture shows now",
  drag: "What the picture shows",
};
const HINTS = {
  brush: "Brush over what may change.",
  erase: "Brush over what must stay.",
  points: "Click what is to move, then where it should go. Points can be moved.",
  hand: "Drag to move the view; the wheel zooms.",
};

const methods = JSON.parse($("task").dataset.tasks); // kind -> method -> what it does
let settings = []; // of the chosen method and sampler
const edits = new Map();

// ------------------------------------------------------------------ what is said
function trouble(error) {
  $("trouble").textContent = error?.message ?? "";
  $("trouble").hidden = !error;
}

function say(words) {
  $("said").textContent = words;
}

// ------------------------------------------------------------------ photo
async function upload(file) {
  if (!file) return;
  trouble(null);
  try {
    if (file.size > MOST_BYTES) throw new Error(`This file is larger than ${MOST_BYTES >> 20} MB, which is all that is taken.`);
    await take(await post("/photos", file));
  } catch (error) {
    trouble(error);
  }
}

async function take({ token, size, notice }) {
  open({ token, size });
  state.size = Math.max(1, Math.round(Math.min(...size) / 12));
  showTools();
  await stage.show();
  say(`Photo of ${size[0]} by ${size[1]} pixels. ${notice}`);
  changed();
}

$("example")?.addEventListener("click", async () => {
  const { caption, ...photo } = await post("/example");
  for (const kind of Object.keys(PROMPTS)) state.prompts[kind] = [caption, ""];
  showForm();
  await take(photo);
});

$("file").addEventListener("change", ({ target }) => {
  upload(target.files[0]);
  target.value = ""; // so that the same file can be opened again
});

for (const type of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(type, (event) => {
    event.preventDefault();
    $("stage").classList.toggle("dropping", type === "dragover");
    if (type === "drop") upload(event.dataTransfer.files[0]);
  });
}

// ------------------------------------------------------------------ tools
function useTool(tool) {
  state.tool = tool;
  save();
  showTools();
  stage.draw();
}

function showTools() {
  for (const button of document.querySelectorAll("[data-tool]")) {
    if (button.tagName === "BUTTON") {
      button.setAttribute("aria-pressed", String(button.dataset.tool === state.tool));
      button.hidden = button.dataset.tool === "points" && state.kind !== "drag";
    }
  }
  $("canvas").dataset.tool = state.tool;
  $("hint").textContent = HINTS[state.tool];
  $("size").value = $("size-shown").textContent = state.size;
}

for (const button of document.querySelectorAll("button[data-tool]")) {
  button.addEventListener("click", () => useTool(button.dataset.tool));
}
$("size").addEventListener("input", ({ target }) => {
  state.size = Number(target.value);
  save();
  showTools();
});
$("invert").addEventListener("click", () => stage.whole("invert"));
$("clear").addEventListener("click", () => stage.whole("clear"));
$("undo").addEventListener("click", stage.goBack);
$("zoom-in").addEventListener("click", () => stage.zoom(1.5));
$("zoom-out").addEventListener("click", () => stage.zoom(1 / 1.5));
$("zoom-fit").addEventListener("click", stage.fit);
$("zoom-one").addEventListener("click", stage.full);
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input:not([type=range], [type=radio]), textarea");
  if ((event.ctrlKey || event.metaKey) && event.key === "z" && !typing) {
    event.preventDefault();
    stage.goBack();
  }
});

// ------------------------------------------------------------------ form
function showForm() {
  const { kind } = state;
  document.querySelector(`[name=kind][value=${kind}]`).checked = true;
  document.querySelector(`[name=sampler][value=${state.sampler}]`).checked = true;
  $("prompt-label").textContent = PROMPTS[kind];
  [$("prompt").value, $("target").value] = state.prompts[kind] ?? ["", ""];
  $("target-part").hidden = kind !== "prompt";
  $("pairs-part").hidden = kind !== "drag";
  showTools();
  showPairs();
  showMethods();
}

const method = () => state.tasks[state.kind] ?? Object.keys(methods[state.kind])[0];

function showMethods() {
  const described = methods[state.kind];
  const names = Object.keys(described);
  $("method").hidden = names.length < 2;
  $("task").replaceChildren(...names.map((name) => new Option(name, name)));
  $("task").value = method();
  $("task-meaning").textContent = described[method()];
  readSettings().catch(trouble);
}

async function readSettings() {
  const path = `/settings/${method()}/${state.sampler}`;
  const found = await get(path);
  if (path !== `/settings/${method()}/${state.sampler}`) return; // others were chosen meanwhile
  settings = found;
  showSettings(settings, changed);
  changed();
}

for (const radio of document.querySelectorAll("[name=kind]")) {
  radio.addEventListener("change", () => {
    state.kind = radio.value;
    useTool(TOOLS[state.kind]);
    showForm();
    stage.showMoves([]);
  });
}
for (const radio of document.querySelectorAll("[name=sampler]")) {
  radio.addEventListener("change", () => {
    state.sampler = radio.value;
    showMethods();
  });
}
$("task").addEventListener("change", ({ target }) => {
  state.tasks[state.kind] = target.value;
  showMethods();
});
for (const id of ["prompt", "target"]) {
  $(id).addEventListener("input", () => {
    state.prompts[state.kind] = [$("prompt").value, $("target").value];
    changed();
  });
}

// ------------------------------------------------------------------ points
// What had the focus has it again.
function showPairs() {
  const focused = document.activeElement?.closest("#pairs") && document.activeElement.ariaLabel;
  $("pairs").replaceChildren(...state.pairs.map(pairRow));
  if (focused) ($("pairs").querySelector(`[aria-label="${focused}"]`) ?? $("add-pair")).focus();
}

function pairRow(pair, number) {
  const element = document.createElement("li");
  const row = document.createElement("div");
  row.className = "row";
  const remove = document.createElement("button");
  Object.assign(remove, { type: "button", textContent: "✕" });
  remove.setAttribute("aria-label", `Delete pair ${number + 1}`);
  remove.addEventListener("click", () => stage.removePair(number));
  const ends = pair[1] ? [0, 1] : [0];
  row.append(...ends.flatMap((end) => [0, 1].map((axis) => pointInput(number, end, axis))), remove);
  element.append(row);
  return element;
}

function pointInput(number, end, axis) {
  const input = document.createElement("input");
  const point = state.pairs[number][end];
  Object.assign(input, { type: "number", value: point[axis], min: 0 });
  input.setAttribute("aria-label", `Pair ${number + 1}, ${["from", "to"][end]} ${["x", "y"][axis]}`);
  input.addEventListener("change", () => {
    stage.setPoint(number, end, point.with(axis, Math.round(Number(input.value))));
  });
  return input;
}

$("add-pair").addEventListener("click", stage.addPair);

// ------------------------------------------------------------------ what it will cost
let timer = 0;
let asked = 0; // the number of the last question, whose answer alone is shown

function changed() {
  save();
  showPairs();
  clearTimeout(timer);
  asked++; // what is under way is out of date
  $("run").disabled = true;
  timer = setTimeout(plan, PLAN_AFTER_MS);
}

function wish() {
  const [prompt, target] = state.prompts[state.kind] ?? ["", ""];
  const given = settings.filter(({ key }) => key in state.settings);
  return {
    photo: state.photo.token,
    kind: state.kind,
    task: method(),
    sampler: state.sampler,
    prompt,
    target: state.kind === "prompt" ? target : "",
    drags: state.kind === "drag" ? placed() : [],
    settings: Object.fromEntries(given.map(({ key }) => [key, state.settings[key]])),
  };
}

const request = async () => JSON.stringify({ wish: wish(), mask: await stage.maskPng() });

async function plan() {
  const number = ++asked;
  const found = await foreseen().catch(({ message }) => ({ problem: message }));
  if (number === asked) showPlan(found);
}

async function foreseen() {
  if (!state.photo) throw new Error("Open a photo.");
  $("cost").textContent = "Working out what it takes.";
  return post("/plan", await request());
}

function showPlan({ problem, evaluations, seconds, notices = [], r, moves = [] }) {
  $("cost").textContent = problem ?? cost(evaluations, seconds);
  $("notices").replaceChildren(...notices.map((notice) => {
    const element = document.createElement("li");
    element.textContent = notice;
    return element;
  }));
  $("squares").textContent = moves.length
    ? `r = ${r} (half a side, in cells of the latent), drag steps: ${moves.length}. The solid square is copied to the dashed one, step by step.`
    : "";
  stage.showMoves(moves);
  $("run").disabled = problem !== undefined;
}

function cost(evaluations, seconds) {
  const count = `About ${evaluations.toLocaleString("en")} evaluations of the network`;
  if (seconds === null) return `${count}. How long that takes is known after a first edit.`;
  return `${count}, about ${lasting(seconds)}.`;
}

// ------------------------------------------------------------------ edits
$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  if ($("run").disabled) return;
  trouble(null);
  $("run").disabled = true;
  try {
    const edit = await post("/edits", await request());
    state.shown = edit.id; // shown when it is done
    save();
    took(edit);
    document.querySelector(`#history [data-id="${edit.id}"]`).scrollIntoView({ block: "nearest" });
  } catch (error) {
    trouble(error);
  }
  $("run").disabled = false;
});

function took(edit) {
  const before = edits.get(edit.id)?.status;
  edits.set(edit.id, edit);
  showEdit(edit, { show, again, copy, trouble });
  if (edit.status === "done" && before !== "done") {
    say("An edit is done.");
    if (edit.id === state.shown) show(edit);
    plan(); // the time it took tells that of the next
  }
}

function show(edit) {
  state.shown = edit.id;
  save();
  showResult(edit).catch(trouble);
}

async function again({ wish: own, mask }) {
  try {
    open(await get(`/photos/${own.photo}`));
    if (mask) state.strokes = [{ tool: "image", token: mask }];
    Object.assign(state, { kind: own.kind, sampler: own.sampler, settings: own.settings });
    state.tasks[own.kind] = own.task;
    state.prompts[own.kind] = [own.prompt, own.target];
    state.pairs = own.drags;
    useTool(TOOLS[own.kind]);
    showForm();
    await stage.show();
    changed();
    $("canvas").focus();
  } catch (error) {
    trouble(error);
  }
}

async function copy(edit) {
  try {
    await navigator.clipboard.writeText(edit.command);
    say("The command is copied.");
  } catch {
    await showResult(edit);
    getSelection().selectAllChildren($("command")); // for the keys that copy
  }
}

$("copy").addEventListener("click", () => copy(edits.get(state.shown)));

async function refresh() {
  for (const edit of await get("/edits")) took(edit);
}

// ------------------------------------------------------------------ at the start
stage.begin(changed);
showForm();
stage.show().catch(() => {
  open(null); // the server has not kept the photo
  save();
  return stage.show();
}).then(changed);
listen(took, () => refresh().catch(trouble));

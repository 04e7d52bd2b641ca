// The photo with its mask, points and squares, and what pointer and keys do to them.

import { loaded } from "./api.js";
import { bytesOf, Mask } from "./mask.js";
import { mark, state, undo } from "./state.js";
import { View } from "./view.js";

const NEAR = 12; // CSS pixels from a point within which it can be pulled
const STILL = 3; // CSS pixels by which a hand may move while it clicks
const canvas = document.getElementById("canvas");
const context = canvas.getContext("2d");
const view = new View();
const masks = new Map(); // token -> bytes of masks that the server has

let photo = null; // an image
let mask = null;
let moves = []; // the squares of every drag step
let cursor = null; // of the keys: a pixel
let brushDown = null; // the stroke that the keys draw
let held = null; // what the pointer does: {stroke}, {view}, or {pixel} with {pair, end} near it
let changed = () => {};

const box = () => canvas.getBoundingClientRect();
const clamped = ([x, y]) => [clamp(x, photo.width), clamp(y, photo.height)];
const clamp = (value, length) => Math.min(length - 1, Math.max(0, value));

// tell: is called after every change of mask or points
export function begin(tell) {
  changed = tell;
  new ResizeObserver(resize).observe(canvas);
  canvas.addEventListener("pointerdown", press);
  canvas.addEventListener("pointermove", move);
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("wheel", wheel, { passive: false });
  canvas.addEventListener("keydown", key);
}

export async function show() {
  brushDown = held = cursor = null;
  moves = [];
  if (!state.photo) return;
  photo = await loaded(state.photo.token);
  mask = new Mask(photo.width, photo.height);
  await remask();
  view.fit(photo, box());
  cursor = [photo.width >> 1, photo.height >> 1];
  document.getElementById("empty").hidden = true;
  draw();
}

// Make the mask anew from its strokes.
async function remask() {
  for (const { tool, token } of state.strokes) {
    if (tool === "image" && !masks.has(token)) masks.set(token, bytesOf(await loaded(token)));
  }
  mask.replay(state.strokes, masks);
}

export const maskPng = () => (mask ? mask.png() : "");

export function showMoves(found) {
  moves = found;
  draw();
}

// ------------------------------------------------------------------ drawing
function resize() {
  const { width, height } = box();
  canvas.width = Math.round(width * devicePixelRatio);
  canvas.height = Math.round(height * devicePixelRatio);
  draw();
}

export function draw() {
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (!photo) return;
  const scale = devicePixelRatio * view.zoom;
  context.setTransform(scale, 0, 0, scale, devicePixelRatio * view.left, devicePixelRatio * view.top);
  context.imageSmoothingEnabled = scale < 2;
  context.drawImage(photo, 0, 0);
  context.drawImage(mask.canvas, 0, 0);
  context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
  if (state.kind === "drag") {
    moves.forEach(drawMoves);
    state.pairs.forEach(drawPair);
  }
  if (cursor && document.activeElement === canvas) drawCursor();
}

// Squares of one step: the first source solid, the last target dashed, those between thin.
function drawMoves(step, number) {
  for (const [source, target] of step) {
    if (number === 0) outline(source, 2, []);
    outline(target, number === moves.length - 1 ? 2 : 0.75, [6, 4]);
  }
}

function outline([left, top, width, height], thickness, dashes) {
  const at = [view.left + view.zoom * left, view.top + view.zoom * top];
  context.setLineDash(dashes);
  twice(thickness, () => context.strokeRect(...at, view.zoom * width, view.zoom * height));
  context.setLineDash([]);
}

// Black below white, seen on any photo.
function twice(thickness, stroke) {
  for (const [colour, more] of [["#000", 2], ["#fff", 0]]) {
    context.strokeStyle = colour;
    context.lineWidth = thickness + more;
    stroke();
  }
}

function drawPair([source, target], number) {
  const from = view.place(source);
  if (target) arrow(from, view.place(target));
  dot(from, "#d43a3a", number + 1);
  if (target) dot(view.place(target), "#2f6fd0", number + 1);
}

function arrow([ax, ay], [bx, by]) {
  twice(2, () => {
    context.beginPath();
    context.moveTo(ax, ay);
    context.lineTo(bx, by);
    context.stroke();
  });
}

function dot([x, y], colour, text) {
  context.beginPath();
  context.arc(x, y, 8, 0, 2 * Math.PI);
  context.fillStyle = colour;
  context.fill();
  twice(1.5, () => context.stroke());
  context.fillStyle = "#fff";
  context.font = "bold 11px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(text, x, y);
}

function drawCursor() {
  const [x, y] = view.place(cursor);
  const radius = ["brush", "erase"].includes(state.tool) ? (view.zoom * state.size) / 2 : 4;
  twice(1.5, () => {
    context.beginPath();
    context.arc(x, y, Math.max(4, radius), 0, 2 * Math.PI);
    context.moveTo(x - 10, y);
    context.lineTo(x + 10, y);
    context.moveTo(x, y - 10);
    context.lineTo(x, y + 10);
    context.stroke();
  });
}

// ------------------------------------------------------------------ pointer
const at = (event) => [event.clientX - box().left, event.clientY - box().top];

function press(event) {
  if (!photo) return;
  canvas.setPointerCapture(event.pointerId);
  const [x, y] = at(event);
  const pixel = view.pixel(x, y);
  if (state.tool === "hand" || event.button === 1) held = { view: [x, y] };
  else if (state.tool === "points") held = { pixel, from: [x, y], ...near(x, y) };
  else held = { stroke: stroke(pixel) };
  cursor = clamped(pixel);
  draw();
}

function move(event) {
  if (!photo) return;
  const [x, y] = at(event);
  const pixel = view.pixel(x, y);
  say(clamped(pixel));
  if (!held) return;
  if (held.view) {
    view.move(x - held.view[0], y - held.view[1]);
    held.view = [x, y];
  } else if (held.stroke) extend(held.stroke, pixel);
  else if (held.end !== undefined) pull([x, y], clamped(pixel));
  draw();
}

// A click places a point, even near another; who pulls a point moves it.
function release() {
  if (!held) return;
  const { pixel, pulled, view: moved } = held;
  held = null;
  if (pixel && !pulled) place(pixel);
  draw();
  if (!moved) changed();
}

function wheel(event) {
  if (!photo) return;
  event.preventDefault();
  view.zoomAt(2 ** (-event.deltaY / 300), ...at(event));
  draw();
}

function say([x, y]) {
  document.getElementById("where").textContent = `${x}, ${y}`;
}

// ------------------------------------------------------------------ mask
function stroke(pixel) {
  const begun = { tool: state.tool, size: state.size, points: [...pixel] };
  mark({ strokes: [...state.strokes, begun] });
  mask.apply(begun, masks);
  return begun;
}

function extend(begun, [x, y]) {
  if (begun.points.at(-2) === x && begun.points.at(-1) === y) return;
  begun.points.push(x, y);
  mask.paint(begun, begun.points.length / 2 - 1);
}

// tool: invert or clear
export function whole(tool) {
  if (!mask) return;
  mark({ strokes: [...state.strokes, { tool }] });
  mask.replay(state.strokes, masks);
  draw();
  changed();
}

export async function goBack() {
  if (!undo()) return;
  brushDown = null;
  await remask();
  draw();
  changed();
}

// ------------------------------------------------------------------ points
// The point near (x, y) of the canvas, the last pair's first; {} if there is none.
function near(x, y) {
  for (let pair = state.pairs.length - 1; pair >= 0; pair--) {
    for (const end of [1, 0]) {
      const point = state.pairs[pair][end];
      if (point && distance(view.place(point), [x, y]) <= NEAR) return { pair, end };
    }
  }
  return {};
}

const distance = ([ax, ay], [bx, by]) => Math.hypot(ax - bx, ay - by);

function pull(to, pixel) {
  if (!held.pulled && distance(held.from, to) < STILL) return;
  if (!held.pulled) mark({});
  held.pulled = true;
  state.pairs = replaced(held.pair, held.end, pixel);
}

// Place the target of the pair that lacks one, else the source of a new pair.
function place(pixel) {
  const [x, y] = pixel;
  if (x < 0 || y < 0 || x >= photo.width || y >= photo.height) return;
  const last = state.pairs.length - 1;
  const pending = last >= 0 && !state.pairs[last][1];
  const pairs = pending ? replaced(last, 1, pixel) : [...state.pairs, [pixel, null]];
  mark({ pairs });
}

function replaced(pair, end, pixel) {
  return state.pairs.map((points, number) => (number === pair ? points.with(end, pixel) : points));
}

export function setPoint(pair, end, pixel) {
  mark({ pairs: replaced(pair, end, clamped(pixel)) });
  draw();
  changed();
}

export function addPair() {
  if (!photo) return;
  const [x, y] = cursor;
  mark({ pairs: [...state.pairs, [[x, y], clamped([x + Math.ceil(photo.width / 8), y])]] });
  draw();
  changed();
}

export function removePair(pair) {
  mark({ pairs: state.pairs.filter((_, number) => number !== pair) });
  draw();
  changed();
}

// ------------------------------------------------------------------ keys
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function key(event) {
  if (!photo || event.ctrlKey || event.metaKey || event.altKey) return;
  const act = ARROWS[event.key] ? () => step(ARROWS[event.key], event.shiftKey ? 10 : 1) : ACTS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
  draw();
}

const ACTS = {
  Enter: enter,
  " ": enter,
  Delete: () => state.pairs.length && removePair(state.pairs.length - 1),
  "+": () => zoom(1.5),
  "-": () => zoom(1 / 1.5),
  0: fit,
};

function step([dx, dy], length) {
  cursor = clamped([cursor[0] + length * dx, cursor[1] + length * dy]);
  view.reveal(cursor, box());
  if (brushDown) extend(brushDown, cursor);
  say(cursor);
}

function enter() {
  if (state.tool === "points") {
    place(cursor);
    changed();
  } else if (state.tool !== "hand") {
    brushDown = brushDown ? null : stroke(cursor);
    if (!brushDown) changed();
  }
}

// ------------------------------------------------------------------ zoom
export function zoom(factor) {
  const { width, height } = box();
  view.zoomAt(factor, width / 2, height / 2);
  draw();
}

export function fit() {
  if (photo) view.fit(photo, box());
  draw();
}

export function full() {
  if (photo) view.centre(photo, box(), 1);
  draw();
}

canvas.addEventListener("focus", draw);
canvas.addEventListener("blur", draw);

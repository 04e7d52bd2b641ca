// The result of an edit beside the photo, or the results of two samplers.

import { imageOf, loaded } from "./api.js";

const canvas = document.getElementById("compare");
const context = canvas.getContext("2d");
const left = document.getElementById("left");
const right = document.getElementById("right");
const split = document.getElementById("split");
const caption = document.getElementById("compare-caption");
const GAP = 1 / 32; // between two pictures, as a share of their width
const BLINK_MS = 700;
const SMALL = 400; // pixels of a side below which a picture is shown enlarged

let pictures = new Map(); // label -> {token, image}
let mode = "slider";
let turned = false; // whether blinking shows the right picture
let blinking = 0;

left.addEventListener("change", draw);
right.addEventListener("change", draw);
split.addEventListener("input", draw);
for (const button of document.querySelectorAll("[data-mode]")) {
  button.addEventListener("click", () => setMode(button.dataset.mode));
}

// edit: one that is done
export async function showResult({ wish, results, command }) {
  const all = [{ label: "photo", token: wish.photo }, ...results];
  const images = await Promise.all(all.map(({ token }) => loaded(token)));
  pictures = new Map(all.map(({ label, token }, i) => [label, { token, image: images[i] }]));
  choose(left, results.length > 1 ? results[0].label : "photo");
  choose(right, results.at(-1).label);
  document.getElementById("command").textContent = command;
  document.getElementById("result").hidden = false;
  setMode(mode);
}

function choose(select, label) {
  select.replaceChildren(...[...pictures.keys()].map((name) => new Option(name, name)));
  select.value = label;
}

function setMode(chosen) {
  mode = chosen;
  clearInterval(blinking);
  turned = false;
  if (mode === "blink") blinking = setInterval(() => { turned = !turned; draw(); }, BLINK_MS);
  for (const button of document.querySelectorAll("[data-mode]")) {
    button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
  }
  split.hidden = mode !== "slider";
  draw();
}

function draw() {
  const { image: a } = pictures.get(left.value);
  const { image: b, token } = pictures.get(right.value);
  const { width, height } = b;
  canvas.width = mode === "beside" ? width + besides(width) : width;
  canvas.height = height;
  canvas.classList.toggle("enlarged", Math.max(width, height) < SMALL);
  canvas.classList.toggle("beside", mode === "beside");
  split.style.width = `${canvas.getBoundingClientRect().width}px`;
  DRAWN[mode](a, b, width, height);
  document.getElementById("full").href = imageOf(token);
  caption.textContent = CAPTIONS[mode](left.value, right.value);
  canvas.setAttribute("aria-label", caption.textContent);
}

// Where the right picture begins.
const besides = (width) => Math.ceil(width * (1 + GAP));

// A photo of which only the central square was edited is drawn as that square.
function put(image, width, height, x = 0) {
  const crop = [(image.width - width) >> 1, (image.height - height) >> 1];
  context.drawImage(image, ...crop, width, height, x, 0, width, height);
}

const DRAWN = {
  slider(a, b, width, height) {
    const border = Math.round((width * split.value) / 1000);
    put(a, width, height);
    context.save();
    context.beginPath();
    context.rect(border, 0, width, height);
    context.clip();
    put(b, width, height);
    context.restore();
  },
  beside(a, b, width, height) {
    put(a, width, height);
    put(b, width, height, besides(width));
  },
  blink(a, b, width, height) {
    put(turned ? b : a, width, height);
  },
  difference(a, b, width, height) {
    put(a, width, height);
    const one = context.getImageData(0, 0, width, height);
    put(b, width, height);
    const two = context.getImageData(0, 0, width, height);
    for (let i = 0; i < one.data.length; i++) {
      if (i % 4 < 3) two.data[i] = Math.min(255, 4 * Math.abs(one.data[i] - two.data[i]));
    }
    context.putImageData(two, 0, 0);
  },
};

const CAPTIONS = {
  slider: (a, b) => `${a} on the left, ${b} on the right`,
  beside: (a, b) => `${a} on the left, ${b} on the right`,
  blink: (a, b) => `${turned ? b : a}`,
  difference: (a, b) => `Difference of ${a} and ${b}, four times enlarged`,
};

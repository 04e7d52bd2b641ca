// The edits that were made, are being made, or wait.

import { imageOf, post } from "./api.js";

const list = document.getElementById("history");
const shown = new Map(); // id -> its element
const NAMES = { inpaint: "Repaint", prompt: "Change by words", drag: "Drag" };

// acts: what the buttons do: {show, again, copy, trouble}
export function showEdit(edit, acts) {
  document.getElementById("none").hidden = true;
  const element = card(edit, acts);
  const before = shown.get(edit.id);
  if (before) {
    const focused = before.contains(document.activeElement) && document.activeElement.textContent;
    before.replaceWith(element);
    if (focused) [...element.querySelectorAll("button, a")].find((one) => one.textContent === focused)?.focus();
  } else list.prepend(element);
  shown.set(edit.id, element);
}

function card(edit, acts) {
  const element = make("li", "card");
  element.dataset.id = edit.id;
  element.dataset.status = edit.status;
  element.append(make("h3", "", title(edit)), make("p", "quiet", facts(edit)));
  if (isPending(edit)) element.append(...progress(edit));
  if (edit.problem) element.append(make("p", "bad", edit.problem));
  if (edit.results.length) element.append(pictures(edit));
  if (edit.previews.length) element.append(strip(edit.previews));
  element.append(actions(edit, acts));
  return element;
}

const isPending = ({ status }) => status === "waiting" || status === "running";

function title({ wish }) {
  const words = wish.kind === "prompt" ? `${wish.prompt} → ${wish.target}` : wish.prompt;
  return `${NAMES[wish.kind]}: ${words}`;
}

function facts({ made, wish, model, status, seconds, evaluations }) {
  const took = status === "done" ? `${evaluations.toLocaleString("en")} evaluations in ${lasting(seconds)}` : status;
  const when = new Date(1000 * made).toLocaleString();
  return [wish.task, wish.sampler === "both" ? "ODE and SDE" : wish.sampler.toUpperCase(), model, took, when].join(" · ");
}

export function lasting(seconds) {
  if (seconds < 90) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  return `${Math.round(seconds / 60)} min`;
}

function progress(edit) {
  const { ahead, status, done, evaluations, preparing } = edit;
  const bar = make("progress");
  bar.max = evaluations;
  bar.value = done;
  bar.setAttribute("aria-label", "Network evaluations");
  const state = status === "waiting" ? queue(ahead) : counted(done, evaluations, preparing);
  return [make("p", "", state), bar];
}

const queue = (ahead) => `Waits for ${ahead === 1 ? "one edit" : `${ahead} edits`} before it`;

function counted(done, evaluations, preparing) {
  if (preparing) return `Preparing: ${preparing}`;
  if (!done) return "Loading the model";
  return `${done.toLocaleString("en")} of ${evaluations.toLocaleString("en")} network evaluations`;
}

function strip(previews) {
  const element = make("div", "pictures small");
  element.append(...previews.map((token, i) => picture(token, `After drag step ${i + 1}`)));
  return element;
}

function pictures({ results: made }) {
  const element = make("div", "pictures");
  element.append(...made.map(({ token, label }) => picture(token, `Result of ${label}`)));
  return element;
}

function picture(token, alt) {
  const image = make("img");
  Object.assign(image, { src: imageOf(token), alt, loading: "lazy" });
  return image;
}

function actions(edit, acts) {
  const element = make("div", "row");
  if (isPending(edit)) {
    element.append(button("Cancel", () => post(`/edits/${edit.id}/cancel`).catch(acts.trouble)));
  }
  if (edit.results.length) element.append(button("Show", () => acts.show(edit)));
  for (const { token, label } of edit.results) {
    element.append(download(imageOf(token), `${edit.id}-${label.toLowerCase()}.png`, `${label} as PNG`));
  }
  if (edit.results.length) {
    element.append(download(`/edits/${edit.id}`, `${edit.id}.json`, "JSON"));
    element.append(button("Copy command", () => acts.copy(edit)));
  }
  element.append(button("Use again", () => acts.again(edit)));
  return element;
}

function download(href, name, words) {
  const element = make("a", "button", words);
  Object.assign(element, { href, download: name });
  return element;
}

function button(words, act) {
  const element = make("button", "", words);
  element.type = "button";
  element.addEventListener("click", act);
  return element;
}

function make(tag, className = "", content = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = content;
  return element;
}

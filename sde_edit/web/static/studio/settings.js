// The settings of an edit, with their defaults and what they mean.

import { save, state } from "./state.js";

const part = document.getElementById("settings");

// settings: of the chosen task, its sampler and every task
export function showSettings(settings, changed) {
  part.replaceChildren(...settings.map((setting) => row(setting, changed)));
  count(settings);
}

function row(setting, changed) {
  const { key, meaning, type } = setting;
  const element = document.createElement("div");
  element.className = "setting";
  const id = `setting-${key}`;
  const input = field(setting);
  input.id = id;
  input.setAttribute("aria-describedby", `${id}-meaning`);
  input.value = state.settings[key] ?? "";
  input.addEventListener("change", () => {
    if (input.value.trim()) state.settings[key] = input.value;
    else delete state.settings[key];
    save();
    changed();
  });
  const label = text("label", key.replace(/^\w+\./, ""));
  label.htmlFor = id;
  const help = text("p", `${meaning}${meaning ? " " : ""}(${type})`);
  help.id = `${id}-meaning`;
  help.className = "quiet";
  element.append(label, input, help);
  return element;
}

// A list if the values can be listed, else a line of text.
function field({ type, default: usual }) {
  const values = type === "true or false" ? ["true", "false"] : type.split(" or ")[0].split(" | ");
  if (values.length < 2) {
    const input = document.createElement("input");
    input.placeholder = usual;
    return input;
  }
  const select = document.createElement("select");
  select.append(option("", `${usual} (default)`));
  select.append(...values.filter((value) => value !== usual).map((value) => option(value, value)));
  return select;
}

function count(settings) {
  const given = settings.filter(({ key }) => key in state.settings).length;
  document.getElementById("changed").textContent = given ? `${given} changed` : "";
}

function option(value, shown) {
  const element = text("option", shown);
  element.value = value;
  return element;
}

function text(tag, content) {
  const element = document.createElement(tag);
  element.textContent = content;
  return element;
}

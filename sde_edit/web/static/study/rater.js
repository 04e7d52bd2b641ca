// The page of a rater. The server knows what comes next; this shows it and sends what was chosen.

const SECTIONS = ["consent", "question", "thanks"];
const KEYS = { ArrowLeft: "left", ArrowRight: "right" };

const find = (selector) => document.querySelector(selector);
const trial = find(".trial");
const images = {
  original: find(".original img"),
  left: find("#left img"),
  right: find("#right img"),
};

let state = null;
let seenAt = 0; // when all images of the question were there; 0 while they are not
let busy = false;

// -------------------------------------------------------------- the server
async function ask(path, body) {
  const options = body && { method: "POST", body: JSON.stringify(body) };
  const answer = await fetch(`${location.pathname}/${path}`, options);
  if (!answer.ok && answer.status !== 409) throw new Error(await answer.text());
  return answer.json();
}

// Sends one thing at a time and shows what comes next. What was not confirmed can be sent again.
async function send(path, body) {
  if (busy) return;
  busy = true;
  try {
    await show(await ask(path, body));
    say("");
  } catch (error) {
    const lost = error instanceof TypeError;
    say(lost ? "Not saved: the server does not answer. Wait a moment, then choose again." : error.message);
    mark(null);
  } finally {
    busy = false;
  }
}

function say(text) {
  const problem = find("#problem");
  problem.textContent = text;
  problem.hidden = !text;
}

// -------------------------------------------------------------- what is shown
async function show(next) {
  const moved = !state || state.stage !== next.stage;
  state = next;
  for (const name of SECTIONS) find(`#${name}`).hidden = name !== state.stage;
  for (const place of document.querySelectorAll(".asked")) place.textContent = state.asked;
  find("#undo").disabled = !state.may_undo;
  find("#undo-last").hidden = !state.may_undo;
  if (state.stage === "question") await showQuestion();
  if (moved) find(`#${state.stage} h1`).focus();
}

async function showQuestion() {
  seenAt = 0;
  trial.ariaBusy = "true";
  mark(null);
  const count = `Question ${state.number + 1} of ${state.asked}`;
  find("#count").textContent = state.practice ? `${count}, for practice` : count;
  Object.assign(find("#progress"), { max: state.asked, value: state.number });
  find("#words").textContent = state.words;
  await Promise.all(Object.entries(images).map(([name, image]) => load(image, state[name])));
  const { naturalWidth, naturalHeight } = images.original;
  trial.style.setProperty("--shape", naturalWidth / naturalHeight);
  trial.ariaBusy = "false";
  seenAt = performance.now();
}

async function load(image, digest) {
  image.src = `/image/${digest}.png`;
  try {
    await image.decode();
  } catch {
    throw new Error("A picture did not arrive. Reload the page.");
  }
}

function mark(side) {
  for (const name of ["left", "right"]) find(`#${name}`).classList.toggle("chosen", name === side);
}

// -------------------------------------------------------------- what the rater does
function choose(side) {
  if (busy || !seenAt || state.stage !== "question") return; // nobody can judge what is not there
  mark(side);
  const seconds = (performance.now() - seenAt) / 1000;
  send("answer", { number: state.number, choice: side, seconds });
}

function undo() {
  if (state.may_undo) send("undo", { number: state.number - 1 });
}

function pressed(event) {
  if (event.repeat || event.ctrlKey || event.altKey || event.metaKey || !state) return;
  if (event.key in KEYS && state.stage === "question") choose(KEYS[event.key]);
  else if (event.key === "Backspace") undo();
  else return;
  event.preventDefault();
}

find("#agree").addEventListener("click", () => send("agree", {}));
find("#left").addEventListener("click", () => choose("left"));
find("#right").addEventListener("click", () => choose("right"));
find("#undo").addEventListener("click", undo);
find("#undo-last").addEventListener("click", undo);
document.addEventListener("keydown", pressed);

send("state");

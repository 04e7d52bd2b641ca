// What one tab has been told. It survives a reload; other tabs have their own.

const KEY = "studio";

const FRESH = {
  photo: null, // {token, size: [width, height]}
  strokes: [], // of the mask, see mask.js
  pairs: [], // [[x, y], [x, y]], the second null until it is placed
  kind: "inpaint",
  tasks: {}, // kind -> method
  sampler: "sde",
  prompts: {}, // kind -> [prompt, target]
  settings: {}, // key -> text
  tool: "brush",
  size: 24, // of the brush
  shown: "", // the edit whose result is shown
};

export const state = { ...FRESH, ...JSON.parse(sessionStorage.getItem(KEY) ?? "{}") };

const undone = []; // {strokes, pairs} before each change

export function save() {
  sessionStorage.setItem(KEY, JSON.stringify(state));
}

// Change strokes or pairs, whose arrays are replaced and never changed, so that it can be undone.
export function mark(changes) {
  undone.push({ strokes: state.strokes, pairs: state.pairs });
  Object.assign(state, changes);
}

// Returns whether there was something to undo.
export function undo() {
  const before = undone.pop();
  Object.assign(state, before);
  return before !== undefined;
}

export function open(photo) {
  undone.length = 0;
  Object.assign(state, { photo, strokes: [], pairs: [] });
}

// The pairs that have both points.
export const placed = () => state.pairs.filter(([, target]) => target);

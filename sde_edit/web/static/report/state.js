"use strict";

// What is shown, kept in the hash of the address: a reload, a bookmark or a link shows it again.
report.state = (() => {
  const defaults = {
    c: "", // index of the column of the table; "" hides the viewer
    a: "", b: "", // the runs that are compared
    m: "", // the metric
    show: "", // ids of the runs that are shown, with commas; "" for those of the column
    sort: "first", verdict: "", from: "", to: "", category: "", words: "",
    x: "", // the example on the stage; "" for none
    mode: "side", left: "", right: "", slider: "50", gain: "4", mask: "1", points: "1",
    zoom: "1", px: "0", py: "0",
  };
  const DELAY = 250; // ms; browsers refuse to write addresses faster
  const listeners = [];
  let current = parsed();
  let timer = 0;

  function parsed() {
    const given = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
    return Object.fromEntries(Object.entries(defaults).map(([key, value]) => [key, given[key] ?? value]));
  }

  function hash() {
    const changed = Object.entries(current).filter(([key, value]) => value !== defaults[key]);
    return `#${new URLSearchParams(changed)}`;
  }

  function write() {
    timer = 0;
    if (location.hash !== hash()) history.replaceState(null, "", hash());
  }

  // push: whether the browser's Back returns to what was shown before.
  function set(changes, { push = false } = {}) {
    if (push && timer) write();
    clearTimeout(timer);
    current = { ...current, ...changes };
    if (push) history.pushState(null, "", hash());
    else timer = setTimeout(write, DELAY);
    for (const listener of listeners) listener(Object.keys(changes));
  }

  function reread() {
    const skipped = document.getElementById(location.hash.slice(1));
    if (skipped) return history.replaceState(null, "", hash()); // a link within the page
    if (location.hash.slice(1) === hash().slice(1)) return undefined;
    clearTimeout(timer);
    timer = 0;
    current = parsed();
    for (const listener of listeners) listener(Object.keys(defaults));
    return undefined;
  }

  addEventListener("popstate", reread);
  addEventListener("hashchange", reread);

  return {
    get: () => current,
    set,
    // Call the listener with the names of what has changed.
    watch: (listener) => listeners.push(listener),
  };
})();

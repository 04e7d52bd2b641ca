"use strict";

// What the overview loads when it is opened, and tables that can be sorted.
(() => {
  // The HTML is of this report's own templates, which escape what they are given.
  async function fill(details) {
    const place = details.querySelector("[data-place]");
    try {
      place.innerHTML = await report.load(details.dataset.load);
    } catch (error) {
      place.textContent = error.message;
    }
  }

  for (const details of document.querySelectorAll("[data-load]")) {
    details.addEventListener("toggle", () => details.open && fill(details), { once: true });
  }

  function key(row, column) {
    const text = row.cells[column].dataset.key;
    const number = Number(text);
    return text === "" || Number.isNaN(number) ? text : number;
  }

  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), "en");
  }

  // The first time ascending, then descending; rows without a value stay last.
  function sort(heading) {
    const descending = heading.getAttribute("aria-sort") === "ascending";
    const [body] = heading.closest("table").tBodies;
    const keyed = [...body.rows].map((row) => ({ row, key: key(row, heading.cellIndex) }));
    keyed.sort((a, b) => (a.key === "") - (b.key === "") || (descending ? -1 : 1) * compare(a.key, b.key));
    body.append(...keyed.map(({ row }) => row));
    for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-sortable] thead button");
    if (button) sort(button.closest("th"));
  });
})();

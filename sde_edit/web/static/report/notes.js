"use strict";

// The note of a number, shown while one points at it or has moved the focus to it.
(() => {
  const note = document.getElementById("note");
  let owner = null;

  function show(target) {
    hide();
    owner = target;
    note.textContent = target.dataset.note;
    note.hidden = false;
    target.setAttribute("aria-describedby", "note");
    place(target.getBoundingClientRect());
  }

  function place(box) {
    const left = Math.min(box.left, innerWidth - note.offsetWidth - 8);
    const below = box.bottom + note.offsetHeight + 8 < innerHeight;
    note.style.left = `${Math.max(8, left)}px`;
    note.style.top = `${below ? box.bottom + 4 : Math.max(8, box.top - note.offsetHeight - 4)}px`;
  }

  function hide() {
    owner?.removeAttribute("aria-describedby");
    owner = null;
    note.hidden = true;
  }

  function noted(event) {
    return event.target.closest?.("[data-note]");
  }

  for (const kind of ["pointerover", "focusin", "click"]) {
    document.addEventListener(kind, (event) => {
      const target = noted(event);
      if (target && target !== owner) show(target);
    });
  }
  document.addEventListener("pointerout", (event) => {
    if (noted(event) === owner && !owner?.contains(event.relatedTarget)) hide();
  });
  document.addEventListener("focusout", hide);
  document.addEventListener("scroll", hide, { capture: true, passive: true });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
  });
  addEventListener("hashchange", hide);
})();

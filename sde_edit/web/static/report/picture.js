"use strict";

// Pictures with what is drawn over them. A picture is {full, small}: paths of its file and thumbnail.
report.picture = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const BARB = 0.08; // of the longer side
  const TURN = 0.5; // radians between an arrow and its barbs

  function ofRun(run, id) {
    const place = run.place.get(id);
    if (place === undefined) return null;
    const [full, small] = [run.folder + run.files[place], run.thumbnails[place]];
    return { full, small: small ? `thumbnails/${small}.webp` : full };
  }

  function ofExample(example, what) {
    const [full, small = full] = example[what] ?? [];
    return full ? { full, small } : null;
  }

  function image(path, alt, properties = {}) {
    return report.element("img", { alt, decoding: "async", ...properties, src: report.address(path) });
  }

  function arrow([x, y, to_x, to_y], side) {
    const angle = Math.atan2(to_y - y, to_x - x);
    const barbs = [angle - TURN, angle + TURN].map(
      (turn) => `${to_x - BARB * side * Math.cos(turn)} ${to_y - BARB * side * Math.sin(turn)}`,
    );
    return `M${x} ${y}L${to_x} ${to_y}M${barbs[0]}L${to_x} ${to_y}L${barbs[1]}`;
  }

  function points({ drags = [], size }) {
    if (!drags.length) return null;
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${size[0]} ${size[1]}`);
    svg.setAttribute("class", "points");
    svg.setAttribute("aria-hidden", "true");
    const d = drags.map((drag) => arrow(drag, Math.max(...size))).join("");
    for (const name of ["rim", "line"]) {
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("d", d);
      path.setAttribute("class", name);
      svg.append(path);
    }
    return svg;
  }

  // outline: whether to draw its edge alone, which leaves what is below to be seen.
  function mask(item, { outline = false } = {}) {
    const className = outline ? "mask outline" : "mask";
    return item.mask ? image(item.mask.path, "", { className, loading: "lazy" }) : null;
  }

  return { ofRun, ofExample, image, points, mask };
})();

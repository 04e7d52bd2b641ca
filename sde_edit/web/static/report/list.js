"use strict";

// The list of examples: for each one its pictures, its texts and its values.
report.list = (() => {
  const { element } = report;
  const place = document.getElementById("examples");

  function thumbnail(picture, label, ...above) {
    const drawn = picture
      ? report.picture.image(picture.small, label, { loading: "lazy" })
      : element("span", { className: "none", textContent: "no image" });
    const frame = element("span", { className: "frame" }, drawn, ...above);
    return element("span", { className: "thumbnail" }, frame, element("span", { textContent: label }));
  }

  function pictures(item, shown) {
    const { example } = item;
    const { ofExample, ofRun, mask, points } = report.picture;
    const source = ofExample(example, "source");
    const truth = ofExample(example, "truth");
    return [
      source && thumbnail(source, "source", mask(item), points(example)),
      ...shown.map(({ run, label }) => thumbnail(ofRun(run, example.id), label)),
      truth && thumbnail(truth, "truth"),
    ];
  }

  function number(value) {
    return value === null ? "—" : String(Number(value.toPrecision(4))).replace("-", "\u2212");
  }

  function verdict({ gain }) {
    if (gain === null) return "not compared";
    return gain === 0 ? "equal" : gain > 0 ? "A better" : "B better";
  }

  function texts({ example }) {
    const words = [example.caption, example.target && `→ ${example.target}`];
    return words.filter(Boolean).join(" ");
  }

  function values(item, metric) {
    if (item.a === null) return "";
    if (item.b === null) return `${metric}: ${number(item.a)}`;
    return `${metric}: A ${number(item.a)}, B ${number(item.b)}, ${verdict(item)}`;
  }

  function row(item, { shown, metric }) {
    const button = element("button", { type: "button", className: "example" },
      element("span", { className: "pictures" }, ...pictures(item, shown)),
      element("span", { className: "id", textContent: item.example.id }),
      element("span", { textContent: texts(item) }),
      element("span", { className: "quiet", textContent: values(item, metric) }),
    );
    button.dataset.id = item.example.id;
    return element("li", {}, button);
  }

  function show(items, what) {
    place.replaceChildren(...items.map((item) => row(item, what)));
  }

  function focus(id) {
    place.querySelector(`[data-id="${CSS.escape(id)}"]`)?.focus();
  }

  return { show, focus, number, texts, values, place };
})();

"use strict";

// The pictures of one example, at their own size, on a page that can be saved or printed.
(() => {
  const { element } = report;
  const GAP = 12; // pixels between images
  const LINE = 20; // pixels of a line of text
  const [[, id] = ["id", ""], ...pictures] = new URLSearchParams(location.hash.slice(1));

  function figure([label, path]) {
    const image = report.picture.image(path, label);
    return element("figure", {}, image, element("figcaption", { textContent: label }));
  }

  // The address may come from anybody: only files of the results folder are shown.
  const figures = pictures.filter(([, path]) => report.address(path).startsWith(report.address(".."))).map(figure);

  // All images in one, with their labels above.
  function montage() {
    const images = figures.map((one) => one.querySelector("img"));
    const canvas = element("canvas", {
      width: images.reduce((sum, image) => sum + image.naturalWidth + GAP, GAP),
      height: Math.max(...images.map((image) => image.naturalHeight)) + LINE + 2 * GAP,
    });
    const context = canvas.getContext("2d");
    context.fillStyle = "white";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.fillStyle = "black";
    let x = GAP;
    for (const image of images) {
      context.fillText(image.alt, x, LINE, image.naturalWidth);
      context.drawImage(image, x, LINE + GAP);
      x += image.naturalWidth + GAP;
    }
    return canvas;
  }

  function download() {
    montage().toBlob((blob) => {
      const href = URL.createObjectURL(blob);
      element("a", { href, download: `${id}.png` }).click();
      setTimeout(() => URL.revokeObjectURL(href), 0);
    });
  }

  if (id) document.getElementById("row-title").textContent = id;
  document.getElementById("row-pictures").append(...figures);
  const save = document.getElementById("save");
  if (location.protocol === "file:") {
    save.textContent = "Save this page (Ctrl+S, complete) to get its images in a folder, or print it.";
  } else {
    const button = element("button", { type: "button", textContent: "Download as one PNG" });
    button.addEventListener("click", download);
    save.append(button);
  }
})();

// Where the photo lies in the canvas: pixel (x, y) of the photo at (left + zoom x, top + zoom y),
// in CSS pixels. What is clicked is found from this alone, whatever the screen's pixel ratio.

const MOST = 64;

export class View {
  constructor() {
    [this.zoom, this.left, this.top] = [1, 0, 0];
  }

  fit(photo, box) {
    this.centre(photo, box, Math.min(MOST, box.width / photo.width, box.height / photo.height));
  }

  centre(photo, box, zoom) {
    this.zoom = zoom;
    this.left = (box.width - zoom * photo.width) / 2;
    this.top = (box.height - zoom * photo.height) / 2;
  }

  // Zoom so that what lies at (x, y) of the canvas stays there.
  zoomAt(factor, x, y) {
    const zoom = Math.min(MOST, Math.max(1 / MOST, this.zoom * factor));
    this.left = x - ((x - this.left) * zoom) / this.zoom;
    this.top = y - ((y - this.top) * zoom) / this.zoom;
    this.zoom = zoom;
  }

  move(dx, dy) {
    this.left += dx;
    this.top += dy;
  }

  // The pixel of the photo at (x, y) of the canvas.
  pixel(x, y) {
    return [Math.floor((x - this.left) / this.zoom), Math.floor((y - this.top) / this.zoom)];
  }

  // Where the middle of a pixel of the photo is.
  place([x, y]) {
    return [this.left + this.zoom * (x + 0.5), this.top + this.zoom * (y + 0.5)];
  }

  // Move so that a pixel is seen.
  reveal(pixel, box) {
    const margin = 24;
    const [x, y] = this.place(pixel);
    this.move(
      Math.max(0, margin - x) - Math.max(0, x - box.width + margin),
      Math.max(0, margin - y) - Math.max(0, y - box.height + margin),
    );
  }
}

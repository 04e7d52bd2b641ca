// A mask of a photo: a byte for each pixel, 1 where it may change.
//
// It follows from its strokes, which are kept in its place: {tool, size, points: [x, y, x, y, ...]}
// with whole pixels, {tool: "invert"}, {tool: "clear"}, or {tool: "image", token} for a mask that
// is there. A pixel is painted if it is at most size / 2 away from a segment of the stroke.

export class Mask {
  constructor(width, height) {
    this.width = width;
    this.height = height;
    this.bytes = new Uint8Array(width * height);
    this.canvas = new OffscreenCanvas(width, height); // as it is shown over the photo
    this.context = this.canvas.getContext("2d");
  }

  get empty() {
    return !this.bytes.includes(1);
  }

  // images: token -> the bytes of a mask
  replay(strokes, images) {
    this.bytes.fill(0);
    for (const stroke of strokes) this.apply(stroke, images);
    this.show(0, 0, this.width, this.height);
  }

  apply(stroke, images) {
    if (stroke.tool === "clear") this.bytes.fill(0);
    else if (stroke.tool === "invert") this.bytes.forEach((byte, i) => (this.bytes[i] = 1 - byte));
    else if (stroke.tool === "image") this.bytes.set(images.get(stroke.token));
    else this.paint(stroke, 0);
  }

  // Paint a stroke from its point number `first` on, with the segment that leads there.
  paint({ tool, size, points }, first) {
    const value = tool === "brush" ? 1 : 0;
    for (let i = 2 * first; i < points.length; i += 2) {
      const from = Math.max(0, i - 2);
      this.segment(points[from], points[from + 1], points[i], points[i + 1], size / 2, value);
    }
  }

  segment(ax, ay, bx, by, radius, value) {
    const [left, right] = span(ax, bx, radius, this.width);
    const [top, bottom] = span(ay, by, radius, this.height);
    const [dx, dy] = [bx - ax, by - ay];
    const length = dx * dx + dy * dy;
    for (let y = top; y < bottom; y++) {
      for (let x = left; x < right; x++) {
        const along = length ? ((x - ax) * dx + (y - ay) * dy) / length : 0;
        const share = Math.min(1, Math.max(0, along));
        const [ox, oy] = [x - ax - share * dx, y - ay - share * dy];
        if (ox * ox + oy * oy <= radius * radius) this.bytes[y * this.width + x] = value;
      }
    }
    this.show(left, top, right - left, bottom - top);
  }

  // Draw a part of the mask in the colour that lies over the photo.
  show(left, top, width, height) {
    if (width <= 0 || height <= 0) return;
    const image = this.context.createImageData(width, height);
    const colours = new Uint32Array(image.data.buffer);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const marked = this.bytes[(top + y) * this.width + left + x];
        colours[y * width + x] = marked ? 0x90_b0_30_ff : 0; // alpha, blue, green, red
      }
    }
    this.context.putImageData(image, left, top);
  }

  // The mask as a PNG in base64, white where it may change; "" if it marks nothing.
  async png() {
    if (this.empty) return "";
    const canvas = new OffscreenCanvas(this.width, this.height);
    const context = canvas.getContext("2d");
    const image = context.createImageData(this.width, this.height);
    const colours = new Uint32Array(image.data.buffer);
    this.bytes.forEach((byte, i) => (colours[i] = byte ? 0xffffffff : 0xff000000));
    context.putImageData(image, 0, 0);
    return base64(await canvas.convertToBlob({ type: "image/png" }));
  }
}

// The pixels from which a segment can be reached: [first, past the last].
function span(a, b, radius, length) {
  const first = Math.ceil(Math.min(a, b) - radius);
  const last = Math.floor(Math.max(a, b) + radius);
  return [Math.max(0, first), Math.min(length, last + 1)];
}

function base64(blob) {
  return new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.split(",")[1]);
    reader.readAsDataURL(blob);
  });
}

// The bytes of a mask that the server has.
export function bytesOf(image) {
  const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  return Uint8Array.from({ length: data.length / 4 }, (_, i) => (data[4 * i] > 127 ? 1 : 0));
}

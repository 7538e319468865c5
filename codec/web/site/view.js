/** The stage: one picture or two under a slider, moved and zoomed by pointer, wheel and keys. */

const STEP = 1.25; // of zoom, a key or a notch of the wheel
const MAX_ZOOM = 32; // screen pixels a picture pixel

export class View {
  #stage = document.getElementById("stage");
  #plane = document.getElementById("plane");
  #split = document.getElementById("split");
  #zoom = /** @type {HTMLOutputElement} */ (document.getElementById("zoom"));
  #size = [1, 1]; // of the picture, in its pixels
  #at = { x: 0, y: 0, scale: 1 }; // of the plane, in CSS pixels
  #share = 50; // of the stage that is left of the slider, in percent
  #fitted = true;
  #pointers = new Map();

  constructor() {
    new ResizeObserver(() => (this.#fitted ? this.fit() : this.#place())).observe(this.#stage);
    this.#stage.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    this.#stage.addEventListener("pointerdown", (event) => this.#down(event));
    this.#stage.addEventListener("pointermove", (event) => this.#move(event));
    for (const kind of ["pointerup", "pointercancel"])
      this.#stage.addEventListener(kind, (/** @type {PointerEvent} */ event) => this.#pointers.delete(event.pointerId));
    this.#stage.addEventListener("dblclick", () => (this.#fitted ? this.actual() : this.fit()));
    this.#split.addEventListener("pointerdown", (event) => {
      event.stopPropagation();
      this.#split.setPointerCapture(event.pointerId);
    });
    this.#split.addEventListener("pointermove", (event) => {
      if (this.#split.hasPointerCapture(event.pointerId)) this.#divide(event.clientX);
    });
    this.#split.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -2, ArrowRight: 2, PageDown: -10, PageUp: 10, Home: -100, End: 100 }[event.key];
      if (!by) return;
      event.preventDefault();
      event.stopPropagation();
      this.#share = Math.max(0, Math.min(100, this.#share + by));
      this.#place();
    });
  }

  /** Show a canvas, and another right of the slider; a place and zoom are kept where the size stays the same. */
  show(left, right = null) {
    this.#stage.hidden = false;
    this.#split.hidden = !right;
    document.getElementById("left").replaceChildren(left);
    document.getElementById("right").replaceChildren(...(right ? [right] : []));
    const same = left.width === this.#size[0] && left.height === this.#size[1];
    this.#size = [left.width, left.height];
    if (same && !this.#fitted) this.#place();
    else this.fit();
  }

  hide() {
    this.#stage.hidden = true;
  }

  /** The whole picture, not enlarged. */
  fit() {
    const { clientWidth, clientHeight } = this.#stage;
    const scale = Math.min(clientWidth / this.#size[0], clientHeight / this.#size[1], 1);
    this.#at = { scale, x: (clientWidth - this.#size[0] * scale) / 2, y: (clientHeight - this.#size[1] * scale) / 2 };
    this.#fitted = true;
    this.#place();
  }

  /** One picture pixel on one screen pixel. */
  actual() {
    this.zoom(1 / devicePixelRatio / this.#at.scale);
  }

  /** Enlarge by a factor around a point of the stage, its middle by default. */
  zoom(factor, x = this.#stage.clientWidth / 2, y = this.#stage.clientHeight / 2) {
    const least = Math.min(32 / Math.max(...this.#size), this.#at.scale);
    const scale = Math.max(least, Math.min(MAX_ZOOM / devicePixelRatio, this.#at.scale * factor));
    const by = scale / this.#at.scale;
    this.#at = { scale, x: x - (x - this.#at.x) * by, y: y - (y - this.#at.y) * by };
    this.#fitted = false;
    this.#place();
  }

  pan(x, y) {
    this.#at.x += x;
    this.#at.y += y;
    this.#fitted = false;
    this.#place();
  }

  /** Keys of the stage; whether this was one. */
  key(name) {
    const { clientWidth, clientHeight } = this.#stage;
    const does = {
      "+": () => this.zoom(STEP),
      "=": () => this.zoom(STEP),
      "-": () => this.zoom(1 / STEP),
      0: () => this.fit(),
      1: () => this.actual(),
      ArrowLeft: () => this.pan(clientWidth / 8, 0),
      ArrowRight: () => this.pan(-clientWidth / 8, 0),
      ArrowUp: () => this.pan(0, clientHeight / 8),
      ArrowDown: () => this.pan(0, -clientHeight / 8),
    }[name];
    does?.();
    return Boolean(does);
  }

  #wheel(event) {
    event.preventDefault();
    const notches = event.deltaY / (event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? 100 : 3);
    this.zoom(STEP ** -notches, ...this.#inside(event));
  }

  #inside({ clientX, clientY }) {
    const { left, top } = this.#stage.getBoundingClientRect();
    return [clientX - left, clientY - top];
  }

  #down(event) {
    this.#stage.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, this.#inside(event));
  }

  /** One pointer moves the picture, two zoom it as well. */
  #move(event) {
    const before = this.#pointers.get(event.pointerId);
    if (!before) return;
    const now = this.#inside(event);
    const other = [...this.#pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.#pointers.set(event.pointerId, now);
    if (!other) {
      this.pan(now[0] - before[0], now[1] - before[1]);
      return;
    }
    const middle = (p) => [(p[0] + other[0]) / 2, (p[1] + other[1]) / 2];
    const apart = (p) => Math.max(1, Math.hypot(p[0] - other[0], p[1] - other[1]));
    const [from, to] = [middle(before), middle(now)];
    this.pan(to[0] - from[0], to[1] - from[1]);
    this.zoom(apart(now) / apart(before), ...to);
  }

  #divide(clientX) {
    const { left, width } = this.#stage.getBoundingClientRect();
    this.#share = Math.max(0, Math.min(100, (100 * (clientX - left)) / width));
    this.#place();
  }

  /** Put the plane where it is, at least a corner of it on the stage, and cut its two sides at the slider. */
  #place() {
    const { clientWidth, clientHeight } = this.#stage;
    const { scale } = this.#at;
    const [w, h] = this.#size.map((side) => side * scale);
    const x = (this.#at.x = Math.max(
      Math.min(60, clientWidth / 2) - w,
      Math.min(clientWidth - Math.min(60, clientWidth / 2), this.#at.x),
    ));
    const y = (this.#at.y = Math.max(
      Math.min(60, clientHeight / 2) - h,
      Math.min(clientHeight - Math.min(60, clientHeight / 2), this.#at.y),
    ));
    Object.assign(this.#plane.style, { width: `${w}px`, height: `${h}px`, transform: `translate(${x}px, ${y}px)` });
    this.#plane.classList.toggle("close", scale * devicePixelRatio > 2);
    this.#zoom.value = `${(100 * scale * devicePixelRatio).toFixed(0)} %`;
    const cut = Math.max(0, Math.min(w, (clientWidth * this.#share) / 100 - x));
    document.getElementById("left").style.clipPath = this.#split.hidden ? "" : `inset(0 ${w - cut}px 0 0)`;
    document.getElementById("right").style.clipPath = `inset(0 0 0 ${cut}px)`;
    this.#split.style.left = `${this.#share}%`;
    this.#split.setAttribute("aria-valuenow", String(Math.round(this.#share)));
  }
}

/**
 * <lat-image src="photo.lat" alt="…"> shows a .lat file as <img> would show a JPEG.
 *
 * Attributes: src, alt, loading="lazy". Fires `load` and `error` (event.detail is the error); until then, and where the file cannot be
 * shown, its children are: put a fallback there. `picture` is what `decode` gave. Its size is the picture's, as far as
 * the page's width allows; CSS on the element changes that, `object-fit` included.
 */

import { decode, toCanvas } from "./lat.js";

const STYLE = `
  :host { display: inline-block; max-width: 100%; }
  :host([hidden]) { display: none; }
  canvas { display: block; width: 100%; height: 100%; max-width: 100%; object-fit: inherit; }
  canvas[hidden] { display: none; }`;

export class LatImage extends HTMLElement {
  static observedAttributes = ["src", "alt"];

  picture = null;
  #canvas = document.createElement("canvas");
  #fallback = document.createElement("slot");
  #running = null; // AbortController of the file on its way
  #watch = null; // IntersectionObserver of one that waits to be seen

  constructor() {
    super();
    const style = document.createElement("style");
    style.textContent = STYLE;
    this.#canvas.hidden = true;
    this.#canvas.setAttribute("role", "img");
    this.attachShadow({ mode: "open" }).append(style, this.#canvas, this.#fallback);
  }

  get src() {
    return this.getAttribute("src") ?? "";
  }

  set src(value) {
    this.setAttribute("src", value);
  }

  connectedCallback() {
    this.#begin();
  }

  disconnectedCallback() {
    this.#stop();
  }

  attributeChangedCallback(name, before, after) {
    if (name === "alt") this.#canvas.setAttribute("aria-label", after ?? "");
    else if (this.isConnected && before !== after) this.#begin();
  }

  #stop() {
    this.#running?.abort();
    this.#watch?.disconnect();
  }

  #begin() {
    this.#stop();
    if (!this.src) return;
    if (this.getAttribute("loading") !== "lazy") {
      this.#show();
      return;
    }
    this.#watch = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      this.#watch.disconnect();
      this.#show();
    });
    this.#watch.observe(this);
  }

  async #show() {
    const running = (this.#running = new AbortController());
    try {
      const response = await fetch(this.src, { signal: running.signal });
      if (!response.ok) throw new Error(`${this.src}: ${response.status} ${response.statusText}`);
      const picture = await decode(await response.arrayBuffer(), { signal: running.signal });
      await toCanvas(picture, this.#canvas);
      if (running.signal.aborted) return;
      this.picture = picture;
      this.#reveal(true);
      this.dispatchEvent(new Event("load"));
    } catch (error) {
      if (running.signal.aborted) return;
      this.picture = null;
      this.#reveal(false);
      this.dispatchEvent(new CustomEvent("error", { detail: error }));
    }
  }

  #reveal(shown) {
    this.#canvas.hidden = !shown;
    this.#fallback.hidden = shown;
    this.#fallback.style.display = shown ? "none" : "contents";
  }
}

customElements.define("lat-image", LatImage);

/** The page: files in, pictures on the stage. Nothing leaves the browser. */

import { LatError, decode, info, toCanvas, toPNG } from "./lat/lat.js";
import { View } from "./view.js";

/** @type {(id: string) => any} */
const $ = (id) => document.getElementById(id);
const view = new View();
const pictures = []; // { name, bytes, width, height, canvas, decoded: what lat.js gave, null of other formats, model }
let shown = null;
let beside = null; // the picture right of the slider

const number = (value) => value.toLocaleString("en");
const bpp = ({ bytes, width, height }) => ((8 * bytes) / (width * height)).toFixed(3);
const size = (bytes) => (bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(2)} MB`);

// -- opening ---------------------------------------------------------------------------------------------------------

async function open(files) {
  for (const file of files) {
    try {
      const data = await file.arrayBuffer();
      const picture = /\.lat$/i.test(file.name) || isLat(data) ? await openLat(file.name, data) : await openOther(file);
      pictures.push(picture);
      if (shown && shown !== picture) beside = picture;
      else shown = picture;
    } catch (error) {
      complain(file.name, error);
    }
    render();
  }
}

const isLat = (data) => data.byteLength >= 4 && new DataView(data).getUint32(0) === 0x8e4c4154;

async function openLat(name, data) {
  const described = info(data);
  const canvas = document.createElement("canvas");
  const preview = !shown && described.orientation === 1 && !described.metadata.icc && previewOf(canvas, described);
  const bar = $("progress");
  bar.hidden = false;
  bar.removeAttribute("value"); // how long networks take to load, nobody knows
  try {
    const onTile = preview || undefined;
    const decoded = await decode(data, { onTile, onProgress: (done, all) => (bar.value = done / all) });
    await toCanvas(decoded, canvas);
    const { width, height } = decoded;
    return { name, bytes: data.byteLength, width, height, canvas, decoded };
  } finally {
    bar.hidden = true;
    if (preview && !shown) view.hide();
  }
}

/** Paints each tile as it comes. */
function previewOf(canvas, { width, height }) {
  if (Math.max(width, height) > 8192) return null;
  return ({ left, top, width: w, height: h, pixels }) => {
    if (!canvas.isConnected) {
      Object.assign(canvas, { width, height });
      $("welcome").hidden = true;
      view.show(canvas);
    }
    canvas.getContext("2d").putImageData(new ImageData(pixels, w, h), left, top);
  };
}

async function openOther(file) {
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new LatError("neither a .lat file nor a picture that this browser knows");
  });
  const canvas = document.createElement("canvas");
  const { width, height } = Object.assign(canvas, { width: bitmap.width, height: bitmap.height });
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
  return { name: file.name, bytes: file.size, width, height, canvas, decoded: null };
}

function complain(name, error) {
  const line = document.createElement("p");
  const text = document.createElement("span");
  const bold = document.createElement("b");
  const close = document.createElement("button");
  bold.textContent = name;
  text.append(bold, ` ${error.message || error}`);
  close.textContent = "×";
  close.setAttribute("aria-label", "Dismiss");
  close.onclick = () => line.remove();
  line.append(text, close);
  $("errors").append(line);
  while ($("errors").children.length > 4) $("errors").firstChild.remove();
}

// -- showing ---------------------------------------------------------------------------------------------------------

function render() {
  $("welcome").hidden = Boolean(shown);
  for (const id of ["fit", "actual"]) $(id).hidden = !shown;
  $("save").hidden = !shown?.decoded;
  if (shown) view.show(shown.canvas, beside?.canvas);
  else view.hide();
  $("leftname").textContent = beside ? shown.name : "";
  $("rightname").textContent = beside?.name ?? "";
  document.title = shown ? `${shown.name} · lat` : "lat";
  $("facts").replaceChildren(...(shown ? facts() : []));
  $("pictures").replaceChildren(...pictures.map(chip));
}

/** What the picture is, and took. */
function facts() {
  const { width, height, bytes, decoded, canvas } = shown;
  const parts = [`${number(width)} × ${number(height)}`, `${number(bytes)} bytes`, `${bpp(shown)} bits per pixel`];
  if (decoded && canvas.width * canvas.height < width * height) parts.push("shown smaller");
  if (decoded) parts.push(`decoded in ${(decoded.seconds.all - decoded.seconds.load).toFixed(2)} s`);
  const bold = document.createElement("b");
  bold.textContent = shown.name;
  return [bold, ` ${parts.join(" · ")}`];
}

/** A picture in the row at the bottom: shows it, or puts it right of the slider. */
function chip(picture) {
  const item = document.createElement("div");
  item.className = "picture";
  item.role = "listitem";
  if (picture === shown) item.setAttribute("aria-current", "true");
  const name = document.createElement("button");
  name.className = "name";
  name.title = `Show ${picture.name}`;
  for (const line of [picture.name, `${size(picture.bytes)} · ${bpp(picture)} bpp`])
    name.append(Object.assign(document.createElement("span"), { textContent: line }));
  name.onclick = () => show(picture);
  const side = document.createElement("button");
  side.className = "side";
  side.textContent = "◨";
  side.title = `Compare with ${picture.name}`;
  side.setAttribute("aria-label", side.title);
  side.setAttribute("aria-pressed", String(picture === beside));
  side.hidden = pictures.length < 2 || picture === shown;
  side.onclick = () => {
    beside = picture === beside ? null : picture;
    render();
  };
  const close = document.createElement("button");
  close.textContent = "×";
  close.setAttribute("aria-label", `Close ${picture.name}`);
  close.onclick = () => remove(picture);
  item.append(name, side, close);
  return item;
}

function show(picture) {
  if (picture === beside) beside = shown; // they change places
  shown = picture;
  render();
}

function remove(picture) {
  pictures.splice(pictures.indexOf(picture), 1);
  if (picture === beside) beside = null;
  if (picture === shown) {
    shown = beside ?? pictures[0] ?? null;
    beside = null;
  }
  render();
}

async function save() {
  const picture = shown;
  $("save").disabled = true;
  try {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await toPNG(picture.decoded));
    link.download = picture.name.replace(/(\.lat)?$/i, ".png");
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  } catch (error) {
    complain(picture.name, error);
  } finally {
    $("save").disabled = false;
  }
}

// -- hands -----------------------------------------------------------------------------------------------------------

$("open").onclick = $("choose").onclick = () => $("files").click();
$("files").onchange = async () => {
  await open([...$("files").files]);
  $("files").value = "";
};
$("sample").onclick = async () => {
  try {
    open([new File([await (await fetch("sample.lat")).blob()], "sample.lat")]);
  } catch (error) {
    complain("sample.lat", error);
  }
};
$("fit").onclick = () => view.fit();
$("actual").onclick = () => view.actual();
$("save").onclick = save;

let depth = 0; // dragenter and dragleave come for every element on the way
addEventListener("dragenter", () => document.querySelector("main").classList.toggle("over", ++depth > 0));
addEventListener("dragleave", () => document.querySelector("main").classList.toggle("over", --depth > 0));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  document.querySelector("main").classList.remove("over");
  open([...event.dataTransfer.files]);
});
addEventListener("paste", (event) => open([...event.clipboardData.files]));

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const does = {
    o: () => $("files").click(),
    s: () => shown?.decoded && save(),
    n: () => pictures.length > 1 && show(pictures[(pictures.indexOf(shown) + 1) % pictures.length]),
    x: () => beside && show(beside),
    Escape: () => ($("errors").firstChild ? $("errors").replaceChildren() : shown && remove(shown)),
  }[event.key];
  if (does) does();
  else if (!(shown && view.key(event.key))) return;
  event.preventDefault();
});

// -- offline, threads, files opened from the desktop -------------------------------------------------------------------

globalThis.launchQueue?.setConsumer(async ({ files }) => open(await Promise.all(files.map((file) => file.getFile()))));

/** The service worker keeps everything for offline use, and isolates the page, which threads need: after one reload. */
async function settle() {
  if (!navigator.serviceWorker) return;
  await navigator.serviceWorker.register("sw.js");
  const { active } = await navigator.serviceWorker.ready;
  if (!crossOriginIsolated && !pictures.length && !sessionStorage.reloaded) {
    sessionStorage.reloaded = true;
    location.reload();
    return;
  }
  navigator.serviceWorker.onmessage = () => (document.documentElement.dataset.offline = "true");
  active.postMessage("keep");
}
settle().catch(() => {}); // pages work without, online and on one thread

/**
 * The service worker: the page works offline, and is cross-origin isolated (threads need that) on any static server.
 * files.js, which `lat web` writes, says what there is: { version, page: [paths], large: [paths], models }.
 */
importScripts("files.js");

const { version, page, large, models } = self.LAT;
const CACHE = `lat-${version}`;
const MODELS = "lat-models"; // networks.js keeps weights there too, by their SHA-256

self.addEventListener("install", (event) => {
  const keep = async () => {
    await (await caches.open(CACHE)).addAll(page.map((path) => new Request(path, { cache: "no-cache" })));
    await self.skipWaiting();
  };
  event.waitUntil(keep());
});

self.addEventListener("activate", (event) => {
  const clean = async () => {
    const names = await caches.keys();
    await Promise.all(
      names.filter((name) => /^lat-/.test(name) && ![CACHE, MODELS].includes(name)).map((name) => caches.delete(name)),
    );
    await self.clients.claim();
  };
  event.waitUntil(clean());
});

/** The page is there and asks for the rest: the runtime and all weights. */
self.addEventListener("message", (event) => {
  const keep = async () => {
    const cache = await caches.open(CACHE);
    for (const path of large) if (!(await cache.match(path))) await cache.add(path);
    const weights = await caches.open(MODELS);
    for (const [fingerprint, { files }] of Object.entries(models))
      for (const [name, sha256] of Object.entries(files)) {
        const path = `lat/models/${fingerprint}/${name}`;
        const key = `${path}?${sha256}`;
        if (await weights.match(key)) continue;
        const response = await fetch(path);
        if (response.ok) await weights.put(key, response);
      }
    event.source?.postMessage("kept");
  };
  event.waitUntil(keep());
});

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== "GET" || url.origin !== location.origin) return;
  event.respondWith(answer(event.request));
});

async function answer(request) {
  const found = (await (await caches.open(CACHE)).match(request, { ignoreSearch: true })) ?? (await fetch(request));
  if (found.status === 0 || found.redirected) return found;
  const headers = new Headers(found.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  headers.set("Cross-Origin-Resource-Policy", "same-origin");
  return new Response(found.body, { status: found.status, statusText: found.statusText, headers });
}

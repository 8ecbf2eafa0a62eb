// Keeps the page for use without a network. It answers only for the files of the page: requests
// that are knocks go past it.

const CACHE = 'knock-{version}';
const FILES = ['./', 'index.html', 'icon.svg', 'manifest.webmanifest'];

self.addEventListener('install', (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(FILES)));
});

self.addEventListener('activate', (event) => {
  const removeOthers = async () => {
    const names = await caches.keys();
    const old = names.filter((name) => name.startsWith('knock-') && name !== CACHE);
    await Promise.all(old.map((name) => caches.delete(name)));
  };
  event.waitUntil(removeOthers());
});

self.addEventListener('fetch', (event) => {
  if (event.request.url.startsWith(self.registration.scope)) {
    const stored = caches.open(CACHE).then((cache) => cache.match(event.request));
    event.respondWith(stored.then((answer) => answer ?? fetch(event.request)));
  }
});

// The profiles of this browser, in IndexedDB. Their keys can encrypt knocks. No script can read them, but for
// those of the module.

const STORE = 'profiles';

/** The result of a request to the database. */
function outcome(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function database() {
  const request = indexedDB.open('knock', 1);
  request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: 'name' });
  return outcome(request);
}

async function withStore(mode, use) {
  const opened = await database();
  try {
    return await outcome(use(opened.transaction(STORE, mode).objectStore(STORE)));
  } finally {
    opened.close();
  }
}

function storedProfiles() {
  return withStore('readonly', (store) => store.getAll());
}

/** Adds `profile`. One of the same name is left as it is. */
async function storeProfile(profile) {
  try {
    await withStore('readwrite', (store) => store.add(profile));
  } catch (error) {
    if (error.name === 'ConstraintError') {
      throw new Refusal(`There is a profile "${profile.name}" already. Choose another name.`);
    }
    throw error;
  }
}

/** Remembers the door and the port that were used last. */
function rememberUse(profile) {
  return withStore('readwrite', (store) => store.put(profile));
}

function forgetProfile(name) {
  return withStore('readwrite', (store) => store.delete(name));
}

/** Whether the browser has agreed not to delete the profiles when it needs space. */
async function isKept() {
  return (await navigator.storage?.persisted?.()) ?? false;
}

/** Asks the browser not to delete the profiles when it needs space. Returns whether it agrees. */
async function keepStored() {
  return (await navigator.storage?.persist?.()) ?? false;
}

// What happens when. Starts everything.

/** The profile that is shown. */
let current = null;

/** The way in which this browser makes keys. */
let cryptography = null;

async function start() {
  if (window.top !== window.self) {
    // The page around it could let somebody press a button that they do not see.
    showProblem('This page does not work inside of another page. Open it in a tab of its own.');
    return;
  }
  element('insecure').hidden = location.protocol !== 'http:' || isSecureContext;
  cryptography = await findCryptography();
  if (!cryptography) {
    showProblem(
      'This browser cannot compute a knock. Its own cryptography has no X25519, or is kept from a page that came without https; and it does not run WebAssembly. Update the browser, allow WebAssembly, or open the page with https or as a file.',
    );
    return;
  }
  element('knock').addEventListener('submit', (event) => {
    event.preventDefault();
    working(knockNow);
  });
  element('close').addEventListener('click', () => working(closeNow));
  element('door-listed').addEventListener('change', () => showPortOf(current));
  const written = JSON.parse(element('data').textContent);
  await (written ? startWritten(written) : startStored());
}

/** A page that was written for one client: its key is in the file. */
async function startWritten(written) {
  const invitation = readInvitation(written.invitation);
  current = { ...(await profileOf(invitation)), doors: written.doors };
  document.title = `Knock: ${written.name}`;
  document.querySelector('h1').textContent = `Knock: ${written.name}`;
  showProfile(current);
  // An option of the address can choose a door of this page, and knock: a bookmark does that. It
  // can name no other server and no other key.
  const options = new URLSearchParams(location.hash.slice(1));
  chooseDoor(options.get('door'));
  if (!options.has('knock')) {
    return;
  }
  if (location.protocol.startsWith('http')) {
    // Any site can link to a page on the web, but none to a file.
    say('Press "Knock". A page from a web server does not knock by itself, since another page may have made the link.');
    return;
  }
  await visible();
  await working(knockNow);
}

function chooseDoor(name) {
  if (name === null) {
    return;
  }
  if (current.doors.length === 0) {
    element('door').value = name;
  } else if (current.doors.some((door) => door.name === name)) {
    element('door-listed').value = name;
    showPortOf(current);
  } else {
    throw new Refusal(`This page has no door "${name}".`);
  }
}

/**
 * Waits until somebody can see the page: browsers load pages before they are asked for, or to make a
 * picture of them.
 */
function visible() {
  return new Promise((resolve) => {
    const check = () => document.visibilityState === 'visible' && resolve();
    document.addEventListener('visibilitychange', check);
    check();
  });
}

/** The page without a key, which stores profiles in the browser. */
async function startStored() {
  element('add').hidden = false;
  element('scan').hidden = !canScan();
  element('readable').hidden = cryptography !== wasmModule;
  takeFragment();
  window.addEventListener('hashchange', takeFragment);
  element('add').addEventListener('submit', (event) => {
    event.preventDefault();
    working(add);
  });
  element('scan').addEventListener('click', () => working(scanInvitation));
  element('forget').addEventListener('click', () => working(forget));
  element('profile').addEventListener('change', () => refresh(element('profile').value));
  await refresh(null);
  showLasting(await isKept());
  if ('serviceWorker' in navigator && location.protocol.startsWith('http')) {
    await navigator.serviceWorker.register('worker.js');
  }
}

/**
 * Moves an invitation from the address to the form, so that it does not stay in the history. It is
 * stored only when the button is pressed, since another page may have made the link.
 */
function takeFragment() {
  const fragment = location.hash.slice(1);
  if (!fragment) {
    return;
  }
  history.replaceState(null, '', location.pathname + location.search);
  const text = fragment.startsWith(SCHEME) ? fragment : (percentDecoded(fragment) ?? '');
  if (text.startsWith(SCHEME)) {
    element('invitation').value = text;
    say('The link contained an invitation. Store it if you trust its sender.');
  }
}

async function refresh(name) {
  const profiles = await storedProfiles();
  current = profiles.find((profile) => profile.name === name) ?? profiles[0] ?? null;
  showChoice(profiles, current?.name);
  if (current) {
    showProfile(current);
  }
}

/** The profile of an invitation, without its private key. */
async function profileOf({ client, host, base, server, key }) {
  const knocks = await cryptography.knockKey(key, server);
  key.fill(0);
  return { client, host, base, key: knocks, doors: [] };
}

async function add() {
  const profile = await profileOf(readInvitation(element('invitation').value));
  const name = element('name').value.trim() || profile.host;
  if (MISLEADING.test(name)) {
    throw new Refusal('The name of the profile has invisible characters.');
  }
  await storeProfile({ ...profile, name });
  element('add').reset();
  await refresh(name);
  say(`The profile "${name}" is stored. Delete the invitation where you have it.`);
  // The browser may ask somebody first, who may not answer.
  keepStored().then(showLasting);
}

async function scanInvitation() {
  say('Hold the QR code before the camera.');
  const text = await scan(element('camera'));
  element('invitation').value = text ?? '';
  say(text ? 'The camera has read an invitation. Store it if you trust its sender.' : 'The camera has seen no invitation.');
}

async function forget() {
  const { name } = current;
  if (!confirm(`Forget the key of "${name}"? It cannot be restored.`)) {
    return;
  }
  await forgetProfile(name);
  await refresh(null);
  say(`The key of "${name}" is deleted. If others may have seen it, remove the client on the server too.`);
}

async function knockNow() {
  const [door, port] = [chosenDoor(), chosenPort()];
  if (!door) {
    throw new Refusal('Name a door.');
  }
  await remember(door, port);
  say('Knocking …');
  say(afterKnock(await knock(current, door, port), door, port));
}

async function closeNow() {
  const door = chosenDoor();
  if (!door) {
    throw new Refusal('Name a door.');
  }
  say('Asking the server to close the door …');
  await closeDoor(current, door);
  say(`The request to close the door "${door}" was sent. The server never answers.`);
}

async function remember(door, port) {
  if (current.name) {
    current = { ...current, lastDoor: door, lastPort: port };
    await rememberUse(current);
  }
}

working(start);

// Knocks until the door's port answers, if the browser can tell; else sends copies of one knock.

/** How many fresh knocks are sent for a port that stays silent. */
const TRIES = 5;

/** How often one knock is sent where nothing can be seen. The server accepts it once. */
const COPIES = 3;

/** Milliseconds between two copies, which are then within the 64 SYNs a second of the server. */
const REST = 500;

/**
 * Knocks on `door` of the server of `profile`. `port` is that which answers when the door is open, or
 * null. Returns what is known then: `open`, `closed` or `sent`, and the number of knocks sent.
 */
async function knock(profile, door, port) {
  const before = port ? await look(profile.host, port) : null;
  if (before === 'silent') {
    return knockUntilOpen(profile, door, port);
  }
  await sendCopies(profile, await freshPorts(profile.key, profile.base, door, DEFAULT_LEASE));
  if (before === null) {
    return { result: 'sent', knocks: 1 };
  }
  // A port that reacted before the knock may have been open, or have refused.
  const after = await look(profile.host, port);
  return { result: after === 'answers' ? 'open' : 'sent', knocks: 1 };
}

async function knockUntilOpen(profile, door, port) {
  const ways = waysTo(profile.host);
  for (let tried = 0; tried < TRIES; tried += 1) {
    const ports = await freshPorts(profile.key, profile.base, door, DEFAULT_LEASE);
    await send(profile.host, ports, ways.slice(tried % ways.length));
    if ((await look(profile.host, port)) !== 'silent') {
      return { result: 'open', knocks: tried + 1 };
    }
  }
  return { result: 'closed', knocks: TRIES };
}

/** Asks the server to close `door`. Nothing can be seen of it. */
async function closeDoor(profile, door) {
  await sendCopies(profile, await freshPorts(profile.key, profile.base, door, CLOSE_NOW));
}

async function sendCopies(profile, ports) {
  const ways = waysTo(profile.host);
  for (let sent = 0; sent < COPIES; sent += 1) {
    if (sent > 0) {
      await pause(REST);
    }
    await send(profile.host, ports, ways.slice(sent % ways.length));
  }
}

/** Sends one knock by the first of `ways` that works here. A policy may forbid WebRTC. */
async function send(host, ports, [way, ...others]) {
  try {
    await way(host, ports);
  } catch (error) {
    if (others.length === 0) {
      throw error;
    }
    await send(host, ports, others);
  }
}

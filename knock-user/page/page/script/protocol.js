// The SYN knock of protocol 2 (docs/protocol.md, "The SYN knock"), by the better of two ways that works in
// this browser.

/** Leases with a meaning of their own. */
const DEFAULT_LEASE = 0;
const CLOSE_NOW = 65535;

/** A knock that every way has to compute: the first of the vectors of the protocol. */
const KNOWN = {
  privateKey: Uint8Array.from({ length: 32 }, (_, i) => i),
  server: 'OWi8OvvoNuFLFfqIRpjks5-RpGPpJ__7drFY2e0KngI',
  content: { door: utf8('ssh'), time: 1800000000000, lease: DEFAULT_LEASE, random: 0 },
  block: '12,232,255,246,125,3,122,67,107,185,97,157,1,65,3,70',
};

/** Whether `way` computes a knock here. Names of functions do not tell: a browser may refuse them. */
async function works(way) {
  try {
    const key = await way.knockKey(KNOWN.privateKey, keyBytes(KNOWN.server));
    return String(await way.block(key, KNOWN.content)) === KNOWN.block;
  } catch {
    return false;
  }
}

/** The way in which this browser makes keys, or null if it has none. */
async function findCryptography() {
  for (const way of [webCrypto, wasmModule]) {
    if (await works(way)) {
      return way;
    }
  }
  return null;
}

/** The ports of a fresh knock in their order. It is bound to no address: a page does not know its own. */
async function freshPorts(key, base, door, lease) {
  const name = utf8(door);
  if (name.length > MAX_DOOR) {
    throw new Refusal(`The name of a door has ${MAX_DOOR} bytes at most.`);
  }
  const [random] = crypto.getRandomValues(new Uint8Array(1));
  // A stored key may be of another way than new ones, since browsers are updated.
  const way = key instanceof Uint8Array ? wasmModule : webCrypto;
  const block = await way.block(key, { door: name, time: Date.now(), lease, random });
  return Array.from(block, (offset) => base + offset);
}

// Knocks with the browser's own cryptography, which keeps a key that no script can read.

/** What stands before the 32 bytes of a private X25519 key in PKCS #8 (RFC 8410). */
const PKCS8_X25519 = Uint8Array.of(48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 110, 4, 34, 4, 32);

/** The base point of X25519: multiplied with a private key it is the public key. */
const BASE_POINT = Uint8Array.of(9, ...new Array(31).fill(0));

const webCrypto = {
  /**
   * The key of the knocks of the client with `privateKey` on the server with the public key `server`.
   * It can encrypt, and the page cannot read it.
   */
  async knockKey(privateKey, server) {
    const { subtle } = crypto;
    const pkcs8 = joined(PKCS8_X25519, privateKey);
    const own = await subtle.importKey('pkcs8', pkcs8, 'X25519', false, ['deriveBits']);
    pkcs8.fill(0);
    const sharedWith = async (bytes) => {
      const other = await subtle.importKey('raw', bytes, 'X25519', true, []);
      return new Uint8Array(await subtle.deriveBits({ name: 'X25519', public: other }, own, 256));
    };
    const client = await sharedWith(BASE_POINT);
    const shared = await secretWith(sharedWith, server);
    const material = joined(shared, client, server);
    const input = await subtle.importKey('raw', material, 'HKDF', false, ['deriveKey']);
    material.fill(0);
    shared.fill(0);
    const hkdf = { name: 'HKDF', hash: 'SHA-256', salt: utf8('knock2'), info: utf8('syn') };
    return subtle.deriveKey(hkdf, input, { name: 'AES-CBC', length: 256 }, false, ['encrypt']);
  },

  /** The block of a knock that says `content`. */
  async block(key, content) {
    return sealed(key, await plaintext(content));
  },
};

async function secretWith(sharedWith, server) {
  // Browsers refuse a public key that makes every secret zero; not all versions did.
  const shared = await sharedWith(server).catch(() => new Uint8Array(32));
  if (shared.every((byte) => byte === 0)) {
    throw new Refusal(INVALID_SERVER);
  }
  return shared;
}

/** The 16 bytes that a knock says. */
async function plaintext({ door, time, lease, random }) {
  const tag = new Uint8Array(await crypto.subtle.digest('SHA-256', door));
  const bytes = new Uint8Array(16);
  bytes[0] = 2;
  bytes.set(tag.subarray(0, 2), 1);
  for (let i = 0, rest = time % 2 ** 40; i < 5; i += 1) {
    bytes[7 - i] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  bytes[12] = lease >> 8;
  bytes[13] = lease & 255;
  bytes[14] = random;
  bytes[15] = bytes.reduce((parity, byte) => parity ^ byte, 0);
  return bytes;
}

/** AES of one block is the first one of CBC with a zero vector. */
async function sealed(key, bytes) {
  const cbc = { name: 'AES-CBC', iv: new Uint8Array(16) };
  return new Uint8Array(await crypto.subtle.encrypt(cbc, key, bytes), 0, 16);
}

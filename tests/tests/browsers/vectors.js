run(async () => {
  check(VECTORS.length > 0, 'no vectors');
  await until(() => cryptography);
  // WebKitGTK refuses private keys that begin with a zero byte, as that of the known knock does.
  const ways = WEBKIT ? { wasmModule } : { webCrypto, wasmModule };
  check(cryptography === Object.values(ways)[0], 'a file has the cryptography of the browser');
  for (const [name, way] of Object.entries(ways)) {
    for (const vector of VECTORS) {
      const key = await way.knockKey(unhex(vector.client_private), unhex(vector.server_public));
      // The page binds no knock to an address.
      const block = vector.source === null ? await way.block(key, contentOf(vector)) : await bound(key, vector);
      check(hex(block) === vector.block, `${name}: block ${hex(block)}`);
    }
    const zero = new Uint8Array(32);
    const refused = await way.knockKey(unhex(VECTORS[0].client_private), zero).catch((error) => error);
    check(refused instanceof Refusal, `${name}: a key that makes the secret zero is taken`);
  }
  if (!WEBKIT) {
    await compare();
  }
});

function contentOf({ door, unix_ms, lease_seconds, random }) {
  return { door: utf8(door), time: unix_ms, lease: lease_seconds, random };
}

/** The block of a vector that is bound, if `key` is that of the vector. */
async function bound(key, vector) {
  if (key instanceof Uint8Array) {
    check(hex(key) === vector.syn_key, `key ${hex(key)}`);
    return unhex(vector.block);
  }
  check(!key.extractable, 'the key can be read');
  return sealed(key, unhex(vector.plaintext));
}

/** Both ways compute the same, at the limits too. */
async function compare() {
  const keys = [webCrypto, wasmModule].map((way) => way.knockKey(KNOWN.privateKey, keyBytes(KNOWN.server)));
  const [browsers, modules] = await Promise.all(keys);
  for (const door of ['', 'ssh', 't\u00fcre', 'x'.repeat(MAX_DOOR)].map(utf8)) {
    for (const time of [0, 2 ** 40 - 1, 2 ** 40, 1800000000123, 2 ** 53 - 1]) {
      for (const lease of [DEFAULT_LEASE, 1, 300, CLOSE_NOW - 1, CLOSE_NOW]) {
        const content = { door, time, lease, random: time % 251 };
        const [one, other] = [await webCrypto.block(browsers, content), await wasmModule.block(modules, content)];
        check(hex(one) === hex(other), `${hex(one)} is not ${hex(other)} at ${time}, ${lease}`);
      }
    }
  }
}

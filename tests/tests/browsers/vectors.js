run(async () => {
  check(VECTORS.length > 0, 'no vectors');
  for (const vector of VECTORS) {
    const key = await knockKey(unhex(vector.client_private), unhex(vector.server_public));
    check(!key.extractable, 'the key can be read');
    const request = {
      door: vector.door,
      time: vector.unix_ms,
      lease: vector.lease_seconds,
      random: vector.random,
    };
    // The page binds no knock to an address.
    const bytes = vector.source === null ? await plaintext(request) : unhex(vector.plaintext);
    check(hex(bytes) === vector.plaintext, `plaintext ${hex(bytes)}`);
    const block = await sealed(key, bytes);
    check(hex(block) === vector.block, `block ${hex(block)}`);
  }
  const zero = new Uint8Array(32);
  const refused = await knockKey(unhex(VECTORS[0].client_private), zero).catch((error) => error);
  check(refused instanceof Refusal, 'a key that makes the secret zero is taken');
});

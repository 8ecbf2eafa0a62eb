// Bytes and their text forms.

/** The bytes of `text` in UTF-8. */
function utf8(text) {
  return new TextEncoder().encode(text);
}

/** All `parts`, one after the other. */
function joined(...parts) {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** The 32 bytes of a key that is written as 43 characters of base64url, or null. */
function keyBytes(text) {
  if (!/^[A-Za-z0-9_-]{43}$/.test(text)) {
    return null;
  }
  const binary = atob(text.replaceAll('-', '+').replaceAll('_', '/') + '=');
  // The last character has two bits that belong to no byte. Another reader could refuse them.
  const canonical = btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replace('=', '');
  return canonical === text ? Uint8Array.from(binary, (c) => c.charCodeAt(0)) : null;
}

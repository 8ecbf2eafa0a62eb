// The invitation: knock://CLIENT@HOST:BASE?server=PUBLIC[&udp=PORT][&key=PRIVATE]. The program
// `knock` reads the same (the crate knockd-credentials), and refuses the same.

const SCHEME = 'knock://';

/** The largest base of a window of 256 ports. */
const MAX_BASE = 65280;

/** One with the longest name and host is shorter. */
const MAX_INVITATION = 1024;

const INVALID_SERVER = "The server's key in the invitation is not valid.";

/** A reason that a person can read. */
class Refusal extends Error {}

/** Control and invisible characters, which could make a name look like another one. */
const MISLEADING = /(?! )[\p{C}\p{Z}]/u;

/** What the invitation in `text` says. Around it may stand what `knockd` prints, or a message. */
function readInvitation(text) {
  const rest = findInvitation(text).slice(SCHEME.length);
  const [client, afterClient] = split(rest, rest.indexOf('@'));
  const [authority, query] = split(afterClient, afterClient.indexOf('?'));
  const [host, base] = split(authority, authority.lastIndexOf(':'));
  const parameters = readParameters(query);
  const port = parameters.get('udp') ?? '1';
  if (!isNumber(port, 1, 65535)) {
    throw new Refusal('The udp port in the invitation is not a number from 1 to 65535.');
  }
  if (!isNumber(base, 1, MAX_BASE)) {
    throw new Refusal(`The port in the invitation is not a number from 1 to ${MAX_BASE}.`);
  }
  return {
    client: readClient(client),
    host: readHost(host),
    base: Number(base),
    server: readKey(parameters.get('server'), INVALID_SERVER),
    key: readPrivateKey(parameters.get('key')),
  };
}

function malformed() {
  return new Refusal(
    'An invitation looks like knock://CLIENT@HOST:BASE?server=KEY&key=KEY, as `knockd client add` prints it.',
  );
}

function findInvitation(text) {
  if (text.length > MAX_INVITATION) {
    throw new Refusal('This is not an invitation: it is too long.');
  }
  const words = text.split(/\s+/u).filter((word) => word.includes(SCHEME));
  if (words.length > 1) {
    throw new Refusal('This is more than one invitation.');
  }
  if (words.length === 0) {
    throw malformed();
  }
  const word = words[0].slice(words[0].indexOf(SCHEME));
  // Without the quotes and the punctuation of what stands around it.
  return word.replace(/[^A-Za-z0-9_-]+$/u, '');
}

/** `text` before and after the character at `at`. */
function split(text, at) {
  if (at < 0) {
    throw malformed();
  }
  return [text.slice(0, at), text.slice(at + 1)];
}

function readParameters(query) {
  const parameters = new Map();
  for (const parameter of query.split('&')) {
    const [name, value] = split(parameter, parameter.indexOf('='));
    if (!['server', 'udp', 'key'].includes(name) || parameters.has(name)) {
      throw malformed();
    }
    parameters.set(name, value);
  }
  return parameters;
}

function isNumber(text, least, most) {
  return /^\+?[0-9]{1,20}$/.test(text) && Number(text) >= least && Number(text) <= most;
}

function readKey(text, refusal) {
  const bytes = keyBytes(text ?? '');
  if (!bytes) {
    throw new Refusal(refusal);
  }
  return bytes;
}

function readPrivateKey(text) {
  if (text === undefined) {
    throw new Refusal(
      'This invitation has no key, so it is of use only to the client that has made one. Ask for an invitation with a key.',
    );
  }
  return readKey(text, "The client's key in the invitation is not valid.");
}

function readClient(text) {
  const name = percentDecoded(text);
  if (!name || MISLEADING.test(name)) {
    throw new Refusal("The client's name in the invitation is not valid.");
  }
  return name;
}

/** `text` without percent-encoding, or null if that is not UTF-8. */
function percentDecoded(text) {
  const binary = Array.from(utf8(text), (byte) => String.fromCharCode(byte)).join('');
  const decoded = binary.replace(/%([0-9A-Fa-f]{2})/g, (_, digits) =>
    String.fromCharCode(parseInt(digits, 16)),
  );
  try {
    const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
    return decoder.decode(Uint8Array.from(decoded, (c) => c.charCodeAt(0)));
  } catch {
    return null;
  }
}

/** The host as it stands in a URL: an IPv6 address in brackets. */
function readHost(text) {
  const bare = text.startsWith('[') && text.endsWith(']') ? text.slice(1, -1) : text;
  if (bare.includes('%')) {
    throw new Refusal('A browser cannot use an address with the name of an interface, such as fe80::1%eth0.');
  }
  const isAddress = bare.includes(':') && /^[0-9A-Fa-f:.]+$/.test(bare);
  const isName =
    bare === text && /^[A-Za-z0-9._-]+$/.test(bare) && !/^-|^\.|\.\./.test(bare);
  const host = isAddress ? `[${bare}]` : bare;
  if (!(isAddress || isName) || !isUrl(`http://${host}/`)) {
    throw new Refusal("The server's name in the invitation is not valid.");
  }
  return host;
}

function isUrl(text) {
  // Browsers that need the module may lack `URL.canParse`.
  try {
    return Boolean(new URL(text));
  } catch {
    return false;
  }
}

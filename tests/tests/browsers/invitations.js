// Not written as it is, since this script stands in a page.
const DOOR = '<\/script><b>';

run(async () => {
  const PUBLIC = 'OWi8OvvoNuFLFfqIRpjks5-RpGPpJ__7drFY2e0KngI';
  const PRIVATE = 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8';
  const good = `server=${PUBLIC}&key=${PRIVATE}`;
  for (const [text, client, host, base] of [
    [`knock://laptop@host:61000?${good}`, 'laptop', 'host', 61000],
    [`knock://a@host:1?key=${PRIVATE}&udp=53&server=${PUBLIC}`, 'a', 'host', 1],
    [`knock://J%C3%B6rg%27s%20laptop@[2001:db8::1]:40000?${good}`, "Jörg's laptop", '[2001:db8::1]', 40000],
    [`Run this: knock import 'knock://%2@192.0.2.7:65280?${good}'.`, '%2', '192.0.2.7', 65280],
    [`knock://%3Cimg%20src%3Dx%3E@h:61000?${good}`, '<img src=x>', 'h', 61000],
  ]) {
    const read = readInvitation(text);
    check(read.client === client && read.host === host && read.base === base, JSON.stringify(read));
    check(hex(read.key).startsWith('000102'), 'key');
  }
  for (const text of [
    '',
    'knock://',
    `http://laptop@host:61000?${good}`,
    `knock://laptop@host?${good}`,
    `knock://laptop@:61000?${good}`,
    `knock://@host:61000?${good}`,
    `knock://%ff@host:61000?${good}`,
    `knock://%e2%80%ae@host:61000?${good}`,
    `knock://a%0ab@host:61000?${good}`,
    `knock://laptop@ho st:61000?${good}`,
    `knock://laptop@-oProxyCommand=x:61000?${good}`,
    `knock://laptop@host/path:61000?${good}`,
    `knock://laptop@user:pass@host:61000?${good}`,
    `knock://laptop@[host]:61000?${good}`,
    `knock://laptop@[::1:61000?${good}`,
    `knock://laptop@[::g]:61000?${good}`,
    `knock://laptop@fe80::1%25eth0:61000?${good}`,
    `knock://laptop@a..b:61000?${good}`,
    `knock://laptop@host:0?${good}`,
    `knock://laptop@host:65281?${good}`,
    `knock://laptop@host:6e4?${good}`,
    `knock://laptop@host:61000?${good}A`,
    `knock://laptop@host:61000?${good}&key=${PRIVATE}`,
    `knock://laptop@host:61000?${good}&port=1`,
    `knock://laptop@host:61000?${good}&udp=0`,
    `knock://laptop@host:61000?server=${PUBLIC}&&key=${PRIVATE}`,
    `knock://laptop@host:61000?server=${PUBLIC}`,
    `knock://laptop@host:61000?key=${PRIVATE}`,
    // The same bytes for a reader that ignores the last two bits.
    `knock://laptop@host:61000?server=${PUBLIC}&key=${PRIVATE.slice(0, -1)}9`,
    `knock://laptop@host:61000?${good} knock://laptop@host:61000?${good}`,
    `knock://${'x'.repeat(1100)}@host:61000?${good}`,
  ]) {
    let error = null;
    try {
      readInvitation(text);
    } catch (thrown) {
      error = thrown;
    }
    check(error instanceof Refusal, `taken or failed: ${text}: ${error}`);
    check(!error.message.includes(PRIVATE.slice(1)), 'the key is shown');
  }
  // Names of the invitation and of doors are text for the page.
  await until(() => current);
  check(element('client').textContent === '<img src=x onerror=alert(1)>', 'client');
  check(document.querySelectorAll('img').length === 0, 'a name became an element');
  const listed = element('door-listed');
  check(listed.value === DOOR, `door ${listed.value}`);
  check(document.querySelector('label[for="door-listed"]') !== null, 'the list has no label');
  // No option of the address names another server, or a door that is not listed.
  location.hash = '#knock://a@192.0.2.9:61000?' + good;
  check(current.host === '192.0.2.1', 'server');
  let refused = null;
  try {
    chooseDoor('other');
  } catch (error) {
    refused = error;
  }
  check(refused instanceof Refusal && listed.value === DOOR, 'a door that is not listed');
});

// The page without a key, from a web server without https: it stores a key that can be read, and says so.
run(async () => {
  await until(() => cryptography);
  check(!element('insecure').hidden && !element('readable').hidden, 'nothing is said');
  check(element('scan').hidden, 'the camera needs https');
  check(!('serviceWorker' in navigator), 'this browser trusts the page');
  await until(() => element('invitation').value.startsWith('knock://'));
  element('add').requestSubmit();
  await until(() => current);
  const [stored] = await storedProfiles();
  check(stored.key instanceof Uint8Array && stored.key.length === 32, 'the key');
  check(hex(stored.key).startsWith('ee378a0c'), 'another key than that for SYN knocks');
  check(!JSON.stringify(stored).includes('AAECAw'), 'the private key is stored');
  element('door').value = 'web';
  element('port').value = '8080';
  await pressUntilOpen();
});

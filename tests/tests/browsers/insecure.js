// A page that came without https has no cryptography of the browser, and knocks nevertheless.
run(async () => {
  await until(() => current);
  check(!isSecureContext && crypto.subtle === undefined, 'this browser trusts the page');
  check(!element('insecure').hidden, 'nothing is said about https');
  check(cryptography === wasmModule && current.key instanceof Uint8Array, 'the key');
  await until(() => element('status').textContent.startsWith('Press "Knock"'));
  await pressUntilOpen();
});

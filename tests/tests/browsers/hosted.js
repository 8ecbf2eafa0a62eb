// The page without a key: an invitation in the link is stored only when the button is pressed.
run(async () => {
  // Firefox loads the page once more in the background, without the fragment: that page waits here.
  await until(() => element('invitation').value.startsWith('knock://'));
  check(location.hash === '', 'the invitation is still in the address');
  check((await storedProfiles()).length === 0, 'stored without a click');
  // What a foreign page may put behind the address of this one.
  for (const hash of ['#knock', '#door=web&knock', '#profile=home&door=web&knock']) {
    location.hash = hash;
    await until(() => location.hash === '');
  }
  await report('quiet');
  element('name').value = '<b>home</b>';
  element('add').requestSubmit();
  await until(() => current);
  check(current.name === '<b>home</b>', 'name');
  check(element('invitation').value === '', 'the invitation is still in the form');
  const [stored] = await storedProfiles();
  check(stored.key instanceof CryptoKey && !stored.key.extractable, 'the stored key can be read');
  check(JSON.stringify(stored.key.usages) === '["encrypt"]', 'usages');
  check(!JSON.stringify(stored).includes('AAECAw'), 'the private key is stored');
  const again = await storeProfile(stored).catch((error) => error);
  check(again instanceof Refusal, 'a profile was overwritten');
  // The page is there without its server.
  const registration = await navigator.serviceWorker.ready;
  check(new URL(registration.scope).pathname === '/app/', registration.scope);
  const cache = await caches.open((await caches.keys())[0]);
  check((await cache.keys()).length === 4, 'files in the cache');
  // A page around this one gets no buttons.
  const frame = document.createElement('iframe');
  frame.src = location.pathname;
  document.body.append(frame);
  await until(() => frame.contentDocument?.getElementById('problem')?.hidden === false);
  check(frame.contentDocument.getElementById('knock').hidden, 'a form in a frame');
  frame.remove();
  element('door').value = 'web';
  element('port').value = '8080';
  element('knock').requestSubmit();
  await until(() => element('status').textContent.startsWith('Port 8080 reacts'));
  await forgetProfile(stored.name);
  check((await storedProfiles()).length === 0, 'the key is not forgotten');
});

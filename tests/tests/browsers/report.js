// Added to a page under test: how it tells the test what it has seen.
function report(text) {
  return fetch(`http://192.0.2.1:8000/${encodeURIComponent(text)}`, { mode: 'no-cors', cache: 'no-store' });
}

const WEBKIT = navigator.userAgent.includes('AppleWebKit') && !navigator.userAgent.includes('Chrome');

function hex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function unhex(text) {
  return Uint8Array.from(text.match(/../g), (digits) => parseInt(digits, 16));
}

function check(holds, what) {
  if (!holds) {
    throw new Error(what);
  }
}

/** Resolves to the first value of `wanted` that is not false. */
async function until(wanted) {
  let value = wanted();
  while (!value) {
    await pause(20);
    value = wanted();
  }
  return value;
}

/** Knocks as a person does. A browser that gets no processor sends too late, and they press again. */
async function pressUntilOpen() {
  do {
    element('status').textContent = '';
    element('knock').requestSubmit();
    await until(() => /^(Port|The knock|This)/.test(element('status').textContent));
  } while (!element('status').textContent.startsWith('Port 8080 reacts'));
}

function run(test) {
  if (window.top !== window.self) {
    return;
  }
  test().then(
    () => report('passed'),
    (error) => report(`failed ${error}`),
  );
}

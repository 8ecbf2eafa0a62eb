// Milliseconds between the starts of two single knocks. Chromium keeps the connections of requests that
// were given up, so its system repeats their SYNs after 1, 3, 7 and 15 seconds: between two knocks.
const PERIOD = 2000;

// Knocks as often as the test asks for, and says of each what the page knows.
run(async () => {
  await until(() => current);
  for (let i = 0; i < KNOCKS; i += 1) {
    if (RETRIES) {
      // The lease of the knock before has to end.
      while ((await look(current.host, 8080)) !== 'silent') {
        await pause(100);
      }
      let said = await knock(current, 'web', 8080);
      // A browser that gets no processor sends too late. Then a person presses the button again.
      while (PATIENT && said.result !== 'open') {
        said = await knock(current, 'web', 8080);
      }
      await report(`knocked ${said.result} ${said.knocks}`);
    } else {
      const next = pause(PERIOD);
      const ports = await freshPorts(current.key, current.base, 'job', DEFAULT_LEASE);
      await waysTo(current.host)[0](current.host, ports);
      await next;
    }
  }
});

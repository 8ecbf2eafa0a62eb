// Knocks as often as the test asks for, and says of each what the page knows.
run(async () => {
  await until(() => current);
  for (let i = 0; i < KNOCKS; i += 1) {
    if (RETRIES) {
      // The lease of the knock before has to end.
      while ((await look(current.host, 8080)) !== 'silent') {
        await pause(100);
      }
      const { result, knocks } = await knock(current, 'web', 8080);
      await report(`knocked ${result} ${knocks}`);
    } else {
      const ports = await freshPorts(current.key, current.base, 'job', DEFAULT_LEASE);
      await waysHere()[0](current.host, ports);
      await pause(1000);
    }
  }
});

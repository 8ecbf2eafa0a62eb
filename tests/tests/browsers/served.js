run(async () => {
  await until(() => element('status').textContent.startsWith('Press "Knock"'));
  check(chosenDoor() === 'web', 'door');
});

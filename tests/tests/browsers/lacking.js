// Where nothing can compute a knock, the page says so and offers none.
run(async () => {
  await until(() => !element('problem').hidden);
  check(element('problem').textContent.startsWith('This browser cannot compute a knock.'), element('problem').textContent);
  check(element('knock').hidden && element('add').hidden, 'a form that is of no use');
});

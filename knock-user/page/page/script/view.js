// What the page shows. All names are set as text, never as HTML.

function element(id) {
  return document.getElementById(id);
}

function say(text) {
  element('status').textContent = text;
}

/** Shows what keeps the page from working at all. */
function showProblem(text) {
  element('problem').textContent = text;
  element('problem').hidden = false;
}

/** Runs `work` with all buttons disabled, and shows why it failed. */
async function working(work) {
  const buttons = document.querySelectorAll('button');
  const focused = document.activeElement;
  buttons.forEach((button) => (button.disabled = true));
  try {
    await work();
  } catch (error) {
    // Other errors may contain what was pasted.
    say(error instanceof Refusal ? error.message : `This failed in the browser (${error.name}).`);
  } finally {
    buttons.forEach((button) => (button.disabled = false));
    // A disabled button loses the focus.
    focused?.focus?.();
  }
}

/** Shows `profile` in the form for knocks. */
function showProfile(profile) {
  element('server').textContent = `${profile.host} (ports ${profile.base} to ${profile.base + 255})`;
  element('client').textContent = profile.client;
  const listed = element('door-listed');
  listed.replaceChildren(...profile.doors.map((door) => new Option(door.name, door.name)));
  const hasList = profile.doors.length > 0;
  // The label belongs to the field that is shown.
  listed.hidden = !hasList;
  element('door').hidden = hasList;
  element('door').required = !hasList;
  document.querySelector('#doors label').htmlFor = hasList ? 'door-listed' : 'door';
  element('door').value = profile.lastDoor ?? '';
  element('port').value = profile.lastPort ?? '';
  element('knock').hidden = false;
  if (hasList) {
    showPortOf(profile);
  }
}

/** Proposes the port of the door that is chosen. */
function showPortOf(profile) {
  const door = profile.doors.find((door) => door.name === chosenDoor());
  element('port').value = door?.port ?? '';
}

function chosenDoor() {
  const listed = element('door-listed');
  return (listed.hidden ? element('door') : listed).value;
}

/** The port that the form names, or null. */
function chosenPort() {
  const port = element('port').valueAsNumber;
  return Number.isInteger(port) ? port : null;
}

/** Shows the names of `profiles`, of which `name` is chosen. */
function showChoice(profiles, name) {
  const options = profiles.map((profile) => new Option(profile.name, profile.name));
  element('profile').replaceChildren(...options);
  element('profile').value = name;
  element('choice').hidden = profiles.length < 2;
  element('knock').hidden = profiles.length === 0;
  element('forget').hidden = profiles.length === 0;
}

/** Shows whether the browser may delete the profiles. */
function showLasting(isKept) {
  element('lasting').hidden = isKept || element('knock').hidden;
}

/** What is known after a knock, in a sentence. */
function afterKnock({ result, knocks }, door, port) {
  const count = knocks === 1 ? 'one knock' : `${knocks} knocks`;
  switch (result) {
    case 'open':
      return `Port ${port} reacts: the door "${door}" seems to be open, after ${count}.`;
    case 'closed':
      return `Port ${port} is still silent after ${count}. Possible reasons: the server does not know this client or the door, the clock of this device is wrong, the network does not let these ports through, the browser asks whether the page may use the local network, or nothing listens on the port.`;
    default:
      return `The knock for the door "${door}" was sent. The server never answers, so try the service now.${
        port ? ` (Port ${port} reacted before the knock too, so it shows nothing.)` : ''
      }`;
  }
}

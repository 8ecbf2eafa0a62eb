// How a page makes the browser send 16 SYNs in order. It can open no socket, but it can start
// connections for other purposes, and give them up.

/** Milliseconds between two requests. Their order on the network is that of their start. */
const GAP = 10;

/**
 * Milliseconds after which a connection is given up. Browsers try again from another port after
 * 250 ms, and systems send a SYN again after a second. Either would spoil the order.
 */
const LIFE = 200;

/** Milliseconds to wait for the addresses of this device. */
const GATHERING = 1000;

/** Milliseconds to wait for the answer of a port. */
const ANSWER = 1500;

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** The ways that this browser has to reach `host`, the best one first. */
function waysTo(host) {
  // Other browsers try again from another port, or change the order.
  const isChromium = 'chrome' in globalThis || 'userAgentData' in navigator;
  // WebRTC does not look up names of peers.
  const isAddress = /^\[|^[0-9.]+$/.test(host);
  const hasCandidates = isChromium && isAddress && 'RTCPeerConnection' in globalThis;
  return hasCandidates ? [byCandidates, byRequests] : [byRequests];
}

/** Starts a request to each of `ports` in turn. */
async function byRequests(host, ports) {
  const requests = [];
  for (const port of ports) {
    requests.push(request(host, port, LIFE));
    await pause(GAP);
  }
  await Promise.all(requests);
}

/**
 * A request to `port`, given up after `life` milliseconds. Resolves to `answers` if a web server
 * answered, `reacts` if the connection failed or something else answered, and `silent`.
 */
async function request(host, port, life) {
  // A page with https may make requests with https only. The SYN is the same.
  const scheme = location.protocol === 'https:' ? 'https' : 'http';
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), life);
  try {
    await fetch(`${scheme}://${host}:${port}/`, {
      mode: 'no-cors',
      cache: 'no-store',
      credentials: 'omit',
      referrerPolicy: 'no-referrer',
      signal: abort.signal,
    });
    return 'answers';
  } catch {
    return abort.signal.aborted ? 'silent' : 'reacts';
  } finally {
    clearTimeout(timer);
    // The content is of no use.
    abort.abort();
  }
}

/** How `port` reacts to a connection now. */
function look(host, port) {
  return request(host, port, ANSWER);
}

/**
 * Gives `ports` to WebRTC as addresses of a peer that waits for TCP connections (RFC 6544), which
 * it tries at once. There is no peer, and no other server takes part.
 */
async function byCandidates(host, ports) {
  const address = host.replace(/^\[|\]$/g, '');
  // A connection for the same address and port is not made twice, so a repeated port needs another
  // peer.
  const turns = ports.map((port, at) => ports.slice(0, at).filter((other) => other === port).length);
  const peers = [];
  try {
    for (let i = 0; i <= Math.max(...turns); i += 1) {
      peers.push(waitingPeer());
    }
    const ready = await Promise.all(peers.map((peer) => peer.ready));
    for (const [i, port] of ports.entries()) {
      await ready[turns[i]].addIceCandidate(candidate(address, port, i));
    }
    await pause(LIFE);
  } finally {
    peers.forEach((peer) => peer.connection.close());
  }
}

function candidate(address, port, i) {
  const text = `candidate:${i + 1} 1 tcp ${1000 - i} ${address} ${port} typ host tcptype passive`;
  return { candidate: text, sdpMid: '0', sdpMLineIndex: 0 };
}

/** One side of a connection, which knows everything of the other except its addresses. */
function waitingPeer() {
  const connection = new RTCPeerConnection();
  const prepare = async () => {
    connection.createDataChannel('');
    await connection.setLocalDescription();
    await gathered(connection);
    await connection.setRemoteDescription({ type: 'answer', sdp: imaginedAnswer() });
    return connection;
  };
  return { connection, ready: prepare() };
}

/** Waits until the connection has the sockets that it will connect from. */
function gathered(connection) {
  const complete = new Promise((resolve) => {
    const check = () => connection.iceGatheringState === 'complete' && resolve();
    connection.addEventListener('icegatheringstatechange', check);
    check();
  });
  return Promise.race([complete, pause(GATHERING)]);
}

/** The answer of a peer that does not exist. */
function imaginedAnswer() {
  const fingerprint = new Array(32).fill('00').join(':');
  return [
    'v=0',
    'o=- 1 1 IN IP4 0.0.0.0',
    's=-',
    't=0 0',
    'm=application 9 UDP/DTLS/SCTP webrtc-datachannel',
    'c=IN IP4 0.0.0.0',
    'a=mid:0',
    `a=ice-ufrag:knock`,
    'a=ice-pwd:knockknockknockknockknock',
    `a=fingerprint:sha-256 ${fingerprint}`,
    'a=setup:active',
    'a=sctp-port:5000',
    '',
  ].join('\r\n');
}

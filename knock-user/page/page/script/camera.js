// Reads the QR code of an invitation with the camera, where the browser can.

/** Milliseconds until the camera is switched off if it sees no invitation. */
const PATIENCE = 30000;

function canScan() {
  return 'BarcodeDetector' in globalThis && Boolean(navigator.mediaDevices);
}

/** The text of the first QR code with an invitation that the camera shows in `video`, or null. */
async function scan(video) {
  const detector = new BarcodeDetector({ formats: ['qr_code'] });
  const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment' } });
  video.srcObject = stream;
  video.hidden = false;
  try {
    await video.play();
    for (const end = Date.now() + PATIENCE; Date.now() < end; await pause(200)) {
      const codes = await detector.detect(video);
      const found = codes.find((code) => code.rawValue.includes(SCHEME));
      if (found) {
        return found.rawValue;
      }
    }
    return null;
  } finally {
    stream.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
    video.hidden = true;
  }
}
